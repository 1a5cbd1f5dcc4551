"""Latency: from a commit to the watchers of its job.

The commit's time is the change's own `change_time`: the database's clock once the transaction had the job's
lock, on the same host. So the rest of the transaction, its way to the disk included, is in every figure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from workers import Worker

from bench.figures import Goal
from bench.snapshots import take_snapshot
from bench.stage import ROUNDS, BenchedServer, Stage, keys, knows_setting

_JOBS = keys(1, 100)
_WATCHERS = 1000
_RATE = 100
_SAMPLES = 200
_BIG = ("default", "big")
_TAKERS = 10
# After a snapshot: until it is felt no more, and as long as that is measured then, in seconds.
_RECOVERY = 3.0
_ALONE = 3.0

# Makes so many changes, over all jobs in turn; returns a revision of each that comes with its last.
Feed = Callable[[int], Sequence[Any]]
# Percentiles in milliseconds, by name.
Latencies = Mapping[str, float]


class Watched:
    """A thousand watchers of 100 jobs, at a server or at the baseline."""

    def __init__(self, stack: ExitStack, address: str) -> None:
        self._crowd = stack.enter_context(Worker("bench.crowd"))
        self._crowd.call("connect", address=address, connections=10)
        self._crowd.call("open", keys=_JOBS, watchers=_WATCHERS, samples=_SAMPLES)

    def measure(self, feed: Feed, seconds: float) -> Latencies:
        """Have changes made for some time, and return how long they took to arrive."""
        self.begin()
        self.reach(feed(_count(seconds)))
        return self.latencies()

    def begin(self) -> None:
        """Measure what comes from now on."""
        self._crowd.call("mark")

    def reach(self, revisions: Sequence[Any]) -> None:
        """Wait until all watchers have these."""
        self._crowd.call("reach", revisions=revisions)

    def latencies(self, **made: float) -> Latencies:
        """Return how long the changes took that have come since `begin`; those made `after` and `before`."""
        found: dict[str, float] = self._crowd.call("latencies", **made)
        return {name: value * 1000 for name, value in found.items()}


def _count(seconds: float) -> int:
    """Return how many changes to make, as many of each job."""
    return max(1, round(seconds * _RATE / len(_JOBS))) * len(_JOBS)


def _reporting(reporters: Worker, address: str) -> Feed:
    def feed(count: int) -> Sequence[Any]:
        reported = reporters.call("run", address=address, keys=_JOBS, rate=_RATE, reports=count)
        revisions: Sequence[Any] = reported["revisions"]
        return revisions

    return feed


def _playing(raw: Worker) -> Feed:
    revision = 0

    def feed(count: int) -> Sequence[Any]:
        nonlocal revision
        revision = raw.call("play", rate=_RATE, count=count, revision=revision)
        # The frames are numbered through, over all jobs; the last round of them begins with this one.
        return [[job, revision - len(_JOBS) + 1] for job in _JOBS]

    return feed


def measure(stage: Stage) -> None:
    """Measure all latencies."""
    with ExitStack() as stack:
        _measure_processes(stage, stack)
    with ExitStack() as stack:
        _measure_polling(stage, stack)
    with ExitStack() as stack:
        _measure_beside_snapshot(stage, stack)


def _add(
    stage: Stage,
    name: str,
    found: Sequence[Latencies],
    most: tuple[float, float],
    baselines: Sequence[Latencies] = (),
    against: str = "raw",
) -> None:
    """Take p50 and p99, and what they may be at most."""
    for percentile, limit in zip(("p50", "p99"), most, strict=True):
        stage.findings.add(
            f"commit (change_time) to watcher, {name}, {percentile}",
            [one[percentile] for one in found],
            "ms",
            Goal(at_most=limit),
            [one[percentile] for one in baselines],
            against,
        )


def _measure_processes(stage: Stage, stack: ExitStack) -> None:
    url = stage.database()
    own = stack.enter_context(BenchedServer(url))
    other = stack.enter_context(BenchedServer(url))
    raw = stack.enter_context(Worker("bench.raw"))
    reporters = stack.enter_context(Worker("bench.reporters"))
    reporters.call("create", address=own.address, keys=_JOBS, granules=10)
    watched = Watched(stack, own.address)
    raw_watched = Watched(stack, raw.call("start"))
    report, report_elsewhere, play = (
        _reporting(reporters, own.address),
        _reporting(reporters, other.address),
        _playing(raw),
    )
    for feed in (report, report_elsewhere):
        watched.measure(feed, 1)
    seconds = stage.seconds(3)
    found: dict[str, list[Latencies]] = {"same": [], "other": [], "raw": []}
    for _ in range(ROUNDS):
        found["same"].append(watched.measure(report, seconds))
        found["other"].append(watched.measure(report_elsewhere, seconds))
        found["raw"].append(raw_watched.measure(play, seconds))
    load = "1,000 watchers of 100 jobs, 100 changes/s"
    _add(stage, f"{load}, same process", found["same"], (8, 50), found["raw"])
    _add(stage, f"{load}, other process, NOTIFY", found["other"], (30, 80), found["same"], "same process")


def _measure_polling(stage: Stage, stack: ExitStack) -> None:
    """Measure what is left where there is no LISTEN, and what NOTIFY costs those who write."""
    if not knows_setting("notify"):
        why = "this version has no setting JOBSTATUS_NOTIFY"
        stage.findings.skip("commit to watcher, other process, polling only, greatest", "ms", why)
        stage.findings.skip("reports a second with NOTIFY", "reports/s", why)
        return
    url = stage.database()
    telling = stack.enter_context(BenchedServer(url))
    silent = stack.enter_context(BenchedServer(url, notify="false"))
    reporters = stack.enter_context(Worker("bench.reporters"))
    reporters.call("create", address=silent.address, keys=_JOBS, granules=10)
    with ExitStack() as watching:
        polling = watching.enter_context(BenchedServer(url, notify="false", poll_interval="1"))
        watched, feed = Watched(watching, polling.address), _reporting(reporters, silent.address)
        watched.measure(feed, 1)
        found = [watched.measure(feed, stage.seconds(3)) for _ in range(ROUNDS)]
    stage.findings.add(
        "commit (change_time) to watcher, other process, polling only every 1,000 ms, greatest",
        [one["max"] for one in found],
        "ms",
        Goal(at_most=1250),
    )
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for server, values in zip((telling, silent), rates, strict=True):
            storm = {"keys": _JOBS[:16], "seconds": stage.seconds(3), "writers": 16}
            values.append(reporters.call("storm", address=server.address, **storm))
    stage.findings.add(
        "reports a second with NOTIFY, 16 writers, 16 jobs, single changes",
        rates[0],
        "reports/s",
        Goal(ratio_at_least=0.9),
        rates[1],
        "without",
    )


def _measure_beside_snapshot(stage: Stage, stack: ExitStack) -> None:
    granules = stage.number(1_000_000, 20_000)
    url = stage.database()
    server = stack.enter_context(BenchedServer(url))
    reporters = stack.enter_context(Worker("bench.reporters"))
    reporters.call("create", address=server.address, keys=[_BIG], granules=0)
    stage.fill(url, _BIG, granules)
    takers = stack.enter_context(Worker("bench.crowd"))
    takers.call("connect", address=server.address, connections=_TAKERS)
    reporters.call("create", address=server.address, keys=_JOBS, granules=10)
    watched, feed = Watched(stack, server.address), _reporting(reporters, server.address)
    watched.measure(feed, 1)
    beside, alone, durations = [], [], []
    for _ in range(ROUNDS):
        # The snapshot of a job that has changed is read anew.
        reporters.call("run", address=server.address, keys=[_BIG], rate=_RATE, reports=1)
        reporters.call("start", address=server.address, keys=_JOBS, rate=_RATE)
        watched.begin()
        durations.append(take_snapshot(takers, _BIG, _TAKERS))
        taken = time.time()
        time.sleep(_RECOVERY + _ALONE)
        watched.reach(reporters.call("stop")["revisions"])
        # What was made during the snapshot belongs to it, whenever it came.
        beside.append(watched.latencies(before=taken))
        alone.append(watched.latencies(after=taken + _RECOVERY))
    name = f"while 10 watchers take a snapshot of {granules:,} granules, same process"
    _add(stage, name, beside, (20, 100), alone, "without")
    stage.findings.add(f"snapshot of {granules:,} granules to 10 watchers beside that", durations, "s")
