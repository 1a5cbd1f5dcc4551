"""A server as a process: its health, its reflection, its limits, and how it starts and refuses."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc._cython import cygrpc  # type: ignore[attr-defined]
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from moments import wait_until
from postgres import PostgresServer
from processes import COMMAND, ServerProcess, environment, first_line, run_command

from jobstatus import v1 as pb
from jobstatus.v1 import job_document_service_pb2, job_report_service_pb2, job_status_service_pb2
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError
from jobstatus_grpc.config import ServerConfig
from jobstatus_grpc.transport import KEEPALIVE, server_options

SERVICES: Final[tuple[ServiceDescriptor, ...]] = (
    job_status_service_pb2.DESCRIPTOR.services_by_name["JobStatusService"],
    job_report_service_pb2.DESCRIPTOR.services_by_name["JobReportService"],
    job_document_service_pb2.DESCRIPTOR.services_by_name["JobDocumentService"],
)
METHODS: Final[tuple[MethodDescriptor, ...]] = tuple(
    method for service in SERVICES for method in service.methods
)
READINESS: Final = ("", *(service.full_name for service in SERVICES))
LIVENESS: Final = "liveness"
SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING

# What each method answers well to, in this order.
_REQUESTS: Final[dict[str, Any]] = {
    "ReportJob": pb.ReportJobRequest(
        job=pb.Job(job_id="j", granules_complete=True), granules=[pb.Granule(granule_id="a")]
    ),
    "ReportGranules": pb.ReportGranulesRequest(
        job_id="j", granules=[pb.Granule(granule_id="a", state=pb.GRANULE_STATE_SUCCEEDED)]
    ),
    "GetJobStatus": pb.GetJobStatusRequest(job_id="j"),
    "GetGranuleStatus": pb.GetGranuleStatusRequest(granule_id="a"),
    "ListJobs": pb.ListJobsRequest(),
    "BatchGetJobStatus": pb.BatchGetJobStatusRequest(job_ids=["j"]),
    "WaitJob": pb.WaitJobRequest(job_id="j"),
    "WatchJob": pb.WatchJobRequest(job_id="j"),
    "ImportJobs": pb.ImportJobsRequest(chunk=b'{"job_id": "k", "status": "success"}'),
    "ExportJob": pb.ExportJobRequest(job_id="j", format="orca"),
    "DeleteJob": pb.DeleteJobRequest(job_id="j"),
}


@pytest.fixture
def server(database_url: str) -> Iterator[ServerProcess]:
    with ServerProcess(database_url) as started:
        yield started


@pytest.fixture
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as made:
        wait_until(lambda: readiness(made) == {SERVING}, "the server is ready")
        yield made


@pytest.fixture
def client(server: ServerProcess) -> Iterator[JobStatusClient]:
    with JobStatusClient(server.address) as made:
        yield made


@pytest.fixture
def sqlite_server(sqlite_url: str) -> Iterator[ServerProcess]:
    with ServerProcess(sqlite_url) as started:
        yield started


def health(channel: grpc.Channel) -> Any:
    """Return the stub of the health service, which its own types do not know."""
    return health_pb2_grpc.HealthStub(channel)


def check_health(channel: grpc.Channel, service: str) -> int:
    """Return whether a service is serving, as the server tells it."""
    return int(health(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status)


def readiness(channel: grpc.Channel) -> set[int]:
    """Return what the server tells of its own and its services' readiness."""
    return {check_health(channel, name) for name in READINESS}


@contextmanager
def watched_health(channel: grpc.Channel, service: str) -> Iterator[list[int]]:
    """Collect everything the server says about a service's health."""
    said: list[int] = []
    call = health(channel).Watch(health_pb2.HealthCheckRequest(service=service))

    def collect() -> None:
        with suppress(grpc.FutureCancelledError, grpc.RpcError):
            for answer in call:
                said.append(int(answer.status))  # noqa: PERF401 - Each is seen as it comes.

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        yield said
    finally:
        call.cancel()
        thread.join(30)
    assert call.code() is grpc.StatusCode.CANCELLED


