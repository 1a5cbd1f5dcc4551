"""The one check before every handler: who calls, and may they do this in this project.

It knows the credentials and the request and nothing else, so its answer tells nothing of what is there.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from jobstatus_grpc.errors import (
    CredentialsExpired,
    CredentialsInvalid,
    CredentialsMissing,
    JobStatusError,
    ProjectForbidden,
    ScopeMissing,
)
from jobstatus_grpc.security.bearer import BearerTokens
from jobstatus_grpc.security.principals import ADMIN, READ, REPORT, Grant, Principal, principals
from jobstatus_grpc.security.rereading import Reread

_log = logging.getLogger(__name__)

SCOPE_OF: Final[Mapping[str, str]] = {
    "/jobstatus.v1.JobStatusService/GetJobStatus": READ,
    "/jobstatus.v1.JobStatusService/GetGranuleStatus": READ,
    "/jobstatus.v1.JobStatusService/ListJobs": READ,
    "/jobstatus.v1.JobStatusService/BatchGetJobStatus": READ,
    "/jobstatus.v1.JobStatusService/WaitJob": READ,
    "/jobstatus.v1.JobStatusService/WatchJob": READ,
    "/jobstatus.v1.JobReportService/ReportJob": REPORT,
    "/jobstatus.v1.JobReportService/ReportGranules": REPORT,
    "/jobstatus.v1.JobReportService/DeleteJob": ADMIN,
    "/jobstatus.v1.JobDocumentService/ImportJobs": REPORT,
    "/jobstatus.v1.JobDocumentService/ExportJob": READ,
}
"""What each method takes; one that is not here is not served to anybody."""

OPEN_SERVICES: Final = ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")
"""Services without a check: they tell nothing of anybody's jobs."""

DEFAULT_PROJECT: Final = "default"
_AUTHORIZATION: Final = "authorization"
_BEARER: Final = "bearer "
_PROJECT: Final = "project_id"
# No call but a stream lasts longer, in seconds: `WaitJob` waits ten minutes at most.
_LONGEST_CALL: Final = 660.0
_NAMES: Final = "x509_subject_alternative_name"

# In quotes: generic only to type checkers.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Behaviour: TypeAlias = "Callable[[Any, _Context], Awaitable[Any]]"

# Of the call under way; `None` until its certificate has been looked at.
_GRANT: Final[ContextVar[Grant | None]] = ContextVar("grant", default=None)
_ANYBODY: Final = Principal("", frozenset(), frozenset())


def principal_of_call() -> str:
    """Return the name of who makes the call under way; empty if nobody knows."""
    grant = _GRANT.get()
    return (grant.principal if grant else _ANYBODY).name


class Access(grpc.aio.ServerInterceptor):
    """Lets calls through to their handlers that may be made. Stands behind the one that answers errors.

    A bearer token counts, if there is one; otherwise the client's certificate. A token is looked at before a
    request is decoded. Of a method that takes a stream the first request is read before the handler begins;
    a later one may not name another project that the caller does not see. When credentials expire, what goes
    on with them ends with `CredentialsExpired`.

    Args:
        tokens: what verifies bearer tokens; `None` if none are taken.
        principals_file: who the names in clients' certificates are; empty if nobody is known by one.

    Raises:
        ConfigInvalid: the file cannot be used.
    """

    def __init__(self, tokens: BearerTokens | None, principals_file: str = "") -> None:
        self._tokens = tokens
        self._principals = (
            Reread({"principals_file": principals_file}, principals) if principals_file else None
        )
        # By method: what was made for the handler that served it last, which is always the same.
        self._guarded: dict[str, tuple[_Handler, _Handler]] = {}

    def look(self) -> None:
        """Look at the files, so that the log tells soon what is wrong with them."""
        if self._tokens is not None:
            self._tokens.look()
        if self._principals is not None:
            self._principals.current()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.split("/")[1] in OPEN_SERVICES:
            return handler
        token = _bearer(handler_call_details.invocation_metadata)
        if token is None and self._principals is None:
            raise CredentialsMissing
        _GRANT.set(self._by_token(token) if token is not None else None)
        known = self._guarded.get(method)
        if known is None or known[0] is not handler:
            known = self._guarded[method] = handler, self._guard(method, handler)
        return known[1]

    def _by_token(self, token: str) -> Grant:
        if self._tokens is None:
            raise _refused(CredentialsInvalid("tokens are not taken"))
        try:
            return self._tokens.grant(token)
        except CredentialsInvalid as error:
            raise _refused(error) from None

    def _by_certificate(self, context: _Context) -> Grant:
        if self._principals is None:
            raise CredentialsMissing
        known = self._principals.current()
        # gRPC has verified the certificate: the handshake is over.
        names = (name.decode(errors="replace") for name in context.auth_context().get(_NAMES, ()))
        principal = next((known[name] for name in names if name in known), None)
        if principal is None:
            raise _refused(CredentialsInvalid("no name in the certificate is a principal's"))
        grant = Grant(principal, math.inf)
        _GRANT.set(grant)
        return grant

    def _guard(self, method: str, handler: _Handler) -> _Handler:
        """Return a handler of the same kind that checks, and then does what `handler` does."""
        scope = SCOPE_OF.get(method)

        def enter(context: _Context) -> Grant:
            grant = _GRANT.get() or self._by_certificate(context)
            if scope is None or scope not in grant.principal.scopes:
                raise ScopeMissing(scope or "that nobody has")
            return grant

        kind, make = _KINDS[handler.request_streaming, handler.response_streaming]
        work = _whole(getattr(handler, kind))

        async def one(request: Any, context: _Context) -> Any:
            grant = enter(context)
            _check_projects(grant.principal, request)
            if not handler.response_streaming and grant.expires > time.time() + _LONGEST_CALL:
                return await work(request, context)
            return await _until(grant.expires, work(request, context))

        async def many(requests: Any, context: _Context) -> Any:
            grant = enter(context)
            rest = aiter(requests)
            first = await anext(rest, None)
            if first is not None:
                _check_projects(grant.principal, first)
            return await _until(grant.expires, work(_checked(grant.principal, first, rest), context))

        checked = many if handler.request_streaming else one
        return make(checked, handler.request_deserializer, handler.response_serializer)


