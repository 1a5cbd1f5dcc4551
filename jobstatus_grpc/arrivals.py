"""Jobs that somebody waits for though nobody has reported them yet."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

from jobstatus_grpc.errors import StoreUnavailable
from jobstatus_grpc.model import JobKey
from jobstatus_grpc.store.base import StoredJob

_log = logging.getLogger(__name__)

# Asking again rests nine times as long as it took: at most a tenth of the time is spent on it.
_REST_FACTOR: Final = 9.0

_Outcome = StoredJob | Exception | None
_Waiter = asyncio.Future[_Outcome]


class Arrivals:
    """Asks for all the jobs waited for together, however many wait.

    Lives on one event loop. Args:
        read: returns those of the jobs that exist.
    """

    def __init__(self, read: Callable[[Sequence[JobKey]], Awaitable[Mapping[JobKey, StoredJob]]]) -> None:
        self._read = read
        self._waiters: dict[JobKey, set[_Waiter]] = {}
        self._asked: set[JobKey] = set()
        self._task: asyncio.Task[None] | None = None
        self._out = False

    async def wait(self, key: JobKey, until: float) -> StoredJob | None:
        """Return a job as soon as it is there; `None` at the loop's time `until`, or when woken.

        Raises:
            StoreUnavailable: at `until`, where the database did not answer the last question.
        """
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, set()).add(waiter)
        timer = asyncio.get_running_loop().call_at(until, self._expire, waiter)
        # It may have come since the caller looked.
        self.look([key])
        try:
            outcome = await waiter
            if isinstance(outcome, Exception):
                raise outcome.with_traceback(None)
            return outcome
        finally:
            timer.cancel()
            waiters = self._waiters[key]
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[key]

    def look(self, keys: Iterable[JobKey]) -> None:
        """Ask, soon, for those of the jobs that are waited for."""
        self._asked.update(key for key in keys if key in self._waiters)
        if self._asked and self._task is None:
            self._task = asyncio.create_task(self._ask())

    def look_for_all(self) -> None:
        """Ask, soon, for all the jobs that are waited for."""
        self.look(self._waiters)

    def wake(self) -> None:
        """End all waiting, with nothing."""
        self._release_all(None)

    def _expire(self, waiter: _Waiter) -> None:
        _release(waiter, StoreUnavailable() if self._out else None)

    async def _ask(self) -> None:
        """Ask until nobody wants it any more."""
        try:
            while self._asked:
                keys, self._asked = list(self._asked), set()
                start = time.monotonic()
                for key, stored in (await self._read(keys)).items():
                    for waiter in self._waiters.get(key, ()):
                        _release(waiter, stored)
                self._out = False
                await asyncio.sleep(_REST_FACTOR * (time.monotonic() - start))
        except StoreUnavailable:
            # The next poll asks for all of them again.
            self._out = True
            self._asked.clear()
        except Exception as error:
            # Nobody awaits this task: those who wait have to be told, or would go on for ever.
            _log.exception("asking for jobs that are waited for failed")
            self._release_all(error)
        finally:
            self._task = None

    def _release_all(self, outcome: _Outcome) -> None:
        for waiters in self._waiters.values():
            for waiter in waiters:
                _release(waiter, outcome)


def _release(waiter: _Waiter, outcome: _Outcome) -> None:
    if not waiter.done():
        waiter.set_result(outcome)
