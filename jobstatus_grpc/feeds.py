"""A watched job's recent history, read and encoded once for all its watchers.

No watcher has a queue. The log in the store is the buffer; a feed keeps its latest part encoded, and a
watcher takes from it at its own pace, or reads the store when it has fallen behind what the feed keeps.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Final, NamedTuple, Protocol

from jobstatus_grpc.alarms import Alarm
from jobstatus_grpc.deliveries import Entry
from jobstatus_grpc.digest import Failures
from jobstatus_grpc.errors import HistoryChanged, JobStatusError, StoreUnavailable
from jobstatus_grpc.model import (
    MAX_FRAME_BYTES,
    Change,
    Delivery,
    Granule,
    Job,
    JobKey,
    NewsMode,
    Position,
    Totals,
    WholeJob,
)
from jobstatus_grpc.pace import NO_PROGRESS, Progress
from jobstatus_grpc.store.base import ChangeBatch, Head, StoredJob
from jobstatus_grpc.tokens import ResumePoint

_log = logging.getLogger(__name__)

# What a feed keeps for watchers that are slightly behind.
_KEPT_CHANGES: Final = 50_000
_KEPT_BYTES: Final = 8 * MAX_FRAME_BYTES
# Reading again rests nine times as long as it took, so that at most a tenth of the time is spent on it; but
# not so long that anybody sees it, since a long reading has found much.
_REST_FACTOR: Final = 9.0
_LONGEST_REST: Final = 0.02
# For heartbeats the failures of a busy job are read this often at most, in seconds.
_FAILURES_REST: Final = 1.0


class FrameEncoder(Protocol):
    """Makes the bytes of frames; `revision`, `totals` and `token` are those after the frame."""

    def change(self, change: Change) -> bytes:
        """Return a change as a part of a `changes` frame."""

    def counted(self, encoded: bytes, count: int) -> bytes:
        """Return a change, encoded by `change`, that says how many it stands for."""

    def changes(self, encoded: Sequence[bytes], revision: int, totals: Totals, token: bytes) -> bytes:
        """Return a frame of changes that were encoded by `change`."""

    def snapshot(
        self,
        job: Job,
        sub_jobs: Sequence[WholeJob] | None,
        granules: Sequence[Granule],
        last: bool,
        token: bytes,
    ) -> bytes:
        """Return a chunk of a snapshot; the first has the job and its sub-jobs, the others `None` of them."""

    def heartbeat(
        self,
        revision: int,
        totals: Totals,
        token: bytes,
        *,
        lag: float,
        last_report_time: int | None,
        news_mode: NewsMode,
        failures: bytes = b"",
        progress: Progress = NO_PROGRESS,
    ) -> bytes:
        """Return a heartbeat; `lag` in seconds, `failures` encoded by `failures`, empty for none."""

    def failures(self, failures: Failures) -> bytes:
        """Return why granules have failed as a part of a heartbeat, or of the end of a watch."""

    def reset(self, reason: str) -> bytes:
        """Return a reset."""

    def reconnect(self, revision: int, totals: Totals, token: bytes, reason: str) -> bytes:
        """Return a reconnect."""

    def completed(
        self, job: Job, token: bytes, failures: bytes = b"", progress: Progress = NO_PROGRESS
    ) -> bytes:
        """Return the end of a watch, for a job that has ended."""


class Place(NamedTuple):
    """Where a stream is, as each of its frames tells: what it has delivered, that frame included.

    Without a token it is in a snapshot, or has nothing yet.
    """

    revision: int = 0
    totals: Totals = Totals()
    token: bytes = b""


class Frame(NamedTuple):
    """A frame of changes, and where a stream is after it."""

    data: bytes
    point: ResumePoint
    place: Place


class Replaced(JobStatusError):
    """The job was deleted, and another one has its ids. The watch answers it with a reset."""

    reason = "JOB_REPLACED"


class Reading(NamedTuple):
    """How a feed reads the store, without blocking the event loop.

    Attributes:
        changes: reads the changes after a position and encodes them; `None` if the job is deleted.
        why_gone: tells why a job that was watched is no longer there.
        frame: puts the next of consecutive entries of a job, not empty, together to one frame.
        failures: reads why granules of a job have failed, and encodes it; empty if the job is deleted.
    """

    changes: Callable[[int, Position], Awaitable[tuple[ChangeBatch, Sequence[Entry]] | None]]
    why_gone: Callable[[JobKey], Awaitable[JobStatusError]]
    frame: Callable[[Delivery, JobKey, int, Sequence[Entry]], Frame]
    failures: Callable[[int], Awaitable[bytes]]


class Feed:
    """The latest part of one job's history.

    Attributes:
        key: the job's ids.
        stored: the job as last read; its position may lie beyond what has been read of the log.
        head: up to where the log has been read.
        rest: where there is nothing to do for a watcher but to wait: the head, unless it is the job's end.
        over: why nothing will come from this feed any more: HistoryChanged, Replaced, JobDeleted, or a bug.
        last_read: the moment, of `time.monotonic()`, at which the store was last known to be at `stored`.
        watchers: the alarms of those who watch.
    """

    def __init__(self, stored: StoredJob, position: Position, reading: Reading) -> None:
        self.key: JobKey = stored.job.key
        self.stored = stored
        self.head = position
        self.over: Exception | None = None
        self.last_read = time.monotonic()
        self.watchers: set[Alarm] = set()
        self._reading = reading
        self._base = position
        self._entries: deque[Entry] = deque()
        self._kept_bytes = 0
        self._frames: dict[tuple[Position, Delivery], Frame] = {}
        self._task: asyncio.Task[None] | None = None
        self._asked = False
        self._lookers: list[asyncio.Future[None]] = []
        self._failures = b""
        self._failures_revision = 0
        self._failures_read = -_FAILURES_REST
        self._settle()

    def holds(self, position: Position) -> bool:
        """Return whether `position` is in the history this feed has read: the very commit, not its number."""
        index = position.revision - self._base.revision
        if index == 0:
            return position == self._base
        return 0 < index <= len(self._entries) and self._entries[index - 1].position == position

    def goes_on_from(self, position: Position) -> bool:
        """Return whether there are changes after `position` to be had from this feed."""
        return self.over is None and position != self.head and self.holds(position)

    def frame_after(self, position: Position, delivery: Delivery) -> Frame | None:
        """Return the next frame after `position`; `None` if this feed has none.

        All watchers at one position with one delivery get the very same bytes.
        """
        frame = self._frames.get((position, delivery))
        if frame is None and self.goes_on_from(position):
            # From the end, where watchers are: a deque gives what lies in its middle only by going there.
            entries = list(islice(reversed(self._entries), self.head.revision - position.revision))
            entries.reverse()
            frame = self._reading.frame(delivery, self.key, self.stored.job_pk, entries)
            self._frames[position, delivery] = frame
        return frame

    @property
    def failures(self) -> bytes:
        """Why granules have failed, encoded, as last read; empty if none has."""
        return self._failures if self.stored.has_failures else b""

    @property
    def lacks_failures(self) -> bool:
        """Whether they have not been read since the job has changed."""
        return self.stored.has_failures and self._failures_revision < self.stored.job.revision

    @property
    def failures_due(self) -> bool:
        """Whether they are to be read again for a heartbeat, which may tell a little older ones."""
        return self.lacks_failures and time.monotonic() - self._failures_read >= _FAILURES_REST

    async def read_failures(self) -> None:
        """Read why granules have failed by now.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        revision = self.stored.job.revision
        self._failures = await self._reading.failures(self.stored.job_pk)
        self._failures_revision, self._failures_read = revision, time.monotonic()

    def wake_all(self) -> None:
        """Wake every watcher, those too that do not wait for news."""
        for alarm in self.watchers:
            alarm.ring()

    def look(self) -> None:
        """Read what is new, soon; a call while a reading is under way leads to another one after it."""
        self._asked = True
        if self._task is None and self.over is None:
            self._task = asyncio.create_task(self._read())

    async def looked(self) -> None:
        """Read what is new, and return when that has been done, or the store did not answer."""
        if self.over is not None:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lookers.append(waiter)
        self.look()
        await waiter

    def confirm(self, head: Head | None, moment: float) -> None:
        """Take what a look at the store's heads at `moment` said about this job."""
        if head is None or head.position != self.head:
            self.look()
        else:
            self.stored = self.stored._replace(last_report_time=head.last_report_time)
            self.last_read = max(self.last_read, moment)

    def end(self) -> None:
        """Stop reading. Nobody watches any more."""
        if self._task is not None:
            self._task.cancel()

    async def _read(self) -> None:
        """Read until nobody asks any more."""
        try:
            while self._asked and self.over is None:
                self._asked = False
                lookers, self._lookers = self._lookers, []
                start = time.monotonic()
                try:
                    await self._read_once(start)
                finally:
                    for looker in lookers:
                        if not looker.done():
                            looker.set_result(None)
                if self.head == self.stored.position:
                    await asyncio.sleep(min(_REST_FACTOR * (time.monotonic() - start), _LONGEST_REST))
                else:
                    self._asked = True
        except StoreUnavailable:
            # The next poll asks again; heartbeats tell the lag meanwhile.
            self._asked = False
        except Exception as error:
            # Nobody awaits this task: its watchers have to be told, or they would wait for ever.
            _log.exception("reading the history of a job failed")
            self._finish(error)
        finally:
            self._task = None

    async def _read_once(self, start: float) -> None:
        try:
            read = await self._reading.changes(self.stored.job_pk, self.head)
            if read is None:
                self._finish(await self._reading.why_gone(self.key))
            else:
                self._take(*read)
                self.last_read = start
        except HistoryChanged as error:
            self._finish(error)

    def _take(self, batch: ChangeBatch, entries: Sequence[Entry]) -> None:
        self.stored = batch.stored
        if entries:
            self._keep(entries)
        self._settle()
        if entries:
            for alarm in self.watchers:
                alarm.tell()

    def _keep(self, entries: Sequence[Entry]) -> None:
        self._frames.clear()
        self._entries.extend(entries)
        self.head = entries[-1].position
        self._kept_bytes += sum(len(entry.encoded) for entry in entries)
        while len(self._entries) > _KEPT_CHANGES or self._kept_bytes > _KEPT_BYTES:
            dropped = self._entries.popleft()
            self._base = dropped.position
            self._kept_bytes -= len(dropped.encoded)

    def _settle(self) -> None:
        """Find out where to rest."""
        ended = self.stored.position == self.head and self.stored.job.state.terminal
        self.rest = None if ended or self.over else self.head

    def _finish(self, why: Exception) -> None:
        self.over = why
        self._frames.clear()
        self._settle()
        self.wake_all()
