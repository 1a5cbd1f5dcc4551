"""WaitJob through a real server, as callers see it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from processes import ServerProcess

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError
from jobstatus_grpc.client import queries as client_queries

PENDING, STAGED = pb.GRANULE_STATE_PENDING, pb.GRANULE_STATE_STAGED
SUCCEEDED, FAILED = pb.GRANULE_STATE_SUCCEEDED, pb.GRANULE_STATE_FAILED
PATIENCE = 60


class Caller:
    """A client, and WaitJob as gRPC has it."""

    def __init__(self, address: str) -> None:
        self.client = JobStatusClient(address)
        self.channel = grpc.insecure_channel(address)
        self.stub = pb.JobStatusServiceStub(self.channel)
        list(self.client.list())  # The server has its database.

    def close(self) -> None:
        self.client.close()
        self.channel.close()

    def report(self, *states: pb.GranuleState, complete: bool = False) -> None:
        granules = [pb.Granule(granule_id=f"g{index}", state=state) for index, state in enumerate(states)]
        job = pb.Job(job_id="j")
        if complete:
            job.granules_complete = True
        self.client.report_job(job, granules)

    def start(self, timeout: float | None = PATIENCE, **fields: Any) -> Any:
        """Call WaitJob; return the call once the server has taken it."""
        request = pb.WaitJobRequest(job_id="j", **fields)
        if timeout is not None:
            request.timeout.CopyFrom(
                duration_pb2.Duration(nanos=round(timeout % 1 * 1e9), seconds=int(timeout))
            )
        call = self.stub.WaitJob.future(request, timeout=2 * PATIENCE)
        # The calls of one connection are taken in their order.
        self.stub.ListJobs(pb.ListJobsRequest())
        return call

    def wait(self, timeout: float | None = PATIENCE, **fields: Any) -> pb.WaitJobResponse:
        answer: pb.WaitJobResponse = self.start(timeout, **fields).result(PATIENCE)
        return answer


def failure(call: Any) -> tuple[grpc.StatusCode, str]:
    """Return how a call fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call.result(PATIENCE)
    error = JobStatusRpcError.of(caught.value)
    return error.code, error.reason


@pytest.fixture
def server(database_url: str) -> Iterator[ServerProcess]:
    with ServerProcess(database_url) as started:
        yield started


@pytest.fixture
def caller(server: ServerProcess) -> Iterator[Caller]:
    made = Caller(server.address)
    yield made
    made.close()


def test_the_end_of_a_job_is_answered_with_what_is_true_then(caller: Caller) -> None:
    caller.report(PENDING, STAGED, complete=True)
    call = caller.start()
    caller.report(SUCCEEDED)
    assert not call.done()
    caller.report(SUCCEEDED, FAILED)
    answer = call.result(PATIENCE)
    assert answer.done
    assert answer.job == caller.client.get("j").job
    (completed,) = caller.client.frames("j", answer.resume_token)
    assert completed.completed.job == answer.job


def test_a_timeout_of_nothing_is_answered_at_once(caller: Caller) -> None:
    call = caller.start(0, wait_for_job=True)
    assert failure(call) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    caller.report(PENDING)
    open_ = caller.wait(0)
    assert (open_.done, open_.job.totals.pending_count) == (False, 1)
    assert open_.resume_token
    caller.report(SUCCEEDED, complete=True)
    assert caller.wait(0).done


def test_after_the_timeout_the_answer_is_what_is_true_then(caller: Caller) -> None:
    caller.report(PENDING)
    started = time.monotonic()
    call = caller.start(1.5)
    caller.report(STAGED)
    answer = call.result(PATIENCE)
    assert time.monotonic() - started >= 1.5
    assert (answer.done, answer.job) == (False, caller.client.get("j").job)
    assert answer.job.totals.staged_count == 1


def test_the_first_failure_ends_the_waiting_for_one(caller: Caller) -> None:
    caller.report(PENDING, STAGED)
    call, other = caller.start(any_failure=True), caller.start()
    caller.report(SUCCEEDED)
    assert not call.done()
    caller.report(SUCCEEDED, FAILED)
    answer = call.result(PATIENCE)
    assert (answer.done, answer.job.state) == (True, pb.JOB_STATE_RUNNING)
    assert not other.done()
    assert caller.wait(any_failure=True).done
    other.cancel()


