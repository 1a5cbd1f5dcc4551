"""Any number of granules, reported in batches that can be sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from faces import MakeClient
from processes import ServerProcess
from reporting import FAILED, PENDING, SUCCEEDED, granules, names
from scripted import UNAVAILABLE, ScriptedServer, failure

from jobstatus import v1 as pb
from jobstatus_grpc.client import AsyncJobStatusClient, JobStatusClient, JobStatusRpcError

TAKEN = pb.ReportGranulesResponse(revision=7, applied_count=0, unchanged_count=0, stale_count=0)


@pytest.fixture
def client(shared_server: ServerProcess, make_client: MakeClient) -> Iterator[JobStatusClient]:
    with make_client(shared_server.address) as made:
        yield made


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        yield scripted


def test_any_number_of_granules_is_reported_as_they_are_read(client: JobStatusClient, job_id: str) -> None:
    client.report_job(pb.Job(job_id=job_id))
    read: list[str] = []

    def source() -> Iterator[pb.Granule]:
        for name in names(12_345):
            if read and len(read) % 5000 == 0:
                # Those before have been reported while the rest was not even read.
                assert client.get(job_id, view=pb.JOB_VIEW_BASIC).job.totals.pending_count >= len(read) - 1000
            read.append(name)
            yield pb.Granule(granule_id=name, state=PENDING)

    # The awaited client can't be asked from within its own loop.
    reports = source() if isinstance(client, JobStatusClient) else granules(PENDING, *names(12_345))
    answer = client.report_granules(job_id, reports)
    assert (answer.applied_count, answer.totals.pending_count) == (12_345, 12_345)
    again = client.report_granules(job_id, granules(PENDING, *names(100)))
    assert again.applied_count + again.unchanged_count + again.stale_count == 100


def test_large_granules_make_small_batches(client: JobStatusClient, job_id: str) -> None:
    client.report_job(pb.Job(job_id=job_id))
    large = granules(FAILED, *names(600), message="x" * 16_000)
    assert client.report_granules(job_id, large).applied_count == 600


def test_a_granule_is_in_a_batch_once_and_its_reports_keep_their_order(
    client: JobStatusClient, job_id: str
) -> None:
    client.report_job(pb.Job(job_id=job_id))
    story = [*granules(FAILED, "a", "b"), *granules(SUCCEEDED, "a"), *granules(FAILED, "a")]
    answer = client.report_granules(job_id, story, authoritative=True)
    assert (answer.applied_count, answer.totals.failed_count) == (4, 2)
    (a, b) = client.granules(job_id)
    assert (a.attempt, b.attempt) == (3, 1)


def test_batches_are_within_the_services_limits(server: ScriptedServer, make_client: MakeClient) -> None:
    server.answers = [TAKEN] * 9
    long = granules(FAILED, *names(4), message="x" * 1024 * 1024)
    with make_client(server.target) as client:
        client.report_granules("j", [*granules(PENDING, *names(2500)), *long])
    sizes = [len(request.granules) for request in server.asked]
    assert sizes == [1000, 1000, 501, 1, 1, 1]
    assert sum(sizes) == 2504


def test_reports_of_one_granule_go_in_batches_of_their_own(
    server: ScriptedServer, make_client: MakeClient
) -> None:
    server.answers = [TAKEN] * 3
    story = [*granules(FAILED, "a", "b"), *granules(SUCCEEDED, "a"), *granules(FAILED, "a")]
    with make_client(server.target) as client:
        client.report_granules("j", story)
    sent = [[granule.granule_id for granule in request.granules] for request in server.asked]
    assert sent == [["a", "b"], ["a"], ["a"]]


def test_a_batch_whose_answer_was_lost_is_sent_again(server: ScriptedServer, make_client: MakeClient) -> None:
    first = pb.ReportGranulesResponse(revision=3, applied_count=900, unchanged_count=90, stale_count=10)
    second = pb.ReportGranulesResponse(revision=4, applied_count=1, unchanged_count=2, stale_count=3)
    server.answers = [UNAVAILABLE, first, failure(grpc.StatusCode.CANCELLED), second]
    with make_client(server.target) as client:
        answer = client.report_granules("j", granules(PENDING, *names(1006)))
    assert [len(request.granules) for request in server.asked] == [1000, 1000, 6, 6]
    assert server.asked[0] == server.asked[1]
    counts = (answer.applied_count, answer.unchanged_count, answer.stale_count)
    assert (answer.revision, counts) == (4, (901, 92, 13))


def test_an_error_tells_how_many_were_reported_before(
    server: ScriptedServer, make_client: MakeClient
) -> None:
    server.answers = [TAKEN, failure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PARAMETER_VALUE")]
    with make_client(server.target) as client, pytest.raises(JobStatusRpcError) as caught:
        client.report_granules("j", granules(PENDING, *names(1500)))
    assert caught.value.__notes__ == ["the 1000 granules before have been reported"]


def test_no_granules_are_reported_as_the_job_stands(client: JobStatusClient, job_id: str) -> None:
    client.report_job(pb.Job(job_id=job_id), granules(PENDING, "a"))
    answer = client.report_granules(job_id, [])
    assert (answer.revision, answer.applied_count, answer.totals.pending_count) == (2, 0, 1)
    with pytest.raises(JobStatusRpcError, match="JOB_NOT_FOUND"):
        client.report_granules("nobody", [])


def test_granules_may_come_from_an_asynchronous_iterable(shared_server: ServerProcess, job_id: str) -> None:
    async def source() -> AsyncIterator[pb.Granule]:
        for granule in granules(SUCCEEDED, *names(1500)):
            await asyncio.sleep(0)
            yield granule

    async def report() -> pb.ReportGranulesResponse:
        async with AsyncJobStatusClient(shared_server.address) as client:
            await client.report_job(pb.Job(job_id=job_id))
            return await client.report_granules(job_id, source())

    assert asyncio.run(report()).applied_count == 1500
