"""Documents on their way in and out: how many at once, and how long a client may take over the next part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from jobstatus_grpc.errors import ClientTooSlow, TooManyTransfers

Part = TypeVar("Part")


class Transfers:
    """Counts transfers, and loses patience with those that stand still. Lives on one event loop.

    Args:
        most: how many there may be at once. Each may fill a file of the temporary directory.
        patience: how long a client may take over the next part, in seconds.
    """

    def __init__(self, most: int, patience: float) -> None:
        self._most = most
        self._patience = patience
        self._open = 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Take a place for as long as the block lasts.

        Raises:
            TooManyTransfers: there is none.
        """
        if self._open >= self._most:
            raise TooManyTransfers(self._most)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def parts(self, source: AsyncIterable[Part]) -> AsyncIterator[Part]:
        """Yield what a client sends.

        Raises:
            ClientTooSlow: the next part did not come in time.
        """
        parts = aiter(source)
        while True:
            async with self.patient():
                try:
                    part = await anext(parts)
                except StopAsyncIteration:
                    return
            yield part

    @asynccontextmanager
    async def patient(self) -> AsyncIterator[None]:
        """End the block when it takes too long.

        Raises:
            ClientTooSlow: it did.
        """
        try:
            async with asyncio.timeout(self._patience) as limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise ClientTooSlow(self._patience) from None