def test_a_share_of_the_granules_ends_the_waiting_for_it(caller: Caller) -> None:
    caller.report(SUCCEEDED, FAILED, STAGED)
    call = caller.start(done_share=0.5)
    assert not caller.wait(0, done_share=0.1).done
    caller.report(SUCCEEDED, FAILED, STAGED, PENDING, complete=True)
    answer = call.result(PATIENCE)
    assert (answer.done, answer.job.state) == (True, pb.JOB_STATE_RUNNING)
    assert not caller.wait(0, done_share=0.5000001).done
    rest = caller.start(done_share=1)
    caller.report(SUCCEEDED, FAILED, SUCCEEDED, FAILED)
    assert rest.result(PATIENCE).job.state == pb.JOB_STATE_FAILED


def test_a_refusal_names_what_cannot_be_waited_for(caller: Caller) -> None:
    assert failure(caller.start(done_share=0)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_PARAMETER_VALUE",
    )
    assert failure(caller.start()) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")


def test_a_job_nobody_has_reported_is_waited_for_to_its_end(caller: Caller) -> None:
    call = caller.start(wait_for_job=True)
    unheard = caller.start(1, wait_for_job=True)
    assert failure(unheard) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    caller.report(PENDING, complete=True)
    assert not call.done()
    caller.report(SUCCEEDED)
    assert call.result(PATIENCE).job.state == pb.JOB_STATE_SUCCEEDED


def test_what_is_reported_to_another_server_is_noticed(caller: Caller, database_url: str) -> None:
    with ServerProcess(database_url) as second:
        other = Caller(second.address)
        call = caller.start(wait_for_job=True, any_failure=True)
        other.report(PENDING, STAGED)
        other.report(PENDING, FAILED)
        assert call.result(PATIENCE).job.totals.failed_count == 1
        call = caller.start()
        other.report(SUCCEEDED, FAILED, complete=True)
        assert call.result(PATIENCE).job.state == pb.JOB_STATE_FAILED
        other.close()


def test_a_server_that_stops_sends_all_who_wait_elsewhere(server: ServerProcess, caller: Caller) -> None:
    caller.report(PENDING)
    calls = [caller.start()]
    calls.append(caller.stub.WaitJob.future(pb.WaitJobRequest(job_id="nobody", wait_for_job=True)))
    caller.stub.ListJobs(pb.ListJobsRequest())
    assert server.terminate() == 0
    for call in calls:
        assert failure(call) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")


def test_hundreds_who_wait_cost_no_threads(server: ServerProcess, caller: Caller) -> None:
    caller.report(PENDING)
    # The pools have all their threads first.
    calls = [caller.start() for _ in range(20)]
    before = threads(server)
    many = 200
    for number in range(many):
        fields = {"job_id": "j"} if number % 2 else {"job_id": f"unheard-{number}", "wait_for_job": True}
        request = pb.WaitJobRequest(**fields, timeout=duration_pb2.Duration(seconds=PATIENCE))
        calls.append(caller.stub.WaitJob.future(request))
    caller.stub.ListJobs(pb.ListJobsRequest())
    # gRPC has some threads of its own, which come and go.
    assert threads(server) < before + many / 10
    assert not any(call.done() for call in calls)
    caller.report(SUCCEEDED, complete=True)
    for number in range(0, many, 2):
        caller.client.report_job(pb.Job(job_id=f"unheard-{number}", granules_complete=True))
    assert all(call.result(PATIENCE).done for call in calls)


def threads(server: ServerProcess) -> int:
    assert server.process is not None
    return len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))


def test_the_client_waits_over_any_number_of_calls_and_servers(
    server: ServerProcess, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_queries, "_WAIT_ROUND", 0.2)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(caller.client.wait, "j", wait_for_job=True)
        late = pool.submit(caller.client.wait, "nobody", timeout=1, wait_for_job=True)
        error = late.exception(PATIENCE)
        assert isinstance(error, JobStatusRpcError)
        assert error.reason == "JOB_NOT_FOUND"
        caller.report(PENDING)
        # The client has heard of the job, and waits for it, not for any.
        assert not caller.client.wait("j", timeout=0.5).done
        server.kill()
        server.start()
        assert not waiting.done()
        caller.report(SUCCEEDED, complete=True)
        answer = waiting.result(PATIENCE)
    assert (answer.done, answer.job.state) == (True, pb.JOB_STATE_SUCCEEDED)


@pytest.mark.parametrize(
    ("wait", "code"),
    [
        (lambda client: client.wait("nobody"), grpc.StatusCode.NOT_FOUND),
        (lambda client: client.wait("j", 1.5), grpc.StatusCode.INVALID_ARGUMENT),
    ],
    ids=["nobody", "no share"],
)
def test_the_client_raises_what_stays(
    caller: Caller, wait: Callable[[JobStatusClient], object], code: grpc.StatusCode
) -> None:
    with pytest.raises(JobStatusRpcError) as caught:
        wait(caller.client)
    assert caught.value.code is code
