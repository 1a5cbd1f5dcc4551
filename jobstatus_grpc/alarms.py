"""What wakes those who wait: news, or the time."""

from __future__ import annotations

import asyncio
from typing import Final

_NEVER: Final = float("inf")
# uvloop counts in milliseconds: rounded to the nearest one, half of all alarms would go off too early, and be
# set anew for nothing.
_ROUNDING: Final = 0.0005


class Alarm:
    """An alarm clock for one coroutine that waits again and again, mostly for news.

    A wait costs a future, but no timer: that of an earlier wait goes on, and is set anew when it goes off too
    early. So who is woken by news a hundred times a second sets a timer once in the time it would have waited
    without them.

    Lives on one event loop.
    """

    __slots__ = ("_goes_off", "_hears", "_loop", "_timer", "_until", "_waiter")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._until = _NEVER
        self._hears = False
        self._timer: asyncio.TimerHandle | None = None
        self._goes_off = _NEVER

    def wait(self, until: float, news: bool = True) -> asyncio.Future[None]:
        """Return what to await: it is done at the loop's time `until`, or when the alarm is rung.

        With `news`, also when there are any.
        """
        if until < self._goes_off:
            self._set_timer(until)
        self._until = until
        self._hears = news
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def tell(self) -> None:
        """Wake who waits for news."""
        # `ring`, written out: each frame tells every watcher.
        if self._hears and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def ring(self) -> None:
        """Wake who waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def waiting(self) -> bool:
        """Whether somebody waits."""
        return self._waiter is not None and not self._waiter.done()

    def close(self) -> None:
        """Have no timer any more, until somebody waits again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._goes_off = None, _NEVER

    def _set_timer(self, moment: float) -> None:
        self.close()
        self._timer = self._loop.call_at(moment + _ROUNDING, self._go_off)
        self._goes_off = moment

    def _go_off(self) -> None:
        self._timer, self._goes_off = None, _NEVER
        if self.waiting:
            if self._loop.time() >= self._until:
                self.ring()
            else:
                self._set_timer(self._until)
