"""News of jobs that nobody follows."""

from __future__ import annotations

import time
from typing import Final

_MOST: Final = 10_000

ANY_TIME: Final = 0.0
"""A moment since which there may always have been news."""


class Unheard:
    """When there were news of jobs that nobody followed at that moment.

    Somebody may have just read one, to follow it: for them the news have come too early. In doubt, that is
    of what has been forgotten for the number of jobs, there were some.
    """

    def __init__(self) -> None:
        self._moments: dict[int, float] = {}
        self._forgotten = ANY_TIME

    def note(self, job_pk: int) -> None:
        """Have there be news of a job now."""
        self._moments.pop(job_pk, None)
        # In the order of their moments.
        self._moments[job_pk] = time.monotonic()
        if len(self._moments) > _MOST:
            self._forgotten = self._moments.pop(next(iter(self._moments)))

    def note_all(self) -> None:
        """Have there be news of any job now."""
        self._moments.clear()
        self._forgotten = time.monotonic()

    def since(self, job_pk: int, moment: float) -> bool:
        """Return whether there were news of a job at that moment of `time.monotonic()`, or later."""
        return self._moments.get(job_pk, self._forgotten) >= moment
