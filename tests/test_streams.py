"""Streams beside a feed, on a real store, where what happens between two reads can be chosen."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from folded import Folded
from hubs import HubRoom, happened
from reports import JOB, PENDING, STAGED, granule, job, only
from stored import run

from jobstatus import v1 as pb
from jobstatus_grpc.model import Delivery
from jobstatus_grpc.store.base import JobStore, News
from jobstatus_grpc.streams import WatchQuery
from jobstatus_grpc.tokens import ResumePoint
from jobstatus_grpc.unheard import Unheard

TABLES = ("job", "granule", "change")


class Watch(Folded):
    """A stream of the hub's, folded as it comes."""

    async def send(self, frame: bytes) -> None:
        self.take(pb.WatchJobResponse.FromString(frame))


@asynccontextmanager
async def watching(room: HubRoom, point: ResumePoint | None, folded: Watch) -> AsyncIterator[Watch]:
    query = WatchQuery(JOB, point, Delivery.EVERY_CHANGE, 0.0, False, False, 0, heartbeat_interval=0.1)
    task = asyncio.create_task(room.hub.watch(query, folded.send))
    try:
        yield folded
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def copied(url: str) -> Iterator[None]:
    """Copy the jobs when first asked, and put them back when asked again."""
    run(url, *(f"create table {table}_copy as select * from {table}" for table in TABLES))
    yield
    run(url, *(f"delete from {table}" for table in TABLES))
    run(url, *(f"insert into {table} select * from {table}_copy" for table in TABLES))
    yield


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
            await happened(lambda: held.revision == result.position.revision)

    with ThreadPoolExecutor(4) as pool:
        asyncio.run(main(pool))


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
