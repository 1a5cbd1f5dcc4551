"""How fast a job gets on, from what has been seen of it."""

from __future__ import annotations

from collections import deque
from typing import Final

_WINDOW: Final = 30.0
_SHORTEST: Final = 1.0


class Pace:
    """The pace of the last half minute.

    Times are those of `time.monotonic()`, in seconds.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, at: float, done: int) -> None:
        """Take that so many granules have ended by then."""
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # They are tried again: what was done is not done any more.
        self._seen.append((at, done))
        # What was done when the window began is known from the last look before it.
        while len(self._seen) > 1 and self._seen[1][0] <= at - _WINDOW:
            self._seen.popleft()

    def rate(self, now: float) -> float | None:
        """Return how many granules end in a second; `None` while that can't be told."""
        if not self._seen or now - self._seen[0][0] < _SHORTEST:
            return None
        begun, before = self._seen[0]
        return (self._seen[-1][1] - before) / (now - begun)