_KINDS: Final[dict[tuple[bool, bool], tuple[str, Callable[..., _Handler]]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


def _bearer(metadata: Sequence[tuple[str, str | bytes]] | None) -> str | None:
    """Return a call's token; `None` if it has none."""
    for key, value in metadata or ():
        if key == _AUTHORIZATION and isinstance(value, str):
            if value[: len(_BEARER)].lower() != _BEARER:
                raise _refused(CredentialsInvalid("the authorization is not a bearer's"))
            return value[len(_BEARER) :].strip()
    return None


def _refused(error: CredentialsInvalid) -> JobStatusError:
    _log.info("credentials refused: %s", error.why)
    return error


def _whole(answer: Callable[[Any, _Context], Any]) -> _Behaviour:
    """Return what does all that a handler does when it is awaited, in the task that awaits it."""
    if not inspect.isasyncgenfunction(answer):
        return answer

    async def answer_all(request: Any, context: _Context) -> None:
        async with aclosing(answer(request, context)) as responses:
            async for response in responses:
                await context.write(response)

    return answer_all


async def _until(expires: float, work: Awaitable[Any]) -> Any:
    """Return what `work` returns, if it does before the credentials expire.

    Raises:
        CredentialsExpired: it did not.
    """
    if expires == math.inf:
        return await work
    try:
        async with asyncio.timeout(expires - time.time()) as limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        raise CredentialsExpired from None


async def _checked(principal: Principal, first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    if first is not None:
        yield first
    async for request in rest:
        # Which project it is has been said.
        for project_id in filter(None, _named_projects(request)):
            _check_project(principal, project_id)
        yield request


def _check_projects(principal: Principal, request: Any) -> None:
    """Check every project that a request names.

    Raises:
        ProjectForbidden: one of them is not the principal's.
    """
    own, *inner = _named_projects(request)
    # What it holds is of its own project where it names none.
    for project_id in (own, *filter(None, inner)):
        _check_project(principal, project_id or DEFAULT_PROJECT)


def _check_project(principal: Principal, project_id: str) -> None:
    if not principal.sees(project_id):
        raise ProjectForbidden(project_id)


def _named_projects(request: Any) -> Iterator[str]:
    """Yield what a request has for a project, empty where it is not told: in itself, and in what it holds.

    Raises:
        AssertionError: its type has no place for one, so it cannot be checked.
    """
    for field in _places_of(request.DESCRIPTOR):
        if field is None:
            yield request.project_id
        elif field.is_repeated:
            yield from (each.project_id for each in getattr(request, field.name))
        else:
            yield getattr(request, field.name).project_id


_PLACES: Final[dict[Descriptor, tuple[FieldDescriptor | None, ...]]] = {}


def _places_of(kind: Descriptor) -> tuple[FieldDescriptor | None, ...]:
    """Return where messages of a kind name projects: `None` is the message itself."""
    if kind not in _PLACES:
        inner = [
            field
            for field in kind.fields
            if field.message_type and _PROJECT in field.message_type.fields_by_name
        ]
        itself = [None] if _PROJECT in kind.fields_by_name else []
        # A list may be empty, and would let a request through that names nothing.
        if not itself and not any(not field.is_repeated for field in inner):
            raise AssertionError(f"{kind.full_name} names no project")
        _PLACES[kind] = (*itself, *sorted(inner, key=lambda field: field.is_repeated))
    return _PLACES[kind]
