from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

from jobstatus_grpc import errors
from jobstatus_grpc.client.errors import JobStatusRpcError
from jobstatus_grpc.errors import MISSING, InvalidRequest, JobStatusError, Violation
from jobstatus_grpc.status import MAX_DETAILS_BYTES, MAX_MESSAGE_BYTES, ErrorInterceptor, to_status

SECRET = "postgresql://jobs:hunter2@db/jobs"
SERVICE = "test.Service"
Serve = Callable[[Any, Any], Any]
DETAILS = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        error_details_pb2.BadRequest,
        error_details_pb2.ErrorInfo,
        error_details_pb2.QuotaFailure,
        error_details_pb2.RequestInfo,
        error_details_pb2.PreconditionFailure,
        error_details_pb2.ResourceInfo,
        error_details_pb2.RetryInfo,
    )
}


def details_of(status: status_pb2.Status) -> dict[str, Any]:
    found = {}
    for packed in status.details:
        kind = DETAILS[packed.TypeName()]
        message = kind()
        assert packed.Unpack(message)
        found[kind.DESCRIPTOR.name] = message
    return found


def bytes_on_the_wire(message: str) -> int:
    return sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in message.encode())


@asynccontextmanager
async def serving(
    behaviour: Serve,
    *,
    kind: str = "unary_unary",
    registered: bool = True,
    before: list[grpc.aio.ServerInterceptor] | None = None,
    **coders: Any,
) -> AsyncIterator[Any]:
    """Serve `behaviour` as test.Service/Do behind the interceptor; give the client's multicallable."""
    server = grpc.aio.server(interceptors=[ErrorInterceptor(), *(before or [])])
    handlers = {"Do": getattr(grpc, f"{kind}_rpc_method_handler")(behaviour, **coders)}
    if registered:
        server.add_registered_method_handlers(SERVICE, handlers)
    else:
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = getattr(channel, kind)(f"/{SERVICE}/Do")
            call.channel = channel
            yield call
    finally:
        await server.stop(None)


async def failure_of(call: Any) -> grpc.aio.AioRpcError:
    """Return how a call of any kind fails, within five seconds."""

    async def whole() -> None:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(whole(), 5)
    return caught.value


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    return status


def trailer(error: grpc.aio.AioRpcError, key: str) -> str | bytes | None:
    return dict(error.trailing_metadata()).get(key)


def raising(error: Exception) -> Serve:
    async def behaviour(_request: Any, _context: Any) -> bytes:
        raise error

    return behaviour


def fail_with(error: Exception, **call_options: Any) -> grpc.aio.AioRpcError:
    async def main() -> grpc.aio.AioRpcError:
        async with serving(raising(error)) as call:
            return await failure_of(call(b"", **call_options))

    return asyncio.run(main())


run: Callable[[Coroutine[Any, Any, Any]], Any] = asyncio.run

