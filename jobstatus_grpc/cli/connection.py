"""The way from a command to the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError


@contextmanager
def connected(server: str, project_id: str) -> Iterator[JobStatusClient]:
    """Give a client of `server`; an error from within tells what to try next, where something helps."""
    try:
        # A person waits for it: only as long as a server takes to restart.
        with JobStatusClient(server, project_id, connect_timeout=3.0) as client:
            yield client
    except JobStatusRpcError as error:
        hint = _hint(error, server)
        if hint:
            error.add_note(hint)
        raise


def _hint(error: JobStatusRpcError, server: str) -> str:
    if error.code is grpc.StatusCode.UNAVAILABLE and not error.reason:
        return f"is a server running at {server}? Start one: jobstatus serve --listen {server}"
    if error.reason == "STORE_UNAVAILABLE":
        return "the server runs, but its database does not answer it: look there, or try again"
    if error.reason == "JOB_NOT_FOUND":
        return "jobstatus list shows the jobs of a project; --project-id names another project"
    return ""
