"""One call of `WaitJob`: what it waits for, and until when. No SQL, no gRPC.

A call has no thread and asks nothing by itself: it stands beside the watchers of its job's feed, and before
there is a job beside all who wait for one.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, NamedTuple

from jobstatus_grpc.alarms import Alarm
from jobstatus_grpc.errors import HistoryChanged, JobDeleted, JobNotFound, ServerDraining, StoreUnavailable
from jobstatus_grpc.feeds import Feed, Replaced
from jobstatus_grpc.model import Job, JobKey
from jobstatus_grpc.reads import StatusReader
from jobstatus_grpc.store.base import StoredJob
from jobstatus_grpc.unheard import ANY_TIME
from jobstatus_grpc.watch import WatchHub

# How long a call rests, in seconds, before it asks a store again that did not answer, or that has another
# history than the feed.
_PAUSE: Final = 0.5


class Until(NamedTuple):
    """What is waited for besides the end of a job.

    Attributes:
        any_failure: a failed granule.
        done_share: a share of the granules, above 0 and up to 1, that have ended; `None` for none.
    """

    any_failure: bool = False
    done_share: float | None = None

    def holds(self, job: Job) -> bool:
        """Return whether `job` need not be waited for any longer."""
        if job.state.terminal or (self.any_failure and job.totals.failed > 0):
            return True
        count = sum(job.totals)
        if self.done_share is None or not job.granules_complete or not count:
            return False
        # Divided, not multiplied: 7 of 100 is the very number 0.07, but 0.07 * 100 is more than 7.
        return (job.totals.succeeded + job.totals.failed) / count >= self.done_share


class WaitQuery(NamedTuple):
    """What a call is asked for.

    Attributes:
        key: the job's ids.
        until: what to wait for.
        timeout: how long at most, in seconds.
        wait_for_job: whether to wait for a job that nobody has reported.
        deadline: of each read of the database, a moment of `time.monotonic()`; `None` for none.
    """

    key: JobKey
    until: Until
    timeout: float
    wait_for_job: bool
    deadline: float | None = None


class Waited(NamedTuple):
    """What a call answers.

    Attributes:
        stored: the job, as one read found it.
        done: whether what was waited for holds for it.
    """

    stored: StoredJob
    done: bool


class Wait:
    """One call, from its first look to its answer."""

    def __init__(self, hub: WatchHub, reader: StatusReader, query: WaitQuery) -> None:
        self._hub = hub
        self._reader = reader
        self._query = query
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + query.timeout
        self._alarm = Alarm()
        self._answered = False
        self._found = False

    async def run(self) -> Waited:
        """Return what is true when the waiting ends.

        Raises:
            JobNotFound: there is no such job, not even at the end if one was to be waited for.
            JobDeleted: the job was deleted meanwhile.
            StoreUnavailable: the database did not answer at the beginning, or at the end.
            ServerDraining: somebody else has to be asked.
        """
        while True:
            late = self._late
            stored = await self._find()
            self._found = True
            done = self._holds(stored)
            if done or late:
                return Waited(stored, done)
            followed = await self._follow(stored)
            if followed is not None:
                return Waited(followed, True)

    def _holds(self, stored: StoredJob) -> bool:
        return self._query.until.holds(stored.job)

    async def _find(self) -> StoredJob:
        """Return the job as it is, or as soon as somebody reports it. An outage on the way is sat out."""
        stored = None
        while stored is None:
            if self._hub.draining:
                raise ServerDraining
            late = self._late
            try:
                stored = await self._reader.read_job(self._query.key, self._query.deadline)
            except StoreUnavailable:
                if late or not self._answered:
                    raise
                await asyncio.sleep(min(_PAUSE, max(0.0, self._end - self._loop.time())))
                continue
            except JobNotFound:
                if self._found:
                    raise JobDeleted(*self._query.key) from None
                if late or not self._query.wait_for_job:
                    raise
            self._answered = True
            if stored is None:
                # What it raises at the end the last read decides.
                with suppress(StoreUnavailable):
                    stored = await self._hub.await_job(self._query.key, self._end)
        return stored

    async def _follow(self, stored: StoredJob) -> StoredJob | None:
        """Return the job as soon as what is waited for holds; `None` if it has to be read again."""
        # A new feed looks whatever it has heard: a call has no time to wait for a poll.
        feed = self._hub.join(stored, stored.position, ANY_TIME, self._alarm)
        try:
            return await self._stand_by(feed) if await self._meet(feed, stored) else None
        finally:
            self._hub.leave(feed, self._alarm)

    async def _meet(self, feed: Feed, stored: StoredJob) -> bool:
        """Wait until the feed has come to what was read; return whether it has, or is over.

        Until then it tells what was true before, and a call must not answer less than it knows.
        """
        while feed.over is None and not feed.holds(stored.position):
            self._check_draining()
            if self._late:
                return False
            feed.look()
            if stored.position.revision <= feed.head.revision:
                # In another history, or further behind than what the feed keeps: to be read again.
                await self._alarm.wait(min(self._end, self._loop.time() + _PAUSE))
                return False
            await self._alarm.wait(self._end)
        return True

    async def _stand_by(self, feed: Feed) -> StoredJob | None:
        """Look at every head of the feed until what is waited for holds; `None` for a new history or the end.

        Between looking at the feed and waiting for it nothing else is awaited, so no news is missed.
        """
        while True:
            self._check_draining()
            if isinstance(feed.over, HistoryChanged | Replaced):
                return None
            if feed.over is not None:
                raise feed.over.with_traceback(None)
            if self._holds(feed.stored):
                return feed.stored
            if self._late:
                return None
            await self._alarm.wait(self._end)

    @property
    def _late(self) -> bool:
        return self._loop.time() >= self._end

    def _check_draining(self) -> None:
        if self._hub.draining:
            raise ServerDraining
