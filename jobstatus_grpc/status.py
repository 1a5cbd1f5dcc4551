"""Errors on their way to the caller: the table from `errors` to gRPC, and the interceptor that applies it."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from jobstatus_grpc.errors import (
    CallInterrupted,
    DeadlineExceeded,
    InvalidRequest,
    JobStatusError,
    NotFound,
    NotServed,
    PermissionDenied,
    PreconditionFailed,
    QuotaReached,
    ResponseFull,
    StoreFull,
    Unauthenticated,
    Unavailable,
    Violation,
)

DOMAIN: Final = "jobstatus"
REQUEST_ID_KEY: Final = "x-request-id"
DETAILS_KEY: Final = "grpc-status-details-bin"

# Trailers beyond 8 KB are refused at random on their way, and the real status with them. Details travel as
# base64, four bytes for three.
MAX_DETAILS_BYTES: Final = 4096 // 4 * 3
MAX_MESSAGE_BYTES: Final = 512
MAX_METADATA_BYTES: Final = 128
_MAX_REQUEST_ID: Final = 128
_MAX_VIOLATION_TEXT_BYTES: Final = 256
_MAX_RESOURCE_NAME_BYTES: Final = 1100  # Two ids of 512 bytes, and the words between them.
_ANY_BYTES: Final = 80  # The type's URL, tags and lengths around one detail.
_VIOLATION_BYTES: Final = 4  # Tag and length of one violation.
_REST_BYTES: Final = 48  # The violation that counts the others.

_INTERNAL_WORDS: Final = "the server failed; its log tells why under this request's id"
# How long the news that a client has left may take after a write to it has failed.
_LEAVING_SECONDS: Final = 1.0

_log: Final = structlog.get_logger(__name__)

_Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
# In quotes: generic only to type checkers.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Behaviour: TypeAlias = "Callable[[Any, _Context], Awaitable[Any]]"
_Observed: TypeAlias = Callable[[str, float, str], None]

Observe: TypeAlias = Callable[[str, str, float, str], None]
"""Takes the end of a call: its method, the name of its code, its seconds and its request id."""

UNKNOWN: Final = "unknown"
"""The method of all calls of methods that are not served: callers can make up any number of names."""

# Of the call under way.
_REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id")


class _Row(NamedTuple):
    """What callers get for an error: the code, and details that fit into so many bytes."""

    code: grpc.StatusCode
    details: Callable[[Any, int], Iterable[Message]]


def to_status(error: JobStatusError, request_id: str) -> status_pb2.Status:
    """Return what a caller is told about `error`.

    An error the table does not have is none of the caller's business: it becomes INTERNAL in fixed words.

    Returns:
        A status of at most `MAX_DETAILS_BYTES`; its message takes at most `MAX_MESSAGE_BYTES` as
        percent-encoded by gRPC. No text is cut within a character.
    """
    row = next((_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE), None)
    if row is None:
        error, row = JobStatusError(_INTERNAL_WORDS), _Row(grpc.StatusCode.INTERNAL, _nothing)
    status = status_pb2.Status(code=row.code.value[0], message=_cut_message(str(error)))
    metadata = {key: _cut(value, MAX_METADATA_BYTES) for key, value in error.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    status.details.add().Pack(info)
    status.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id))
    for detail in row.details(error, MAX_DETAILS_BYTES - status.ByteSize() - _ANY_BYTES):
        status.details.add().Pack(detail)
    return status


def _nothing(_error: JobStatusError, _room: int) -> Iterable[Message]:
    return ()


def _bad_request(error: InvalidRequest, room: int) -> Iterable[Message]:
    detail = error_details_pb2.BadRequest()
    _fill(detail.field_violations, error.violations, _field_violation, room)
    return (detail,)


def _precondition(error: PreconditionFailed, room: int) -> Iterable[Message]:
    detail = error_details_pb2.PreconditionFailure()
    _fill(detail.violations, error.violations, partial(_precondition_violation, error.reason), room)
    return (detail,)


def _fill(
    field: Any, violations: Sequence[Violation], convert: Callable[[Violation], Message], room: int
) -> None:
    """Put so many violations into a repeated field as fit, and how many more there are."""
    last = len(violations) - 1
    for index, violation in enumerate(violations):
        row = convert(violation)
        room -= row.ByteSize() + _VIOLATION_BYTES
        if room < (0 if index == last else _REST_BYTES):
            field.add(description=f"and {last + 1 - index} more")
            break
        field.append(row)


def _field_violation(violation: Violation) -> error_details_pb2.BadRequest.FieldViolation:
    return error_details_pb2.BadRequest.FieldViolation(
        field=_cut(violation.field, _MAX_VIOLATION_TEXT_BYTES),
        description=_cut(violation.description, _MAX_VIOLATION_TEXT_BYTES),
        reason=violation.reason,
    )


def _precondition_violation(
    reason: str, violation: Violation
) -> error_details_pb2.PreconditionFailure.Violation:
    return error_details_pb2.PreconditionFailure.Violation(
        type=reason,
        subject=_cut(violation.field, _MAX_VIOLATION_TEXT_BYTES),
        description=_cut(violation.description, _MAX_VIOLATION_TEXT_BYTES),
    )


def _resource(error: NotFound, _room: int) -> Iterable[Message]:
    name = _cut(error.resource_name, _MAX_RESOURCE_NAME_BYTES)
    return (error_details_pb2.ResourceInfo(resource_type=error.resource_type, resource_name=name),)


def _quota(error: QuotaReached, _room: int) -> Iterable[Message]:
    failure = error_details_pb2.QuotaFailure()
    failure.violations.add(subject=error.subject, description=_cut_message(str(error)))
    return (failure, _retry_info(error.retry_delay * random.uniform(0.1, 1.0)))


def _retry(error: Unavailable, _room: int) -> Iterable[Message]:
    # Who was turned away together shall not come back together.
    return (_retry_info(error.retry_delay * random.uniform(0.8, 1.2)),)


def _retry_info(seconds: float) -> Message:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromNanoseconds(int(seconds * 1e9))
    message: Message = info
    return message


_TABLE: Final[dict[type, _Row]] = {
    InvalidRequest: _Row(grpc.StatusCode.INVALID_ARGUMENT, _bad_request),
    NotFound: _Row(grpc.StatusCode.NOT_FOUND, _resource),
    PreconditionFailed: _Row(grpc.StatusCode.FAILED_PRECONDITION, _precondition),
    Unauthenticated: _Row(grpc.StatusCode.UNAUTHENTICATED, _nothing),
    PermissionDenied: _Row(grpc.StatusCode.PERMISSION_DENIED, _nothing),
    QuotaReached: _Row(grpc.StatusCode.RESOURCE_EXHAUSTED, _quota),
    ResponseFull: _Row(grpc.StatusCode.RESOURCE_EXHAUSTED, _nothing),
    StoreFull: _Row(grpc.StatusCode.RESOURCE_EXHAUSTED, _nothing),
    Unavailable: _Row(grpc.StatusCode.UNAVAILABLE, _retry),
    DeadlineExceeded: _Row(grpc.StatusCode.DEADLINE_EXCEEDED, _nothing),
    NotServed: _Row(grpc.StatusCode.UNIMPLEMENTED, _nothing),
}


def _cut(text: str, limit: int) -> str:
    """Return as much of `text` as takes at most `limit` bytes."""
    return text.encode(errors="replace")[:limit].decode(errors="ignore")


def _cut_message(text: str) -> str:
    """Return as much of `text` as takes at most `MAX_MESSAGE_BYTES` in a `grpc-message` header.

    There every byte but printable ASCII, and the per cent sign, is written as three.
    """
    text = _cut(text, MAX_MESSAGE_BYTES)
    room = MAX_MESSAGE_BYTES
    for index, char in enumerate(text):
        room -= 1 if " " <= char <= "~" and char != "%" else 3 * len(char.encode())
        if room < 0:
            return text[:index]
    return text


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Gives every call a request id, and every error its status. Comes first among the interceptors.

    Whatever a handler, an interceptor behind this one, or the decoding of a request raises ends the call
    with a status of the table; nothing else about it leaves the process. A request id is the caller's
    `x-request-id` if it is 1 to 128 printable ASCII characters, else a new one; it is in the trailing
    metadata of every answer and in every log record of its call.

    A cancellation stays one if it is the client's, the deadline's or the server's own end; one that came
    from within (somebody cancelled what the handler waited for) would leave the client without any status,
    and becomes UNAVAILABLE.

    Args:
        observe: told of the end of each call.
    """

    def __init__(self, observe: Observe = lambda *_: None) -> None:
        self._observe = observe
        # By method: what was made for the handler that served it last, which is always the same.
        self._guarded: dict[str, tuple[_Handler, _Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        method = handler_call_details.method
        request_id = _request_id(handler_call_details.invocation_metadata)
        _REQUEST_ID.set(request_id)
        structlog.contextvars.bind_contextvars(request_id=request_id, method=method)
        try:
            handler = await continuation(handler_call_details)
        except Exception as error:
            return _failing(error, partial(self._observe, method))
        if handler is None:
            return _failing(NotServed(method), partial(self._observe, UNKNOWN))
        known = self._guarded.get(method)
        if known is None or known[0] is not handler:
            known = self._guarded[method] = (
                handler,
                _guarded(handler, partial(self._observe, method)),
            )
        return known[1]


def _request_id(metadata: Sequence[tuple[str, str | bytes]] | None) -> str:
    given = next((value for key, value in metadata or () if key == REQUEST_ID_KEY), None)
    if (
        isinstance(given, str)
        and 0 < len(given) <= _MAX_REQUEST_ID
        and given.isascii()
        and given.isprintable()
    ):
        return given
    return f"{random.getrandbits(128):032x}"


def request_id_of(context: _Context) -> str:
    """Return the request id that the interceptor has given a call."""
    return next(str(value) for key, value in context.trailing_metadata() if key == REQUEST_ID_KEY)


def _failing(error: Exception, observe: _Observed) -> _Handler:
    """Return a handler that fails without reading a request; on the wire it suits every kind of method."""

    async def fail(_requests: Any, _context: _Context) -> None:
        raise error

    return grpc.stream_stream_rpc_method_handler(_shielded(fail, observe))


def _guarded(handler: _Handler, observe: _Observed) -> _Handler:
    """Return `handler` with all it does, decoding and encoding included, inside the shield."""
    kind, make = _KINDS[handler.request_streaming, handler.response_streaming]
    # Where gRPC itself must decode or encode, it is in a read or write of the handler: inside the shield too.
    return make(
        _shielded(_work_of(handler, getattr(handler, kind)), observe),
        _decoder(handler.request_deserializer) if handler.request_streaming else None,
        handler.response_serializer if handler.response_streaming else None,
    )


def _work_of(handler: _Handler, answer: Callable[[Any, _Context], Any]) -> _Behaviour:
    """Return what takes a request as gRPC has it, and does all that `handler` does."""
    encode = handler.response_serializer
    decode = _as_it_is if handler.request_streaming else _decoder(handler.request_deserializer)

    def start(request: Any, context: _Context) -> Awaitable[Any]:
        started: Awaitable[Any] = answer(decode(request), context)
        return started

    async def answer_once(request: Any, context: _Context) -> Any:
        response = await start(request, context)
        # With a code set by hand gRPC drops the response; there may be none.
        failed = context.code() not in (None, grpc.StatusCode.OK)
        return b"" if failed else encode(response) if encode else response

    async def answer_all(request: Any, context: _Context) -> None:
        async with aclosing(answer(decode(request), context)) as responses:
            async for response in responses:
                await context.write(response)

    if not handler.response_streaming:
        return answer_once
    return answer_all if inspect.isasyncgenfunction(answer) else start


_KINDS: Final[dict[tuple[bool, bool], tuple[str, Callable[..., _Handler]]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


def _decoder(deserializer: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    def decode(data: bytes) -> Any:
        if deserializer is None:
            return data
        try:
            return deserializer(data)
        except DecodeError:
            raise InvalidRequest([Violation("request", "is not a message of this method")]) from None

    return decode


def _as_it_is(requests: Any) -> Any:
    return requests


def _shielded(work: _Behaviour, observe: _Observed) -> _Behaviour:
    """Return what does `work`, ends the call with a status if that fails, and tells of the end."""

    # One coroutine and no more: all that is done for a stream goes through it.
    async def behaviour(request: Any, context: _Context) -> Any:
        request_id, begun, code = _REQUEST_ID.get(), time.perf_counter(), grpc.StatusCode.CANCELLED
        context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
        try:
            try:
                answer = await work(request, context)
                code = grpc.StatusCode.OK
                return answer
            except grpc.aio.InternalError:
                # A write failed, so the client has gone; the cancellation that says so may come a little
                # later, and ends this wait.
                await asyncio.sleep(_LEAVING_SECONDS)
                failure: JobStatusError = CallInterrupted()
            except (Exception, asyncio.CancelledError) as error:
                failure = _failure(error, context)
            if _ending(context):
                # Nobody is there to be told; gRPC keeps memory of a call that is cancelled and ends
                # otherwise.
                raise asyncio.CancelledError
            status = to_status(failure, request_id)
            code = _CODES[status.code]
            # An abort waits behind what the client has not read, for hours if it does not read; what the call
            # held, and the frames of the coroutines the error came through, are not kept so long.
            del failure
            return await _abort(context, code, status)
        finally:
            observe(code.name, time.perf_counter() - begun, request_id)

    return behaviour


_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def _failure(error: Exception | asyncio.CancelledError, context: _Context) -> JobStatusError:
    """Return what a caller is told of an error, or raise it, if it has to go on to gRPC."""
    if isinstance(error, asyncio.CancelledError):
        if _ending(context):
            raise error
        _log.warning("call_interrupted", exc_info=True)
        return CallInterrupted()
    if isinstance(error, grpc.aio.UsageError) and not context.done():
        return _unexpected(error)
    if isinstance(error, grpc.aio.BaseError):
        # An abort in progress, or a server that has stopped: gRPC's own, and nothing may be sent after it.
        raise error
    if isinstance(error, JobStatusError) and any(kind in _TABLE for kind in type(error).__mro__):
        return error
    return _unexpected(error)


def _ending(context: _Context) -> bool:
    """Whether the call has been cancelled from outside, or its status sent."""
    task = asyncio.current_task()
    return context.done() or (task is not None and task.cancelling() > 0)


def _unexpected(error: Exception) -> JobStatusError:
    _log.error("call_failed", exc_info=error)
    return JobStatusError(_INTERNAL_WORDS)


async def _abort(context: _Context, code: grpc.StatusCode, status: status_pb2.Status) -> Any:
    trailing: _Metadata = (
        (REQUEST_ID_KEY, _REQUEST_ID.get()),
        (DETAILS_KEY, status.SerializeToString()),
    )
    try:
        await context.abort(code, status.message, trailing)
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None
