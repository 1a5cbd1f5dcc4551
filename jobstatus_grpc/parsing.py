"""Texts of documents on their way to reports: small ones are parsed here, large ones in another process.

Parsing the largest takes ten seconds and a gigabyte. In this process everybody's calls would go slower
meanwhile, since one thread of Python runs at a time, and the memory would stay taken.
"""

from __future__ import annotations

import asyncio
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from functools import partial
from typing import IO, Any, Final, NamedTuple

from jobstatus_grpc.errors import InvalidRequest, Violation
from jobstatus_grpc.formats import Document, documents
from jobstatus_grpc.json_text import MAX_TEXT_BYTES
from jobstatus_grpc.model import GranuleReport, GranuleState, JobReport, text_bytes

MAX_DOCUMENTS: Final = 1_000
#: What goes into one report of granules. Others are not held up by it for long.
MAX_BATCH_GRANULES: Final = 1_000
MAX_BATCH_BYTES: Final = 2 * 1024 * 1024
#: Texts up to this size are parsed in this process, in some milliseconds.
SMALL_TEXT_BYTES: Final = 256 * 1024

_COMMAND: Final = (sys.executable, "-P", "-c", f"from {__name__} import main; main()")
_LOGGED_CHARS: Final = 4_000
# Granules that are open come first, then those that have failed: so no job seems to have ended, or ended
# well, before all of its granules are in.
_ORDER: Final = {GranuleState.FAILED: 1, GranuleState.SUCCEEDED: 2}


class Finding(NamedTuple):
    """One job that a text tells of.

    Attributes:
        path: where it stands in the text.
        form: the name of the form it is in; empty if it shows none.
        job: the job; `None` if the document is broken.
        granules: how many granules it has.
        violations: what is wrong with the document.
    """

    path: str
    form: str
    job: JobReport | None
    granules: int = 0
    violations: tuple[Violation, ...] = ()


Batch = Sequence[GranuleReport]
"""Granules of the job found last, `MAX_BATCH_GRANULES` and about `MAX_BATCH_BYTES` at most."""


def granules_bytes(granules: Batch) -> int:
    """Return about how many bytes granules take in a report."""
    return sum(map(_bytes_of, granules))


def _bytes_of(report: GranuleReport) -> int:
    names = report.collection_id + report.granule_id + (report.native_state or "")
    return 32 + text_bytes(names) + text_bytes(report.document)


def parse(text: bytes, form: str, project_id: str) -> Iterator[Finding | Batch]:
    """Yield what a text tells: each job, followed by its granules in batches.

    Args:
        text: UTF-8.
        form: the name of the form the jobs are in; `AUTO` for the one that each shows.
        project_id: the jobs' project.

    Raises:
        InvalidRequest: the text is no JSON, too large, or has too many jobs; raised before anything is
            yielded.
    """
    found = documents(text, form)
    if len(found) > MAX_DOCUMENTS:
        raise InvalidRequest([Violation("$", f"has {len(found)} jobs, more than {MAX_DOCUMENTS}")])
    for document in found:
        yield from _parse_one(document, project_id)


