"""How a command ends that could not do its work: one line of words, hints, and an exit status."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from jobstatus_grpc.cli.terminal import clean
from jobstatus_grpc.errors import InvalidRequest, JobStatusError, StoreUnavailable, Unavailable, Violation
from jobstatus_grpc.redaction import told, words_of

JOB_FAILED: Final = 1  # Of a command that watches or waits.
USAGE: Final = 2
NOT_FOUND: Final = 3
SERVER: Final = 4
TIMED_OUT: Final = 5
BROKEN_PIPE: Final = 141  # What a shell shows for SIGPIPE.
OUR_FAULT: Final = 70  # EX_SOFTWARE.
INTERRUPTED: Final = 130  # What a shell shows for SIGINT,
TERMINATED: Final = 143  # and for SIGTERM.

_SHOWN_VIOLATIONS: Final = 50


class Refused(Exception):
    """The command cannot be done as it was given."""


@contextmanager
def named(place: str) -> Iterator[None]:
    """Name the place in the input in every error from within; empty if there is but one."""
    try:
        yield
    except Exception as error:
        error.__dict__.setdefault("place", place)
        raise


def exit_status(error: Exception) -> int:
    """Say what went wrong on standard error; return the exit status for it."""
    if isinstance(error, BrokenPipeError):
        # Nobody reads any more. Python would say so again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    words = getattr(error, "format_message", None)
    if words is not None:  # What typer raises for a command line it cannot read.
        error.add_note(
            f"{getattr(getattr(error, 'ctx', None), 'command_path', 'jobstatus')} --help tells more"
        )
        # typer puts these words before those of an error of a choice.
        return _say(error, words().replace("Value error, ", ""), USAGE)
    if isinstance(error, InvalidRequest):
        return _say(error, f"{error} ({error.reason})", USAGE, error.violations)
    if isinstance(error, JobStatusError):
        message = f"{error}{_cause(error)} ({error.reason})"
        return _say(error, message, SERVER if isinstance(error, Unavailable) else USAGE)
    if isinstance(error, Refused):
        return _say(error, str(error), USAGE)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return _say(error, f"{name}{error.strerror or error}", USAGE)
    return _rpc_status(error)


def _cause(error: JobStatusError) -> str:
    """Return what the database said, for an error that does not tell it itself."""
    if not isinstance(error, StoreUnavailable) or error.__cause__ is None:
        return ""
    said = getattr(error.__cause__, "orig", None) or error.__cause__
    return f": {words_of(said).partition(chr(10))[0]}"


def _rpc_status(error: Exception) -> int:
    import grpc

    from jobstatus_grpc.client import BrokenPromise, JobStatusRpcError

    if isinstance(error, BrokenPromise):
        error.add_note("jobstatus verify tells more about what this server does not keep")
        return _say(error, str(error), SERVER)
    if not isinstance(error, JobStatusRpcError):
        return _our_fault(error)
    statuses = {
        grpc.StatusCode.INVALID_ARGUMENT: USAGE,
        grpc.StatusCode.FAILED_PRECONDITION: USAGE,
        grpc.StatusCode.UNAUTHENTICATED: USAGE,
        grpc.StatusCode.PERMISSION_DENIED: USAGE,
        grpc.StatusCode.NOT_FOUND: NOT_FOUND,
    }
    status = statuses.get(error.code, SERVER)
    message = f"{error.message} ({error.reason or error.code.name})"
    refused = error.code is grpc.StatusCode.UNAUTHENTICATED
    if (status == SERVER or refused) and error.request_id:
        message += f", request {error.request_id}"
    return _say(error, message, status, error.violations)


def _our_fault(error: Exception) -> int:
    """Say that the command itself has failed, and keep what is needed to mend it."""
    with tempfile.NamedTemporaryFile("w", prefix="jobstatus-", suffix=".log", delete=False) as log:
        log.write(told(error))
    error.add_note(f"this is a fault of the command's own: please report it, with {log.name}")
    return _say(error, f"{type(error).__name__}: {words_of(error)}", OUR_FAULT)


def _say(error: Exception, message: str, status: int, violations: Sequence[Violation] = ()) -> int:
    place = getattr(error, "place", "")
    lines = [f"error: {place}: {message}" if place else f"error: {message}"]
    if len(violations) > 1 or not all(fault.description in message for fault in violations):
        lines += [f"  {fault.field}: {fault.description}" for fault in violations[:_SHOWN_VIOLATIONS]]
    if len(violations) > _SHOWN_VIOLATIONS:
        lines.append(f"  and {len(violations) - _SHOWN_VIOLATIONS} more")
    lines += [f"hint: {note}" for note in getattr(error, "__notes__", ())]
    sys.stderr.write("".join(f"{clean(text)}\n" for text in lines))
    return status
