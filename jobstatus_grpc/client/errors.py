"""What a call of the client can fail with.

JobStatusRpcError      the service, or the way to it, answered with an error
  ClientClosed         the client was closed meanwhile
  ServerSilent         a server, or the way to it, is dead without having said so
BrokenPromise          a watch proved that its server does not keep what it promises
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, Self, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from jobstatus_grpc.errors import Violation

# What a broken connection is called when it is not called UNAVAILABLE.
_TRANSPORT_WORDS: Final = ("rst_stream", "stream removed", "goaway", "connection reset", "socket closed")

_PROMISES: Final = {
    "W1": "the promise that changes come in order (W1)",
    "W2": "the promise that no change comes twice (W2)",
    "W3": "the promise that no change is missing (W3)",
}


class JobStatusRpcError(Exception):
    """The service, or the way to it, answered a call with an error.

    Attributes:
        code: the gRPC code.
        reason: UPPER_SNAKE, stable, for programs; empty if the answer is not the service's own.
        message: for people.
        metadata: the variable words of the message, by name.
        violations: every fault of the request, where it was the request's, or all that stands in its way.
        request_id: names the call in the server's log; may be empty.
        retry_delay: seconds after which to try again; `None` if the server did not say.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        *,
        metadata: Mapping[str, str] | None = None,
        violations: tuple[Violation, ...] = (),
        request_id: str = "",
        retry_delay: float | None = None,
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata: Mapping[str, str] = metadata or {}
        self.violations = violations
        self.request_id = request_id
        self.retry_delay = retry_delay

    @classmethod
    def of(cls, error: grpc.RpcError) -> Self:
        """Return what `error`, raised by a call of gRPC's own, says."""
        call = cast(grpc.Call, error)
        return cls._told(call.code(), call.details() or "", _details(call))

    @classmethod
    def of_status(cls, status: status_pb2.Status) -> Self:
        """Return what `status`, a part of an answer, says."""
        code = next((code for code in grpc.StatusCode if code.value[0] == status.code), None)
        return cls._told(code or grpc.StatusCode.UNKNOWN, status.message, status.details)

    @classmethod
    def _told(cls, code: grpc.StatusCode, message: str, details: Iterable[Any]) -> Self:
        found: dict[str, Any] = {}
        reason = ""
        for detail in details:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                info = error_details_pb2.ErrorInfo.FromString(detail.value)
                reason, found["metadata"] = info.reason, dict(info.metadata)
            elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
                faults = error_details_pb2.BadRequest.FromString(detail.value).field_violations
                found["violations"] = tuple(Violation(f.field, f.description, f.reason) for f in faults)
            elif detail.Is(error_details_pb2.PreconditionFailure.DESCRIPTOR):
                rows = error_details_pb2.PreconditionFailure.FromString(detail.value).violations
                found["violations"] = tuple(Violation(v.subject, v.description, v.type) for v in rows)
            elif detail.Is(error_details_pb2.RequestInfo.DESCRIPTOR):
                found["request_id"] = error_details_pb2.RequestInfo.FromString(detail.value).request_id
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
                found["retry_delay"] = delay.ToTimedelta().total_seconds()
        return cls(code, message, reason, **found)

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""
        # CANCELLED, unasked, is what a server says that has more calls waiting than it takes.
        if self.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            return True
        if self.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return self.retry_delay is not None
        if self.code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN) and not self.reason:
            return any(word in self.message.lower() for word in _TRANSPORT_WORDS)
        return False


class ClientClosed(JobStatusRpcError):
    """The client was closed before or during the call."""

    def __init__(self) -> None:
        super().__init__(grpc.StatusCode.CANCELLED, "the client is closed")

    @property
    def retryable(self) -> bool:
        """No: a client is not opened again."""
        return False


class ServerSilent(JobStatusRpcError):
    """Nothing has come on a stream for longer than a server that is well is silent."""

    def __init__(self, seconds: float) -> None:
        words = f"nothing has come from the server for {seconds:.1f} s"
        super().__init__(grpc.StatusCode.UNAVAILABLE, words)


class BrokenPromise(Exception):
    """The frames of a watch contradict each other: the server does not keep what it promises.

    Attributes:
        promise: which one, as `jobstatus verify` counts them: `W1`, `W2`, `W3`.
        revision: up to where everything had come.
    """

    def __init__(self, promise: str, revision: int, words: str) -> None:
        super().__init__(f"{_PROMISES[promise]} is broken after revision {revision}: {words}")
        self.promise = promise
        self.revision = revision


def connection_given_up() -> JobStatusRpcError:
    """Return the error of a call on a connection that another call has found dead."""
    return JobStatusRpcError(grpc.StatusCode.CANCELLED, "the connection was given up")


def reason_of(error: BaseException) -> str:
    """Return the service's reason in `error`; empty if it has none."""
    if isinstance(error, grpc.RpcError):
        error = JobStatusRpcError.of(error)
    return error.reason if isinstance(error, JobStatusRpcError) else ""


def _details(call: grpc.Call) -> Iterable[Any]:
    """Return the details of an error as the messages they were packed in; none if they cannot be read."""
    for key, value in call.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            with suppress(DecodeError):
                return list(status_pb2.Status.FromString(cast(bytes, value)).details)
    return ()
