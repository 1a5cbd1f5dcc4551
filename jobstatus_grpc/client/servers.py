"""The servers of one service: whom to ask, and how long to wait before asking again."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Final

from jobstatus_grpc.client.errors import JobStatusRpcError

LONGEST_PAUSE: Final = 5.0

_FIRST_PAUSE: Final = 0.1


class Servers:
    """Addresses that serve the same, and which of them answered last.

    All calls of a client share it: where one has found nobody, the next begins elsewhere. Safe in any thread,
    since each call only ever replaces the current address by another valid one.

    Args:
        addresses: one or several `host:port`; a single text may have several, separated by commas.

    Raises:
        ValueError: there is none.
    """

    def __init__(self, addresses: str | Sequence[str]) -> None:
        given = addresses.split(",") if isinstance(addresses, str) else addresses
        self.addresses = tuple(address.strip() for address in given)
        if not self.addresses or not all(self.addresses):
            raise ValueError(f"there is an address missing in {addresses!r}")
        self.current = self.addresses[0]

    def leave(self, address: str) -> None:
        """Take that `address` does not answer."""
        if self.current == address:
            self.current = self.addresses[(self.addresses.index(address) + 1) % len(self.addresses)]


class Turns:
    """The turns of one call, which goes from server to server until one answers.

    Attributes:
        server: whose turn it is.
    """

    def __init__(self, servers: Servers) -> None:
        self.server = servers.current
        self._servers = servers
        self._failures = 0
        self._not_before: dict[str, float] = {}

    @property
    def left_in_round(self) -> int:
        """How many servers have not failed since one was well or all have, this one among them."""
        count = len(self._servers.addresses)
        return count - self._failures % count

    def well(self) -> None:
        """Take that the server is well: what fails from now on begins with short pauses."""
        self._failures = 0

    def move(self) -> None:
        """Let another server have its turn, if there is one."""
        self._servers.leave(self.server)
        self.server = self._servers.current

    def failed(self, failure: JobStatusRpcError) -> float:
        """Move on, and return for how many seconds to wait before the next server is asked.

        No server is asked sooner than it has said itself.
        """
        now = time.monotonic()
        if failure.retry_delay is not None:
            self._not_before[self.server] = now + pause_told(failure.retry_delay)
        pause = pause_after(self._failures // len(self._servers.addresses))
        self._failures += 1
        self.move()
        return max(pause, self._not_before.pop(self.server, now) - now)


def pause_after(rounds: int) -> float:
    """Return for how many seconds to wait when all servers have failed so many times."""
    longest = min(LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(rounds, 10))
    return longest * random.uniform(0.5, 1.0)


def pause_told(delay: float) -> float:
    """Return a little more than a server told: so that not all who were told the same come at once."""
    return delay * random.uniform(1.0, 1.25)
