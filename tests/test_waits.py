"""Waiting beside the feeds, on a real store: what holds, and what happens between two looks.

But for the outages no hub polls here: whatever is noticed was noticed by the waiting itself.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hubs import PATIENCE, HubRoom, happened
from proxy import Proxy
from reports import FAILED, JOB, PENDING, SUCCEEDED, Ledger, granule, job, only
from stored import run

from jobstatus_grpc.alarms import Alarm
from jobstatus_grpc.arrivals import Arrivals
from jobstatus_grpc.convert.answers import AnswerEncoder
from jobstatus_grpc.errors import JobDeleted, JobNotFound, ServerDraining, StoreUnavailable
from jobstatus_grpc.model import GranuleState, JobKey, JobState
from jobstatus_grpc.reads import StatusReader
from jobstatus_grpc.store import open_store
from jobstatus_grpc.store.base import JobStore, StoredJob
from jobstatus_grpc.tokens import Tokens
from jobstatus_grpc.waits import Until, Wait, Waited, WaitQuery


class Room(HubRoom):
    """A hub that looks only when it is told to, unless it is run, and a reader."""

    def __init__(self, store: JobStore, pool: ThreadPoolExecutor) -> None:
        super().__init__(store, pool)
        self.pool = pool
        self.reader = self.make_reader(StatusReader)

    def make_reader(self, kind: type[StatusReader]) -> StatusReader:
        tokens = Tokens(*self.store.identity)
        return kind(self.store, AnswerEncoder(), lambda: tokens, together=self.pool, alone=self.pool)

    def wait(
        self, until: Until | None = None, timeout: float = PATIENCE, wait_for_job: bool = False
    ) -> asyncio.Task[Waited]:
        query = WaitQuery(JOB, until or Until(), timeout, wait_for_job)
        return asyncio.create_task(Wait(self.hub, self.reader, query).run())


@asynccontextmanager
async def opened(store: JobStore) -> AsyncIterator[Room]:
    with ThreadPoolExecutor(4) as pool:
        yield Room(store, pool)


@pytest.mark.parametrize(
    ("until", "states", "fields", "holds"),
    [
        (Until(), [SUCCEEDED, PENDING], {}, False),
        (Until(), [SUCCEEDED], {}, False),
        (Until(), [SUCCEEDED], {"granules_complete": True}, True),
        (Until(), [PENDING], {"state": JobState.FAILED}, True),
        (Until(), [PENDING], {"state": JobState.UNSPECIFIED, "native_state": "?"}, False),
        (Until(any_failure=True), [SUCCEEDED, PENDING], {}, False),
        (Until(any_failure=True), [FAILED, PENDING], {}, True),
        (Until(any_failure=True), [PENDING], {"state": JobState.FAILED}, True),
        (Until(any_failure=True), [SUCCEEDED], {"granules_complete": True}, True),
        (Until(done_share=0.5), [SUCCEEDED, FAILED, PENDING, PENDING], {}, False),
        (Until(done_share=0.5), [SUCCEEDED, FAILED, PENDING, PENDING], {"granules_complete": True}, True),
        (Until(done_share=math.nextafter(0.5, 1)), [SUCCEEDED, PENDING], {"granules_complete": True}, False),
        (Until(done_share=1.0), [SUCCEEDED, PENDING], {"granules_complete": True}, False),
        (Until(done_share=5e-324), [PENDING, PENDING], {"granules_complete": True}, False),
        (Until(done_share=5e-324), [FAILED, PENDING], {"granules_complete": True}, True),
        (Until(done_share=0.1), [], {"granules_complete": True, "state": JobState.RUNNING}, False),
    ],
)
def test_what_is_waited_for_holds_exactly_when_it_should(
    until: Until, states: Sequence[GranuleState], fields: Mapping[str, Any], holds: bool
) -> None:
    granules = [granule(f"g{index}", state) for index, state in enumerate(states)]
    assert until.holds(Ledger(job(*granules, **fields)).stands) is holds


def test_a_share_written_in_decimals_holds_at_that_very_count() -> None:
    for ended in range(1, 1001):
        granules = job(granules_complete=True, state=JobState.RUNNING)
        stand = Ledger(granules).stands
        stand = stand._replace(totals=stand.totals._replace(succeeded=ended, pending=1000 - ended))
        fewer = stand._replace(totals=stand.totals._replace(succeeded=ended - 1, pending=1001 - ended))
        until = Until(done_share=float(f"0.{ended:03}") if ended < 1000 else 1.0)
        assert until.holds(stand)
        assert not until.holds(fewer)


class EndingReader(StatusReader):
    """Somebody else ends the job right after it was first read."""

    ended = False

    async def read_job(self, key: JobKey, deadline: float | None) -> StoredJob:
        stored = await super().read_job(key, deadline)
        if not self.ended:
            self.ended = True
            self._store.report(job(state=JobState.SUCCEEDED))
        return stored


def test_a_job_that_ends_between_the_first_look_and_the_waiting_is_noticed(store: JobStore) -> None:
    async def play() -> None:
        async with opened(store) as room:
            store.report(job(state=JobState.RUNNING))
            room.reader = room.make_reader(EndingReader)
            waited = await asyncio.wait_for(room.wait(), PATIENCE)
            assert (waited.done, waited.stored.job.state) == (True, JobState.SUCCEEDED)

    asyncio.run(play())


def test_an_older_feed_does_not_answer_for_a_job_that_was_reopened(store: JobStore) -> None:
    async def play() -> None:
        async with opened(store) as room:
            pk = store.report(job(state=JobState.FAILED)).job_pk
            ended = store.read_job(JOB)
            alarm = Alarm()
            feed = room.hub.join(ended, ended.position, time.monotonic(), alarm)
            store.report(job(state=JobState.RUNNING, attempt=2))
            waiting = room.wait()
            await happened(lambda: feed.head.revision == 2)
            await room.watched(pk)
            assert not waiting.done()
            store.report(job(state=JobState.SUCCEEDED, attempt=2))
            room.hub.hint(pk)
            assert (await waiting).stored.job.state is JobState.SUCCEEDED
            room.hub.leave(feed, alarm)

    asyncio.run(play())


def test_a_job_that_was_replaced_meanwhile_is_waited_for_anew(store: JobStore) -> None:
    async def play() -> None:
        async with opened(store) as room:
            old = store.report(job(state=JobState.RUNNING)).job_pk
            waiting = room.wait()
            await room.watched(old)
            store.delete_job(JOB)
            new = store.report(job(state=JobState.RUNNING)).job_pk
            room.hub.hint(old)
            await room.watched(new)
            assert not waiting.done()
            store.report(job(state=JobState.SUCCEEDED))
            room.hub.hint(new)
            waited = await waiting
            assert (waited.done, waited.stored) == (True, store.read_job(JOB))

    asyncio.run(play())


def test_a_history_that_was_reset_meanwhile_is_waited_for_anew(store: JobStore, database_url: str) -> None:
    async def play() -> None:
        async with opened(store) as room:
            pk = store.report(job(state=JobState.RUNNING)).job_pk
            waiting = room.wait()
            await room.watched(pk)
            first = room.hub._feeds[pk]
            run(database_url, "update change set commit_id = 7", "update job set commit_id = 7")
            room.hub.hint(pk)
            await happened(lambda: room.hub._feeds.get(pk) not in (None, first))
            await room.watched(pk)
            assert not waiting.done()
            store.report(job(state=JobState.SUCCEEDED))
            room.hub.hint(pk)
            assert (await waiting).stored.job.state is JobState.SUCCEEDED

    asyncio.run(play())


def test_a_feed_of_another_history_does_not_answer(store: JobStore, database_url: str) -> None:
    """The database was restored to where the job had not ended, and the feed does not know yet."""

    async def play() -> None:
        async with opened(store) as room:
            pk = store.report(job(state=JobState.RUNNING)).job_pk
            run(database_url, "create table kept as select * from job")
            store.report(job(state=JobState.SUCCEEDED))
            ended = store.read_job(JOB)
            alarm = Alarm()
            feed = room.hub.join(ended, ended.position, time.monotonic(), alarm)
            columns = "revision, commit_id, state"
            run(
                database_url,
                f"update job set ({columns}) = (select {columns} from kept)",
                "delete from change where revision > 1",
            )
            waiting = room.wait()
            await happened(lambda: feed.over is not None)
            await room.watched(pk)
            assert not waiting.done()
            waiting.cancel()
            room.hub.leave(feed, alarm)

    asyncio.run(play())


def test_a_job_deleted_meanwhile_is_told_from_one_that_never_was(store: JobStore) -> None:
    async def play() -> None:
        async with opened(store) as room:
            with pytest.raises(JobNotFound):
                await room.wait()
            pk = store.report(job(state=JobState.RUNNING)).job_pk
            waiting = room.wait()
            await room.watched(pk)
            store.delete_job(JOB)
            room.hub.hint(pk, JOB)
            with pytest.raises(JobDeleted):
                await waiting

    asyncio.run(play())


def test_whoever_gives_up_leaves_nothing_behind(store: JobStore) -> None:
    async def play() -> None:
        async with opened(store) as room:
            early = room.wait(wait_for_job=True)
            await happened(lambda: bool(room.hub._arrivals._waiters))
            early.cancel()
            with pytest.raises(asyncio.CancelledError):
                await early
            assert room.hub._arrivals._waiters == {}
            pk = store.report(job(state=JobState.RUNNING)).job_pk
            waiting = [room.wait() for _ in range(3)]
            await room.watched(pk)
            await happened(lambda: len(room.hub._feeds[pk].watchers) == 3)
            for each in waiting:
                each.cancel()
            await asyncio.wait(waiting)
            assert all(each.cancelled() for each in waiting)
            assert room.hub._feeds == {}

    asyncio.run(play())


@pytest.mark.parametrize("reported", [True, False])
def test_all_waiting_ends_when_the_server_drains(store: JobStore, reported: bool) -> None:
    async def play() -> None:
        async with opened(store) as room:
            if reported:
                store.report(job(state=JobState.RUNNING))
            waiting = room.wait(wait_for_job=True)
            hub = room.hub
            await happened(
                lambda: any(feed.watchers for feed in hub._feeds.values()) or bool(hub._arrivals._waiters)
            )
            hub.drain(0.0)
            with pytest.raises(ServerDraining):
                await waiting
            with pytest.raises(ServerDraining):
                await room.wait(wait_for_job=True)

    asyncio.run(play())


def test_a_commit_of_this_process_wakes_who_waits_for_its_job_at_once(store: JobStore) -> None:
    async def play() -> None:
        async with opened(store) as room:
            waiting = room.wait(Until(any_failure=True), wait_for_job=True)
            arrivals = room.hub._arrivals
            await happened(lambda: JOB in arrivals._waiters and arrivals._task is None)
            pk = store.report(job(granule("a", PENDING))).job_pk
            room.hub.hint(pk, JobKey("default", "another"))
            assert arrivals._task is None
            room.hub.hint(pk, JOB)
            await room.watched(pk)
            store.report(only(granule("a", FAILED)))
            room.hub.hint(pk, JOB)
            waited = await waiting
            assert (waited.done, waited.stored.job.totals.failed) == (True, 1)

    asyncio.run(play())


def test_all_jobs_waited_for_are_asked_for_in_one_question(store: JobStore) -> None:
    async def play() -> None:
        questions: list[set[JobKey]] = []

        async def read(keys: Sequence[JobKey]) -> Mapping[JobKey, StoredJob]:
            questions.append(set(keys))
            return store.read_jobs(keys)

        arrivals = Arrivals(read)
        keys = [JobKey("p", f"j{number}") for number in range(100)]
        end = asyncio.get_running_loop().time() + PATIENCE
        waiting = [asyncio.create_task(arrivals.wait(key, end)) for key in keys for _ in range(3)]
        await happened(lambda: bool(questions) and arrivals._task is None)
        for key in keys:
            store.report(job(key=key))
        del questions[:]
        arrivals.look_for_all()
        found = await asyncio.gather(*waiting)
        assert [stored and stored.job.key for stored in found] == [key for key in keys for _ in range(3)]
        assert questions == [set(keys)]
        arrivals.look_for_all()
        await happened(lambda: arrivals._task is None)
        assert len(questions) == 1

    asyncio.run(play())


def test_whoever_waits_for_a_job_hears_at_the_end_whether_the_database_answers(store: JobStore) -> None:
    async def play() -> None:
        answers = True

        async def read(keys: Sequence[JobKey]) -> Mapping[JobKey, StoredJob]:
            if not answers:
                raise StoreUnavailable
            return store.read_jobs(keys)

        arrivals = Arrivals(read)
        loop = asyncio.get_running_loop()
        assert await arrivals.wait(JOB, loop.time() + 0.2) is None
        answers = False
        await happened(lambda: arrivals._task is None)
        with pytest.raises(StoreUnavailable):
            await arrivals.wait(JOB, loop.time() + 0.2)
        outlives = asyncio.create_task(arrivals.wait(JOB, loop.time() + PATIENCE))
        await happened(lambda: bool(arrivals._waiters) and arrivals._task is None)
        answers = True
        store.report(job())
        arrivals.look_for_all()
        assert await outlives == store.read_job(JOB)

    asyncio.run(play())


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    with Proxy(postgres_url) as made:
        yield made


@pytest.fixture
def far(proxy: Proxy) -> Iterator[JobStore]:
    """A store that reaches its database through the proxy."""
    opened_store = open_store(proxy.url)
    opened_store.prepare()
    yield opened_store
    proxy.resume()
    opened_store.close()


@pytest.fixture
def near(postgres_url: str) -> Iterator[JobStore]:
    """A store that has the same database at hand."""
    opened_store = open_store(postgres_url)
    opened_store.prepare()
    yield opened_store
    opened_store.close()


@asynccontextmanager
async def running(store: JobStore) -> AsyncIterator[Room]:
    """Give a room whose hub runs."""
    async with opened(store) as room:
        hub = asyncio.create_task(room.hub.run())
        yield room
        hub.cancel()
        await asyncio.wait({hub})


@pytest.mark.parametrize("reported", [True, False])
@pytest.mark.parametrize("lasts", [True, False])
def test_an_outage_is_sat_out_and_told_only_at_the_end(
    proxy: Proxy, far: JobStore, near: JobStore, reported: bool, lasts: bool
) -> None:
    async def play() -> None:
        async with running(far) as room:
            if reported:
                near.report(job(state=JobState.RUNNING))
            waiting = room.wait(timeout=8 if lasts else PATIENCE, wait_for_job=True)
            hub = room.hub
            await happened(
                lambda: any(feed.watchers for feed in hub._feeds.values()) or bool(hub._arrivals._waiters)
            )
            proxy.stall()
            with pytest.raises(StoreUnavailable):
                await room.reader.read_job(JOB, None)
            near.report(job(state=JobState.SUCCEEDED))
            assert not waiting.done()
            if lasts:
                with pytest.raises(StoreUnavailable):
                    await waiting
                proxy.resume()
            else:
                proxy.resume()
                assert (await waiting).stored.job.state is JobState.SUCCEEDED

    asyncio.run(play())