def _parse_one(document: Document, project_id: str) -> Iterator[Finding | Batch]:
    path, form = document.entry.path, document.form.name if document.form else ""
    try:
        parsed = document.parse(project_id)
    except InvalidRequest as error:
        yield Finding(path, form, None, violations=error.violations)
        return
    yield Finding(path, form, parsed.job, len(parsed.granules))
    batch: list[GranuleReport] = []
    size = 0
    for report in sorted(parsed.granules, key=_order):
        added = _bytes_of(report)
        if len(batch) == MAX_BATCH_GRANULES or (batch and size + added > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(report)
        size += added
    if batch:
        yield batch


def _order(report: GranuleReport) -> int:
    return 0 if report.state is None else _ORDER.get(report.state, 0)


class Upload:
    """A text on its way in. To be closed.

    Attributes:
        size: how many bytes have come.
    """

    def __init__(self) -> None:
        self.size = 0
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(SMALL_TEXT_BYTES)  # noqa: SIM115

    def close(self) -> None:
        """Let go of it."""
        self._file.close()

    def add(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            InvalidRequest: they are more than are read.
        """
        self.size += len(chunk)
        if self.size > MAX_TEXT_BYTES:
            raise InvalidRequest([Violation("$", f"takes more than {MAX_TEXT_BYTES} bytes")])
        self._file.write(chunk)

    def whole(self) -> IO[bytes]:
        """Return the text as a file, from its beginning."""
        self._file.seek(0)
        return self._file

    def read(self) -> bytes:
        """Return the text."""
        return self.whole().read()


class Findings:
    """What has been found in a text, job by job. To be closed.

    Args:
        next_part: returns the next part of it, `None` at the end. Called in a thread.
        executor: the threads.
        file: what it is read from.
    """

    def __init__(
        self,
        next_part: Callable[[], Finding | Batch | None],
        executor: Executor,
        file: IO[bytes] | None = None,
    ) -> None:
        self._next_part = next_part
        self._executor = executor
        self._ahead: Finding | None = None
        self._ended = False
        self._file = file

    def close(self) -> None:
        """Let go of it."""
        if self._file is not None:
            self._file.close()

    async def next_job(self) -> Finding | None:
        """Return the next job, past what is left of the one before; `None` after the last."""
        found, self._ahead = self._ahead, None
        while found is None:
            part = await self._next()
            if part is None:
                return None
            found = part if isinstance(part, Finding) else None
        return found

    async def next_batch(self) -> Batch | None:
        """Return the next granules of the job; `None` after the last."""
        if self._ahead is not None:
            return None
        part = await self._next()
        if isinstance(part, Finding):
            self._ahead = part
            return None
        return part

    async def _next(self) -> Finding | Batch | None:
        part = None
        if not self._ended:
            part = await asyncio.get_running_loop().run_in_executor(self._executor, self._next_part)
            self._ended = part is None
        return part


class DocumentParser:
    """Parses texts, without blocking the event loop. Made on it.

    Args:
        executor: the threads that parse, and wait for processes that do.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        # One large text at a time takes what memory and processor it needs.
        self._turn = asyncio.Semaphore(1)

    async def parse(self, upload: Upload, form: str, project_id: str) -> Findings:
        """Return what a text tells, as `parse` does.

        Raises:
            InvalidRequest: as `parse`.
        """
        if upload.size <= SMALL_TEXT_BYTES:
            parts = parse(upload.read(), form, project_id)
            found = await asyncio.get_running_loop().run_in_executor(self._executor, list, parts)
            return Findings(partial(next, iter(found), None), self._executor)
        process = _ParsingProcess(upload.whole(), form, project_id)
        async with self._turn:
            try:
                output = await asyncio.get_running_loop().run_in_executor(self._executor, process.run)
            except asyncio.CancelledError:
                process.kill()
                raise
        return Findings(partial(_load, output), self._executor, output)


class _ParsingProcess:
    """A process that parses one text, and then is gone with all its memory."""

    def __init__(self, text: IO[bytes], form: str, project_id: str) -> None:
        self._text = text
        self._arguments = (form, project_id)
        self._lock = threading.Lock()
        self._killed = False
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> IO[bytes]:
        """Parse, and return the file with what was found.

        Raises:
            InvalidRequest: as `parse`.
        """
        with ExitStack() as opened:
            output = opened.enter_context(tempfile.TemporaryFile())
            process = self._start(output)
            if process is None:
                raise RuntimeError("nobody waits for it any more")
            words = process.communicate()[1].decode(errors="replace")[-_LOGGED_CHARS:]
            if process.returncode != 0:
                raise RuntimeError(f"parsing a document ended with status {process.returncode}: {words}")
            output.seek(0)
            refused = pickle.load(output)  # noqa: S301 - Our own process has written it.
            if refused:
                raise InvalidRequest(refused)
            opened.pop_all()
            return output

    def _start(self, output: IO[bytes]) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if not self._killed:
                self._process = subprocess.Popen(  # noqa: S603 - It is our own, and arguments are no commands.
                    (*_COMMAND, *self._arguments),
                    stdin=self._text,
                    stdout=output,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
        return self._process

    def kill(self) -> None:
        """End it, also if it has not begun."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()


def _load(output: IO[bytes]) -> Finding | Batch | None:
    part: Finding | Batch | None = pickle.load(output)  # noqa: S301 - As above.
    return part


def main() -> None:
    """Parse standard input for another process, which has given form and project as arguments.

    Writes to standard output what is wrong with the text as a whole, or nothing of that, each part of what it
    tells, and an end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    form, project_id = sys.argv[1:]
    parts = parse(sys.stdin.buffer.read(), form, project_id)
    try:
        part = next(parts, None)
    except InvalidRequest as error:
        _put(error.violations)
        return
    _put(())
    while part is not None:
        _put(part)
        part = next(parts, None)
    _put(None)


def _put(part: Any) -> None:
    pickle.dump(part, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
