"""Watches one job of a running server with several watchers, and tells what that has proved."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import grpc

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient
from jobstatus_grpc.verify.minutes import Counts, Minutes
from jobstatus_grpc.verify.record import Breach, Guarantee
from jobstatus_grpc.verify.stream import Asked
from jobstatus_grpc.verify.watching import Goal, Role, Watcher

_LOOK_INTERVAL: Final = 0.1
# How long the watchers may take to get to where the last read was.
_LAST_WAY: Final = 30.0
# How long a stream lasts that is dropped on purpose, on average, in seconds.
_RESTLESSNESS: Final = 2.0
_HEARTBEAT_INTERVAL: Final = 1.0
_READER: Final = "reader"


class Agreement(NamedTuple):
    """Where all watchers and a last read of the job were compared.

    Attributes:
        revision: at which revision.
        totals: the totals there, by the numbers of the states.
        digest: of the granules there, the same for all.
        watchers: how many held it, the reader among them.
    """

    revision: int
    totals: Counts
    digest: int
    watchers: int


class Findings(NamedTuple):
    """What a probe has found.

    Attributes:
        checked: how often each guarantee was found to hold; those that never came up are missing.
        seen: how many streams, resumes, reads, frames, changes, snapshots, … there were, of all watchers.
        watchers: the same of each, by its name.
        compared: how often two watchers held the same revision.
        agreement: where all were compared at the end; `None` if they were not.
        breaches: what was broken. Where there are none, what was checked is proved.
    """

    checked: Mapping[Guarantee, int]
    seen: Mapping[str, int]
    watchers: Mapping[str, Mapping[str, int]]
    compared: int
    agreement: Agreement | None
    breaches: Sequence[Breach]


class Probe:
    """Watches a job with several watchers.

    One is steady, if there are two, and the others drop their streams again and again and go on from earlier
    frames; one more reads the job by pages and watches from there.

    Args:
        server: `host:port`.
        project_id: the job's project; empty means `default`.
        job_id: the job.
        watchers: how many watch, beside the one that reads.
        seconds: for how long; a job that ends earlier ends the probe.
        tls: encrypts the connections, as of a `JobStatusClient`.
        credentials: returns bearer tokens, as of a `JobStatusClient`.
    """

    def __init__(
        self,
        server: str,
        project_id: str,
        job_id: str,
        *,
        watchers: int = 4,
        seconds: float = 30.0,
        tls: grpc.ChannelCredentials | None = None,
        credentials: Callable[[], str] | None = None,
    ) -> None:
        self._client = partial(JobStatusClient, server, project_id, tls=tls, credentials=credentials)
        self._watching = partial(Watcher, server, project_id, tls=tls, credentials=credentials)
        self._job_id = job_id
        self._seconds = seconds
        self._goal = Goal()
        self._minutes = Minutes()
        self._late: list[Breach] = []
        roles = [Role.STEADY if index == 0 and watchers > 1 else Role.RESTLESS for index in range(watchers)]
        names = [f"watcher {number}" for number in range(1, watchers + 1)]
        self._reader = self._watcher(_READER, Role.READER)
        self._watchers = {name: self._watcher(name, role) for name, role in zip(names, roles, strict=True)}
        self._watchers[_READER] = self._reader

    def run(self) -> Findings:
        """Watch, and return what was found.

        Raises:
            JobStatusRpcError: there is no such job, or the server cannot be reached.
        """
        try:
            with self._client(connect_timeout=3.0) as client:
                client.get(self._job_id, view=pb.JOB_VIEW_BASIC)
            for watcher in self._watchers.values():
                watcher.start()
            self._watch_until(time.monotonic() + self._seconds)
            self._bring_together(time.monotonic() + _LAST_WAY)
        finally:
            for watcher in self._watchers.values():
                watcher.close()
        findings = self._findings()
        failures = [watcher.failure for watcher in self._watchers.values() if watcher.failure is not None]
        # What was broken explains more than that a watcher could not go on.
        if failures and not findings.breaches:
            raise failures[0]
        return findings

    def _watcher(self, name: str, role: Role) -> Watcher:
        return self._watching(
            self._job_id,
            name=name,
            role=role,
            asked=Asked(heartbeat_interval=_HEARTBEAT_INTERVAL),
            minutes=self._minutes,
            goal=self._goal,
            restlessness=_RESTLESSNESS,
        )

    def _watch_until(self, end: float) -> None:
        """Look after the watchers until the time has come, or the job has ended, or one cannot go on."""
        while time.monotonic() < end:
            self._look()
            if self._failed or all(watcher.resting for watcher in self._watchers.values()):
                return

    def _bring_together(self, end: float) -> None:
        """Let the reader read for the last time, and all others get to where that was."""
        self._goal.near.set()
        while not self._failed and any(watcher.running for watcher in self._watchers.values()):
            self._look()
            read = self._reader.last_read
            if read is not None and self._goal.revision is None:
                reached = [watcher.checker.revision for watcher in self._watchers.values()]
                self._goal.revision = max(read, *reached)
            if time.monotonic() > end:
                self._note_late()
                return

    def _look(self) -> None:
        for watcher in self._watchers.values():
            watcher.look()
        time.sleep(_LOOK_INTERVAL)

    @property
    def _failed(self) -> bool:
        return any(watcher.failure is not None for watcher in self._watchers.values())

    def _note_late(self) -> None:
        for name, watcher in self._watchers.items():
            if watcher.running:
                words = (
                    f"stands at revision {watcher.checker.revision}, and has not come to "
                    f"{self._goal.revision or 'a last read'} in {_LAST_WAY:.0f} s"
                )
                self._late.append(Breach(Guarantee.COMPLETE, words, None, name))

    def _findings(self) -> Findings:
        checked: Counter[Guarantee] = Counter()
        seen: Counter[str] = Counter()
        breaches: list[Breach] = []
        for watcher in self._watchers.values():
            checked.update(watcher.checker.checked)
            seen.update(watcher.checker.seen)
            breaches += watcher.checker.breaches
        watchers = {name: watcher.checker.seen for name, watcher in self._watchers.items()}
        compared = self._minutes.compared
        return Findings(checked, seen, watchers, compared, self._agreement(), [*breaches, *self._late])

    def _agreement(self) -> Agreement | None:
        revision = self._goal.revision
        minute = None if revision is None else self._minutes.at(revision)
        if revision is None or minute is None or minute.digest is None:
            return None
        if not minute.witnesses & self._minutes.number_of(_READER):
            return None
        return Agreement(revision, minute.counts, minute.digest, minute.witnesses.bit_count())
