"""Fan-out: what it costs to bring one job's changes to many watchers.

The server that is measured only watches: another one on the same database takes the reports, and the news
of them come as they do between servers. In the rounds of the baseline the same reports are made of a job
nobody watches, so the machine has the same to do besides.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import NamedTuple

from workers import Worker

from bench.accounting import cpu_seconds
from bench.figures import Findings, Goal
from bench.stage import ROUNDS, BenchedServer, Stage

_WATCHED = ("default", "watched")
_UNWATCHED = ("default", "unwatched")
_GRANULES = 1000
_SAMPLES = 5
# Where rounds differ by a tenth, since the processor idles most of the time, or few reports fit into one.
_MORE_ROUNDS = 5
_MICRO = 1e6


class Load(NamedTuple):
    """What is reported: so many reports a second of so many changes each, for some time."""

    rate: float
    changes: int
    seconds: float

    @property
    def reports(self) -> int:
        """How many reports that is."""
        return max(2, round(self.rate * self.seconds))


class Round(NamedTuple):
    """What one round has brought.

    Attributes:
        delivered: changes, times the watchers each of them reached.
        frames: how many frames that took.
        size: bytes, of the frames.
        seconds: from before the first report until the last watcher had everything.
        cpu: what the server took of a processor meanwhile, in seconds.
    """

    delivered: float
    frames: float
    size: float
    seconds: float
    cpu: float

    @property
    def cost(self) -> float:
        """The server's CPU time for a change and a watcher, in microseconds."""
        return self.cpu / self.delivered * _MICRO


