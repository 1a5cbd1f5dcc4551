"""How long things are kept: removes old changes, long ended jobs, and what is left of deleted ones.

All of it in many small transactions with rests between them, so that nobody waits for one, or only shortly.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, NamedTuple

from jobstatus_grpc.errors import JobStatusError
from jobstatus_grpc.store.base import JobStore, Pruned

_log = logging.getLogger(__name__)

# A server rests nine times as long as it works: a tenth of one connection's time. Where somebody waits for
# the end, half of it.
_REST_FACTOR: Final = 9.0
_HURRIED_REST_FACTOR: Final = 1.0
_PURGE_INTERVAL: Final = 5.0
# All jobs are looked at so often that nothing is kept longer than asked for by more than a twentieth, within
# these bounds, in seconds.
_SWEEPS_PER_AGE: Final = 20
_SHORTEST_INTERVAL: Final = 3.0
_LONGEST_INTERVAL: Final = 600.0
_JITTER: Final = 0.1

# How long a step should take at most, in seconds: SQLite has one writer at a time, and others wait.
_STEP_SECONDS: Final = 0.02


class _Limits(NamedTuple):
    """How much one step may remove: at least, at first, and at most."""

    least: int
    first: int
    most: int


_CHANGES: Final = _Limits(10, 100, 2000)
_JOBS: Final = _Limits(1, 100, 100)


class _Sweep:
    """Walks over all jobs, step by step, and removes what is older than `age` seconds.

    Attributes:
        removed: how much this walk, or the one that has just ended, has removed.
    """

    def __init__(
        self, store: JobStore, prune: Callable[[int, int, int], Pruned], age: float, limits: _Limits
    ) -> None:
        self.removed = 0
        self._store = store
        self._prune = prune
        self._age = age
        self._limits = limits
        self._limit = limits.first
        self._before = 0
        self._after: int | None = None

    def step(self) -> bool:
        """Take one step; return whether the walk goes on."""
        if self._after is None:
            # The clock that timed the changes tells how old they are; this host's may be anywhere.
            self._before = self._store.read_clock() - int(self._age * 1_000_000)
            self._after, self.removed = 0, 0
        start = time.monotonic()
        pruned = self._prune(self._before, self._after, self._limit)
        self._adapt(pruned.removed, time.monotonic() - start)
        self._after = pruned.next_after
        self.removed += pruned.removed
        return self._after is not None

    def _adapt(self, removed: int, seconds: float) -> None:
        """Choose how much the next step may remove by how long this one took."""
        if seconds > _STEP_SECONDS:
            self._limit = max(self._limits.least, self._limit // 2)
        elif removed == self._limit and seconds < _STEP_SECONDS / 3:
            self._limit = min(self._limits.most, self._limit * 2)


def _sweep_changes(store: JobStore, age: float) -> _Sweep:
    return _Sweep(store, store.prune_changes, age, _CHANGES)


def _sweep_jobs(store: JobStore, age: float) -> _Sweep:
    return _Sweep(store, store.prune_jobs, age, _JOBS)


class _Duty:
    """Something to be done, step by step, until it is done, and again after `interval` seconds."""

    def __init__(self, what: str, step: Callable[[], bool], interval: float) -> None:
        self.what = what
        self.step = step
        self.due = 0.0
        self._interval = interval

    def stepped(self, more: bool) -> None:
        """Be told that a step has been taken, and whether there is more to do now."""
        # Servers that were started together do not go the same way together for ever.
        pause = 0.0 if more else self._interval * random.uniform(1 - _JITTER, 1)
        self.due = time.monotonic() + pause


class Retention:
    """Removes from a store what need not be kept, beside the work of a server.

    Args:
        store: the store, prepared.
        executor: one thread.
        changes: for how long changes are kept, in seconds; 0 is for ever.
        jobs: for how long ended jobs are kept, in seconds; 0 is for ever.
    """

    def __init__(self, store: JobStore, executor: Executor, changes: float, jobs: float) -> None:
        self._executor = executor
        self._duties = [_Duty("deleted jobs", store.purge, _PURGE_INTERVAL)]
        if jobs:
            self._duties.append(_Duty("ended jobs", _sweep_jobs(store, jobs).step, _interval(jobs)))
        if changes:
            self._duties.append(_Duty("changes", _sweep_changes(store, changes).step, _interval(changes)))

    async def run(self) -> None:
        """Go on until cancelled. Duties that are due at once take turns."""
        loop = asyncio.get_running_loop()
        while True:
            duty = min(self._duties, key=lambda each: each.due)
            await asyncio.sleep(max(0.0, duty.due - time.monotonic()))
            start = time.monotonic()
            more = await loop.run_in_executor(self._executor, _try, duty)
            duty.stepped(more)
            await asyncio.sleep(_REST_FACTOR * (time.monotonic() - start))


def _interval(age: float) -> float:
    return min(max(age / _SWEEPS_PER_AGE, _SHORTEST_INTERVAL), _LONGEST_INTERVAL)


def _try(duty: _Duty) -> bool:
    """Take a step; return whether there is more to do now."""
    try:
        return duty.step()
    except JobStatusError as error:
        # The database does not answer, or is full. Where the walk has got to is not forgotten.
        _log.warning("no %s can be removed now: %s", duty.what, error)
    except Exception:
        # Whatever is wrong with it, such as a right that the database's user lacks: the service goes on.
        _log.exception("removing %s failed", duty.what)
    return False


class Removed(NamedTuple):
    """How many changes and how many jobs were removed."""

    changes: int
    jobs: int


def prune(store: JobStore, *, changes: float, jobs: float) -> Removed:
    """Remove once what is older; return how much that was. Blocks until all of it is gone.

    Args:
        store: the store, prepared.
        changes: how old changes may be, in seconds; 0 for as old as they are.
        jobs: how long ago jobs may have ended, in seconds; 0 for as long as it is.

    Raises:
        StoreUnavailable: the database did not answer; what is removed by then is.
    """
    old_jobs, old_changes = _sweep_jobs(store, jobs), _sweep_changes(store, changes)
    # Jobs first: the changes of a deleted job go with it.
    for step in ([old_jobs.step, store.purge] if jobs else []) + ([old_changes.step] if changes else []):
        more = True
        while more:
            start = time.monotonic()
            more = step()
            time.sleep(_HURRIED_REST_FACTOR * (time.monotonic() - start))
    return Removed(old_changes.removed, old_jobs.removed)
