"""What some work took: time, and of processors in each of the two places where it is done."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.accounting import cpu_seconds, family_cpu_seconds
from bench.figures import NO_GOAL, Findings, Goal
from bench.stage import Stage

_MICRO = 1e6


class Effort(NamedTuple):
    """What some work took.

    Attributes:
        done: how many times something was done.
        seconds: how long all of it took.
        own: how much of a processor the measured process has used, in seconds.
        database: how much of one PostgreSQL has; 0 where that is not known.
    """

    done: int
    seconds: float
    own: float
    database: float

    @property
    def rate(self) -> float:
        """How often it was done a second."""
        return self.done / self.seconds

    @property
    def own_cost(self) -> float:
        """What it cost the measured process each time, in microseconds."""
        return self.own / self.done * _MICRO

    @property
    def database_cost(self) -> float:
        """What it cost PostgreSQL each time, in microseconds."""
        return self.database / self.done * _MICRO


class Meter:
    """Measures the work of a process, and of the database it works on.

    Args:
        stage: where PostgreSQL runs.
        pid: the process.
        url: the database; SQLite's work is the process's own.
    """

    def __init__(self, stage: Stage, pid: int, url: str) -> None:
        self._pid = pid
        self._database_pid = None if url.startswith("sqlite") else stage.database_pid

    def measure(self, done: int, work: Callable[[], object]) -> Effort:
        """Do some work, which does something so many times."""
        # What was made for the work beforehand would not be there for the collector to look through.
        gc.freeze()
        own, database, begun = cpu_seconds(self._pid), self._database(), time.perf_counter()
        work()
        seconds = time.perf_counter() - begun
        effort = Effort(done, seconds, cpu_seconds(self._pid) - own, self._database() - database)
        gc.unfreeze()
        return effort

    def _database(self) -> float:
        return family_cpu_seconds(self._database_pid) if self._database_pid else 0.0


def add_rates(
    findings: Findings,
    name: str,
    efforts: Sequence[Effort],
    what: str,
    baselines: Sequence[Effort],
    against: str,
    goal: Goal = NO_GOAL,
) -> None:
    """Take how often something was done a second, and what it cost each time, beside a baseline."""
    pairs = [effort.rate for effort in efforts], [effort.rate for effort in baselines]
    findings.add(name, pairs[0], f"{what}s/s", goal, pairs[1], against)
    add_costs(findings, name, efforts, what, baselines, against)


def add_costs(
    findings: Findings,
    name: str,
    efforts: Sequence[Effort],
    what: str,
    baselines: Sequence[Effort],
    against: str,
) -> None:
    """Take what something cost each time of processors, beside a baseline."""
    costs = [effort.own_cost for effort in efforts], [effort.own_cost for effort in baselines]
    findings.add(f"{name}, CPU of the process", costs[0], f"µs/{what}", NO_GOAL, costs[1], against)
    costs = [effort.database_cost for effort in efforts], [effort.database_cost for effort in baselines]
    if min(costs[0]) > 0:
        findings.add(f"{name}, CPU of PostgreSQL", costs[0], f"µs/{what}", NO_GOAL, costs[1], against)
