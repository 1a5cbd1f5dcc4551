"""The service config for other languages, as gRPC itself takes it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, cast

import grpc
import pytest

from jobstatus import v1 as pb

CONFIG: Final = (Path(__file__).parent.parent / "docs" / "service-config.json").read_text()
OK, DEADLINE = grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED
UNAVAILABLE, EXHAUSTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED


class Refusing(pb.JobStatusServiceServicer, pb.JobReportServiceServicer, pb.JobDocumentServiceServicer):
    """Refuses as many calls as it is told to, and answers the next.

    Attributes:
        refusals: with which codes the next calls are refused.
        begun: lets a watch go on after its first frame.
    """

    def __init__(self) -> None:
        self.refusals: list[grpc.StatusCode] = []
        self.begun = threading.Event()

    def GetJobStatus(self, _: Any, context: grpc.ServicerContext) -> pb.GetJobStatusResponse:  # noqa: N802
        self._admit(context)
        return pb.GetJobStatusResponse()

    def WaitJob(self, _: Any, context: grpc.ServicerContext) -> pb.WaitJobResponse:  # noqa: N802
        self._admit(context)
        return pb.WaitJobResponse()

    def WatchJob(self, _: Any, context: grpc.ServicerContext) -> Iterator[pb.WatchJobResponse]:  # noqa: N802
        self._admit(context)
        yield pb.WatchJobResponse(revision=1)
        context.add_callback(self.begun.set)
        self.begun.wait()
        self._admit(context)

    def ReportGranules(  # noqa: N802
        self, _: Any, context: grpc.ServicerContext
    ) -> pb.ReportGranulesResponse:
        self._admit(context)
        return pb.ReportGranulesResponse()

    def ImportJobs(self, _: Any, context: grpc.ServicerContext) -> pb.ImportJobsResponse:  # noqa: N802
        self._admit(context)
        return pb.ImportJobsResponse()

    def ExportJob(self, _: Any, context: grpc.ServicerContext) -> Iterator[pb.ExportJobResponse]:  # noqa: N802
        self._admit(context)
        yield pb.ExportJobResponse()

    def _admit(self, context: grpc.ServicerContext) -> None:
        if self.refusals:
            context.abort(self.refusals.pop(0), "not now")


@pytest.fixture
def service() -> Refusing:
    return Refusing()


@pytest.fixture
def address(service: Refusing) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    pb.add_JobStatusServiceServicer_to_server(service, server)
    pb.add_JobReportServiceServicer_to_server(service, server)
    pb.add_JobDocumentServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait(10)


def configured(address: str, config: str = CONFIG) -> grpc.Channel:
    return grpc.insecure_channel(address, options=[("grpc.service_config", config)])


CALLS: Final[dict[str, Callable[[Any, Any, Any], Any]]] = {
    "GetJobStatus": lambda status, *_: status.GetJobStatus(pb.GetJobStatusRequest()),
    "WaitJob": lambda status, *_: status.WaitJob(pb.WaitJobRequest()),
    "WatchJob": lambda status, *_: next(status.WatchJob(pb.WatchJobRequest())),
    "ReportGranules": lambda _, reports, __: reports.ReportGranules(pb.ReportGranulesRequest()),
    "ImportJobs": lambda *stubs: stubs[2].ImportJobs(iter([pb.ImportJobsRequest()])),
    "ExportJob": lambda *stubs: next(stubs[2].ExportJob(pb.ExportJobRequest())),
}


def call(address: str, name: str, config: str = CONFIG) -> grpc.StatusCode:
    """Call a method with nothing but a config, and return how that ends."""
    with grpc.insecure_channel(address, options=[("grpc.service_config", config)]) as channel:
        try:
            stubs = pb.JobStatusServiceStub, pb.JobReportServiceStub, pb.JobDocumentServiceStub
            CALLS[name](*(stub(channel) for stub in stubs))
        except grpc.RpcError as error:
            return cast(grpc.Call, error).code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_may_succeed_later_are_tried_again(service: Refusing, address: str, name: str) -> None:
    service.refusals = [UNAVAILABLE, EXHAUSTED]
    assert call(address, name) is OK
    assert service.refusals == []


def test_without_it_they_are_not(service: Refusing, address: str) -> None:
    service.refusals = [EXHAUSTED]
    assert call(address, "GetJobStatus", "{}") is EXHAUSTED


def test_a_report_that_is_larger_than_grpc_keeps_is_not_tried_again(service: Refusing, address: str) -> None:
    service.refusals = [UNAVAILABLE, UNAVAILABLE]
    large = pb.ReportGranulesRequest(granules=[pb.Granule(message="x" * 300 * 1024)])
    with grpc.insecure_channel(address, options=[("grpc.service_config", CONFIG)]) as channel:
        stub = pb.JobReportServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="not now"):
            stub.ReportGranules(large)
    assert service.refusals == [UNAVAILABLE]


def test_a_watch_that_has_begun_is_not_tried_again(service: Refusing, address: str) -> None:
    with grpc.insecure_channel(address, options=[("grpc.service_config", CONFIG)]) as channel:
        watch = pb.JobStatusServiceStub(channel).WatchJob(pb.WatchJobRequest())
        assert next(watch).revision == 1
        service.refusals = [UNAVAILABLE]
        service.begun.set()
        with pytest.raises(grpc.RpcError, match="not now"):
            next(watch)


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND])
def test_errors_that_stay_are_told_at_once(service: Refusing, address: str, code: grpc.StatusCode) -> None:
    service.refusals = [code, code]
    assert call(address, "GetJobStatus") is code
    assert service.refusals == [code]


@pytest.mark.parametrize(
    ("time", "of"),
    [
        ("30s", {"GetJobStatus", "ReportGranules"}),
        ("660s", {"WaitJob"}),
        ("600s", {"ImportJobs", "ExportJob"}),
    ],
)
def test_each_method_has_a_time_of_its_own_and_a_watch_has_none(
    service: Refusing, address: str, time: str, of: set[str]
) -> None:
    hasty = CONFIG.replace(f'"{time}"', '"0.001s"')
    assert {name for name in CALLS if call(address, name, hasty) is DEADLINE} == of


@pytest.mark.parametrize(
    ("written", "wrong"),
    [('"UNAVAILABLE"', '"UNAVAILBLE"'), ('"5s"', '"5"'), ('"maxAttempts": 5', '"maxAttempts": 1')],
)
def test_grpc_would_have_refused_a_config_that_is_wrong(address: str, written: str, wrong: str) -> None:
    assert written in CONFIG
    assert call(address, "GetJobStatus", CONFIG.replace(written, wrong)) is not OK
