"""The section `sources`: how fast an ORCA database is brought in, and how soon its changes are seen."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from bringing import JOB, SourceCommand
from moments import wait_until
from orca import STAGED, OrcaDatabase, OrcaGranule, OrcaWriter, orca_granules
from stored import run

from bench.figures import Goal
from bench.stage import BenchedServer, Stage
from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError

_FILES = 3
_GRANULES = 500
_INTERVAL = 1.0
_OPEN_JOBS = 100
# Before all others in the order of keys: the back-fill comes to it first.
_LIVE = "a job that is live"
_WATCHED = 10
_RATE = Goal(at_least=10_000)
_SOON = Goal(at_most=(_INTERVAL + 0.5) * 1000)


def measure(stage: Stage) -> None:
    """Measure a back-fill while live changes flow, then the way of changes in open jobs to their watchers."""
    orca = stage.orca()
    jobs = stage.number(500, 50)
    orca.fill(jobs, _GRANULES, _FILES)
    rows = jobs * _GRANULES * (1 + _FILES)
    with ExitStack() as stack:
        url = stage.database()
        server = stack.enter_context(BenchedServer(url))
        client = stack.enter_context(JobStatusClient(server.address, project_id=JOB.project_id))
        writer = stack.enter_context(orca.writer())
        source = SourceCommand(url, orca, _INTERVAL, 0.0)
        stack.callback(source.kill)
        _measure_filling(stage, url, client, writer, rows, jobs)
        source.kill()
        _measure_open(stage, url, client, writer, orca, stack)


def _measure_filling(
    stage: Stage, url: str, client: JobStatusClient, writer: OrcaWriter, rows: int, jobs: int
) -> None:
    granules = orca_granules(_LIVE, _GRANULES, 1)
    began = time.monotonic()
    for one in granules:
        writer.create(one, commit=False)
    writer.commit()
    with _watching(client, [_LIVE]) as watched:
        changing = iter(granules)
        while run(url, "select count(*) from job where state = 3")[0][0] < jobs:
            granule = next(changing, None)
            if granule is not None:
                watched.change(writer, granule)
            time.sleep(0.2)
        took = time.monotonic() - began
        wait_until(watched.all_seen, "all changes were seen", 60)
    stage.findings.add(f"back-fill of {rows:,} rows, changes flowing", [rows / took], "rows/s", _RATE)
    stage.findings.add("ORCA's commit to a watcher meanwhile, p50", [watched.quantile(0.5)], "ms")


def _measure_open(
    stage: Stage, url: str, client: JobStatusClient, writer: OrcaWriter, orca: OrcaDatabase, stack: ExitStack
) -> None:
    names = [f"open-{number:03}" for number in range(_OPEN_JOBS)]
    jobs = {name: orca_granules(name, stage.number(_GRANULES, 50), 1) for name in names}
    for granules in jobs.values():
        for granule in granules:
            writer.create(granule, commit=False)
    writer.commit()
    source = SourceCommand(url, orca, _INTERVAL, 60.0)
    stack.callback(source.kill)
    draw = random.Random(1)
    there = "select coalesce(sum(pending_count), 0) from job where left(job_id, 5) = 'open-'"
    count = sum(map(len, jobs.values()))
    wait_until(lambda: run(url, there)[0][0] == count, "all of them have come", 120)
    with _watching(client, names[:_WATCHED]) as watched:
        changing = [granule for name in names[:_WATCHED] for granule in jobs[name][:50]]
        draw.shuffle(changing)
        for granule in changing[: stage.number(300, 100)]:
            watched.change(writer, granule)
            time.sleep(draw.random() * 0.07)
        wait_until(watched.all_seen, "all changes were seen", 60)
    words = f"{_OPEN_JOBS} open jobs: ORCA's commit to a watcher"
    stage.findings.add(f"{words}, p50", [watched.quantile(0.5)], "ms")
    stage.findings.add(f"{words}, p99", [watched.quantile(0.99)], "ms", _SOON)


class _Watched:
    """Jobs that are watched, and how long each change took on its way."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], float] = {}
        self._took: dict[tuple[str, str], float] = {}

    def change(self, writer: OrcaWriter, granule: OrcaGranule) -> None:
        """Stage a granule, and note when that was committed."""
        writer.update(granule, granule.files[0], STAGED, commit=False)
        self._begun[granule.job_id, granule.granule_id] = time.monotonic()
        writer.commit()

    def see(self, job_id: str, granule_id: str) -> None:
        """Note that a watcher has seen a granule staged."""
        key = job_id, granule_id
        if key in self._begun:
            self._took.setdefault(key, time.monotonic() - self._begun[key])

    def all_seen(self) -> bool:
        """Return whether all changes have arrived."""
        return self._took.keys() == self._begun.keys()

    def quantile(self, share: float) -> float:
        """Return how many milliseconds this share of the changes took at most."""
        found = sorted(self._took.values())
        return found[min(len(found) - 1, int(len(found) * share))] * 1000


@contextmanager
def _watching(client: JobStatusClient, job_ids: Sequence[str]) -> Iterator[_Watched]:
    """Watch jobs in threads; each has begun when the context does."""
    watched, ended = _Watched(), threading.Event()
    begun = {job_id: threading.Event() for job_id in job_ids}

    def watch(job_id: str) -> None:
        with suppress(JobStatusRpcError):
            for update in client.watch(job_id, wait_for_job=True, heartbeats=True, heartbeat_interval=1):
                if update.whole and update.revision:
                    begun[job_id].set()
                for granule in (*update.granules, *(each.granule.granule for each in update.changes)):
                    if granule.state == pb.GRANULE_STATE_STAGED:
                        watched.see(job_id, granule.granule_id)
                if ended.is_set():
                    return

    threads = [threading.Thread(target=watch, args=(job_id,)) for job_id in job_ids]
    for thread in threads:
        thread.start()
    for each in begun.values():
        each.wait(60)
    try:
        yield watched
    finally:
        ended.set()
        for thread in threads:
            thread.join(timeout=10)
