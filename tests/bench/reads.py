"""The section `reads`: what it costs to ask how a job is doing, against other ways to answer."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import grpc
from workers import Worker

from bench import several_workers
from bench.accounting import cpu_seconds
from bench.callers import GET
from bench.figures import NO_GOAL, Goal
from bench.stage import ROUNDS, BenchedServer, Stage
from bench.stock import Stock
from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

_CALLERS = 32
_CONNECTIONS = 8
_WARM_JOBS = 2000
_LARGE_JOBS = 20
_COLD_JOBS = 10
_MICRO = 1e6
_MILLI = 1e3


class Load(NamedTuple):
    """What came of a load.

    Attributes:
        cost: of one call, what the server used of a processor, in microseconds.
        rate: calls a second.
        p50: half of the calls took at most so long, in milliseconds.
        p99: all but one of a hundred took at most so long, in milliseconds.
        server: how much of one core the server had.
        callers: how much of one core the callers had.
    """

    cost: float
    rate: float
    p50: float
    p99: float
    server: float
    callers: float


class Asked:
    """A server, or a baseline in its place, and callers of its own.

    Args:
        stack: what ends the callers.
        pid: the process that serves.
        address: where.
    """

    def __init__(self, stack: ExitStack, pid: int, address: str) -> None:
        self.pid = pid
        self.address = address
        self._callers = stack.enter_context(Worker("bench.callers"))

    def about(
        self, job_ids: Sequence[str], connections: int = _CONNECTIONS, basic: bool = False, token: str = ""
    ) -> None:
        """Ask for these jobs from now on."""
        self._callers.call(
            "get", address=self.address, job_ids=job_ids, connections=connections, basic=basic, token=token
        )

    def about_snapshots(self, job_ids: Sequence[str]) -> None:
        """Ask for the snapshots of these jobs from now on."""
        self._callers.call("watch", address=self.address, job_ids=job_ids)

    def run(self, seconds: float, callers: int = _CALLERS) -> Load:
        """Have callers ask for some time."""
        return self._measure("run", seconds=seconds, callers=callers)

    def once(self) -> Load:
        """Have one caller ask for each job once."""
        return self._measure("once")

    def _measure(self, how: str, **arguments: float) -> Load:
        cpu = cpu_seconds(self.pid)
        done = self._callers.call(how, **arguments)
        cpu = cpu_seconds(self.pid) - cpu
        assert not done["failed"], f"{done['failed']} calls have failed"
        calls, seconds = done["calls"], done["seconds"]
        return Load(
            cpu / calls * _MICRO,
            calls / seconds,
            done["p50"] * _MILLI,
            done["p99"] * _MILLI,
            cpu / seconds,
            done["cpu"] / seconds,
        )


class Reads:
    """A database full of jobs, a server, and the other ways to answer.

    Attributes:
        small: the ids of many jobs of ten granules.
        ours: the server.
        plain: a session for each request.
        fresh: an engine for each request.
    """

    def __init__(self, stage: Stage, stack: ExitStack) -> None:
        self._stack = stack
        self.findings = stage.findings
        self.stock = Stock(stage.database())
        self.small = self.stock.add(stage.number(100_000, 5000), 10)
        server = stack.enter_context(BenchedServer(self.stock.url))
        self.ours = Asked(stack, server.pid, server.address)
        self.plain = self._baseline("plain", url=self.stock.url)
        self.fresh = self._baseline("fresh", url=self.stock.url)

    def empty(self, job_id: str) -> Asked:
        """Return the handler that returns as many bytes as the server answers about a job."""
        with grpc.insecure_channel(self.ours.address) as channel:
            answer = pb.JobStatusServiceStub(channel).GetJobStatus(pb.GetJobStatusRequest(job_id=job_id))
        return self._baseline("empty", size=answer.ByteSize())

    def _baseline(self, name: str, **arguments: object) -> Asked:
        worker = self._stack.enter_context(Worker("bench.baselines"))
        return Asked(self._stack, worker.pid, worker.call(name, **arguments))

    def add_cost(
        self, name: str, ours: Sequence[Load], others: Sequence[Load], against: str, goal: Goal
    ) -> None:
        """Take what calls cost the server, against a baseline."""
        costs = [one.cost for one in ours], [one.cost for one in others]
        self.findings.add(f"{name}, server's CPU", costs[0], "us/call", goal, costs[1], against)

    def add_busy(self, name: str, ours: Sequence[Load]) -> None:
        """Take who was busy: whoever has about one core, the server or the callers, was the limit."""
        shares = [one.server for one in ours], [one.callers for one in ours]
        self.findings.add(f"{name}, busy: server", shares[0], "cores", NO_GOAL, shares[1], "callers")


def measure(stage: Stage) -> None:
    """Measure all figures of reading."""
    stage.findings.remark(
        "bench.callers asks, in a process of its own: it draws its jobs at random, which h2load cannot"
    )
    with ExitStack() as stack:
        reads = Reads(stage, stack)
        _measure_random(stage, reads)
        _measure_warm(stage, reads)
        _measure_h2load(stage, reads)
        _measure_large(stage, reads)
        _measure_alone(stage, reads)
        _measure_huge(stage, reads)
        several_workers.measure(stage, reads.stock.url, reads.small)


def _measure_random(stage: Stage, reads: Reads) -> None:
    """Ask for any of many small jobs."""
    empty, seconds = reads.empty(reads.small[0]), stage.seconds(2)
    for asked in (reads.ours, empty, reads.plain):
        asked.about(reads.small)
        asked.run(1)
    ours, floor, plain = [], [], []
    for _ in range(ROUNDS):
        ours.append(reads.ours.run(seconds))
        floor.append(empty.run(seconds))
        plain.append(reads.plain.run(seconds))
    name = f"GetJobStatus, 10 granules, {_CALLERS} callers, any of {len(reads.small):,} jobs"
    reads.add_cost(name, ours, floor, "empty", Goal(ratio_at_most=2.0))
    reads.add_cost(name, ours, plain, "plain", NO_GOAL)
    rates = [one.rate for one in ours], [one.rate for one in plain]
    reads.findings.add(f"{name}, calls", rates[0], "calls/s", Goal(ratio_at_least=3), rates[1], "plain")
    reads.add_busy(name, ours)


def _measure_warm(stage: Stage, reads: Reads) -> None:
    """Ask for any of some small jobs, all of which have been asked for before."""
    chosen = reads.small[:: max(1, len(reads.small) // _WARM_JOBS)][:_WARM_JOBS]
    empty, seconds = reads.empty(chosen[0]), stage.seconds(2)
    for asked in (reads.ours, empty):
        asked.about(chosen)
    reads.ours.once()
    ours, floor = _take_turns([reads.ours, empty], seconds)
    name = f"GetJobStatus, 10 granules, {_CALLERS} callers, any of {len(chosen):,} jobs, warm"
    reads.add_cost(name, ours, floor, "empty", Goal(ratio_at_most=1.5))
    reads.add_busy(name, ours)


def _measure_large(stage: Stage, reads: Reads) -> None:
    """Ask for any of some larger jobs, which have been asked for before."""
    chosen = reads.stock.add(_LARGE_JOBS, 1000)
    empty, seconds = reads.empty(chosen[0]), stage.seconds(2)
    for asked in (reads.ours, empty, reads.plain):
        asked.about(chosen)
    reads.ours.once()
    ours, floor, plain = _take_turns([reads.ours, empty, reads.plain], seconds)
    name = f"GetJobStatus, 1,000 granules, {_CALLERS} callers, any of {len(chosen)} jobs, warm"
    reads.add_cost(name, ours, floor, "empty", Goal(ratio_at_most=1.4))
    reads.add_cost(name, ours, plain, "plain", Goal(ratio_at_most=1 / 25))
    reads.add_busy(name, ours)


def _measure_alone(stage: Stage, reads: Reads) -> None:
    """Have one caller ask for the whole of a job, of ten granules and of a thousand."""
    seconds = stage.seconds(1)
    large = reads.stock.add(_COLD_JOBS * ROUNDS, 1000)
    found: dict[str, list[Load]] = {name: [] for name in ("small", "cold", "warm", "fresh", "fresh large")}
    for turn in range(ROUNDS):
        # Each is asked for the first time in its round.
        chosen = large[turn * _COLD_JOBS :][:_COLD_JOBS]
        reads.ours.about(reads.small, 1)
        found["small"].append(reads.ours.run(seconds, 1))
        reads.fresh.about(reads.small, 1)
        found["fresh"].append(reads.fresh.run(seconds, 1))
        # First, so that it is not the database that is cold.
        reads.fresh.about(chosen, 1)
        found["fresh large"].append(reads.fresh.run(seconds, 1))
        reads.ours.about(chosen, 1)
        found["cold"].append(reads.ours.once())
        found["warm"].append(reads.ours.run(seconds, 1))
    name = "one caller, until the whole answer is there, p50"
    _add_times(reads, f"{name}, 10 granules", found["small"], found["fresh"], 5)
    _add_times(reads, f"{name}, 1,000 granules, warm", found["warm"], found["fresh large"], 5)
    _add_times(reads, f"{name}, 1,000 granules, cold", found["cold"], found["fresh large"], 2)


def _measure_huge(stage: Stage, reads: Reads) -> None:
    """Ask for the whole of a job that is watched, and for a huge one without its granules."""
    granules, seconds = stage.number(100_000, 10_000), stage.seconds(2)
    (watched,) = reads.stock.add(1, granules)
    (huge,) = reads.stock.add(1, stage.number(1_000_000, 20_000))
    reads.ours.about_snapshots([watched])
    reads.fresh.about([watched], 1)
    cold, shared, fresh = [], [], []
    with JobStatusClient(reads.ours.address) as client:
        for turn in range(ROUNDS):
            # A snapshot of a job that has changed is read anew; the one after it is shared.
            client.report_granules(watched, [pb.Granule(granule_id="late", message=str(turn))])
            cold.append(reads.ours.once())
            shared.append(reads.ours.once())
            fresh.append(reads.fresh.once())
    name = f"one caller, until the whole answer is there, {granules:,} granules by snapshot"
    _add_times(reads, f"{name}, shared chunks", shared, fresh, 3)
    _add_times(reads, f"{name}, cold", cold, fresh, 0.7)
    basic: tuple[list[Load], list[Load]] = ([], [])
    for _ in range(ROUNDS):
        for job_id, found in ((huge, basic[0]), (reads.small[0], basic[1])):
            reads.ours.about([job_id], 1, basic=True)
            found.append(reads.ours.run(seconds, 1))
    times = [[one.p50 for one in found] for found in basic]
    name = f"GetJobStatus BASIC, one caller, p50, job of {stage.number(1_000_000, 20_000):,} granules"
    reads.findings.add(name, times[0], "ms", Goal(ratio_at_most=1.3), times[1], "10 granules")


def _measure_h2load(stage: Stage, reads: Reads) -> None:
    """Have another driver ask, for one job: what comes of it has to be what comes of ours."""
    name = f"GetJobStatus, 10 granules, {_CALLERS} callers, one job"
    if shutil.which("h2load") is None:
        reads.findings.skip(f"{name}, by h2load, server's CPU", "us/call", "there is no h2load here")
        return
    job_id, seconds = reads.small[0], round(stage.seconds(1))
    empty = reads.empty(job_id)
    for asked in (reads.ours, empty):
        asked.about([job_id])
    ours: tuple[list[Load], list[Load]] = ([], [])
    floor: tuple[list[Load], list[Load]] = ([], [])
    for _ in range(ROUNDS):
        for asked, (own, other) in ((reads.ours, ours), (empty, floor)):
            own.append(asked.run(seconds))
            other.append(_run_h2load(asked, job_id, seconds))
    reads.add_cost(f"{name}, by bench.callers", ours[0], floor[0], "empty", NO_GOAL)
    reads.add_cost(f"{name}, by h2load", ours[1], floor[1], "empty", NO_GOAL)


def _run_h2load(asked: Asked, job_id: str, seconds: int) -> Load:
    request = pb.GetJobStatusRequest(job_id=job_id).SerializeToString()
    streams = str(_CALLERS // _CONNECTIONS)
    with TemporaryDirectory() as folder:
        body = Path(folder) / "request"
        body.write_bytes(b"\0" + len(request).to_bytes(4, "big") + request)
        headers = "-H", "content-type: application/grpc", "-H", "te: trailers"
        load = "-c", str(_CONNECTIONS), "-m", streams, "-D", str(seconds), "-d", str(body)
        words = ["h2load", *load, *headers, f"http://{asked.address}{GET}"]
        cpu = cpu_seconds(asked.pid)
        said = subprocess.run(words, capture_output=True, check=True, encoding="utf-8").stdout
        cpu = cpu_seconds(asked.pid) - cpu
    found = re.search(r"(\d+) succeeded, 0 failed, 0 errored", said)
    assert found is not None, said
    calls = int(found[1])
    return Load(cpu / calls * _MICRO, calls / seconds, 0.0, 0.0, cpu / seconds, 0.0)


def _take_turns(all_asked: Sequence[Asked], seconds: float) -> list[list[Load]]:
    """Have each be asked for some time, in turns; return what came of it, by whom was asked."""
    rounds = [[asked.run(seconds) for asked in all_asked] for _ in range(ROUNDS)]
    return [list(found) for found in zip(*rounds, strict=True)]


def _add_times(reads: Reads, name: str, ours: Sequence[Load], fresh: Sequence[Load], faster: float) -> None:
    """Take how long calls take, against an engine for each; `faster` is the goal."""
    times = [one.p50 for one in ours], [one.p50 for one in fresh]
    reads.findings.add(name, times[0], "ms", Goal(ratio_at_most=1 / faster), times[1], "fresh")