CODES = [
    (
        InvalidRequest([Violation("a", "is bad")]),
        "INVALID_ARGUMENT",
        "INVALID_PARAMETER_VALUE",
        {"BadRequest"},
    ),
    (
        InvalidRequest([Violation("a", "is required", MISSING)]),
        "INVALID_ARGUMENT",
        "MISSING_PARAMETER_VALUE",
        {"BadRequest"},
    ),
    (
        errors.PageTokenInvalid([Violation("page_token", "is not a page token")]),
        "INVALID_ARGUMENT",
        "PAGE_TOKEN_INVALID",
        {"BadRequest"},
    ),
    (
        errors.ResumeTokenInvalid([Violation("resume_token", "belongs to another store")]),
        "INVALID_ARGUMENT",
        "RESUME_TOKEN_INVALID",
        {"BadRequest"},
    ),
    (errors.JobNotFound("p", "j"), "NOT_FOUND", "JOB_NOT_FOUND", {"ResourceInfo"}),
    (errors.GranuleNotFound("p", "j", "c", "g"), "NOT_FOUND", "GRANULE_NOT_FOUND", {"ResourceInfo"}),
    (errors.GranuleNotFound("p", "", "c", "g"), "NOT_FOUND", "GRANULE_NOT_FOUND", {"ResourceInfo"}),
    (errors.JobDeleted("p", "j"), "NOT_FOUND", "JOB_DELETED", {"ResourceInfo"}),
    (
        errors.NotRepresentable("sdrs", [Violation("granules", "it has none")]),
        "FAILED_PRECONDITION",
        "NOT_REPRESENTABLE",
        {"PreconditionFailure"},
    ),
    (errors.ParentConflict("p", "j"), "FAILED_PRECONDITION", "PARENT_CONFLICT", {"PreconditionFailure"}),
    (errors.NotARoot("p", "j", "r"), "FAILED_PRECONDITION", "NOT_A_ROOT", {"PreconditionFailure"}),
    (errors.CredentialsMissing(), "UNAUTHENTICATED", "CREDENTIALS_MISSING", set()),
    (errors.CredentialsInvalid("no key"), "UNAUTHENTICATED", "CREDENTIALS_INVALID", set()),
    (errors.CredentialsExpired(), "UNAUTHENTICATED", "CREDENTIALS_EXPIRED", set()),
    (errors.ScopeMissing("s"), "PERMISSION_DENIED", "SCOPE_MISSING", set()),
    (errors.ProjectForbidden("p"), "PERMISSION_DENIED", "PROJECT_FORBIDDEN", set()),
    (errors.TooManyReports(9), "RESOURCE_EXHAUSTED", "TOO_MANY_REPORTS", {"QuotaFailure", "RetryInfo"}),
    (errors.TooManyTransfers(9), "RESOURCE_EXHAUSTED", "TOO_MANY_TRANSFERS", {"QuotaFailure", "RetryInfo"}),
    (errors.ResponseFull(), "RESOURCE_EXHAUSTED", "RESPONSE_FULL", set()),
    (errors.TooManyWatches(9), "RESOURCE_EXHAUSTED", "TOO_MANY_WATCHES", {"QuotaFailure", "RetryInfo"}),
    (errors.TooManyWatches(9, "p"), "RESOURCE_EXHAUSTED", "TOO_MANY_WATCHES", {"QuotaFailure", "RetryInfo"}),
    (errors.StoreFull(), "RESOURCE_EXHAUSTED", "STORE_FULL", set()),
    (errors.StoreUnavailable(), "UNAVAILABLE", "STORE_UNAVAILABLE", {"RetryInfo"}),
    (errors.ServerDraining(), "UNAVAILABLE", "SERVER_DRAINING", {"RetryInfo"}),
    (errors.StreamExpired(), "UNAVAILABLE", "STREAM_EXPIRED", {"RetryInfo"}),
    (errors.WatcherTooSlow(), "UNAVAILABLE", "WATCHER_TOO_SLOW", {"RetryInfo"}),
    (errors.ClientTooSlow(30), "UNAVAILABLE", "CLIENT_TOO_SLOW", {"RetryInfo"}),
    (errors.CallInterrupted(), "UNAVAILABLE", "CALL_INTERRUPTED", {"RetryInfo"}),
    (errors.DeadlineExceeded(), "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", set()),
    (errors.NotServed("/a/b"), "UNIMPLEMENTED", "UNIMPLEMENTED", set()),
]


@pytest.mark.parametrize(("error", "code", "reason", "kinds"), CODES, ids=[row[2] for row in CODES])
def test_each_error_has_its_code_its_reason_and_its_details(
    error: JobStatusError, code: str, reason: str, kinds: set[str]
) -> None:
    failure = fail_with(error, metadata=(("x-request-id", "abc 1"),))
    details = details_of(status_of(failure))
    assert (failure.code().name, failure.details()) == (code, str(error))
    assert set(details) == {"ErrorInfo", "RequestInfo"} | kinds
    assert (details["ErrorInfo"].domain, details["ErrorInfo"].reason) == ("jobstatus", reason)
    assert dict(details["ErrorInfo"].metadata) == error.metadata
    assert details["RequestInfo"].request_id == trailer(failure, "x-request-id") == "abc 1"


