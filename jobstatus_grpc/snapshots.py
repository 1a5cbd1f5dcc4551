"""Snapshots: the whole of a job at one revision, as encoded chunks."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import BinaryIO, Final, NamedTuple

from jobstatus_grpc.errors import JobNotFound, StoreUnavailable
from jobstatus_grpc.feeds import FrameEncoder
from jobstatus_grpc.model import MAX_FRAME_BYTES, Granule, JobKey
from jobstatus_grpc.sizes import granule_bytes, job_bytes
from jobstatus_grpc.store.base import JobStore, StoredJob
from jobstatus_grpc.store.base import Snapshot as StoredSnapshot
from jobstatus_grpc.tokens import ResumePoint, Tokens

_CHUNK_BYTES: Final = MAX_FRAME_BYTES // 4
# Chunks beyond this many bytes wait in a temporary file.
_MEMORY_BYTES: Final = 16 * MAX_FRAME_BYTES
# What all snapshots that nobody takes at the moment may keep in memory.
_KEPT_BYTES: Final = 32 * MAX_FRAME_BYTES
# From so many granules on a snapshot serves for a while though the job goes on, in seconds since it began.
_LARGE: Final = 10_000
_LATELY: Final = 15.0
# After so many seconds it is of no use to anybody else.
_LONG: Final = 600.0


class _Spilled(NamedTuple):
    """A chunk in a file."""

    file: BinaryIO
    start: int
    length: int

    def read(self) -> bytes:
        """Return it, without moving the file's position, which is the writing thread's."""
        return os.pread(self.file.fileno(), self.length, self.start)


class Snapshot:
    """One snapshot on its way from the store to its watchers.

    A thread reads it in one transaction at full speed and encodes it; the transaction never waits for a
    watcher. Each takes the chunks at its own pace, the first as soon as it is there.

    Attributes:
        watchers: how many take it.
        began: when it was begun, by `time.monotonic()`.
    """

    def __init__(self, store: JobStore, key: JobKey, encoder: FrameEncoder, tokens: Tokens) -> None:
        self.watchers = 0
        self.began = time.monotonic()
        self._stored: StoredJob | None = None
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

    @property
    def stored(self) -> StoredJob:
        """The job as it is in the snapshot. Known from the first chunk on."""
        if self._stored is None:
            raise AssertionError("nothing has been read yet")
        return self._stored

    @property
    def in_memory(self) -> int:
        """How many bytes of it are kept in memory."""
        return self._in_memory

    @property
    def complete(self) -> bool:
        """Whether its reading has ended, well or not."""
        return self._complete

    @property
    def failed(self) -> bool:
        """Whether it could not be read to its end."""
        return self._complete and (self._reading.cancelled() or self._reading.exception() is not None)

    def leave(self) -> None:
        """Have one watcher less."""
        self.watchers -= 1

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
            more = self._more
            await more.wait()
        chunk = self._chunks[index]
        return chunk if isinstance(chunk, bytes) else chunk.read()

    def abandon(self) -> None:
        """Have it read no further; the thread ends soon."""
        self._abandoned = True

    def _read(self) -> None:
        with self._store.open_snapshot(self._key) as snapshot:
            stored = snapshot.stored
            waiting: list[Granule] = []
            size = job_bytes(stored.job) + stored.job.sub_jobs.tree_bytes
            for page in snapshot.pages:
                for granule in page:
                    added = granule_bytes(granule)
                    if size + added > _CHUNK_BYTES and waiting:
                        self._append(snapshot, waiting, last=False)
                        waiting, size = [], 0
                    waiting.append(granule)
                    size += added
                if self._abandoned:
                    # Never taken for a whole snapshot, should somebody have come after all.
                    raise StoreUnavailable
            self._append(snapshot, waiting, last=True)

    def _append(self, snapshot: StoredSnapshot, granules: list[Granule], last: bool) -> None:
        stored = snapshot.stored
        token = b""
        if last:
            token = self._tokens.resume_token(self._key, ResumePoint(stored.job_pk, stored.position))
        sub_jobs = None if self._chunks else snapshot.sub_jobs
        chunk = self._encoder.snapshot(stored.job, sub_jobs, granules, last, token)
        self._stored = stored
        if self._in_memory + len(chunk) <= _MEMORY_BYTES:
            self._in_memory += len(chunk)
            self._chunks.append(chunk)
        else:
            self._chunks.append(self._spill(chunk))
        self._loop.call_soon_threadsafe(self._tell)

    def _spill(self, chunk: bytes) -> _Spilled:
        """Put a chunk into the file."""
        if self._file is None:
            # Open as long as the snapshot lives, and nameless: gone with its last descriptor.
            self._file = tempfile.TemporaryFile(prefix="jobstatus-snapshot-")  # noqa: SIM115
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(chunk)
        self._file.flush()
        return _Spilled(self._file, start, len(chunk))

    def _tell(self) -> None:
        """Wake those who wait for a chunk; the next to wait, wait for the next."""
        self._more.set()
        self._more = asyncio.Event()

    def _finished(self, reading: asyncio.Future[None]) -> None:
        self._complete = True
        self._tell()
        if not reading.cancelled():
            reading.exception()  # Seen; `chunk` raises it to whoever asks.


class SnapshotShelf:
    """Keeps the latest snapshots, so that watchers who come together share one.

    A snapshot serves another watcher if the job has not changed since: same revision, same commit. A large
    one also while it is being read, and shortly after: its watchers are brought forward from it by the log,
    which costs less than to read it all again.

    Args:
        find: finds a job by its ids, no earlier than it is asked to.
        make: begins a new snapshot.
    """

    def __init__(
        self, find: Callable[[JobKey], Awaitable[StoredJob]], make: Callable[[JobKey], Snapshot]
    ) -> None:
        self._find = find
        self._make = make
        self._kept: dict[JobKey, Snapshot] = {}

    async def open(self, key: JobKey, exact: bool) -> Snapshot:
        """Return a snapshot of a job; `Snapshot.leave` gives it back.

        Args:
            key: the job's ids.
            exact: whether it has to be of the job as it is now, since no changes will follow it.

        Raises:
            JobNotFound: there is no such job.
            StoreUnavailable: the database does not answer.
        """
        stored = await self._find(key)
        snapshot = self._kept.get(key)
        if snapshot is not None:
            snapshot.watchers += 1
            serves = False
            try:
                serves = await self._serves(snapshot, stored, exact)
            finally:
                snapshot.watchers -= not serves
            if serves:
                return snapshot
        newer = self._kept.get(key)
        if newer is None or newer is snapshot:
            newer = self._kept[key] = self._make(key)
        newer.watchers += 1
        return newer

    async def _serves(self, snapshot: Snapshot, stored: StoredJob, exact: bool) -> bool:
        try:
            await snapshot.chunk(0)
        except (JobNotFound, StoreUnavailable):
            return False
        held = snapshot.stored
        if snapshot.failed or held.job_pk != stored.job_pk:
            return False
        if held.position == stored.position:
            return True
        lately = time.monotonic() - snapshot.began < _LATELY
        large = sum(held.job.totals) >= _LARGE
        return not exact and large and lately and held.job.revision < stored.job.revision

    def tidy(self) -> None:
        """Forget what nobody takes any more, the oldest first, until what is kept fits into memory."""
        size = sum(snapshot.in_memory for snapshot in self._kept.values())
        for key, snapshot in list(self._kept.items()):
            age = time.monotonic() - snapshot.began
            idle = not snapshot.watchers
            if idle and (age > _LATELY or size > _KEPT_BYTES or not snapshot.complete):
                snapshot.abandon()
                size -= snapshot.in_memory
                del self._kept[key]
            elif age > _LONG:
                # Whoever still takes it keeps it.
                del self._kept[key]
