"""Streams beside a feed, on a real store, where what happens between two reads can be chosen."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from hubs import HubRoom, Watch, happened, watching
from reports import JOB, PENDING, STAGED, granule, job, only
from stored import copied

from jobstatus_grpc.errors import JobNotFound
from jobstatus_grpc.model import Delivery, JobKey
from jobstatus_grpc.store.base import JobStore, News
from jobstatus_grpc.streams import WatchQuery
from jobstatus_grpc.tokens import ResumePoint
from jobstatus_grpc.unheard import Unheard


def test_a_stream_ahead_of_its_feed_is_reset_when_the_database_is_set_back_to_where_the_feed_is(
    store: JobStore, database_url: str
) -> None:
    async def main(pool: ThreadPoolExecutor, tail: ThreadPoolExecutor) -> None:
        room = HubRoom(store, pool, tail)
        result = store.report(job(*(granule(name, PENDING) for name in "abcd")))
        backup = copied(database_url)
        next(backup)
        point = ResumePoint(result.job_pk, result.position)
        async with watching(room, None, Watch()) as first:
            await room.watched(result.job_pk)
            # Past the hub, which is not told.
            lost = store.report(only(*(granule(name, STAGED) for name in "abcd")))
            # From here on the feed reads nothing: its thread has something else to do.
            tail.submit(released.wait)
            async with watching(room, point, first.copy()) as ahead:
                await happened(lambda: ahead.revision == lost.position.revision)
                assert first.revision == result.position.revision
                next(backup)
                released.set()
                await happened(lambda: bool(ahead.resets) and ahead.whole)
                assert (ahead.resets, ahead.revision) == (["HISTORY_CHANGED"], first.revision)
                assert ahead.granules == first.granules
                room.hub.hint(store.report(only(granule("a", STAGED))).job_pk)
                await happened(lambda: min(first.revision, ahead.revision) > result.position.revision)
                assert first.resets == []

    released = threading.Event()
    with ThreadPoolExecutor(4) as pool, ThreadPoolExecutor(1) as tail:
        try:
            asyncio.run(main(pool, tail))
        finally:
            released.set()


class Held(Watch):
    """A stream whose first frame waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.came = asyncio.Event()
        self.go = asyncio.Event()

    async def send(self, frame: bytes) -> None:
        self.came.set()
        await self.go.wait()
        await super().send(frame)


def everything(room: HubRoom, job_pk: int) -> None:
    room.hub._hear(News(everything=True))


@pytest.mark.parametrize("tell", [lambda room, job_pk: room.hub.hint(job_pk), everything])
def test_news_that_come_before_a_stream_has_got_to_its_feed_are_looked_into(
    store: JobStore, tell: Callable[[HubRoom, int], None]
) -> None:
    async def main(pool: ThreadPoolExecutor) -> None:
        room = HubRoom(store, pool)
        job_pk = store.report(job(granule("a", PENDING))).job_pk
        async with watching(room, None, held := Held()):
            await held.came.wait()
            result = store.report(only(granule("a", STAGED)))
            tell(room, job_pk)
            held.go.set()
            await happened(lambda: held.revision == result.position.revision, 20)

    with ThreadPoolExecutor(4) as pool:
        asyncio.run(main(pool))


class Counted(ThreadPoolExecutor):
    """Threads that count what they are given to do."""

    given = 0

    def submit(self, *work: Any, **arguments: Any) -> Future[Any]:
        self.given += 1
        return super().submit(*work, **arguments)


def test_streams_of_many_jobs_that_open_together_ask_for_them_together(store: JobStore) -> None:
    keys = [JobKey("default", f"job-{number}") for number in range(40)]
    missing = keys[7]

    async def main(pool: ThreadPoolExecutor, tail: Counted) -> None:
        room = HubRoom(store, pool, tail)
        for key in keys:
            if key != missing:
                store.report(job(granule(key.job_id, PENDING), key=key))
        watches = [Watch() for _ in keys]
        queries = [WatchQuery(key, None, Delivery.EVERY_CHANGE, 0.0, False, True, 0, 1.0) for key in keys]
        ends = await asyncio.gather(
            *(room.hub.watch(query, watch.send) for query, watch in zip(queries, watches, strict=True)),
            return_exceptions=True,
        )
        assert tail.given <= 2
        for key, watch, end in zip(keys, watches, ends, strict=True):
            if key == missing:
                assert isinstance(end, JobNotFound)
                assert key.job_id in str(end)
            else:
                assert end is None
                assert [name for _, name in watch.granules] == [key.job_id]

    with ThreadPoolExecutor(4) as pool, Counted(2) as tail:
        asyncio.run(main(pool, tail))


def test_news_of_more_jobs_than_are_remembered_are_news_of_any() -> None:
    unheard = Unheard()
    moment = time.monotonic()
    unheard.note(1)
    assert unheard.since(1, moment)
    assert not unheard.since(2, moment)
    assert not unheard.since(1, time.monotonic() + 1)
    for job_pk in range(3, 10_004):
        unheard.note(job_pk)
    assert unheard.since(2, moment)


def test_a_stream_begun_after_a_restore_gets_nothing_that_its_feed_still_has(
    store: JobStore, database_url: str
) -> None:
    async def main(pool: ThreadPoolExecutor) -> None:
        room = HubRoom(store, pool)
        result = store.report(job(granule("a", PENDING)))
        backup = copied(database_url)
        next(backup)
        async with watching(room, None, Watch()) as first:
            await room.watched(result.job_pk)
            lost = store.report(only(granule("a", STAGED)))
            room.hub.hint(lost.job_pk)
            await happened(lambda: first.revision == lost.position.revision)
            await room.watched(result.job_pk)
            next(backup)
            async with watching(room, None, Watch()) as second:
                await happened(lambda: len(second.heartbeats) > 2)
                assert (second.revision, second.revisions) == (result.position.revision, [])
                # It has had the feed look, for all.
                assert first.resets == ["HISTORY_CHANGED"]

    with ThreadPoolExecutor(4) as pool:
        asyncio.run(main(pool))


@pytest.mark.parametrize("waits_for_job", [False, True])
def test_a_stream_whose_client_leaves_ends_and_leaves_nothing_behind(
    store: JobStore, waits_for_job: bool
) -> None:
    async def main(pool: ThreadPoolExecutor) -> None:
        room, watch = HubRoom(store, pool), Watch()
        if not waits_for_job:
            store.report(job(granule("a", PENDING)))
        query = WatchQuery(JOB, None, Delivery.EVERY_CHANGE, 0.0, waits_for_job, False, 0, 0.1)
        left = asyncio.create_task(room.hub.watch(query, watch.send))
        try:
            await happened(lambda: len(watch.heartbeats) > 1)
            # As gRPC does it.
            left.cancel()
            await happened(left.done, 5)
            assert left.cancelled()
            assert (room.hub._feeds, room.hub._streams, room.hub._arrivals._waiters) == ({}, set(), {})
            await happened(lambda: asyncio.all_tasks() == {asyncio.current_task()}, 5)
        finally:
            # Whoever has not gone goes now.
            room.hub.drain(0.0)

    with ThreadPoolExecutor(4) as pool:
        asyncio.run(main(pool))
