"""The command that follows a job of another system: asks for its document again and again, and imports it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Final, NamedTuple

import grpc

from jobstatus import v1 as pb
from jobstatus_grpc.cli.connection import connected
from jobstatus_grpc.cli.documents import form_asked, say_result
from jobstatus_grpc.cli.failures import JOB_FAILED, TERMINATED, Refused
from jobstatus_grpc.cli.terminal import clean
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError

# How long the command may take at least, in seconds.
_PATIENCE: Final = 60.0
_SHOWN_CHARS: Final = 300
# What no later turn mends.
_LASTING: Final = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
)
_ENDS: Final = (pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED)


class Followed(NamedTuple):
    """What is to be followed, and how.

    Attributes:
        command: prints the document.
        every: seconds from the beginning of one turn to that of the next.
        until_done: whether to leave when the jobs of the document have ended.
        form: the form the document is in, or `auto`.
        as_json: whether to write JSON.
    """

    command: Sequence[str]
    every: float
    until_done: bool
    form: str
    as_json: bool


class _Failed(Exception):
    """A turn came to nothing; the next may come to more."""


def follow(server: str, project_id: str, followed: Followed) -> int:
    """Import what a command prints, turn after turn; return how the jobs have ended."""
    signal.signal(signal.SIGTERM, _leave)
    with connected(server, project_id) as client:
        while True:
            began = time.monotonic()
            try:
                ended = _turn(client, followed)
            except _Failed as failure:
                _say_failure(str(failure), followed.every)
                ended = None
            if followed.until_done and ended is not None:
                return ended
            time.sleep(max(0.0, began + followed.every - time.monotonic()))


def _leave(_number: int, _frame: object) -> None:
    sys.exit(TERMINATED)


def _turn(client: JobStatusClient, followed: Followed) -> int | None:
    """Take one answer; return the exit status if all its jobs have ended.

    Raises:
        _Failed: there is none, or it was not taken.
    """
    text = _answer(followed.command, max(_PATIENCE, followed.every))
    name = shlex.quote(followed.command[0])
    try:
        results = client.import_jobs(text, form_asked(followed.form))
    except JobStatusRpcError as error:
        if error.code in _LASTING:
            raise
        place = f"{name}: " if error.code is grpc.StatusCode.INVALID_ARGUMENT else ""
        raise _Failed(f"{place}{error.message} ({error.reason or error.code.name})") from error
    refused = next((result.status.message for result in results if result.HasField("status")), None)
    for result in results:
        if not result.HasField("status") and result.applied_count:
            say_result(result, "", followed.as_json)
    if refused is not None:
        raise _Failed(f"{name}: {refused}")
    if not results or not all(result.state in _ENDS for result in results):
        return None
    return JOB_FAILED if any(result.state == pb.JOB_STATE_FAILED for result in results) else 0


def _answer(command: Sequence[str], patience: float) -> bytes:
    """Run the command, and return what it prints.

    Raises:
        Refused: there is no such command.
        _Failed: it did not end well.
    """
    name = shlex.quote(command[0])
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as words:
        process = None
        try:
            with _undisturbed():
                process = _start(command, output, words)
            status = process.wait(patience)
        except OSError as error:
            raise Refused(f"{name} cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired:
            raise _Failed(f"{name} has not ended within {patience:g} s") from None
        finally:
            if process is not None:
                _end(process)
        if status != 0:
            how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
            raise _Failed(f"{name} {how}{_last_line(words)}")
        output.seek(0)
        text = output.read()
    if not text.strip():
        raise _Failed(f"{name} has printed nothing")
    return text


def _start(command: Sequence[str], output: IO[bytes], words: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - Whoever gave it may run it.
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=words, start_new_session=True
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command with whatever it has started; as a rule it has ended already."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals that would end this process wait for the end of the block, and nobody else.

    In the midst of a start nobody would know of the process that has been started.
    """
    held: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: held.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in held:
            signal.raise_signal(late)


def _last_line(words: IO[bytes]) -> str:
    words.seek(0)
    lines = [line for line in words.read().decode(errors="replace").splitlines() if line.strip()]
    return f": {lines[-1].strip()[:_SHOWN_CHARS]}" if lines else ""


def _say_failure(words: str, every: float) -> None:
    sys.stderr.write(f"{clean(f'error: {words}; the next try comes within {every:g} s')}\n")
    sys.stderr.flush()
