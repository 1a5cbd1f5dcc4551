"""Clients of a fleet, as a process that can be killed and stopped, and what they are to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from moments import wait_until
from workers import Worker

from faults.recordings import Key
from faults.watchers import ROLES

Counts = Mapping[str, int]

PATIENCE: Final = 120.0
"""Seconds after which something that has to come is taken for lost."""


class Load(NamedTuple):
    """What goes on while something fails.

    Attributes:
        jobs: how many; half of them are in one project and half, of the same ids, in another.
        reporters: how many report, to the jobs in turn.
        pause: of each, from one report to the next, in seconds.
        granules: how many a report has.
        watchers: how many watch the jobs in turn.
        roles: what watchers do, in turn.
        askers: how many ask how the jobs stand.
        hung: how many streams are open that nobody reads.
        heartbeat_interval: of the watchers, in seconds.
    """

    jobs: int = 6
    reporters: int = 6
    pause: float = 0.06
    granules: int = 3
    watchers: int = 36
    roles: Sequence[str] = tuple(ROLES)
    askers: int = 2
    hung: int = 2
    heartbeat_interval: float = 1.0


LOAD: Final = Load()


class Crowd(Worker):
    """Clients in a process of their own.

    Args:
        name: theirs.
        home: where their recording goes.

    Attributes:
        recording: the file.
        stays: whether they are there to the end; not, if they are killed.
    """

    def __init__(self, name: str, home: Path) -> None:
        super().__init__("faults.crowd")
        self.recording = home / f"{name}.recording"
        self.stays = True
        self._name = name

    def begin_all(self, addresses: Sequence[str], keys: Sequence[Key], load: Load) -> None:
        """Begin all that a load is made of, and return when everybody watches."""
        self.call("open", name=self._name, file=str(self.recording), addresses=addresses)
        self.call("report", keys=keys, reporters=load.reporters, pause=load.pause, granules=load.granules)
        how = {"heartbeat_interval": load.heartbeat_interval, "roles": load.roles}
        self.call("watch", keys=keys, watchers=load.watchers, **how)
        self.call("hang", keys=keys, streams=load.hung)
        self.call("ask", keys=keys, askers=load.askers)
        wait_until(lambda: self.counts["live"] >= load.watchers, f"all of {self._name} watch", PATIENCE)

    @property
    def counts(self) -> Counts:
        """How far they are."""
        counts: Counts = self.call("status")
        return counts

    def flow(self, reports: int) -> None:
        """Return when so many more of their reports have been taken."""
        goal = self.counts["acknowledged"] + reports
        wait_until(lambda: self.counts["acknowledged"] >= goal, f"{reports} reports are taken", PATIENCE)

    def quiet(self) -> None:
        """Have the reporters end, each when what it has sent has been taken."""
        self.call("quiet", seconds=PATIENCE)

    def finish(self) -> list[str]:
        """Return when everybody has come to the end of its job; or, after a while, who has not."""
        left: list[str] = self.call("finish", seconds=PATIENCE)
        return left

    def leave(self) -> None:
        """Have all of them go, and with them their connections."""
        self.call("close")
        super().kill()

    def kill(self) -> None:
        self.stays = False
        super().kill()
