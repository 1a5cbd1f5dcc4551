"""Documents that go out: a job as its system, or another one, would tell it."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import IO, Final

from jobstatus_grpc.errors import CallInterrupted, DeadlineExceeded
from jobstatus_grpc.formats import Format, form_named, form_of
from jobstatus_grpc.model import MAX_FRAME_BYTES, JobKey
from jobstatus_grpc.store.base import JobStore

_CHUNK_BYTES: Final = MAX_FRAME_BYTES // 4


class Exported:
    """A document that has been written, and waits to be sent. To be closed.

    Attributes:
        form: the name of the form it is in.
        revision: the job's, that it shows.
    """

    def __init__(self, form: str, revision: int) -> None:
        self.form = form
        self.revision = revision
        # Beyond this it waits in a file: whoever takes it may be slow.
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(MAX_FRAME_BYTES)  # noqa: SIM115

    def close(self) -> None:
        """Let go of it."""
        self._file.close()

    def add(self, piece: str) -> None:
        """Take the next piece of the text."""
        self._file.write(piece.encode())

    def chunks(self) -> Iterator[bytes]:
        """Yield the text as UTF-8."""
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK_BYTES):
            yield chunk


class DocumentExporter:
    """Writes documents, without blocking the event loop.

    Args:
        store: where jobs are.
        executor: the threads that read and write; each has a connection in its hands meanwhile.
    """

    def __init__(self, store: JobStore, executor: Executor) -> None:
        self._store = store
        self._executor = executor

    async def write(self, key: JobKey, form: str, deadline: float | None) -> Exported:
        """Return a job's document. The transaction it is read in lasts until it is written, and no longer.

        Args:
            key: the job.
            form: the name of the form; empty for the job's own.
            deadline: the caller's.

        Raises:
            InvalidRequest: there is no such form, or none of the job's own.
            JobNotFound: there is no such job.
            NotRepresentable: the form cannot express the job.
            StoreUnavailable: the database does not answer.
            DeadlineExceeded: the deadline passed first.
        """
        named = form_named(form) if form else None
        left = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, self._write, key, named, deadline, left)
        except asyncio.CancelledError:
            left.set()
            raise

    def _write(
        self, key: JobKey, named: Format | None, deadline: float | None, left: threading.Event
    ) -> Exported:
        with self._store.open_whole(key, deadline) as whole:
            form = named or form_of(whole)
            exported = Exported(form.name, whole.job.revision)
            try:
                for piece in form.render(whole):
                    exported.add(piece)
                    if left.is_set():
                        raise CallInterrupted
                    if deadline is not None and time.monotonic() >= deadline:
                        raise DeadlineExceeded
            except BaseException:
                exported.close()
                raise
        return exported
