"""The section `secure`: what credentials, metrics and the log cost, and what greed costs others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from credentials import Issuer
from processes import ServerProcess
from workers import Worker

from bench.figures import NO_GOAL, Goal
from bench.reads import Asked, Load
from bench.stage import ROUNDS, Stage
from bench.stock import Stock
from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

_CALLERS = 32
_FEW_CALLERS = 4
_LIMIT = 200
_GREED = 10


def measure(stage: Stage) -> None:
    """Measure calls of servers that do some or all of it beside those of one that does nothing of it."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="jobstatus-bench-")))
        issuer = Issuer(home)
        ways: Mapping[str, Mapping[str, str]] = {
            "bare": {"log_calls": "none"},
            "credentials": {"log_calls": "none"} | issuer.settings,
            "metrics": {"log_calls": "none", "admin_listen": "0"},
            "log": {"log_calls": "all"},
            "all three": {"log_calls": "all", "admin_listen": "0"} | issuer.settings,
        }
        stock = Stock(stage.database())
        job_ids = stock.add(stage.number(20_000, 5000), 10)
        asked = {name: _asked(stack, stock.url, home / name, settings) for name, settings in ways.items()}
        for one in asked.values():
            one.about(job_ids, token=issuer.token())
            one.run(1)
        _compare(stage, asked, len(job_ids))
        _beside_greed(stage, stack, stock.url, job_ids)


def _asked(stack: ExitStack, url: str, log: Path, settings: Mapping[str, str]) -> Asked:
    server = ServerProcess(url, log_format="json", **settings)
    server.log = stack.enter_context(log.open("w"))
    stack.enter_context(server)
    return Asked(stack, server.pid, server.address)


def _compare(stage: Stage, asked: Mapping[str, Asked], jobs: int) -> None:
    loads: dict[str, list[Load]] = {name: [] for name in asked}
    for _ in range(ROUNDS):
        for name, one in asked.items():
            loads[name].append(one.run(stage.seconds(1.5), _CALLERS))
    bare = loads.pop("bare")
    for name, some in loads.items():
        words = f"GetJobStatus, 10 granules, {_CALLERS} callers, any of {jobs:,} jobs, with {name}"
        goal = Goal(ratio_at_least=0.75) if name == "all three" else NO_GOAL
        rates = [one.rate for one in some], [one.rate for one in bare]
        stage.findings.add(f"{words}, calls", rates[0], "calls/s", goal, rates[1], "without")
        costs = [one.cost for one in some], [one.cost for one in bare]
        stage.findings.add(f"{words}, server's CPU", costs[0], "us/call", NO_GOAL, costs[1], "without")


def _beside_greed(stage: Stage, stack: ExitStack, url: str, job_ids: Sequence[str]) -> None:
    """Ask for jobs of one project while another wants many times the watches it may have, and while not."""
    server = ServerProcess(url, log_level="error", max_watches_per_project=str(_LIMIT))
    stack.enter_context(server)
    with JobStatusClient(server.address, "greedy") as client:
        client.report_job(pb.Job(job_id="j"))
    others = Asked(stack, server.pid, server.address)
    others.about(job_ids)
    others.run(1, _FEW_CALLERS)
    alone, beside, refused = [], [], 0
    for _ in range(ROUNDS):
        alone.append(others.run(stage.seconds(2), _FEW_CALLERS).p99)
        greedy = stack.enter_context(Worker("bench.greedy"))
        greedy.call("begin", address=server.address, project_id="greedy", job_id="j", number=_GREED * _LIMIT)
        others.run(1, _FEW_CALLERS)
        beside.append(others.run(stage.seconds(2), _FEW_CALLERS).p99)
        counts = greedy.call("end")
        assert counts["open"] == _LIMIT, counts
        refused += counts["TOO_MANY_WATCHES"]
    words = f"p99 of GetJobStatus beside a project that wants {_GREED} times its {_LIMIT} watches"
    stage.findings.add(words, beside, "ms", Goal(ratio_at_most=2.0), alone, "without")
    stage.findings.remark(f"{words}: {refused:,} watches were refused meanwhile")
