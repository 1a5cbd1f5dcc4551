"""Calls for the same thing, made as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Coalescing(Generic[K, V]):
    """Shares one call among all who ask for the same key while the call before is under way.

    Nobody joins a call that has begun already: what is returned was read after it was asked for.

    Args:
        call: what is called, with a key.
    """

    def __init__(self, call: Callable[[K], Awaitable[V]]) -> None:
        self._call = call
        self._running: dict[K, asyncio.Task[V]] = {}
        self._next: dict[K, asyncio.Task[V]] = {}

    async def __call__(self, key: K) -> V:
        """Return what the call returns, or raise what it raises, for `key`."""
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._run(key, self._running.get(key)))
            # Its failure is for those who wait; there may be none left.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._next[key] = task
        # One caller's cancellation is not the others'.
        return await asyncio.shield(task)

    async def _run(self, key: K, before: asyncio.Task[V] | None) -> V:
        if before is not None:
            await asyncio.wait({before})
        task = self._running[key] = self._next.pop(key)
        try:
            return await self._call(key)
        finally:
            if self._running.get(key) is task:
                del self._running[key]