def test_every_error_that_may_reach_a_caller_is_tried_above() -> None:
    def leaves(kind: type) -> set[type]:
        below: list[type] = kind.__subclasses__()
        return {kind}.union(*map(leaves, below)) if below else {kind}

    never_reach_a_caller = {
        errors.ConfigInvalid,
        errors.HistoryChanged,
        errors.HistoryPruned,
        errors.LeaseLost,
        errors.ListenFailed,
        errors.SchemaMismatch,
        errors.SourceFailed,
        errors.SourceRefused,
    }
    roots = {
        JobStatusError,
        errors.NotFound,
        errors.PermissionDenied,
        errors.PreconditionFailed,
        errors.QuotaReached,
        errors.ResourceExhausted,
        errors.Unauthenticated,
        errors.Unavailable,
    }
    tried = {type(row[0]) for row in CODES}
    assert {kind for kind in leaves(JobStatusError) if kind.__module__.startswith(errors.__name__)} == (
        tried | never_reach_a_caller | roots
    )


def test_the_details_say_which_field_and_which_resource() -> None:
    violations = [Violation("a", "is required", MISSING), Violation("b[0].c", "is bad")]
    (bad,) = [details_of(to_status(InvalidRequest(violations), "r"))["BadRequest"]]
    assert [(v.field, v.description, v.reason) for v in bad.field_violations] == [
        tuple(v) for v in violations
    ]
    resource = details_of(to_status(errors.JobNotFound("p", "j"), "r"))["ResourceInfo"]
    assert (resource.resource_type, resource.resource_name) == ("jobstatus.v1.Job", "projects/p/jobs/j")


def test_retries_are_spread() -> None:
    def delays(error: JobStatusError) -> list[float]:
        found = [details_of(to_status(error, "r"))["RetryInfo"].retry_delay for _ in range(200)]
        return [delay.ToNanoseconds() / 1e9 for delay in found]

    for error, low, high in [
        (errors.StoreUnavailable(), 0.8, 1.2),
        (errors.StreamExpired(), 0.08, 0.12),
        (errors.TooManyReports(9), 0.1, 1.0),
    ]:
        found = delays(error)
        assert low - 1e-6 <= min(found) < max(found) <= high + 1e-6
        assert max(found) - min(found) > (high - low) / 2


def test_an_error_that_is_not_the_callers_business_is_internal_in_fixed_words() -> None:
    for error in (
        errors.SchemaMismatch(SECRET, {"url": SECRET}),
        errors.HistoryChanged(),
        errors.HistoryPruned(),
        JobStatusError(SECRET),
        errors.ConfigInvalid([Violation("database_url", SECRET)]),
    ):
        status = to_status(error, "r")
        assert status.code == grpc.StatusCode.INTERNAL.value[0]
        assert details_of(status)["ErrorInfo"].reason == "INTERNAL"
        assert SECRET.encode() not in status.SerializeToString()
        assert status_of(fail_with(error)) is not None


def test_ten_thousand_violations_stay_under_the_limits_and_are_counted() -> None:
    violations = [Violation(f"granules[{n}].granule_id", "is required", MISSING) for n in range(10_000)]
    failure = fail_with(InvalidRequest(violations))
    status = status_of(failure)
    assert status.ByteSize() <= MAX_DETAILS_BYTES
    *shown, rest = details_of(status)["BadRequest"].field_violations
    assert [v.field for v in shown] == [v.field for v in violations[: len(shown)]]
    assert len(shown) > 20
    assert rest.description == f"and {10_000 - len(shown)} more"
    assert "9999 more" in status.message


