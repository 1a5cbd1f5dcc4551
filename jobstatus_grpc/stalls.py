"""Watchers that stop reading.

gRPC takes frames for a client that does not read until the client's windows are full, some megabytes; then a
write waits, for ever. It is no error, and nothing says so but the time it takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from jobstatus_grpc.errors import WatcherTooSlow

_log = logging.getLogger(__name__)

# Seconds between two looks at all streams; a short timeout is looked at more often.
_LOOK_INTERVAL: Final = 1.0
_LOOKS_PER_TIMEOUT: Final = 4.0

NEVER: Final = float("inf")


class Stalls:
    """Lets go of streams whose client has not read for a time.

    One task looks at when each stream's current write began. A write costs two assignments: there is no
    timer and no task for it.

    Args:
        timeout: how long a write may take, in seconds.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._pens: set[Pen] = set()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(min(_LOOK_INTERVAL, self._timeout / _LOOKS_PER_TIMEOUT))
            latest = now() - self._timeout
            stalled = [pen for pen in self._pens if pen.began < latest]
            for pen in stalled:
                pen.drop()
            if stalled:
                _log.warning("let go of %d watchers that have stopped reading", len(stalled))

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[Pen]:
        """Watch over what the block writes, and end the block when a write takes too long.

        Raises:
            WatcherTooSlow: one did.
        """
        try:
            async with asyncio.timeout(None) as limit:
                pen = Pen(limit)
                self._pens.add(pen)
                try:
                    yield pen
                finally:
                    self._pens.discard(pen)
        except TimeoutError:
            if not limit.expired():
                raise
            raise WatcherTooSlow from None


class Pen:
    """What one stream is writing.

    Attributes:
        began: the loop's time at which the write under way began; NEVER between writes.
    """

    __slots__ = ("_limit", "began")

    def __init__(self, limit: asyncio.Timeout) -> None:
        self.began = NEVER
        self._limit = limit

    def drop(self) -> None:
        """Cancel what the stream is waiting for."""
        self.began = NEVER
        self._limit.reschedule(asyncio.get_running_loop().time())
