"""The way from a command to the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypedDict

import grpc

from jobstatus_grpc.cli.calling import Way
from jobstatus_grpc.cli.failures import Refused
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError, tls_from_files, token_from_file

CONNECT_TIMEOUT: Final = 3.0
"""For how many seconds a command looks for a server: a person waits for it."""

_HINTS: Final = {
    "STORE_UNAVAILABLE": "the server runs, but its database does not answer it: look there, or try again",
    "SERVER_DRAINING": "the server is being stopped: try again in a moment, or ask another one with --server",
    "JOB_NOT_FOUND": "jobstatus list shows the jobs of a project; --project-id names another project",
    "JOB_DELETED": "it was there, and somebody has deleted it: nothing more will come",
    "RESUME_TOKEN_INVALID": "watch without --resume-token: it is of another job or database, or cut short",
    "PAGE_TOKEN_INVALID": "list without --page-token: it is of another list or database, or cut short",
    "STORE_FULL": "make room on the disk of the server's database, then try again",
    "TOO_MANY_REPORTS": "try again in a moment, with fewer and larger reports",
    "TOO_MANY_WATCHES": "try again when other watches have ended, or ask another server with --server",
    "CREDENTIALS_MISSING": "give a token: --token-file or JOBSTATUS_TOKEN; or a certificate: --cert-file",
    "CREDENTIALS_INVALID": "the server's log tells why, under the request's id",
    "CREDENTIALS_EXPIRED": "get a new token",
    "SCOPE_MISSING": "who issues the credentials can grant it",
    "PROJECT_FORBIDDEN": "--project-id names another project; who issues the credentials can grant this one",
}
_CODE_HINTS: Final = {
    grpc.StatusCode.DEADLINE_EXCEEDED: "the server is slow, or the way to it: try again",
    grpc.StatusCode.UNIMPLEMENTED: "there is another service at that address, or one of another version",
    grpc.StatusCode.INTERNAL: "the server's log tells more, under the request's id",
}


_WAY: Final[ContextVar[Way]] = ContextVar("way")


class Secrets(TypedDict):
    """What clients of a server are made with, beside its address."""

    tls: grpc.ChannelCredentials | None
    credentials: Callable[[], str] | None


@contextmanager
def going(way: Way) -> Iterator[None]:
    """Let everything from within go this way to its server."""
    token = _WAY.set(way)
    try:
        yield
    finally:
        _WAY.reset(token)


def secrets() -> Secrets:
    """Return what to show to the server, and to expect from it, on the way that is gone.

    Raises:
        Refused: that cannot be, as it was given.
        OSError: a file cannot be read.
    """
    way = _WAY.get(Way())
    tls, credentials = None, token_from_file(way.token_file) if way.token_file else None
    try:
        if way.tls or way.ca_file or way.cert_file or way.key_file:
            tls = tls_from_files(way.ca_file, way.cert_file, way.key_file)
        if credentials is not None:
            credentials()
        elif way.token:
            credentials = way.token.strip
    except ValueError as error:
        raise Refused(str(error)) from error
    return {"tls": tls, "credentials": credentials}


@contextmanager
def connected(server: str, project_id: str) -> Iterator[JobStatusClient]:
    """Give a client of `server`; an error from within tells what to try next, where something helps."""
    client = JobStatusClient(server, project_id, connect_timeout=CONNECT_TIMEOUT, **secrets())
    with hinted(server), client:
        yield client


@contextmanager
def hinted(server: str) -> Iterator[None]:
    """Let an error from within tell what to do next."""
    try:
        yield
    except JobStatusRpcError as error:
        hint = _hint(error, server)
        if hint:
            error.add_note(hint)
        raise


def _hint(error: JobStatusRpcError, server: str) -> str:
    if error.code is grpc.StatusCode.UNAVAILABLE and not error.reason:
        way = _WAY.get(Way())
        if way != Way():
            return (
                f"is a server running at {server}, and encrypted? --tls, --ca-file and --cert-file tell how"
            )
        if server.startswith(("http://", "https://")) or not all(
            ":" in address for address in server.split(",")
        ):
            return f"a server's address is HOST:PORT, as 127.0.0.1:50051; this was '{server}'"
        return (
            f"is a server running at {server}? Start one: jobstatus serve --listen {server}; "
            "to one that encrypts, --tls or --ca-file"
        )
    return _HINTS.get(error.reason) or _CODE_HINTS.get(error.code, "")
