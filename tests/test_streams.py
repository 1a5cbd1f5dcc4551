"""Streams beside a feed, on a real store, where what happens between two reads can be chosen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from folded import Folded
from hubs import HubRoom, happened
from reports import JOB, PENDING, STAGED, granule, job, only
from stored import run

from jobstatus import v1 as pb
from jobstatus_grpc.model import Delivery
from jobstatus_grpc.store.base import JobStore
from jobstatus_grpc.streams import WatchQuery
from jobstatus_grpc.tokens import ResumePoint

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
