"""Snapshots: the whole of a job at one revision, as encoded chunks."""

from __future__ import annotations

import asyncio
import os
import tempfile
from concurrent.futures import Executor
from typing import BinaryIO, Final, NamedTuple

from jobstatus_grpc.feeds import FrameEncoder
from jobstatus_grpc.model import MAX_FRAME_BYTES, Granule, JobKey, granule_bytes, job_bytes
from jobstatus_grpc.store.base import JobStore, StoredJob
from jobstatus_grpc.tokens import ResumePoint, Tokens

_CHUNK_BYTES: Final = MAX_FRAME_BYTES // 4
# Chunks beyond this many bytes wait in a temporary file.
_MEMORY_BYTES: Final = 16 * MAX_FRAME_BYTES


class _Spilled(NamedTuple):
    """A chunk in a file."""

    file: BinaryIO
    start: int
    length: int

    def read(self) -> bytes:
        """Return it, without moving the file's position, which is the writing thread's."""
        return os.pread(self.file.fileno(), self.length, self.start)


class Snapshot:
    """One snapshot on its way from the store to a watcher.

    A thread reads it in one transaction at full speed and encodes it; the transaction never waits for the
    watcher, who takes the chunks at its own pace, the first as soon as it is there.

    Attributes:
        stored: the job as it is in the snapshot, once there is a chunk.
    """

    def __init__(self, store: JobStore, key: JobKey, encoder: FrameEncoder, tokens: Tokens) -> None:
        self.stored: StoredJob | None = None
        self._store = store
        self._key = key
        self._encoder = encoder
        self._tokens = tokens
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        self._chunks: list[bytes | _Spilled] = []
        self._in_memory = 0
        self._file: BinaryIO | None = None
        self._complete = False
        self._abandoned = False

    def start(self, executor: Executor) -> None:
        """Begin to read, in a thread of `executor`."""
        self._reading = asyncio.ensure_future(self._loop.run_in_executor(executor, self._read))
        self._reading.add_done_callback(self._finished)

    async def chunk(self, index: int) -> bytes | None:
        """Return a chunk, waiting for it; `None` after the last.

        Raises:
            JobNotFound: there is no such job.
            StoreUnavailable: the database went away meanwhile.
        """
        while index >= len(self._chunks):
            if self._complete:
                self._reading.result()
                return None
            self._more.clear()
            await self._more.wait()
        chunk = self._chunks[index]
        return chunk if isinstance(chunk, bytes) else chunk.read()

    def close(self) -> None:
        """Let go of it; the thread ends soon."""
        self._abandoned = True

    def _read(self) -> None:
        with self._store.open_snapshot(self._key) as snapshot:
            stored = snapshot.stored
            waiting: list[Granule] = []
            size = job_bytes(stored.job)
            for page in snapshot.pages:
                for granule in page:
                    added = granule_bytes(granule)
                    if size + added > _CHUNK_BYTES and waiting:
                        self._append(stored, waiting, last=False)
                        waiting, size = [], 0
                    waiting.append(granule)
                    size += added
                if self._abandoned:
                    return
            self._append(stored, waiting, last=True)

    def _append(self, stored: StoredJob, granules: list[Granule], last: bool) -> None:
        token = b""
        if last:
            token = self._tokens.resume_token(self._key, ResumePoint(stored.job_pk, stored.position))
        chunk = self._encoder.snapshot(stored.job, not self._chunks, granules, last, token)
        self.stored = stored
        if self._in_memory + len(chunk) <= _MEMORY_BYTES:
            self._in_memory += len(chunk)
            self._chunks.append(chunk)
        else:
            self._chunks.append(self._spill(chunk))
        self._loop.call_soon_threadsafe(self._more.set)

    def _spill(self, chunk: bytes) -> _Spilled:
        """Put a chunk into the file."""
        if self._file is None:
            # Open as long as the snapshot lives, and nameless: gone with its last descriptor.
            self._file = tempfile.TemporaryFile(prefix="jobstatus-snapshot-")  # noqa: SIM115
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(chunk)
        self._file.flush()
        return _Spilled(self._file, start, len(chunk))

    def _finished(self, reading: asyncio.Future[None]) -> None:
        self._complete = True
        self._more.set()
        if not reading.cancelled():
            reading.exception()  # Seen; `chunk` raises it to whoever asks.