def test_what_a_form_cannot_express_is_named_with_the_form() -> None:
    violations = [Violation("granules", "there are 3"), Violation("state", "it is STAGED")]
    status = to_status(errors.NotRepresentable("sdrs", violations), "r")
    assert status.message == "the form 'sdrs' cannot express the job: granules: there are 3 (and 1 more)"
    assert details_of(status)["ErrorInfo"].metadata == {"form": "sdrs", "field": "granules"}
    assert [
        (v.type, v.subject, v.description) for v in details_of(status)["PreconditionFailure"].violations
    ] == [
        ("NOT_REPRESENTABLE", "granules", "there are 3"),
        ("NOT_REPRESENTABLE", "state", "it is STAGED"),
    ]
    told = JobStatusRpcError.of_status(status)
    assert [fault.field for fault in told.violations] == ["granules", "state"]


@pytest.mark.parametrize("length", range(20, 220, 7))
def test_violations_that_just_fit_are_all_shown(length: int) -> None:
    def shown(count: int) -> list[str]:
        status = to_status(InvalidRequest([Violation("abc", "d" * length)] * count), "r")
        assert status.ByteSize() <= MAX_DETAILS_BYTES
        return [v.description for v in details_of(status)["BadRequest"].field_violations]

    most = next(count for count in range(1, 100) if "more" in shown(count)[-1]) - 1
    assert len(shown(most)) == most > 5
    assert shown(most + 1)[-1].startswith("and ")


@given(st.text(), st.text(), st.text(), st.integers(1, 300))
def test_whatever_the_words_the_limits_hold(one: str, two: str, request_id: str, times: int) -> None:
    one, two = one * times, two * times
    for error in (
        InvalidRequest([Violation(one, two)] * times),
        errors.NotRepresentable(one, [Violation(one, two)] * times),
        errors.JobNotFound(one, two),
        errors.GranuleNotFound(one, two, one, two),
        errors.NotServed(one),
        errors.TooManyReports(times),
    ):
        status = to_status(error, request_id[:32])
        assert status.ByteSize() <= MAX_DETAILS_BYTES
        assert bytes_on_the_wire(status.message) <= MAX_MESSAGE_BYTES
        assert str(error).startswith(status.message)
        if bytes_on_the_wire(str(error)) <= MAX_MESSAGE_BYTES:
            assert status.message == str(error)
        for value in details_of(status)["ErrorInfo"].metadata.values():
            assert len(value.encode()) <= 128