def refusal(call: Callable[[], object]) -> JobStatusRpcError:
    """Return what a call is refused with."""
    with pytest.raises(JobStatusRpcError) as caught:
        call()
    return caught.value


def raw_call(channel: Any, method: MethodDescriptor, request: bytes) -> list[bytes]:
    """Call a method by the name in its descriptor, and return the bytes it answers.

    Raises:
        JobStatusRpcError: it answered with an error.
    """
    call = raw_stream if method.server_streaming else raw_sent if method.client_streaming else raw_unary
    try:
        return list(call(channel, path_of(method), request))
    except grpc.RpcError as error:
        raise JobStatusRpcError.of(error) from error


def raw_stream(channel: Any, path: str, request: bytes) -> Iterator[bytes]:
    """Yield the bytes that a method answers."""
    yield from channel.unary_stream(path, None, None)(request, timeout=30)


def raw_unary(channel: Any, path: str, request: bytes) -> Iterator[bytes]:
    """Yield the bytes that a method answers, once."""
    yield channel.unary_unary(path, None, None)(request, timeout=30)


def raw_sent(channel: Any, path: str, request: bytes) -> Iterator[bytes]:
    """Yield the bytes that a method answers to a stream of one request."""
    yield channel.stream_unary(path, None, None)(iter([request]), timeout=30)


def path_of(method: MethodDescriptor) -> str:
    """Return the name under which a method is called."""
    assert method.containing_service is not None
    return f"/{method.containing_service.full_name}/{method.name}"


def test_every_service_is_healthy_once_the_database_answers(channel: grpc.Channel) -> None:
    assert {name: check_health(channel, name) for name in (*READINESS, LIVENESS)} == dict.fromkeys(
        (*READINESS, LIVENESS), SERVING
    )
    with pytest.raises(grpc.RpcError) as caught:
        check_health(channel, "nonsense")
    assert JobStatusRpcError.of(caught.value).code is grpc.StatusCode.NOT_FOUND


