"""The section `growth`: calls cost the same however many jobs, granules and changes there are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from statistics import median
from time import perf_counter
from typing import NamedTuple

from workers import Worker

from bench.accounting import forget_peak, peak_bytes, resident_bytes
from bench.effort import Effort, Meter, add_costs
from bench.figures import NO_GOAL, Goal
from bench.sized import FAILURES, MISSED, Calls, Sized
from bench.snapshots import take_snapshot
from bench.stage import ROUNDS, BenchedServer, Key, Stage

_FLAT = Goal(ratio_at_most=1.3)
_TAKERS = 10
_MEBI = 1024 * 1024


class Block(NamedTuple):
    """Calls made one after the other: how many milliseconds half of them take at most, and what all took."""

    p50: float
    effort: Effort


def measure(stage: Stage) -> None:
    """Measure all figures of growth."""
    for kind, make in (("PostgreSQL", stage.database), ("SQLite", stage.file)):
        with ExitStack() as stack:
            url = make()
            sized = Sized(stage, stack, url)
            _measure_calls(Comparing(stage, kind, Meter(stage, sized.server.pid, url)), sized)
        if kind == "PostgreSQL":
            _measure_snapshots(stage, url, sized.key, sized.granules)


class Comparing:
    """Compares calls in a large store with those that have little to do with its size."""

    def __init__(self, stage: Stage, kind: str, meter: Meter) -> None:
        self._stage = stage
        self._kind = kind
        self._meter = meter

    def compare(
        self,
        name: str,
        calls: Calls,
        others: Calls,
        against: str,
        goal: Goal = NO_GOAL,
        count: int = 150,
    ) -> None:
        """Make calls in turns, `count` of each at a time, and take what they cost."""
        count = self._stage.number(count, count // 4)
        # What happens only once is not measured.
        self._block(calls, 10), self._block(others, 10)
        blocks = [(self._block(calls, count), self._block(others, count)) for _ in range(ROUNDS)]
        ours, theirs = (list(part) for part in zip(*blocks, strict=True))
        name = f"{self._kind}: {name}"
        p50s = [block.p50 for block in ours], [block.p50 for block in theirs]
        self._stage.findings.add(f"{name}, p50", p50s[0], "ms", goal, p50s[1], against)
        efforts = [block.effort for block in ours], [block.effort for block in theirs]
        add_costs(self._stage.findings, name, efforts[0], "call", efforts[1], against)

    def _block(self, calls: Calls, count: int) -> Block:
        made = list(islice(calls, count))
        taken: list[float] = []
        effort = self._meter.measure(count, lambda: taken.extend(map(_milliseconds, made)))
        return Block(median(taken), effort)


def _milliseconds(call: Callable[[], None]) -> float:
    begun = perf_counter()
    call()
    return (perf_counter() - begun) * 1000


def _measure_calls(comparing: Comparing, sized: Sized) -> None:
    big, deep = f"{sized.granules:,}", sized.pages // 2
    comparing.compare(
        f"resume after {MISSED} missed changes of a job of {big} granules",
        sized.resumed(sized.big),
        sized.resumed(sized.small),
        "job of 1,000",
        _FLAT,
    )
    comparing.compare(
        f"ListJobs, page {deep:,} of {sized.jobs:,} jobs",
        sized.listed(deep),
        sized.listed(1),
        "page 1",
        _FLAT,
    )
    comparing.compare(
        f"ListJobs, any page of {sized.jobs:,} jobs", sized.listed(None), sized.listed(1), "page 1"
    )
    comparing.compare(
        f"ListJobs that finds nothing, from page {deep:,} on",
        sized.sought(deep),
        sized.sought(1),
        "from page 1 on",
    )
    comparing.compare(
        f"GetJobStatus, the {FAILURES} failed of {big} granules",
        sized.read_failed(sized.big),
        sized.read_failed(sized.small),
        "of 1,000",
        _FLAT,
    )
    comparing.compare(
        f"GetJobStatus, any 1,000 of {big} granules",
        sized.read(sized.big),
        sized.read(sized.small),
        "of 1,000",
    )
    comparing.compare(
        f"ReportGranules, any 1,000 of {big}, changed",
        sized.reported(sized.big),
        sized.reported(sized.small),
        "of 1,000",
        count=40,
    )


def _measure_snapshots(stage: Stage, url: str, key: Key, granules: int) -> None:
    """Have watchers take a snapshot of the big job, from a new server each time."""
    peaks, before, durations = [], [], []
    for _ in range(ROUNDS):
        with BenchedServer(url) as server, Worker("bench.crowd") as takers:
            takers.call("connect", address=server.address, connections=_TAKERS)
            before.append(resident_bytes(server.pid) / _MEBI)
            forget_peak(server.pid)
            durations.append(take_snapshot(takers, key, _TAKERS))
            peaks.append(peak_bytes(server.pid) / _MEBI)
    name = f"10 watchers take a snapshot of {granules:,} granules"
    stage.findings.add(f"peak memory while {name}", peaks, "MiB", Goal(at_most=200), before, "before")
    stage.findings.add(f"{name}, until the last has all", durations, "s")
