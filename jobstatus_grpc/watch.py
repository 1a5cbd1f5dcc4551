"""Watches: who watches what, and when to look again. No SQL, no gRPC.

Every stream is a coroutine (`streams.py`), without a thread or a queue of its own. Streams of one job share
a feed (`feeds.py`), which reads and encodes each change once. What makes feeds look: commits of this process,
news from others, and a poll of all watched jobs, which alone would be enough.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from jobstatus_grpc.alarms import Alarm
from jobstatus_grpc.arrivals import Arrivals
from jobstatus_grpc.batches import Batches
from jobstatus_grpc.coalescing import Coalescing
from jobstatus_grpc.deliveries import Entry, cut_frame
from jobstatus_grpc.errors import JobDeleted, JobNotFound, JobStatusError, StoreUnavailable
from jobstatus_grpc.feeds import Feed, Frame, FrameEncoder, Place, Reading, Replaced
from jobstatus_grpc.listening import Listener
from jobstatus_grpc.model import (
    Change,
    Delivery,
    Granule,
    GranuleKey,
    JobKey,
    NewsMode,
    Position,
    SubJob,
    Totals,
    WholeJob,
)
from jobstatus_grpc.snapshots import Snapshot, SnapshotShelf
from jobstatus_grpc.stalls import Pen, Stalls
from jobstatus_grpc.store.base import ChangeBatch, JobStore, News, NewsSource, StoredJob
from jobstatus_grpc.streams import Stream, WatchQuery, Write
from jobstatus_grpc.tokens import ResumePoint, Tokens
from jobstatus_grpc.unheard import Unheard

_READ_LIMIT: Final = 1000
_REST_FACTOR: Final = 9.0
# A draining server sends away at most so many streams a second, while its time for it lasts.
_DEPARTURES_PER_SECOND: Final = 1000


class WatchHub:
    """Keeps the feeds of the watched jobs up to date.

    Lives on one event loop. Args:
        store: what is watched.
        encoder: makes the frames.
        tokens: returns what signs tokens; raises StoreUnavailable before the store has been prepared.
        tail: threads that find jobs, and read their changes as they come.
        behind: threads that read changes for streams that have fallen behind.
        snapshots: threads that read snapshots.
        poll_interval: seconds between two looks at all watched jobs.
        max_age: seconds after which a stream has to reconnect, give or take a tenth.
        write_timeout: seconds after which a stream is ended whose client does not read.
        lag: told of the time of the latest change that is about to be sent, in microseconds since 1970.

    Attributes:
        sent_frames: how many frames have been sent.
        sent_changes: how many changes were in them.
    """

    def __init__(
        self,
        store: JobStore,
        encoder: FrameEncoder,
        tokens: Callable[[], Tokens],
        *,
        tail: Executor,
        behind: Executor,
        snapshots: Executor,
        poll_interval: float,
        max_age: float,
        write_timeout: float,
        lag: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.store = store
        self.encoder = encoder
        self.tokens = tokens
        self.max_age = max_age
        self.draining = False
        self.sent_frames = self.sent_changes = 0
        self._lag = lag
        self._tail = tail
        self._behind = behind
        self._catching_up = Coalescing(self._read_behind)
        failures = Coalescing(self._read_failures)
        self._reading = Reading(self.read_changes, self.why_gone, self.frame, failures)
        self._snapshots = snapshots
        self._finding = Batches(self._find_jobs, tail)
        self._shelf = SnapshotShelf(self.find_job, self._make_snapshot)
        self._poll_interval = poll_interval
        self._feeds: dict[int, Feed] = {}
        self._unheard = Unheard()
        self._arrivals = Arrivals(self._read_jobs)
        self._anything = asyncio.Event()
        self._news: NewsSource | None = None
        self._stalls = Stalls(write_timeout)
        self._streams: set[Stream] = set()

    async def run(self) -> None:
        """Look whenever there is news, and at every poll interval, until cancelled."""
        self._news = self.store.listen()
        listener = Listener(self._news, self._hear)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._stalls.run())
                group.create_task(self._keep_looking())
        finally:
            listener.close()

    def hint(self, job_pk: int, key: JobKey | None = None) -> None:
        """Look at a job that may have changed, or, where its ids are known, be new."""
        if key is not None:
            self._arrivals.look([key])
        feed = self._feeds.get(job_pk)
        if feed is None or feed.over:
            self._unheard.note(job_pk)
        else:
            feed.look()

    def drain(self, spread: float) -> None:
        """End all streams, each with a `reconnect` frame, and all waiting, and take no more.

        Not at one moment, at which all clients would come back together: over `spread` seconds, or
        faster if there are few.
        """
        self.draining = True
        self._arrivals.wake()
        now = asyncio.get_running_loop().time()
        streams = random.sample(list(self._streams), len(self._streams))
        step = min(1 / _DEPARTURES_PER_SECOND, spread / max(1, len(streams)))
        for index, stream in enumerate(streams):
            stream.leave_by(now + index * step)
        # All at once, and once: each then waits for its own moment.
        for feed in self._feeds.values():
            feed.wake_all()

    def watch(self, query: WatchQuery, write: Write) -> Coroutine[Any, Any, None]:
        """Return what sends one stream's frames, and returns when it has ended well.

        Raises:
            JobNotFound: there is no such job.
            JobDeleted: the job has been deleted.
            StoreUnavailable: the database did not answer before the first frame.
            ServerDraining, StreamExpired: the stream has to be resumed elsewhere.
            WatcherTooSlow: the client has stopped reading.
        """
        return Stream(self, query, write).run()

    @asynccontextmanager
    async def attend(self, stream: Stream) -> AsyncIterator[Pen]:
        """Keep an eye on a stream while the block sends its frames with what it is given.

        Raises:
            WatcherTooSlow: the client has stopped reading.
        """
        self._streams.add(stream)
        try:
            async with self._stalls.guard() as pen:
                yield pen
        finally:
            self._streams.discard(stream)

    async def await_job(self, key: JobKey, until: float) -> StoredJob | None:
        """Return a job as soon as somebody has reported it; at once if somebody has.

        Returns:
            The job; `None` at the loop's time `until`, and as soon as the server drains.

        Raises:
            StoreUnavailable: at `until`, where the database did not answer the last question.
        """
        return None if self.draining else await self._arrivals.wait(key, until)

    @property
    def news_mode(self) -> NewsMode:
        """How news from other processes come at this moment."""
        return NewsMode.POLL if self._news is None else self._news.mode

    def join(self, stored: StoredJob, position: Position, moment: float, alarm: Alarm) -> Feed:
        """Return the feed of a job that has been delivered up to `position`; `leave` gives it back.

        Args:
            stored: the job.
            position: its own, as read at `moment` of `time.monotonic()` or later.
            moment: news from then on may tell of what comes after `position`.
            alarm: whom the feed wakes.
        """
        feed = self._feeds.get(stored.job_pk)
        if feed is None or feed.over:
            feed = Feed(stored, position, self._reading)
            self._feeds[stored.job_pk] = feed
            if self._unheard.since(stored.job_pk, moment):
                feed.look()
        feed.watchers.add(alarm)
        return feed

    def leave(self, feed: Feed, alarm: Alarm) -> None:
        """Give a feed back; the last watcher ends it."""
        alarm.close()
        feed.watchers.discard(alarm)
        if not feed.watchers or feed.over:
            feed.end()
            if self._feeds.get(feed.stored.job_pk) is feed:
                del self._feeds[feed.stored.job_pk]

    def frame(self, delivery: Delivery, key: JobKey, job_pk: int, entries: Sequence[Entry]) -> Frame:
        """Put the next of consecutive entries, not empty, together to one frame."""
        encoded, last = cut_frame(delivery, entries, self.encoder.counted)
        point = ResumePoint(job_pk, last.position)
        place = self.place(key, point, last.totals)
        return Frame(self.encoder.changes(encoded, *place), point, place)

    def place(self, key: JobKey, point: ResumePoint, totals: Totals) -> Place:
        """Return where a stream is that has delivered a job's history up to `point`."""
        return Place(point.position.revision, totals, self.tokens().resume_token(key, point))

    async def read_changes(
        self, job_pk: int, position: Position
    ) -> tuple[ChangeBatch, Sequence[Entry]] | None:
        """Read and encode the changes after a position, in a thread.

        Raises:
            HistoryChanged: the position is not in the job's history.
            StoreUnavailable: the database does not answer.
        """
        read = await asyncio.get_running_loop().run_in_executor(self._tail, self._read, job_pk, position)
        if read is not None and read[0].changes:
            self._lag(read[0].changes[-1].change_time)
        return read

    async def catch_up(self, point: ResumePoint) -> tuple[ChangeBatch, Sequence[Entry]] | None:
        """Read and encode the changes after a point, once for all streams that are there at the moment.

        On threads of its own: who is behind does not hold up those who are not. Raises what `read_changes`
        raises.
        """
        return await self._catching_up(point)

    async def _read_behind(self, point: ResumePoint) -> tuple[ChangeBatch, Sequence[Entry]] | None:
        return await asyncio.get_running_loop().run_in_executor(self._behind, self._read, *point)

    async def _read_failures(self, job_pk: int) -> bytes:
        def read() -> bytes:
            failures = self.store.read_failures([job_pk]).get(job_pk)
            return b"" if failures is None else self.encoder.failures(failures)

        return await asyncio.get_running_loop().run_in_executor(self._tail, read)

    async def why_gone(self, key: JobKey) -> JobStatusError:
        """Return why a watched job is no longer there: Replaced, or JobDeleted.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        try:
            await self.find_job(key)
        except JobNotFound:
            return JobDeleted(*key)
        return Replaced("another job has the ids")

    async def find_job(self, key: JobKey) -> StoredJob:
        """Find a job by its ids, together with those that others ask for meanwhile.

        Raises:
            JobNotFound: there is no such job.
            StoreUnavailable: the database does not answer.
        """
        return await self._finding.ask(key)

    async def open_snapshot(self, key: JobKey, exact: bool) -> Snapshot:
        """Return a snapshot of a job, shared by those who ask for it together; `leave` gives it back.

        With `exact` it is of the job as it is now; otherwise a large one may have been begun a little ago.

        Raises:
            JobNotFound: there is no such job.
            StoreUnavailable: the database does not answer.
        """
        return await self._shelf.open(key, exact)

    def _make_snapshot(self, key: JobKey) -> Snapshot:
        snapshot = Snapshot(self.store, key, self.encoder, self.tokens())
        snapshot.start(self._snapshots)
        return snapshot

    async def read_tree(self, key: JobKey) -> tuple[StoredJob, Sequence[WholeJob]]:
        """Return a job with its sub-jobs, read at one moment.

        Raises:
            JobNotFound: there is no such job.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._behind, self.store.read_tree, key)

    async def _read_jobs(self, keys: Sequence[JobKey]) -> Mapping[JobKey, StoredJob]:
        return await asyncio.get_running_loop().run_in_executor(self._tail, self.store.read_jobs, keys)

    def _find_jobs(self, keys: Sequence[JobKey]) -> Sequence[StoredJob | JobNotFound]:
        found = self.store.read_jobs(keys)
        return [found[key] if key in found else JobNotFound(*key) for key in keys]

    def _read(self, job_pk: int, position: Position) -> tuple[ChangeBatch, Sequence[Entry]] | None:
        batch = self.store.read_changes(job_pk, position, _READ_LIMIT)
        if batch is None:
            return None
        return batch, [self._entry(change) for change in batch.changes]

    def _entry(self, change: Change) -> Entry:
        item: GranuleKey | str | None = None
        if isinstance(change.item, Granule):
            item = change.item.key
        elif isinstance(change.item, SubJob):
            item = change.item.job.job_id
        return Entry(change.position, change.totals, item, self.encoder.change(change))

    async def _keep_looking(self) -> None:
        while True:
            # Cleared first: news that come while the heads are being read are not in what is read.
            self._anything.clear()
            self._arrivals.look_for_all()
            start = time.monotonic()
            if await self._poll(start):
                await asyncio.sleep(_REST_FACTOR * (time.monotonic() - start))
            await self._sleep_until_news()

    async def _poll(self, moment: float) -> bool:
        """Compare the heads of all watched jobs with what their feeds have read; return whether it worked."""
        self._shelf.tidy()
        watched = list(self._feeds.items())
        if not watched:
            return True
        job_pks = [job_pk for job_pk, _ in watched]
        try:
            heads = await asyncio.get_running_loop().run_in_executor(
                self._tail, self.store.read_heads, job_pks
            )
        except StoreUnavailable:
            return False
        for job_pk, feed in watched:
            feed.confirm(heads.get(job_pk), moment)
        return True

    async def _sleep_until_news(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._poll_interval):
                await self._anything.wait()

    def _hear(self, news: News) -> None:
        if news.everything:
            self._unheard.note_all()
            self._anything.set()
        for job_pk in news.job_pks:
            self.hint(job_pk)
