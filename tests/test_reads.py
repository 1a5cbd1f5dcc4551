"""Reads through servers: never older than what was acknowledged before, whatever they share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from processes import ServerProcess
from reporting import PENDING, STAGED, granules, names
from stored import run

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError

TIMEOUT = 60.0
# Pages shorter than the jobs, as long, and longer than what is read together; and the job alone.
SIZES = (3, 10, 100, 0, 10_000)
SIZES_OF = {"small": SIZES, "long": SIZES, "large": (10_000, 10_000, 10_000, 100, 0)}


class Caller:
    """Asks one server and reports to another, as two processes of a user would."""

    def __init__(self, reports: grpc.aio.Channel, reads: grpc.aio.Channel) -> None:
        self._reports = pb.JobReportServiceStub(reports)
        self._reads = pb.JobStatusServiceStub(reads)

    async def report(self, job_id: str, *reported: pb.Granule) -> int:
        """Report granules; return the revision that was acknowledged."""
        request = pb.ReportGranulesRequest(job_id=job_id, granules=reported)
        answer = await self._reports.ReportGranules(request, timeout=TIMEOUT)
        return int(answer.revision)

    async def get(self, job_id: str, size: int, seconds: float = TIMEOUT) -> pb.GetJobStatusResponse:
        """Read a first page; the job alone if `size` is 0."""
        view = pb.JOB_VIEW_FULL if size else pb.JOB_VIEW_BASIC
        request = pb.GetJobStatusRequest(job_id=job_id, page_size=size, view=view)
        return await self._reads.GetJobStatus(request, timeout=seconds)  # type: ignore[no-any-return]


@asynccontextmanager
async def calling(reports: str, reads: str) -> AsyncIterator[Caller]:
    async with grpc.aio.insecure_channel(reports) as one, grpc.aio.insecure_channel(reads) as other:
        yield Caller(one, other)


@asynccontextmanager
async def reading(caller: Caller, readers: int) -> AsyncIterator[None]:
    """Have readers read all the time, so that hardly ever no batch is under way."""

    async def read() -> None:
        while True:
            job_id = random.choice(list(SIZES_OF))
            await caller.get(job_id, random.choice(SIZES_OF[job_id]))

    tasks = [asyncio.create_task(read()) for _ in range(readers)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended


def test_what_one_server_has_acknowledged_every_later_answer_of_another_contains(database_url: str) -> None:
    """More than a thousand writes, each read back at once, while others read the same jobs all the time."""
    writers, writes = 24, 50
    with ServerProcess(database_url) as one, ServerProcess(database_url) as other:
        with JobStatusClient(one.address) as client:
            client.report_job(pb.Job(job_id="small"), granules(PENDING, *names(10)))
            client.report_job(pb.Job(job_id="long"), granules(PENDING, *names(30)))
            client.report_job(pb.Job(job_id="large"), granules(PENDING, *names(600)))
        numbers = count(1)

        async def write(caller: Caller, writer: int) -> None:
            # A writer has a granule of its own in each job, within the shortest page or not.
            for turn in range(writes):
                job_id = list(SIZES_OF)[turn % 3]
                size = random.choice(SIZES_OF[job_id])
                name, message = f"g{writer % 10:06d}", str(next(numbers)).rjust(8)
                granule = pb.Granule(collection_id="c", granule_id=name, message=message)
                revision = await caller.report(job_id, granule)
                answer = await caller.get(job_id, size)
                assert answer.job.revision >= revision, (answer.job.revision, revision, size)
                for found in answer.granules:
                    assert found.revision <= answer.job.revision
                    # Two writers share it: the other may have written since, and only that.
                    if found.granule_id == name:
                        assert found.revision >= revision

        async def play() -> None:
            async with calling(one.address, other.address) as caller, reading(caller, 6):
                await asyncio.gather(*(write(caller, writer) for writer in range(writers)))

        asyncio.run(play())


def test_an_answer_given_before_is_given_again_only_while_it_is_true(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, "a", "b"))
    first = shared_client.get(job_id)
    assert shared_client.get(job_id) == first
    # Past the service, without a new revision: whoever has the page already need not read it.
    change = (
        f"update granule set message = 'x' where job_pk = (select job_pk from job where job_id = '{job_id}')"
    )
    run(shared_server.database_url, change)
    assert shared_client.get(job_id) == first
    shared_client.report_granules(job_id, granules(STAGED, "a"))
    second = shared_client.get(job_id)
    assert [granule.message for granule in second.granules] == ["x", "x"]
    shared_client.delete(job_id)
    with pytest.raises(JobStatusRpcError, match="no job"):
        shared_client.get(job_id)
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, "a", "b"))
    third = shared_client.get(job_id)
    assert third.job.create_time != second.job.create_time
    assert third.resume_token != first.resume_token


@pytest.mark.parametrize("size", [1, 99, 100, 101, 1000])
def test_a_page_of_any_size_is_the_same_whichever_way_it_was_read(
    shared_client: JobStatusClient, job_id: str, size: int
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, *names(size)))
    for page_size in (0, size, max(1, size - 1)):
        answers = [shared_client.get(job_id, page_size=page_size) for _ in range(3)]
        assert answers[0] == answers[1] == answers[2]
        cut = bool(page_size) and page_size < size
        assert [granule.granule_id for granule in answers[0].granules] == names(size)[: page_size or size]
        assert bool(answers[0].next_page_token) == cut
        # A filter that lets all pass is read another way.
        filtered = shared_client.get(job_id, page_size=page_size, states=[PENDING])
        assert list(filtered.granules) == list(answers[0].granules)
        assert filtered.job == answers[0].job
        assert filtered.resume_token == answers[0].resume_token


def test_a_job_that_cannot_be_read_harms_no_other(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    """One job's row is broken; those who ask for it are told so, and those who ask with them get theirs."""
    names = [f"{job_id}-{number}" for number in range(6)]
    for name in names:
        shared_client.report_job(pb.Job(job_id=name), granules(PENDING, "a"))
    broken = names[2]
    run(shared_server.database_url, f"update job set labels = 'no JSON' where job_id = '{broken}'")

    async def play() -> list[Message | BaseException]:
        async with calling(shared_server.address, shared_server.address) as caller:
            asked = [name for _ in range(20) for name in (*names, f"{job_id}-typo")]
            answers = [caller.get(name, random.choice(SIZES)) for name in asked]
            return list(zip(asked, await asyncio.gather(*answers, return_exceptions=True), strict=True))  # type: ignore[arg-type]

    for name, answer in asyncio.run(play()):  # type: ignore[misc]
        if name in names and name != broken:
            assert isinstance(answer, pb.GetJobStatusResponse)
            assert answer.job.job_id == name
        else:
            assert isinstance(answer, grpc.aio.AioRpcError)
            error = JobStatusRpcError.of(answer)
            assert error.reason == ("INTERNAL" if name == broken else "JOB_NOT_FOUND")
            assert error.request_id