@pytest.mark.parametrize("word", ["é", "日", "😀", "%", "\n", "a"])
def test_long_words_are_cut_at_characters_and_reach_the_client_whole(word: str) -> None:
    for shift in range(4):
        job_id = "x" * shift + word * 512
        failure = fail_with(errors.JobNotFound("p", job_id))
        status = status_of(failure)
        assert bytes_on_the_wire(status.message) <= MAX_MESSAGE_BYTES
        assert bytes_on_the_wire(status.message) > MAX_MESSAGE_BYTES - 12
        assert f"no job '{job_id}'".startswith(failure.details() or "-")
        cut = details_of(status)["ErrorInfo"].metadata["job_id"]
        assert job_id.startswith(cut)
        assert 125 <= len(cut.encode()) <= 128


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
@pytest.mark.parametrize("registered", [True, False])
def test_a_secret_in_an_unknown_exception_stays_here(kind: str, registered: bool) -> None:
    async def unary(_request: Any, _context: Any) -> bytes:
        raise RuntimeError(SECRET)

    async def stream(_request: Any, _context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        raise RuntimeError(SECRET)

    async def main() -> grpc.aio.AioRpcError:
        behaviour = stream if kind.endswith("stream") else unary
        async with serving(behaviour, kind=kind, registered=registered) as call:
            return await failure_of(call(b"" if kind.startswith("unary") else iter([b""])))

    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        failure = run(main())
    assert failure.code() is grpc.StatusCode.INTERNAL
    assert details_of(status_of(failure))["ErrorInfo"].reason == "INTERNAL"
    assert "hunter2" not in repr((failure, failure.details(), failure.trailing_metadata()))
    (entry,) = logs
    assert str(entry["exc_info"]) == SECRET
    assert entry["exc_info"].__traceback__ is not None
    assert entry["request_id"] == trailer(failure, "x-request-id")
    assert entry["method"] == "/test.Service/Do"


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
def test_a_secret_in_a_failed_encoding_stays_here(kind: str) -> None:
    def encode(_response: Any) -> bytes:
        raise RuntimeError(SECRET)

    async def unary(_request: Any, _context: Any) -> str:
        return "response"

    async def stream(_request: Any, _context: Any) -> AsyncIterator[str]:
        yield "response"

    async def main() -> grpc.aio.AioRpcError:
        behaviour = unary if kind == "unary_unary" else stream
        async with serving(behaviour, kind=kind, response_serializer=encode) as call:
            return await failure_of(call(b""))

    failure = run(main())
    assert failure.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in repr((failure, failure.trailing_metadata()))


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
def test_broken_request_bytes_are_an_invalid_argument(kind: str) -> None:
    async def unary(request: Any, _context: Any) -> bytes:
        if not isinstance(request, Timestamp):
            async for _ in request:
                pass
        return b""

    async def stream(request: Any, _context: Any) -> AsyncIterator[bytes]:
        if not isinstance(request, Timestamp):
            async for _ in request:
                yield b""

    async def main() -> grpc.aio.AioRpcError:
        behaviour = stream if kind.endswith("stream") else unary
        async with serving(behaviour, kind=kind, request_deserializer=Timestamp.FromString) as call:
            broken = b"\xff\xff\xff hunter2"
            return await failure_of(call(broken if kind.startswith("unary") else iter([b"", broken])))

    failure = run(main())
    assert failure.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = details_of(status_of(failure))
    assert details["ErrorInfo"].reason == "INVALID_PARAMETER_VALUE"
    assert details["BadRequest"].field_violations[0].field == "request"
    assert "hunter2" not in repr((failure, failure.trailing_metadata()))


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
def test_good_calls_of_every_kind_pass_with_their_bytes_untouched(kind: str) -> None:
    async def unary(request: Any, context: Any) -> bytes:
        data = request if isinstance(request, bytes) else b"".join([part async for part in request])
        return b"answer to " + data

    async def stream(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield await unary(request, context)
        yield b"\xff"

    async def writer(request: Any, context: Any) -> None:
        await context.write(await unary(request, context))
        await context.write(b"\xff")

    async def answers(behaviour: Serve) -> tuple[list[bytes], Any]:
        async with serving(behaviour, kind=kind) as make:
            call = make(b"12" if kind.startswith("unary") else iter([b"1", b"2"]))
            received = [part async for part in call] if kind.endswith("stream") else [await call]
            return received, dict(await call.trailing_metadata())

    for behaviour in [stream, writer] if kind.endswith("stream") else [unary]:
        received, trailers = run(answers(behaviour))
        assert received == [b"answer to 12", b"\xff"][: len(received)]
        assert len(received) == (2 if kind.endswith("stream") else 1)
        assert len(trailers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("given_id", "kept"),
    [
        ("a", True),
        ("~ 1" * 42, True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        (None, False),
    ],
)
@pytest.mark.parametrize("fails", [True, False])
def test_a_request_id_is_kept_if_printable_and_short_else_replaced(
    given_id: str | None, kept: bool, fails: bool
) -> None:
    async def behaviour(_request: Any, _context: Any) -> bytes:
        if fails:
            raise errors.StoreFull
        return b""

    async def main() -> str:
        async with serving(behaviour) as make:
            call = make(b"", metadata=() if given_id is None else (("x-request-id", given_id),))
            if fails:
                failure = await failure_of(call)
                answered = trailer(failure, "x-request-id")
                assert details_of(status_of(failure))["RequestInfo"].request_id == answered
            else:
                await call
                answered = dict(await call.trailing_metadata())["x-request-id"]
            assert isinstance(answered, str)
            return answered

    answered = run(main())
    if kept:
        assert answered == given_id
    else:
        assert len(answered) == 32
        assert answered != given_id


@pytest.mark.parametrize("wrong", ["tab\there", "line\nbreak", "\x7f", "é", b"bytes"])
def test_a_request_id_that_grpcs_own_client_would_not_send_is_replaced(wrong: str | bytes) -> None:
    class AbortedError(Exception):
        pass

    class Context:
        def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
            self.trailers = dict(metadata)

        def done(self) -> bool:
            return False

        async def abort(self, *_args: object) -> None:
            raise AbortedError

    async def nothing(_details: Any) -> None:
        return None

    async def main() -> str:
        context = Context()
        call: Any = SimpleNamespace(method="/a/b", invocation_metadata=(("x-request-id", wrong),))
        handler: Any = await ErrorInterceptor().intercept_service(nothing, call)
        with pytest.raises(AbortedError):
            await handler.stream_stream(None, context)
        return context.trailers["x-request-id"]

    assert run(main()).isalnum()


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
def test_a_cancellation_from_within_is_unavailable(kind: str) -> None:
    async def unary(_request: Any, _context: Any) -> bytes:
        shared: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(shared.cancel)
        return await shared

    async def stream(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        yield await unary(request, context)

    async def main() -> grpc.aio.AioRpcError:
        async with serving(unary if kind == "unary_unary" else stream, kind=kind) as call:
            return await failure_of(call(b""))

    with structlog.testing.capture_logs() as logs:
        failure = run(main())
    assert failure.code() is grpc.StatusCode.UNAVAILABLE
    details = details_of(status_of(failure))
    assert details["ErrorInfo"].reason == "CALL_INTERRUPTED"
    assert "RetryInfo" in details
    assert [entry["event"] for entry in logs] == ["call_interrupted"]


@pytest.mark.parametrize("how", ["cancel", "deadline", "stop"])
def test_an_end_from_outside_stays_a_cancellation(
    how: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        entered, left = asyncio.Event(), asyncio.Event()
        seen: list[BaseException] = []

        async def behaviour(_request: Any, _context: Any) -> AsyncIterator[bytes]:
            try:
                yield b"first"
                entered.set()
                await asyncio.Event().wait()
            except BaseException as error:
                seen.append(error)
                raise
            finally:
                left.set()

        async with serving(behaviour, kind="unary_stream") as make:
            call = make(b"", timeout=0.3 if how == "deadline" else None)
            assert await call.read() == b"first"
            await asyncio.wait_for(entered.wait(), 5)
            if how == "cancel":
                call.cancel()
            if how != "stop":
                await asyncio.wait_for(left.wait(), 5)
        await asyncio.wait_for(left.wait(), 5)
        assert isinstance(seen[0], asyncio.CancelledError)

    with structlog.testing.capture_logs() as logs:
        run(main())
    assert logs == []
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_after_the_client_has_left_ends_as_its_cancellation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        entered, left = asyncio.Event(), asyncio.Event()

        async def behaviour(_request: Any, _context: Any) -> bytes:
            entered.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                left.set()
                raise errors.StoreUnavailable from None
            return b""

        async with serving(behaviour) as make:
            call = make(b"")
            await asyncio.wait_for(entered.wait(), 5)
            call.cancel()
            await asyncio.wait_for(left.wait(), 5)

    with caplog.at_level("DEBUG", "grpc"):
        run(main())
    ends = [record.getMessage() for record in caplog.records if "RPC" in record.getMessage()]
    assert ends == ["RPC cancelled for servicer method [/test.Service/Do]"]


def test_a_write_to_a_client_that_has_gone_ends_quietly(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> int:
        ended = asyncio.Event()
        written = 0

        async def behaviour(_request: Any, _context: Any) -> AsyncIterator[bytes]:
            nonlocal written
            try:
                while True:
                    yield b"x" * 100_000
                    written += 1
            finally:
                ended.set()

        async with serving(behaviour, kind="unary_stream") as make:
            for _ in range(20):
                ended.clear()
                call = make(b"")
                await call.read()
                call.cancel()
                await asyncio.wait_for(ended.wait(), 5)
        return written

    with structlog.testing.capture_logs() as logs:
        assert run(main()) > 0
    assert logs == []
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def test_a_failed_write_without_news_of_the_client_ends_the_call_as_unavailable() -> None:
    async def main() -> tuple[grpc.aio.AioRpcError, float]:
        async with serving(raising(grpc.aio.InternalError("batch failed"))) as call:
            begin = time.monotonic()
            return await failure_of(call(b"")), time.monotonic() - begin

    failure, took = run(main())
    assert failure.code() is grpc.StatusCode.UNAVAILABLE
    assert took >= 0.9


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
def test_a_method_nobody_serves_is_unimplemented_with_its_details(kind: str) -> None:
    async def main() -> grpc.aio.AioRpcError:
        async with serving(raising(RuntimeError())) as call:
            make = getattr(call.channel, kind)("/test.Service/Missing")
            return await failure_of(make(b"" if kind.startswith("unary") else iter([b""])))

    failure = run(main())
    assert failure.code() is grpc.StatusCode.UNIMPLEMENTED
    details = details_of(status_of(failure))
    assert details["ErrorInfo"].metadata["method"] == "/test.Service/Missing"
    assert details["RequestInfo"].request_id == trailer(failure, "x-request-id")


def test_what_an_interceptor_behind_it_raises_gets_its_status_too() -> None:
    class Refusing(grpc.aio.ServerInterceptor):
        def __init__(self, error: Exception) -> None:
            self.error = error

        async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
            raise self.error

    async def main(error: Exception) -> grpc.aio.AioRpcError:
        async with serving(raising(AssertionError()), before=[Refusing(error)]) as call:
            return await failure_of(call(b""))

    assert run(main(errors.ServerDraining())).code() is grpc.StatusCode.UNAVAILABLE
    failure = run(main(RuntimeError(SECRET)))
    assert failure.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in repr((failure, failure.trailing_metadata()))


def test_an_abort_of_the_handlers_own_passes_as_it_is() -> None:
    async def behaviour(_request: Any, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.ALREADY_EXISTS, "as it is")
        raise AssertionError

    async def main() -> grpc.aio.AioRpcError:
        async with serving(behaviour) as call:
            return await failure_of(call(b""))

    with structlog.testing.capture_logs() as logs:
        failure = run(main())
    assert (failure.code(), failure.details()) == (grpc.StatusCode.ALREADY_EXISTS, "as it is")
    assert logs == []
    assert trailer(failure, "x-request-id")


def test_a_code_set_by_hand_passes_as_it_is() -> None:
    async def behaviour(_request: Any, context: Any) -> None:
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details("as it is")

    async def main() -> grpc.aio.AioRpcError:
        async with serving(behaviour, response_serializer=lambda message: message.encode()) as call:
            return await failure_of(call(b""))

    failure = run(main())
    assert (failure.code(), failure.details()) == (grpc.StatusCode.DATA_LOSS, "as it is")


def test_the_health_service_passes_through() -> None:
    async def main() -> None:
        server = grpc.aio.server(interceptors=[ErrorInterceptor()])
        servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        await servicer.set("jobs", health_pb2.HealthCheckResponse.SERVING)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(health_pb2.HealthCheckRequest(service="jobs"))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            unknown = await failure_of(stub.Check(health_pb2.HealthCheckRequest(service="none")))
            assert unknown.code() is grpc.StatusCode.NOT_FOUND
            watch = stub.Watch(health_pb2.HealthCheckRequest(service="jobs"))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            await servicer.set("jobs", health_pb2.HealthCheckResponse.NOT_SERVING)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watch.cancel()
        await server.stop(None)

    run(main())
