"""How many watches there may be at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Self

from jobstatus_grpc.errors import TooManyWatches


class WatchLimits:
    """Gives out places for watches.

    A watch costs memory for as long as it lasts. Calls that are answered and gone are not counted, so
    watchers never starve them.

    Lives on one event loop. Args:
        total: how many there may be at once.
        per_project: how many of them may be of one project.
    """

    def __init__(self, total: int, per_project: int) -> None:
        self._total = total
        self._per_project = per_project
        self._of_project: Counter[str] = Counter()
        self._taken = 0

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return self._taken

    def take(self, project_id: str) -> Slot:
        """Return a place for one watch of a project.

        Raises:
            TooManyWatches: there is none.
        """
        if self._of_project[project_id] >= self._per_project:
            raise TooManyWatches(self._per_project, project_id)
        if self._taken >= self._total:
            raise TooManyWatches(self._total)
        self._of_project[project_id] += 1
        self._taken += 1
        return Slot(self._give_back, project_id)

    def _give_back(self, project_id: str) -> None:
        self._taken -= 1
        self._of_project[project_id] -= 1
        if not self._of_project[project_id]:
            del self._of_project[project_id]


class Slot:
    """One place. As a context manager it is given back at the end."""

    def __init__(self, give_back: Callable[[str], None], project_id: str) -> None:
        self._give_back = give_back
        self._project_id: str | None = project_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self, _: object = None) -> None:
        """Give it back; a second time does nothing."""
        project_id, self._project_id = self._project_id, None
        if project_id is not None:
            self._give_back(project_id)