def test_who_leaves_or_has_no_time_takes_nobody_along(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    """Of callers who ask for the same page at once most go away before they are answered."""
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, *names(150)))

    async def leave(caller: Caller, size: int) -> str:
        call = asyncio.create_task(caller.get(job_id, size))
        await asyncio.sleep(random.uniform(0, 0.01))
        call.cancel()
        ended = (await asyncio.gather(call, return_exceptions=True))[0]
        return "answered" if isinstance(ended, pb.GetJobStatusResponse) else type(ended).__name__

    async def hurry(caller: Caller, size: int) -> str:
        try:
            await caller.get(job_id, size, seconds=random.uniform(0.001, 0.02))
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return "answered"

    async def stay(caller: Caller, size: int) -> str:
        return f"{len((await caller.get(job_id, size)).granules)} of {size}"

    async def play() -> list[str]:
        async with calling(shared_server.address, shared_server.address) as caller:
            found: list[str] = []
            for _ in range(20):
                size = random.choice((10, 100, 150))
                calls = [act(caller, size) for act in (leave, hurry, stay) for _ in range(8)]
                random.shuffle(calls)
                # Something new each time, so that there is something to read.
                await caller.report(
                    job_id, pb.Granule(collection_id="c", granule_id="g000000", message=str(_))
                )
                found += await asyncio.gather(*calls)
            return found

    found = asyncio.run(play())
    assert sum(" of " in each for each in found) == 160
    assert {each for each in found if " of " in each} <= {"10 of 10", "100 of 100", "150 of 150"}
    assert {each for each in found if " of " not in each} >= {"CancelledError", "DEADLINE_EXCEEDED"}
    assert {each for each in found if " of " not in each} <= {
        "CancelledError",
        "DEADLINE_EXCEEDED",
        "answered",
    }
