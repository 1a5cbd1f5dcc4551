"""Many jobs in one call: each its own answer, and never more than a megabyte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from processes import ServerProcess

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError
from jobstatus_grpc.model import MAX_FRAME_BYTES, MAX_JOB_BYTES

LONGEST = "x" * 509
REQUEST_ID = "r" * 128


@pytest.fixture
def client(database_url: str) -> Iterator[JobStatusClient]:
    with ServerProcess(database_url) as server, JobStatusClient(server.address, "p") as made:
        yield made


@pytest.fixture
def stub(client: JobStatusClient) -> Iterator[pb.JobStatusServiceStub]:
    with grpc.insecure_channel(client.addresses[0]) as channel:
        assert list(client.list()) == []  # The server has its database.
        yield pb.JobStatusServiceStub(channel)


def ask(stub: pb.JobStatusServiceStub, *job_ids: str, project_id: str = "p") -> list[pb.JobResult]:
    request = pb.BatchGetJobStatusRequest(project_id=project_id, job_ids=job_ids)
    answer = stub.BatchGetJobStatus(request, metadata=[("x-request-id", REQUEST_ID)])
    assert answer.ByteSize() <= MAX_FRAME_BYTES
    assert len(answer.results) == len(job_ids)
    return list(answer.results)


def reason(result: pb.JobResult) -> str:
    """Return why there is no job; empty if there is one."""
    return JobStatusRpcError.of_status(result.status).reason if result.HasField("status") else ""


def status_of(stub: pb.JobStatusServiceStub, job_id: str) -> status_pb2.Status:
    """Return the status that GetJobStatus fails with."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetJobStatus(
            pb.GetJobStatusRequest(project_id="p", job_id=job_id), metadata=[("x-request-id", REQUEST_ID)]
        )
    trailing: Any = caught.value
    (details,) = [value for key, value in trailing.trailing_metadata() if key == "grpc-status-details-bin"]
    return status_pb2.Status.FromString(details)


def test_every_id_has_its_own_answer_in_the_order_they_were_asked(
    client: JobStatusClient, stub: pb.JobStatusServiceStub
) -> None:
    client.report_job(pb.Job(job_id="a"), [pb.Granule(granule_id="g")])
    client.report_job(pb.Job(job_id="b", state=pb.JOB_STATE_FAILED))
    client.report_job(pb.Job(project_id="elsewhere", job_id="c"))
    asked = ["b", "", "a", "c", "b", "a\nb", "x" * 513]
    results = ask(stub, *asked)
    assert [result.job_id for result in results] == [*asked[:-1], "x" * 512]
    assert [reason(result) for result in results] == [
        "",
        "MISSING_PARAMETER_VALUE",
        "",
        "JOB_NOT_FOUND",
        "",
        "INVALID_PARAMETER_VALUE",
        "INVALID_PARAMETER_VALUE",
    ]
    for result in results:
        if result.HasField("job"):
            assert result.job == client.get(result.job_id).job


def test_an_answer_that_is_no_job_tells_what_an_error_of_one_job_tells(
    client: JobStatusClient, stub: pb.JobStatusServiceStub
) -> None:
    for job_id in ("nobody", "a\nb", ""):
        (result,) = ask(stub, job_id)
        assert result.status == status_of(stub, job_id)


@pytest.mark.parametrize(
    ("request_", "reason_", "field"),
    [
        (pb.BatchGetJobStatusRequest(), "MISSING_PARAMETER_VALUE", "job_ids"),
        (pb.BatchGetJobStatusRequest(job_ids=["j"] * 501), "INVALID_PARAMETER_VALUE", "job_ids"),
        (
            pb.BatchGetJobStatusRequest(project_id="\n", job_ids=["j"]),
            "INVALID_PARAMETER_VALUE",
            "project_id",
        ),
    ],
    ids=["no ids", "too many ids", "a bad project"],
)
def test_a_batch_that_is_wrong_as_a_whole_is_refused(
    stub: pb.JobStatusServiceStub, request_: pb.BatchGetJobStatusRequest, reason_: str, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.BatchGetJobStatus(request_)
    error = JobStatusRpcError.of(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason_)
    assert [violation.field for violation in error.violations] == [field]


def test_what_no_longer_fits_says_so_from_the_first_job_on(
    client: JobStatusClient, stub: pb.JobStatusServiceStub
) -> None:
    names = [f"j{number}" for number in range(5)]
    for name in names:
        client.report_job(pb.Job(job_id=name, description="d" * 300_000))
    client.report_job(pb.Job(job_id="small"))
    results = ask(stub, *names, "small", "")
    assert [reason(result) for result in results] == [*[""] * 3, *["RESPONSE_FULL"] * 4]
    full = JobStatusRpcError.of_status(results[3].status)
    assert (full.code, full.retryable) == (grpc.StatusCode.RESOURCE_EXHAUSTED, False)
    assert full.request_id == REQUEST_ID


def test_the_first_of_the_largest_batch_always_fits(
    client: JobStatusClient, stub: pb.JobStatusServiceStub
) -> None:
    names = [f"{number:03}{LONGEST}" for number in range(500)]
    room = MAX_JOB_BYTES - 192 - len("p") - len(names[0])
    client.report_job(pb.Job(job_id=names[0], description="d" * room))
    results = ask(stub, *names)
    assert len(results[0].job.description) == room
    assert {reason(result) for result in results[1:]} == {"JOB_NOT_FOUND", "RESPONSE_FULL"}


def test_the_client_gets_any_number_of_jobs(client: JobStatusClient) -> None:
    names = [f"j{number}" for number in range(1100)]
    large = names[::150]
    for name in large:
        client.report_job(pb.Job(job_id=name, description="d" * 400_000))
    found = list(client.get_many(iter([*names, ""])))
    assert [job_id for job_id, _ in found] == [*names, ""]
    for job_id, answer in found[:-1]:
        if job_id in large:
            assert isinstance(answer, pb.Job)
            assert answer.job_id == job_id
        else:
            assert isinstance(answer, JobStatusRpcError)
            assert answer.reason == "JOB_NOT_FOUND"
    last = found[-1][1]
    assert isinstance(last, JobStatusRpcError)
    assert last.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(client.get_many([])) == []
