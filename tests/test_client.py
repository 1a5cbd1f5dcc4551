"""The client and the real server, through a whole life of a job, and through the server's deaths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from processes import ServerProcess

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(f"sqlite:///{tmp_path}/jobstatus.db") as started:
        yield started


@pytest.fixture
def client(server: ServerProcess) -> Iterator[JobStatusClient]:
    with JobStatusClient(server.address, "archive") as made:
        yield made


def granules(state: pb.GranuleState, *names: str) -> list[pb.Granule]:
    return [pb.Granule(collection_id="C", granule_id=name, state=state) for name in names]


NAMES = [f"g{number:04d}" for number in range(2500)]


def test_a_reported_job_is_read_watched_listed_and_deleted(client: JobStatusClient) -> None:
    job = pb.Job(job_id="j", system="orca", granules_complete=True, labels={"team": "a"})
    answer = client.report_job(job, granules(pb.GRANULE_STATE_PENDING, *NAMES))
    assert (answer.applied_count, answer.state) == (len(NAMES) + 1, pb.JOB_STATE_PENDING)
    assert job.project_id == ""
    reported = client.report_granules("j", granules(pb.GRANULE_STATE_SUCCEEDED, *NAMES[:3]))
    assert reported.totals.succeeded_count == 3

    read = client.get("j")
    assert (read.job.project_id, read.job.revision) == ("archive", reported.revision)
    assert [granule.granule_id for granule in client.granules("j", page_size=700)] == NAMES
    done = client.granules("j", [pb.GRANULE_STATE_SUCCEEDED])
    assert [granule.granule_id for granule in done] == NAMES[:3]

    client.report_job(pb.Job(job_id="other", project_id="elsewhere"))
    client.report_job(pb.Job(job_id="other"))
    assert [found.job_id for found in client.list(page_size=1)] == ["other", "j"]
    assert [found.job_id for found in client.list(labels={"team": "a"})] == ["j"]
    assert list(client.list(states=[pb.JOB_STATE_FAILED])) == []

    snapshot = list(client.frames("j", snapshot_only=True))
    assert sum(len(frame.snapshot.granules) for frame in snapshot) == len(NAMES)

    client.delete("j")
    with pytest.raises(JobStatusRpcError) as caught:
        client.get("j")
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    assert caught.value.request_id


def test_a_request_that_is_wrong_is_refused_with_every_fault(client: JobStatusClient) -> None:
    with pytest.raises(JobStatusRpcError) as caught:
        client.report_job(pb.Job(), [pb.Granule(), pb.Granule(granule_id="a\0b")])
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in caught.value.violations] == [
        "job.job_id",
        "granules[0].granule_id",
        "granules[1].granule_id",
    ]


@pytest.mark.parametrize("end", [ServerProcess.kill, ServerProcess.terminate])
def test_a_watch_misses_nothing_while_its_server_dies_again_and_again(
    server: ServerProcess, client: JobStatusClient, end: object
) -> None:
    names = NAMES[:60]
    client.report_job(pb.Job(job_id="j", granules_complete=True), granules(pb.GRANULE_STATE_PENDING, *names))
    with ThreadPoolExecutor(1) as pool, JobStatusClient(server.address, "archive") as watching:
        watch = watching.frames("j", heartbeat_interval=1)
        assert next(watch).snapshot.last
        rest = pool.submit(list, watch)
        for third in (names[:20], names[20:40], names[40:]):
            for name in third:
                client.report_granules("j", granules(pb.GRANULE_STATE_SUCCEEDED, name))
            assert callable(end)
            end(server)
            server.start()
        frames = rest.result(60)
    changes = [change for frame in frames for change in frame.changes.changes]
    # The job's creation and its 60 granules were revisions 1 to 61.
    assert [change.revision for change in changes] == list(range(62, 62 + len(changes)))
    ended = Counter(change.granule.granule.granule_id for change in changes if change.HasField("granule"))
    assert ended == dict.fromkeys(names, 1)
    assert frames[-1].completed.job.state == pb.JOB_STATE_SUCCEEDED