class FanOut:
    """One server that watches, one that writes, a raw one, and a crowd for each that is watched."""

    def __init__(self, stage: Stage, stack: ExitStack) -> None:
        url = stage.database()
        self.watching = stack.enter_context(BenchedServer(url))
        self._writing = stack.enter_context(BenchedServer(url))
        self._raw = stack.enter_context(Worker("bench.raw"))
        self._crowd = stack.enter_context(Worker("bench.crowd"))
        self._raw_crowd = stack.enter_context(Worker("bench.crowd"))
        self._reporters = stack.enter_context(Worker("bench.reporters"))
        self._raw_address = self._raw.call("start")
        self._raw_revision = 0
        self._findings: Findings = stage.findings
        self._watchers = 0
        self._reporters.call(
            "create", address=self._writing.address, keys=[_WATCHED, _UNWATCHED], granules=_GRANULES
        )

    def gather(self, watchers: int) -> None:
        """Have so many watchers, on the service and on the baseline."""
        connections = max(1, watchers // 100)
        self._watchers = watchers
        for crowd, address in ((self._crowd, self.watching.address), (self._raw_crowd, self._raw_address)):
            crowd.call("close")
            crowd.call("connect", address=address, connections=connections)
            crowd.call("open", keys=[_WATCHED], watchers=watchers, samples=_SAMPLES)
        # What happens only once, first connections and first states of granules, is not measured.
        self.service(Load(5, _GRANULES, 0.2))
        self.raw(Load(5, 1, 0.2))

    def service(self, load: Load) -> Round:
        """Measure one round of the service."""
        self._crowd.call("mark")
        begun, cpu = time.time(), cpu_seconds(self.watching.pid)
        reported = self._report(_WATCHED, load)
        counts = self._crowd.call("reach", revisions=reported["revisions"])
        return self._round(load, begun, cpu_seconds(self.watching.pid) - cpu, counts)

    def raw(self, load: Load) -> Round:
        """Measure one round of the baseline."""
        self._raw_crowd.call("mark")
        begun, cpu = time.time(), cpu_seconds(self._raw.pid)
        self._raw.begin(
            "play", rate=load.rate, count=load.reports, changes=load.changes, revision=self._raw_revision
        )
        self._report(_UNWATCHED, load)
        self._raw_revision = self._raw.end()
        counts = self._raw_crowd.call("reach", revisions=[[_WATCHED, self._raw_revision]])
        return self._round(load, begun, cpu_seconds(self._raw.pid) - cpu, counts)

    def both(self, load: Load, rounds: int = ROUNDS) -> tuple[list[Round], list[Round]]:
        """Measure rounds of the service and of the baseline in turns."""
        measured = [(self.service(load), self.raw(load)) for _ in range(rounds)]
        ours, raw = (list(part) for part in zip(*measured, strict=True))
        return ours, raw

    def latencies(self) -> dict[str, float]:
        """Return how long changes of the service have taken since its last round began."""
        found: dict[str, float] = self._crowd.call("latencies")
        return found

    def _report(self, key: tuple[str, str], load: Load) -> dict[str, list[object]]:
        reported: dict[str, list[object]] = self._reporters.call(
            "run",
            address=self._writing.address,
            keys=[key],
            rate=load.rate,
            reports=load.reports,
            changes=load.changes,
            granules=_GRANULES,
        )
        if float(str(reported["late"])) > 0.5 + load.seconds / 10:
            self._findings.remark(f"the reporters were {reported['late']} s late: the load was lower")
        return reported

    def _round(self, load: Load, begun: float, cpu: float, counts: dict[str, float]) -> Round:
        delivered = self._watchers * load.reports * load.changes
        return Round(delivered, counts["frames"], counts["bytes"], counts["last"] - begun, cpu)


def measure(stage: Stage) -> None:
    """Measure what fan-out costs."""
    with ExitStack() as stack:
        fan_out = FanOut(stage, stack)
        fan_out.gather(1000)
        _measure_few(stage, fan_out)
        _measure_singles(stage, fan_out, 1000, _MORE_ROUNDS)
        _measure_steady(stage, fan_out)
        _measure_reports(stage, fan_out)
        fan_out.gather(5000)
        _measure_singles(stage, fan_out, 5000, ROUNDS)


def _measure_few(stage: Stage, fan_out: FanOut) -> None:
    ours, raw = fan_out.both(Load(5, 1, stage.seconds(5)), _MORE_ROUNDS)
    stage.findings.add(
        "server CPU per delivered change, 1,000 watchers, 5 single changes/s",
        [one.cost for one in ours],
        "µs",
        Goal(ratio_at_most=1.2),
        [one.cost for one in raw],
    )


def _measure_singles(stage: Stage, fan_out: FanOut, watchers: int, rounds: int) -> None:
    """Report about half as fast as frames can be sent, then about twice as fast.

    How many frames can be sent is told by what one takes of a processor, for the service puts several changes
    into one when it cannot follow: in wall time only the changes delivered can be compared.
    """
    ours, raw = fan_out.both(Load(20_000 / watchers, 1, stage.seconds(5)), rounds)
    stage.findings.add(
        f"frames per second of server CPU, {watchers:,} watchers, {20_000 / watchers:g} single changes/s",
        [one.frames / one.cpu for one in ours],
        "frames/s",
        Goal(ratio_at_least=0.9),
        [one.frames / one.cpu for one in raw],
    )
    ours, raw = fan_out.both(Load(80_000 / watchers, 1, stage.seconds(2)))
    stage.findings.add(
        f"changes delivered a second, {watchers:,} watchers, {80_000 / watchers:g} single changes/s",
        [one.delivered / one.seconds for one in ours],
        "changes/s",
        Goal(ratio_at_least=0.9),
        [one.delivered / one.seconds for one in raw],
    )


def _measure_steady(stage: Stage, fan_out: FanOut) -> None:
    load = Load(100, 20, stage.seconds(20))
    costs, p99s = [], []
    for _ in range(ROUNDS):
        costs.append(fan_out.service(load).cost)
        p99s.append(fan_out.latencies()["p99"] * 1000)
    steady = f"1,000 watchers, 100 reports/s of 20 changes for {ROUNDS * load.seconds:.0f} s"
    stage.findings.add(f"server CPU per delivered change, {steady}", costs, "µs", Goal(at_most=0.6))
    stage.findings.add(
        "commit (change_time) to watcher on another process, the same, p99", p99s, "ms", Goal(at_most=250)
    )


def _measure_reports(stage: Stage, fan_out: FanOut) -> None:
    for changes, rate, most, rounds in ((100, 20, 0.6, ROUNDS), (1000, 6, 0.15, _MORE_ROUNDS)):
        ours, raw = fan_out.both(Load(rate, changes, stage.seconds(3)), rounds)
        stage.findings.add(
            f"server CPU per delivered change, 1,000 watchers, {rate} reports/s of {changes:,}",
            [one.cost for one in ours],
            "µs",
            Goal(at_most=most, ratio_at_most=1.25),
            [one.cost for one in raw],
        )
        mean = [sum(one.size for one in part) / sum(one.frames for one in part) for part in (ours, raw)]
        stage.findings.remark("bytes a frame: {:,.0f}, raw {:,.0f}".format(*mean))
    stage.findings.add(
        "changes delivered, the same",
        [one.delivered / one.seconds for one in ours],
        "changes/s",
        Goal(at_least=5_000_000),
        [one.delivered / one.seconds for one in raw],
    )
