"""One stream of `WatchJob`: what has been delivered, and what comes next."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from jobstatus_grpc.alarms import Alarm
from jobstatus_grpc.deliveries import Entry
from jobstatus_grpc.errors import (
    HistoryChanged,
    JobDeleted,
    JobNotFound,
    ServerDraining,
    StoreUnavailable,
    StreamExpired,
    Unavailable,
)
from jobstatus_grpc.feeds import Feed, Place, Replaced
from jobstatus_grpc.model import Delivery, JobKey, Totals, WholeJob
from jobstatus_grpc.pace import NO_PROGRESS, Progress, outlook_of, progress_at
from jobstatus_grpc.snapshots import Snapshot
from jobstatus_grpc.stalls import NEVER
from jobstatus_grpc.store.base import StoredJob
from jobstatus_grpc.tokens import ResumePoint

if TYPE_CHECKING:
    from jobstatus_grpc.watch import WatchHub

T = TypeVar("T")

Write = Callable[[bytes], Awaitable[None]]

_HEARTBEAT_JITTER: Final = 0.1
AGE_JITTER: Final = 0.1
# By which part of its interval a paced stream may come late to its turn.
_LATE: Final = 0.1
# How long the first look for a job may take before the stream says that it is alive, in seconds.
_FIRST_LOOK: Final = 0.25
# Within how many heartbeat intervals, and seconds, the first frame or an error comes: before a client that
# takes a silence of three intervals for a broken stream gives up.
_FIRST_INTERVALS: Final = 2.5
_LONGEST_FIRST: Final = 8.0
# How soon a stream that waits for the store notices that the server drains, in seconds.
_CHECK_INTERVAL: Final = 0.5
# How long a stream rests before it asks a store again that did not answer, in seconds.
_OUTAGE_PAUSE: Final = 1.0

# How long a heartbeat waits for what it tells besides, in seconds.
_SOON: Final = 0.1

_SNAPSHOT_INTERRUPTED: Final = "SNAPSHOT_INTERRUPTED"


class WatchQuery(NamedTuple):
    """What a stream is asked for.

    Attributes:
        key: the job's ids.
        point: where to go on; `None` to start with a snapshot.
        delivery: how changes are delivered.
        min_interval: how long a paced delivery rests between two frames of changes, in seconds.
        wait_for_job: whether to wait for a job that nobody has reported.
        snapshot_only: whether to end after the snapshot, or the changes up to now.
        max_frames: after how many frames to end; 0 for never.
        heartbeat_interval: how long the stream may be silent, in seconds.
    """

    key: JobKey
    point: ResumePoint | None
    delivery: Delivery
    min_interval: float
    wait_for_job: bool
    snapshot_only: bool
    max_frames: int
    heartbeat_interval: float


def _jittered(part: float) -> float:
    """Return a factor around 1, so that streams that began together do not beat together."""
    return random.uniform(1 - part, 1 + part)


def _next_turn(now: float, turn: float, interval: float) -> float:
    """Return when a paced stream that sends now, its last turn being at `turn`, sends again.

    Turns are multiples of the interval: streams of one pace go on at the same moments, and so send the same
    bytes. One that sends out of turn, after a quiet time, waits for the second turn from then, since the
    first may come too soon.
    """
    if now - turn < _LATE * interval:
        return turn + interval
    return (now // interval + 2) * interval


def _progress(feed: Feed) -> Progress:
    """Return how fast a job gets on at this moment."""
    outlook = outlook_of(feed.stored.job, feed.stored.pace)
    return progress_at(outlook, time.time_ns() // 1000)


class _Enough(Exception):
    """The stream has sent as many frames as were asked for."""


class Stream:
    """A stream, from its first frame to its end.

    It is either in a snapshot (no position, no token) or at a position of the job's history, and every frame
    tells exactly that.
    """

    def __init__(self, hub: WatchHub, query: WatchQuery, write: Write) -> None:
        self._hub = hub
        self._query = query
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm()
        self._expires = self._loop.time() + hub.max_age * _jittered(AGE_JITTER)
        # Streams that began together do not beat together.
        self._beat = query.heartbeat_interval * _jittered(_HEARTBEAT_JITTER)
        self._spoke = self._loop.time()
        self._first_due = self._spoke + min(_FIRST_INTERVALS * query.heartbeat_interval, _LONGEST_FIRST)
        self._rest_until = 0.0
        self._sent = 0
        self._partial = False
        self._stored: StoredJob | None = None
        self._last_read = self._confirmed = self._read_from = time.monotonic()
        self._point = query.point
        self._place = Place()

    def leave_by(self, moment: float) -> None:
        """End at this moment of the loop's time, if not before; a stream that waits has to be woken."""
        self._expires = min(self._expires, moment)

    async def run(self) -> None:
        """Send frames until the stream has ended well; see `WatchHub.watch` for the other endings."""
        async with self._hub.attend(self) as self._pen:
            with suppress(_Enough):
                while True:
                    try:
                        point = await self._begin()
                        if not self._query.snapshot_only:
                            await self._follow(point)
                        return
                    except (HistoryChanged, Replaced) as gone:
                        await self._reset(gone.reason)
                    except StoreUnavailable:
                        # Before the first frame it is an error; an open stream outlives the outage.
                        if not self._sent:
                            raise
                        await self._sit_out()

    async def _begin(self) -> ResumePoint:
        """Bring the stream into the job's history: by a snapshot, or by what has come after its token."""
        if self._point is None:
            if self._query.wait_for_job and self._stored is None:
                await self._await_job()
            return await self._send_snapshot()
        point = await self._catch_up(self._point)
        if self._query.snapshot_only and not self._sent:
            await self._heartbeat()
        return point

    async def _await_job(self) -> None:
        """Wait until the job is there, telling that the stream is alive and has nothing yet."""
        until = self._loop.time() + _FIRST_LOOK
        while await self._hub.await_job(self._query.key, min(until, self._expires)) is None:
            if self._hub.draining:
                # Nobody waits there any more; the stream's own moment to leave is to come.
                await asyncio.sleep(self._expires - self._loop.time())
            await self._end_if_due()
            if not self._sent or self._loop.time() >= self._heartbeat_due:
                await self._heartbeat()
            until = self._heartbeat_due

    async def _send_snapshot(self) -> ResumePoint:
        if self._partial:
            await self._reset(_SNAPSHOT_INTERRUPTED)
        self._confirmed = self._read_from = time.monotonic()
        try:
            if self._query.delivery is Delivery.NONE:
                return await self._send_job()
            opening = self._hub.open_snapshot(self._query.key, exact=self._query.snapshot_only)
            return await self._send_chunks(await self._patiently(opening))
        except JobNotFound:
            if self._sent:
                raise JobDeleted(*self._query.key) from None
            raise

    async def _send_job(self) -> ResumePoint:
        """Send a snapshot without granules: of one chunk."""
        stored = await self._patiently(self._hub.find_job(self._query.key))
        sub_jobs: Sequence[WholeJob] = ()
        if stored.job.sub_jobs.direct:
            stored, sub_jobs = await self._patiently(self._hub.read_tree(self._query.key))
        self._stored = stored
        point = self._arrive(ResumePoint(stored.job_pk, stored.position), stored.job.totals)
        await self._send(self._hub.encoder.snapshot(stored.job, sub_jobs, (), True, self._place.token))
        return point

    async def _send_chunks(self, snapshot: Snapshot) -> ResumePoint:
        try:
            index = 0
            while (chunk := await self._patiently(snapshot.chunk(index))) is not None:
                await self._end_if_due()
                index += 1
                self._partial = True
                self._stored = snapshot.stored
                self._place = Place(self._stored.job.revision, self._stored.job.totals)
                await self._send(chunk)
        finally:
            snapshot.leave()
        self._partial = False
        stored, self._read_from = snapshot.stored, snapshot.began
        return self._arrive(ResumePoint(stored.job_pk, stored.position), stored.job.totals)

    async def _catch_up(self, point: ResumePoint) -> ResumePoint:
        """Send everything after `point` that the store has, past the feed; return up to where."""
        while True:
            moment = time.monotonic()
            read = await self._patiently(self._hub.catch_up(point))
            if read is None:
                raise await self._hub.why_gone(self._query.key)
            batch, entries = read
            self._stored, self._last_read = batch.stored, moment
            self._confirmed = self._read_from = moment
            self._arrive(point, batch.totals)
            point = await self._send_entries(point, entries)
            if point.position == batch.stored.position:
                return point

    async def _send_entries(self, point: ResumePoint, entries: Sequence[Entry]) -> ResumePoint:
        while entries:
            frame = self._hub.frame(self._query.delivery, self._query.key, point.job_pk, entries)
            # Entries are consecutive: the frame's revision tells how many of them are in it.
            entries = entries[frame.place.revision - point.position.revision :]
            self._hub.sent_changes += frame.place.revision - point.position.revision
            point = self._point = frame.point
            self._place = frame.place
            await self._send(frame.data)
        return point

    async def _follow(self, point: ResumePoint) -> None:
        """Send changes as they happen, until the job has ended.

        Between looking at the feed and waiting for it nothing else is awaited, so no news is missed.
        """
        hub, stored, now, delivery = self._hub, self._stored, self._loop.time, self._query.delivery
        write, pen = self._write, self._pen
        if stored is None:
            raise AssertionError("nothing to follow")
        feed = self._hub.join(stored, point.position, self._read_from, self._alarm)
        try:
            await self._meet(feed, stored)
            while True:
                moment, position = now(), point.position
                if moment >= self._expires:
                    await self._end_if_due()
                elif position == feed.rest:
                    await self._rest(feed, moment)
                elif moment < self._rest_until and feed.goes_on_from(position):
                    await self._rest(feed, moment, self._rest_until, news=False)
                elif frame := feed.frame_after(position, delivery):
                    if delivery is not Delivery.EVERY_CHANGE:
                        self._rest_until = _next_turn(moment, self._rest_until, self._query.min_interval)
                    point = self._point = frame.point
                    self._place = frame.place
                    self._sent += 1
                    hub.sent_frames += 1
                    hub.sent_changes += point.position.revision - position.revision
                    pen.began = self._spoke = moment
                    await write(frame.data)
                    pen.began = NEVER
                    if self._sent == self._query.max_frames:
                        raise _Enough
                elif feed.over is not None:
                    raise feed.over.with_traceback(None)
                elif feed.lacks_failures:
                    await self._patiently(feed.read_failures())
                elif feed.holds(position):
                    await self._complete(feed)
                    return
                else:
                    point = await self._rejoin(feed, point)
        finally:
            self._hub.leave(feed, self._alarm)

    async def _meet(self, feed: Feed, stored: StoredJob) -> None:
        """Have a feed look again that knows more than this stream has just found.

        The store may have been set back since.
        """
        if feed.head.revision > stored.job.revision and feed.last_read < self._confirmed:
            await self._patiently(feed.looked())
            if feed.last_read < self._confirmed and feed.over is None:
                raise StoreUnavailable

    def _rest(self, feed: Feed, now: float, until: float = NEVER, news: bool = True) -> Awaitable[None]:
        """Return what to await while nothing is to be sent until then, unless there are news."""
        self._stored, self._last_read = feed.stored, feed.last_read
        due = self._spoke + self._beat
        if now >= due or not self._sent:
            return self._heartbeat(feed)
        if due > self._expires:
            due = self._expires
        return self._alarm.wait(due if due < until else until, news)

    async def _rejoin(self, feed: Feed, point: ResumePoint) -> ResumePoint:
        """Come back into the history that the feed holds, or wait for the feed to get there."""
        feed.look()
        if point.position.revision <= feed.head.revision or feed.last_read > self._confirmed:
            # Behind what the feed keeps, or ahead of all there is now: the store decides whether this is
            # another history than the feed's.
            reached = await self._catch_up(point)
            if reached != point:
                return reached
        await self._rest(feed, self._loop.time())
        return point

    async def _patiently(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns, keeping the stream alive meanwhile."""
        task = asyncio.create_task(work)
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=_CHECK_INTERVAL)
                if done:
                    return task.result()
                await self._end_if_due()
                if self._sent or self._point is None:
                    if self._loop.time() >= self._heartbeat_due:
                        await self._heartbeat()
                elif self._loop.time() >= self._first_due:
                    # What a token stands for is unknown until the store has confirmed it: no frame can
                    # tell it.
                    raise StoreUnavailable
        finally:
            task.cancel()

    async def _sit_out(self) -> None:
        """Rest while the store does not answer, keeping the stream alive."""
        end = self._loop.time() + _OUTAGE_PAUSE
        while self._loop.time() < end:
            await self._end_if_due()
            if self._loop.time() >= self._heartbeat_due:
                await self._heartbeat()
            await asyncio.sleep(_CHECK_INTERVAL)

    async def _end_if_due(self) -> None:
        """End the stream, with a frame that says so, if the server or the stream's age asks for it."""
        if self._loop.time() >= self._expires:
            error: Unavailable = ServerDraining() if self._hub.draining else StreamExpired()
            await self._send(self._hub.encoder.reconnect(*self._place, error.reason))
            raise error

    @property
    def _heartbeat_due(self) -> float:
        return self._spoke + (self._beat if self._sent else min(self._beat, _LONGEST_FIRST))

    async def _heartbeat(self, feed: Feed | None = None) -> None:
        if feed is not None and feed.failures_due:
            # What cannot be read at once is told as it was: a heartbeat does not wait.
            with suppress(TimeoutError, StoreUnavailable):
                async with asyncio.timeout(_SOON):
                    await feed.read_failures()
        last_report_time = None if self._stored is None else self._stored.last_report_time
        frame = self._hub.encoder.heartbeat(
            *self._place,
            lag=time.monotonic() - self._last_read,
            last_report_time=last_report_time,
            news_mode=self._hub.news_mode,
            failures=b"" if feed is None else feed.failures,
            progress=NO_PROGRESS if feed is None else _progress(feed),
        )
        await self._send(frame)

    async def _complete(self, feed: Feed) -> None:
        frame = self._hub.encoder.completed(
            feed.stored.job, self._place.token, feed.failures, _progress(feed)
        )
        await self._send(frame)

    async def _reset(self, reason: str) -> None:
        self._point, self._place, self._partial = None, Place(), False
        await self._send(self._hub.encoder.reset(reason))

    def _arrive(self, point: ResumePoint, totals: Totals) -> ResumePoint:
        """Have delivered everything up to `point`; return it."""
        self._point, self._place = point, self._hub.place(self._query.key, point, totals)
        return point

    async def _send(self, frame: bytes) -> None:
        self._sent += 1
        self._hub.sent_frames += 1
        self._pen.began = self._spoke = self._loop.time()
        await self._write(frame)
        self._pen.began = NEVER
        if self._sent == self._query.max_frames:
            raise _Enough
