"""Holding streams: what they cost while nothing happens, when they come all at once, stop to read, and go."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import linear_regression

from faults.footprint import footprint_of
from sqlalchemy import make_url
from workers import Worker

from bench.accounting import forget_peak, peak_bytes, resident_bytes
from bench.figures import Goal
from bench.stage import ROUNDS, BenchedServer, ObservedServer, Stage, keys

_JOBS = keys(4, 100)
_JOB = keys(1, 1)
_CONNECTIONS = 100
_KIBI = 1024
_MEBI = 1024 * 1024
# The window of a client that says nothing about it.
_WINDOW = 65_535
_SETTLING = 2.0


def measure(stage: Stage) -> None:
    """Measure all of it."""
    _measure_crowd(stage)
    with ExitStack() as stack:
        _measure_frozen(stage, stack)
    with ExitStack() as stack:
        _measure_churn(stage, stack)


def _measure_crowd(stage: Stage) -> None:
    """Open a crowd at once, and see what it takes while it waits."""
    watchers = stage.number(10_000, 1000)
    url = stage.database()
    with BenchedServer(url) as server, Worker("bench.reporters") as reporters:
        reporters.call("create", address=server.address, keys=_JOBS, granules=10)
    ours, raw = [], []
    for _ in range(ROUNDS):
        with BenchedServer(url) as server:
            ours.append(_crowd(server.address, server.pid, watchers))
        with Worker("bench.raw") as worker:
            raw.append(_crowd(worker.call("start"), worker.pid, watchers))
    name = f"{watchers:,} streams opened at once over {_CONNECTIONS} connections"
    lost, seconds, memory = zip(*ours, strict=True)
    _, raw_seconds, raw_memory = zip(*raw, strict=True)
    stage.findings.add(f"{name}, lost", lost, "streams", Goal(at_most=0))
    stage.findings.add(f"{name}, last first frame", seconds, "s", Goal(at_most=8), raw_seconds)
    stage.findings.add(
        f"memory per idle watcher, {watchers:,} over {_CONNECTIONS} connections, 100 jobs, 4 projects",
        memory,
        "KiB",
        Goal(at_most=32),
        raw_memory,
    )


def _crowd(address: str, pid: int, watchers: int) -> tuple[float, float, float]:
    """Return how many of a crowd's streams are lost, the seconds it took to open them, and KiB for each."""
    with Worker("bench.crowd") as crowd:
        # What a server needs for its first streams, and keeps, is not theirs.
        crowd.call("connect", address=address, connections=1)
        crowd.call("churn", keys=_JOBS, count=200, together=100)
        before = resident_bytes(pid)
        crowd.call("connect", address=address, connections=_CONNECTIONS - 1)
        opened = crowd.call("open", keys=_JOBS, watchers=watchers)
        time.sleep(_SETTLING)
        held = resident_bytes(pid) - before
    return opened["lost"], opened["seconds"], held / watchers / _KIBI


def _measure_frozen(stage: Stage, stack: ExitStack) -> None:
    """Have a tenth of the watchers stop to read for a while."""
    frozen, seconds = 20, max(20.0, stage.seconds(60))
    # A server lets go of who does not read for half a minute; this one holds them to the end.
    server = stack.enter_context(BenchedServer(stage.database(), write_timeout="600"))
    reporters = stack.enter_context(Worker("bench.reporters"))
    crowd = stack.enter_context(Worker("bench.crowd"))
    reporters.call("create", address=server.address, keys=_JOB, granules=10)
    crowd.call("connect", address=server.address, connections=10, window=_WINDOW)
    crowd.call("open", keys=_JOB, watchers=200 - frozen, samples=60)
    crowd.call("open", keys=_JOB, watchers=frozen)
    load = {"address": server.address, "keys": _JOB, "rate": 50, "message_bytes": 6000}

    def run(seconds: float) -> float:
        crowd.call("mark")
        reporters.call("run", reports=round(50 * seconds), **load)
        p99: float = crowd.call("latencies")["p99"]
        return p99 * 1000

    run(2)
    before = run(max(5.0, stage.seconds(6)))
    memory = resident_bytes(server.pid)
    forget_peak(server.pid)
    crowd.call("freeze", count=frozen)
    during = run(seconds)
    held = (peak_bytes(server.pid) - memory) / frozen / _MEBI
    sent = crowd.call("thaw")
    assert sent <= 2 * _WINDOW, f"they have read {sent} bytes"
    # They have missed nothing: everybody gets to what is reported now.
    crowd.call("reach", revisions=reporters.call("run", reports=10, **load)["revisions"])
    name = f"{frozen} of 200 watchers do not read for {seconds:.0f} s under 50 changes/s of 6 KB"
    stage.findings.add(f"{name}, memory for each", [held], "MiB", Goal(at_most=6))
    stage.findings.add(f"{name}, the others' p99", [during], "ms", Goal(ratio_at_most=2), [before], "before")


def _held(server: ObservedServer, port: int) -> Sequence[int]:
    """Return how many tasks, threads and descriptors a server has whose database is at `port`.

    Its connections to the database are no descriptors here: they are made when as many are needed at once,
    and kept, so there may be more at any later time; but not more than there may ever be.
    """
    held = footprint_of(server, port)
    assert not held.excess, held.excess
    return held.tasks, len(held.threads) + held.native, held.clients + held.others


@contextmanager
def _churning(address: str) -> Iterator[Worker]:
    with Worker("bench.crowd") as crowd:
        crowd.call("connect", address=address, connections=10)
        yield crowd


def _measure_churn(stage: Stage, stack: ExitStack) -> None:
    """Open and cancel streams, a hundred at a time; every thousand look at the memory."""
    streams = stage.number(100_000, 20_000)
    url = stage.database()
    server, port = stack.enter_context(ObservedServer(url)), make_url(url).port or 5432
    raw, reporters = stack.enter_context(Worker("bench.raw")), stack.enter_context(Worker("bench.reporters"))
    reporters.call("create", address=server.address, keys=_JOBS, granules=10)
    crowd = stack.enter_context(_churning(server.address))
    raw_crowd = stack.enter_context(_churning(raw.call("start")))
    # A quarter of the streams tells the slope of the baseline; fewer, and it is that of its first ones.
    pairs = (crowd, server.pid, 1), (raw_crowd, raw.pid, 4)
    for one, _, _ in pairs:
        one.call("churn", keys=_JOBS, count=1000, together=100)
    time.sleep(_SETTLING)
    before = _held(server, port)
    sizes: tuple[list[int], list[int]] = ([], [])
    for number in range(streams // 1000):
        for (one, pid, every), found in zip(pairs, sizes, strict=True):
            if number % every == 0:
                one.call("churn", keys=_JOBS, count=1000, together=100)
                found.append(resident_bytes(pid))
    time.sleep(_SETTLING)
    after = _held(server, port)
    name = f"{streams:,} streams opened and cancelled"
    ours, theirs = map(_slope, sizes)
    stage.findings.add(f"{name}, memory kept for each", [ours], "bytes", Goal(at_most=20), [theirs])
    for what, was, now in zip(("tasks", "threads", "descriptors"), before, after, strict=True):
        stage.findings.add(f"{name}, {what} more than before", [now - was], what, Goal(at_most=0))


def _slope(sizes: Sequence[int]) -> float:
    """Return by how many bytes a stream the memory has grown, over the last three quarters."""
    late = sizes[len(sizes) // 4 :]
    return linear_regression(range(0, 1000 * len(late), 1000), late).slope
