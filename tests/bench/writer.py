"""A writer of batches: what is reported is made beforehand, handed to a store, or sent to a server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from stored import opened
from workers import Worker

from bench.effort import Effort, Meter
from bench.stage import BenchedServer, Key, Stage
from jobstatus_grpc.model import GranuleReport, GranuleState, JobKey, JobReport, Report

BATCH = 1000
REPORTERS = 4
SINGLES = 16


class Writer:
    """Reports in batches, handed to a store or sent to a server on the same database.

    What is to be reported is made beforehand.
    """

    def __init__(self, stage: Stage, stack: ExitStack, url: str) -> None:
        self._store = stack.enter_context(opened(url))
        self.here = Meter(stage, os.getpid(), url)
        self._threads = stack.enter_context(ThreadPoolExecutor(REPORTERS))
        self._server = stack.enter_context(BenchedServer(url))
        self._there = Meter(stage, self._server.pid, url)
        self._reporters = stack.enter_context(Worker("bench.reporters"))

    def job_pk(self, key: Key) -> int:
        """Return the key of a job's row."""
        return self._store.read_job(JobKey(*key)).job_pk

    def create(self, keys: Sequence[Key]) -> None:
        """Report jobs."""
        for key in keys:
            self._store.report(Report(JobKey(*key), JobReport(*key), ()))

    def hand(self, keys: Sequence[Key], states: Sequence[GranuleState], batches: int) -> Effort:
        """Report to the store, each job from a thread of its own."""
        made = [[_reports(key, state, batches) for key in keys] for state in states]

        def report(reports: Sequence[Report]) -> None:
            for each in reports:
                self._store.report(each)

        def work() -> None:
            for of_state in made:
                list(self._threads.map(report, of_state))

        return self.here.measure(len(keys) * len(states) * batches * BATCH, work)

    def send(self, keys: Sequence[Key], states: Sequence[GranuleState], batches: int) -> Effort:
        """Report to the server, each job from a reporter of its own."""
        names = [f"GRANULE_STATE_{state.name}" for state in states]
        self._reporters.call("ready", keys=keys, reports=batches, changes=BATCH, states=names)

        def work() -> None:
            for name in names:
                self._reporters.call("pour", address=self._server.address, keys=keys, state=name)

        return self._there.measure(len(keys) * len(states) * batches * BATCH, work)

    def create_small(self, keys: Sequence[Key]) -> None:
        """Report jobs as `storm` wants them."""
        self._reporters.call("create", address=self._server.address, keys=keys, granules=10)

    def storm(self, keys: Sequence[Key], seconds: float) -> Effort:
        """Report single changes from 16 reporters, to the jobs in turn."""
        load = {"address": self._server.address, "keys": keys, "seconds": seconds, "writers": SINGLES}
        rates: list[float] = []
        effort = self._there.measure(1, lambda: rates.append(self._reporters.call("storm", **load)))
        return effort._replace(done=round(rates[0] * effort.seconds))


def _reports(key: Key, state: GranuleState, batches: int) -> Sequence[Report]:
    def granules(batch: int) -> Sequence[GranuleReport]:
        numbers = range(batch * BATCH, (batch + 1) * BATCH)
        return [GranuleReport("", f"granule-{number:06}", state) for number in numbers]

    return [Report(JobKey(*key), None, granules(batch)) for batch in range(batches)]