def test_an_outage_of_the_database_is_told_as_not_ready_and_never_as_not_alive(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    with ServerProcess(postgres_url) as server, grpc.insecure_channel(server.address) as channel:
        wait_until(lambda: check_health(channel, "") == SERVING, "the server is ready")
        with watched_health(channel, LIVENESS) as alive, watched_health(channel, "") as ready:
            wait_until(lambda: bool(alive and ready), "both watches have begun")
            postgres_server.stop()
            wait_until(lambda: ready[-1] == NOT_SERVING, "the outage is noticed")
            wait_until(lambda: readiness(channel) == {NOT_SERVING}, "it is told of all")
            assert check_health(channel, LIVENESS) == SERVING
            postgres_server.start()
            wait_until(lambda: ready[-1] == SERVING, "the database is back")
            wait_until(lambda: readiness(channel) == {SERVING}, "it is told of all")
    assert ready == [SERVING, NOT_SERVING, SERVING]
    assert alive == [SERVING]


@contextmanager
def listening(database_url: str) -> Iterator[str]:
    """Start a server, whose database may not be there; yield its address."""
    command = [COMMAND, "serve", "--listen", "127.0.0.1:0", "--database-url", database_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", env=environment()) as process:
        try:
            yield first_line(process.stdout).removeprefix("listening on ")
        finally:
            process.kill()


def test_a_server_comes_up_before_its_database_and_answers_meanwhile_that_it_does_not(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    postgres_server.stop()
    with listening(postgres_url) as address, grpc.insecure_channel(address) as channel:
        assert readiness(channel) == {NOT_SERVING}
        assert check_health(channel, LIVENESS) == SERVING
        for method in METHODS:
            start = time.monotonic()
            error = refusal(partial(raw_call, channel, method, _REQUESTS[method.name].SerializeToString()))
            assert time.monotonic() - start < 3, method.name
            assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"), (
                method.name
            )
            assert error.retry_delay is not None
            assert error.retry_delay > 0
        assert check_health(channel, LIVENESS) == SERVING
        postgres_server.start()
        wait_until(lambda: check_health(channel, "") == SERVING, "the database is there")
        for name in _REQUESTS:
            method = next(method for method in METHODS if method.name == name)
            assert raw_call(channel, method, _REQUESTS[name].SerializeToString())


def test_reflection_lists_the_services_and_describes_them_and_the_details_of_errors(
    sqlite_server: ServerProcess,
) -> None:
    with grpc.insecure_channel(sqlite_server.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert sorted(database.get_services()) == [
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
            "jobstatus.v1.JobDocumentService",
            "jobstatus.v1.JobReportService",
            "jobstatus.v1.JobStatusService",
        ]
        pool = DescriptorPool(database)
        for service in SERVICES:
            described = pool.FindServiceByName(service.full_name)
            assert [method.name for method in described.methods] == [
                method.name for method in service.methods
            ]
        for detail in ("BadRequest", "ErrorInfo", "QuotaFailure", "RequestInfo", "ResourceInfo", "RetryInfo"):
            assert pool.FindMessageTypeByName(f"google.rpc.{detail}").fields


def test_a_taken_port_is_an_error_on_one_line(sqlite_server: ServerProcess, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/other.db"
    arguments = ("--listen", sqlite_server.address, "--database-url", url, "--log-level", "error")
    done = run_command("serve", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    # The library that failed to bind has a line of its own, beginning with its level and the date.
    (line,) = [line for line in done.stderr.splitlines() if not re.match(r"E\d{4} ", line)]
    assert line.startswith(f"error: cannot listen on {sqlite_server.address}")


def test_every_method_of_the_descriptors_is_served_and_answers_in_its_own_type(channel: grpc.Channel) -> None:
    assert {method.name for method in METHODS} == set(_REQUESTS)
    for name, request in _REQUESTS.items():
        method = next(method for method in METHODS if method.name == name)
        assert method.input_type is request.DESCRIPTOR
        answers = raw_call(channel, method, request.SerializeToString())
        assert answers
        for answer in answers:
            message = GetMessageClass(method.output_type).FromString(answer)
            # What the type does not know is kept aside when it is read, and would be lost here.
            message.DiscardUnknownFields()
            assert message.ByteSize() == len(answer)


def test_a_watch_sends_frames_of_its_own_type_of_every_kind_a_quiet_life_has(
    client: JobStatusClient, channel: grpc.Channel
) -> None:
    job = pb.Job(job_id="j", granules_complete=True)
    client.report_job(job, [pb.Granule(granule_id="a")])
    request = pb.WatchJobRequest(job_id="j", heartbeat_interval={"seconds": 1}).SerializeToString()
    kinds = []
    for answer in raw_stream(channel, "/jobstatus.v1.JobStatusService/WatchJob", request):
        frame = pb.WatchJobResponse.FromString(answer)
        frame.DiscardUnknownFields()
        assert frame.ByteSize() == len(answer)
        assert all(frame.totals.HasField(field.name) for field in frame.totals.DESCRIPTOR.fields)
        kinds.append(frame.WhichOneof("frame"))
        if kinds[-1] == "heartbeat" and kinds.count("heartbeat") == 1:
            client.report_granules("j", [pb.Granule(granule_id="a", state=pb.GRANULE_STATE_SUCCEEDED)])
    assert kinds == ["snapshot", "heartbeat", "changes", "completed"]


def test_bad_input_is_told_all_at_once_and_nothing_of_it_is_written(client: JobStatusClient) -> None:
    before = client.report_job(pb.Job(job_id="there"), [pb.Granule(granule_id="a")]).revision
    bad = [pb.Granule(granule_id="b"), pb.Granule(granule_id="a\n"), pb.Granule(granule_id="c", attempt=-1)]
    job = pb.Job(job_id="there", project_id="p" * 513, attempt=-3, system="x\0")
    job.begin_time.seconds = 2**60
    job.labels[""] = "x"
    error = refusal(lambda: client.report_job(job, bad))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PARAMETER_VALUE")
    assert [violation.field for violation in error.violations] == [
        "job.project_id",
        "job.system",
        "job.attempt",
        "job.begin_time",
        'job.labels[""]',
        "granules[1].granule_id",
        "granules[2].attempt",
    ]
    error = refusal(lambda: client.report_granules("there", [*bad, pb.Granule()]))
    assert [violation.field for violation in error.violations] == [
        "granules[1].granule_id",
        "granules[2].attempt",
        "granules[3].granule_id",
    ]
    error = refusal(lambda: client.report_job(pb.Job(job_id="new"), bad))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [(job.job_id, job.revision) for job in client.list()] == [("there", before)]
    assert [granule.granule_id for granule in client.granules("there")] == ["a"]


def test_what_is_missing_has_a_reason_of_its_own(client: JobStatusClient) -> None:
    for call in (
        lambda: client.get(""),
        lambda: client.report_job(pb.Job()),
        lambda: client.report(pb.ReportJobRequest()),
        lambda: client.report_granules("", []),
        lambda: client.delete(""),
        lambda: list(client.watch("")),
    ):
        error = refusal(call)
        assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MISSING_PARAMETER_VALUE")
        assert error.violations


def test_a_report_beyond_its_limits_is_refused_in_words_and_one_at_its_limits_is_taken(
    client: JobStatusClient,
) -> None:
    names = [f"g{number:05d}" for number in range(10_001)]
    job = pb.Job(job_id="j")
    error = refusal(lambda: client.report_job(job, [pb.Granule(granule_id=name) for name in names]))
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PARAMETER_VALUE")
    assert [violation.field for violation in error.violations] == ["granules"]
    heavy = [pb.Granule(granule_id=name, message="m" * 1024) for name in names[:4096]]
    error = refusal(lambda: client.report_job(job, heavy))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == ["request"]
    assert refusal(lambda: client.get("j")).reason == "JOB_NOT_FOUND"
    answer = client.report_job(job, [pb.Granule(granule_id=name) for name in names[:10_000]])
    assert answer.totals.pending_count == 10_000


@pytest.mark.parametrize("path", ["/jobstatus.v1.JobStatusService/Forget", "/elsewhere.v1.Service/Get"])
def test_a_method_that_is_not_served_is_told_so_in_words(sqlite_server: ServerProcess, path: str) -> None:
    with grpc.insecure_channel(sqlite_server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        list(raw_unary(channel, path, b""))
    error = JobStatusRpcError.of(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")
    assert error.metadata == {"method": path}
    assert error.request_id


def test_reports_of_one_job_from_many_callers_at_once_are_all_taken(client: JobStatusClient) -> None:
    callers, rounds = 50, 3
    start = client.report_job(pb.Job(job_id="j")).revision
    together = threading.Barrier(callers)

    def report(caller: int) -> list[pb.ReportGranulesResponse]:
        together.wait(30)
        return [
            client.report_granules("j", [pb.Granule(granule_id=f"{caller}-{turn}")]) for turn in range(rounds)
        ]

    with ThreadPoolExecutor(callers) as pool:
        answers = [answer for some in pool.map(report, range(callers)) for answer in some]
    assert [answer.applied_count for answer in answers] == [1] * callers * rounds
    assert sorted(answer.revision for answer in answers) == list(
        range(start + 1, start + 1 + callers * rounds)
    )
    assert client.get("j").job.totals.pending_count == callers * rounds


def test_the_options_of_the_server_are_ones_that_grpc_knows() -> None:
    known = Path(cygrpc.__file__).read_bytes()
    names = [name for name, _ in server_options(ServerConfig(), KEEPALIVE)]
    assert len(names) == len(set(names)) > 5
    assert [name for name in names if f"{name}\0".encode() not in known] == []
    # Nearly the same as one of them, documented in many places, and nobody's.
    assert b"grpc.http2.min_recv_ping_interval_without_data_ms\0" not in known
