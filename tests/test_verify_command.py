"""`jobstatus verify` on a real server with a reporter at work, and on one that is not honest."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

import grpc
import pytest
from processes import PATIENCE, ServerProcess, run_command, start_command
from recorded import Frame
from spoiled import HEAD, HISTORY

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

NAMES = [f"g{number:03}" for number in range(200)]


def of(state: pb.GranuleState, names: list[str], **fields: Any) -> list[pb.Granule]:
    return [pb.Granule(collection_id="c", granule_id=name, state=state, **fields) for name in names]


@contextmanager
def reporter(address: str, work: Callable[[JobStatusClient, threading.Event], None]) -> Iterator[None]:
    """Let somebody report in a thread, until the end of the block."""
    over, failures = threading.Event(), list[Exception]()

    def run() -> None:
        try:
            with JobStatusClient(address) as client:
                work(client, over)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="reporter")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=PATIENCE)
    assert not failures


def endlessly(client: JobStatusClient, over: threading.Event) -> None:
    """Fetch the granules again and again; now and then new ones are asked for."""
    for attempt in count(2):
        client.report_granules("j", of(pb.GRANULE_STATE_PENDING, [f"new{attempt:06}"]))
        for state in (pb.GRANULE_STATE_STAGED, pb.GRANULE_STATE_SUCCEEDED, pb.GRANULE_STATE_FAILED):
            for start in range(0, len(NAMES), 20):
                client.report_granules("j", of(state, NAMES[start : start + 20], attempt=attempt))
                if over.wait(0.01):
                    return


def to_the_end(client: JobStatusClient, over: threading.Event) -> None:
    """Fetch each granule in its turn, a little of it at a time: the job ends in a few seconds."""
    for state in (pb.GRANULE_STATE_STAGED, pb.GRANULE_STATE_SUCCEEDED):
        for name in NAMES:
            client.report_granules("j", of(state, [name]))
            if over.wait(0.01):
                return


def verified(address: str, *arguments: str) -> tuple[int, Any]:
    """Return the exit status of `verify`, and what it says as JSON."""
    done = run_command("verify", "j", "--json", *arguments, server=address)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def server(database_url: str) -> Iterator[str]:
    """A server with a job."""
    with ServerProcess(database_url) as started, JobStatusClient(started.address) as client:
        granules = of(pb.GRANULE_STATE_PENDING, NAMES)
        client.report_job(pb.Job(job_id="j", granules_complete=True), granules)
        yield started.address


def test_a_server_with_a_busy_reporter_keeps_what_it_promises(server: str) -> None:
    with reporter(server, endlessly):
        status, said = verified(server, "--watchers", "3", "--for", "6")
    assert (status, said["proved"], said["breaches"]) == (0, True, [])
    for guarantee in ("W1", "W2", "W3", "W4", "W5", "W7", "W8", "W10", "SIZE"):
        assert said["checked"][guarantee] > 0, guarantee
    assert said["seen"]["resumes"] >= 3
    assert said["seen"]["changes"] > 500
    assert said["compared"] > 500
    # All three, and the reader's last pages.
    assert said["agreement"]["watchers"] == 4
    assert sum(said["agreement"]["totals"].values()) >= len(NAMES)


def test_a_job_that_ends_ends_the_proof(server: str) -> None:
    with reporter(server, to_the_end):
        status, said = verified(server, "--watchers", "2", "--for", "50")
    assert (status, said["breaches"]) == (0, [])
    assert said["seen"]["completed"] >= 3
    assert said["watchers"]["watcher 1"]["resumes"] == 0
    assert said["watchers"]["watcher 2"]["resumes"] >= 1
    assert said["watchers"]["reader"]["reads"] >= 2
    assert said["agreement"]["totals"] | {"succeeded": 200} == said["agreement"]["totals"]
    assert said["agreement"]["watchers"] == 3


class Relay(pb.JobStatusServiceServicer):  # type: ignore[misc]
    """Serves frames that were recorded to whoever watches, from wherever it wants; the job is as at the head.

    Attributes:
        watched: set once the frames have been sent to somebody.
    """

    def __init__(self, frames: list[Frame]) -> None:
        self._frames = frames
        self.watched = threading.Event()

    def WatchJob(self, request: pb.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[Frame]:  # noqa: N802
        left = threading.Event()
        context.add_callback(left.set)
        tokens = [frame.resume_token for frame in self._frames if not frame.HasField("completed")]
        start = tokens.index(request.resume_token) + 1 if request.resume_token else 0
        yield from self._frames[start:]
        self.watched.set()
        if not self._frames[-1].HasField("completed"):
            left.wait()

    def GetJobStatus(  # noqa: N802
        self, request: pb.GetJobStatusRequest, context: grpc.ServicerContext
    ) -> pb.GetJobStatusResponse:
        (page,) = HISTORY.pages([HEAD], 100)
        return page


@contextmanager
def relayed(relay: Relay) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(20))
    pb.add_JobStatusServiceServicer_to_server(relay, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def recorded() -> list[Frame]:
    parts = [HISTORY.every(3, 9), HISTORY.every(9, 15), HISTORY.every(15, HEAD)]
    return [*HISTORY.snapshot(3), *parts, HISTORY.completed(HEAD)]


def test_a_recorded_stream_that_was_left_alone_is_proved() -> None:
    with relayed(Relay(recorded())) as address:
        done = run_command("verify", "j", server=address)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "proved"
    assert "W6    reset            did not come up" in done.stdout


def test_a_recorded_stream_with_one_change_dropped_is_found_out() -> None:
    frames = recorded()
    spoiled = next(frame for frame in frames if frame.revision == 15)
    del spoiled.changes.changes[2]
    with relayed(Relay(frames)) as address:
        status, said = verified(address)
        told = run_command("verify", "j", "--watchers", "1", server=address)
    assert (status, said["proved"]) == (1, False)
    first = next(breach for breach in said["breaches"] if breach["watcher"] == "watcher 1")
    assert (first["guarantee"], first["words"]) == ("W3", "revision 13 where 12 was due")
    assert [line for line in first["around"] if line.startswith("> ")]
    assert told.returncode == 1
    assert "broken: watcher 1: W3 (complete): revision 13 where 12 was due\n" in told.stdout
    assert told.stdout.splitlines()[-1] == "NOT proved"


def test_what_cannot_be_proved_has_an_exit_status_of_its_own(sqlite_url: str) -> None:
    with ServerProcess(sqlite_url) as server:
        done = run_command("verify", "j", server=server.address)
        assert (done.returncode, done.stdout) == (3, "")
        assert "JOB_NOT_FOUND" in done.stderr
    done = run_command("verify", "j", server=server.address)
    assert (done.returncode, done.stdout) == (4, "")
    assert "is a server running" in done.stderr


def test_a_proof_can_be_interrupted() -> None:
    relay = Relay(recorded()[:-1])
    with relayed(relay) as address, start_command("verify", "j", "--for", "600", server=address) as proof:
        assert relay.watched.wait(PATIENCE)
        proof.send_signal(signal.SIGINT)
        assert proof.wait(PATIENCE) == 130
