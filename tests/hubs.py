"""A hub without a server, and streams of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from typing import Final

from folded import Folded
from reports import JOB

from jobstatus import v1 as pb
from jobstatus_grpc.convert.frames import FrameEncoder
from jobstatus_grpc.model import Delivery
from jobstatus_grpc.store.base import JobStore
from jobstatus_grpc.streams import WatchQuery
from jobstatus_grpc.tokens import ResumePoint, Tokens
from jobstatus_grpc.watch import WatchHub

PATIENCE: Final = 60.0


class HubRoom:
    """A hub that looks only when it is told to, unless it is run.

    Args:
        store: what is watched.
        pool: threads that read.
        tail: threads that read changes as they come; those of `pool` if there are none of their own.
    """

    def __init__(self, store: JobStore, pool: Executor, tail: Executor | None = None) -> None:
        self.store = store
        self.hub = WatchHub(
            store,
            FrameEncoder(),
            lambda: Tokens(*store.identity),
            tail=tail or pool,
            behind=pool,
            snapshots=pool,
            poll_interval=0.2,
            max_age=3600,
            write_timeout=30,
        )

    async def watched(self, job_pk: int) -> None:
        """Return when somebody waits beside the feed of a job, and the feed rests."""
        feeds = self.hub._feeds
        await happened(lambda: job_pk in feeds and any(alarm.waiting for alarm in feeds[job_pk].watchers))
        await happened(lambda: job_pk in feeds and feeds[job_pk]._task is None)


class Watch(Folded):
    """What a stream of the hub's has sent, folded."""

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


async def happened(moment: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Return when it has.

    Raises:
        AssertionError: it has not within that many seconds.
    """
    end = time.monotonic() + seconds
    while not moment():
        assert time.monotonic() < end, f"has not happened within {seconds} s"
        await asyncio.sleep(0.005)
