"""A server that does what it is told, good or bad."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Self, cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from jobstatus import v1 as pb

Frame = pb.WatchJobResponse
Step = Frame | grpc.Status | float | None
"""A frame to send, an error to end with, a silence of so many seconds, or (None) one without end."""


def failure(
    code: grpc.StatusCode,
    reason: str = "",
    message: str = "scripted",
    *,
    retry_delay: float | None = None,
    violations: tuple[tuple[str, str], ...] = (),
) -> grpc.Status:
    details: list[Any] = []
    if reason:
        details.append(
            error_details_pb2.ErrorInfo(reason=reason, domain="jobstatus", metadata={"job_id": "j"})
        )
        details.append(error_details_pb2.RequestInfo(request_id="r-1"))
    if retry_delay is not None:
        delay = duration_pb2.Duration(nanos=int(retry_delay * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if violations:
        faults = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=text, reason="INVALID")
            for field, text in violations
        ]
        details.append(error_details_pb2.BadRequest(field_violations=faults))
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return rpc_status.to_status(status)


UNAVAILABLE = failure(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


class ScriptedServer(pb.JobStatusServiceServicer, pb.JobReportServiceServicer):
    """Answers the n-th call with the n-th script.

    Attributes:
        streams: the scripts of `WatchJob`.
        answers: those of `GetJobStatus` and `ReportGranules`; a number is how many seconds to be silent.
        asked: the requests.
        authorizations: what each call said about its caller.
        gone: set when a client has left in the middle of a stream.
        target: the server's `host:port`.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:0",
        streams: Sequence[list[Step]] = (),
        tls: grpc.ServerCredentials | None = None,
    ) -> None:
        self.streams = list(streams)
        self.answers: list[Any] = []
        self.asked: list[Any] = []
        self.authorizations: list[str] = []
        self.gone = threading.Event()
        self.server = grpc.server(ThreadPoolExecutor(8))
        pb.add_JobStatusServiceServicer_to_server(self, self.server)
        pb.add_JobReportServiceServicer_to_server(self, self.server)
        listen = self.server.add_insecure_port if tls is None else partial(self._listen_with, tls)
        self.target = f"127.0.0.1:{listen(address)}"
        self.server.start()

    def _listen_with(self, tls: grpc.ServerCredentials, address: str) -> int:
        return self.server.add_secure_port(address, tls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(0).wait(10)

    def WatchJob(  # noqa: N802
        self, request: pb.WatchJobRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchJobResponse]:
        self._note(request, context)
        left, played = threading.Event(), threading.Event()

        def end() -> None:
            left.set()
            # A client that leaves during a `yield` is never seen by what follows it.
            if not played.is_set():
                self.gone.set()

        context.add_callback(end)
        for step in self.streams.pop(0):
            if isinstance(step, Frame):
                yield step
            elif isinstance(step, grpc.Status):
                played.set()
                context.abort_with_status(step)
            else:
                left.wait(step)
        played.set()

    def GetJobStatus(  # noqa: N802
        self, request: pb.GetJobStatusRequest, context: grpc.ServicerContext
    ) -> pb.GetJobStatusResponse:
        return cast(pb.GetJobStatusResponse, self._answer(request, context))

    def ReportGranules(  # noqa: N802
        self, request: pb.ReportGranulesRequest, context: grpc.ServicerContext
    ) -> pb.ReportGranulesResponse:
        return cast(pb.ReportGranulesResponse, self._answer(request, context))

    def _answer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._note(request, context)
        answer = self.answers.pop(0)
        if isinstance(answer, grpc.Status):
            context.abort_with_status(answer)
        if isinstance(answer, float):
            left = threading.Event()
            context.add_callback(left.set)
            left.wait(answer)
            context.abort(grpc.StatusCode.CANCELLED, "nobody waits any more")
        return answer

    def _note(self, request: Any, context: grpc.ServicerContext) -> None:
        self.asked.append(request)
        metadata = dict(context.invocation_metadata())
        self.authorizations.append(str(metadata.get("authorization", "")))

    @property
    def tokens(self) -> list[bytes]:
        return [request.resume_token for request in self.asked]
