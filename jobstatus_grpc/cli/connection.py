"""The way from a command to the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc

from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError

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
}
_CODE_HINTS: Final = {
    grpc.StatusCode.DEADLINE_EXCEEDED: "the server is slow, or the way to it: try again",
    grpc.StatusCode.UNIMPLEMENTED: "there is another service at that address, or one of another version",
    grpc.StatusCode.INTERNAL: "the server's log tells more, under the request's id",
}


@contextmanager
def connected(server: str, project_id: str) -> Iterator[JobStatusClient]:
    """Give a client of `server`; an error from within tells what to try next, where something helps."""
    with hinted(server), JobStatusClient(server, project_id, connect_timeout=CONNECT_TIMEOUT) as client:
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
        return f"is a server running at {server}? Start one: jobstatus serve --listen {server}"
    return _HINTS.get(error.reason) or _CODE_HINTS.get(error.code, "")
