"""The demonstration job, watched through a fast life, a deletion and a server's death."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from moments import wait_until
from processes import ServerProcess

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError
from jobstatus_grpc.demo import JOB_ID, run_demo

PACE = 0.01


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(f"sqlite:///{tmp_path}/jobstatus.db") as started:
        yield started


@pytest.fixture
def client(server: ServerProcess) -> Iterator[JobStatusClient]:
    with JobStatusClient(server.address) as made:
        yield made


@pytest.fixture
def demo(server: ServerProcess) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=run_demo, args=(server.address, stop, PACE))
    thread.start()
    yield
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


def current(client: JobStatusClient) -> pb.Job:
    """Return the job as it is; an empty one before it is."""
    try:
        return client.get(JOB_ID, view=pb.JOB_VIEW_BASIC).job
    except JobStatusRpcError as error:
        if error.code is not grpc.StatusCode.NOT_FOUND:
            raise
        return pb.Job()


@pytest.mark.usefixtures("demo")
def test_the_demonstration_fails_is_tried_again_and_succeeds(client: JobStatusClient) -> None:
    wait_until(lambda: current(client).attempt > 0, "the job is there")
    ends: dict[int, pb.Job] = {}
    moves: Counter[tuple[pb.GranuleState, pb.GranuleState]] = Counter()
    token = b""
    while len(ends) < 3:
        for frame in client.frames(JOB_ID, token):
            token = frame.resume_token or token
            moves.update(
                (change.granule.previous_state, change.granule.granule.state)
                for change in frame.changes.changes
                if change.HasField("granule")
            )
            if frame.HasField("completed"):
                ends[frame.completed.job.attempt] = frame.completed.job
    for attempt, job in ends.items():
        succeeded = attempt % 2 == 0
        assert job.state == (pb.JOB_STATE_SUCCEEDED if succeeded else pb.JOB_STATE_FAILED)
        assert job.totals.failed_count == (0 if succeeded else 12)
        assert job.totals.succeeded_count == (240 if succeeded else 228)
        assert (job.system, job.job_type) == ("orca", "recovery")
    assert moves[pb.GRANULE_STATE_PENDING, pb.GRANULE_STATE_STAGED] > 240
    failed = moves[pb.GRANULE_STATE_STAGED, pb.GRANULE_STATE_FAILED]
    assert 12 <= failed <= 24


def test_the_demonstration_goes_on_with_the_next_attempt(
    server: ServerProcess, client: JobStatusClient
) -> None:
    client.report_job(pb.Job(job_id=JOB_ID, attempt=41))
    stop = threading.Event()
    thread = threading.Thread(target=run_demo, args=(server.address, stop, PACE))
    thread.start()
    wait_until(lambda: current(client).attempt >= 42, "the next attempt has begun")
    stop.set()
    thread.join(30)
    granules = list(client.granules(JOB_ID))
    assert len(granules) == 240
    assert Counter(granule.collection_id for granule in granules) == {
        "MOD09GQ___006": 120,
        "MYD09GQ___006": 120,
    }


@pytest.mark.usefixtures("demo")
def test_the_demonstration_survives_its_deletion(client: JobStatusClient) -> None:
    wait_until(lambda: current(client).totals.succeeded_count > 0, "the job is under way")
    client.delete(JOB_ID)
    wait_until(lambda: current(client).totals.succeeded_count > 0, "the job is under way again")


@pytest.mark.usefixtures("demo")
def test_the_demonstration_survives_its_server(server: ServerProcess, client: JobStatusClient) -> None:
    wait_until(lambda: current(client).totals.succeeded_count > 0, "the job is under way")
    server.kill()
    server.start()
    before = current(client).revision
    wait_until(lambda: current(client).revision > before, "the job goes on")
