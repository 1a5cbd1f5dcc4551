"""A hub without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from jobstatus_grpc.convert.frames import FrameEncoder
from jobstatus_grpc.store.base import JobStore
from jobstatus_grpc.tokens import Tokens
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


async def happened(moment: Callable[[], bool]) -> None:
    """Return when it has."""
    async with asyncio.timeout(PATIENCE):
        while not moment():  # noqa: ASYNC110 (what it waits for is not the test's own)
            await asyncio.sleep(0.005)
