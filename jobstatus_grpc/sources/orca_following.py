"""Following ORCA's jobs by the right of one lease: what is read when, and what is reported of it."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from jobstatus_grpc.errors import InvalidRequest, NotFound, PreconditionFailed
from jobstatus_grpc.model import Granule, GranuleKey, GranuleReport, JobKey, JobReport, JobState, Report
from jobstatus_grpc.sources.holding import LEASE_SECONDS
from jobstatus_grpc.sources.orca_database import (
    PAGE_GRANULES,
    Identity,
    Mark,
    OrcaDatabase,
    OrcaSnapshot,
    Walk,
)
from jobstatus_grpc.sources.orca_jobs import FollowedJob
from jobstatus_grpc.sources.orca_values import GranuleRow, RowKey, difference, granule_report, storable
from jobstatus_grpc.store.base import JobQuery, JobStore, Lease, ReportResult

_log = logging.getLogger(__name__)

SYSTEM: Final = "orca"
_OPEN_STATES: Final = (JobState.PENDING, JobState.RUNNING)
# What one query is about, at most.
_JOBS_TOGETHER: Final = 50
_GRANULES_TOGETHER: Final = 10_000
_WALKED_JOBS: Final = 5_000
_LISTED_JOBS: Final = 500
# How many granules are looked up one by one, rather than all of their job.
_LOOKED_UP: Final = 20


class Pace(NamedTuple):
    """How a source follows.

    Attributes:
        project_id: of which project the jobs are.
        interval: how often open jobs are read, in seconds.
        settle: for how long no granule comes before a job is complete, in seconds.
    """

    project_id: str
    interval: float = 1.0
    settle: float = 60.0


class OrcaFollowing:
    """Brings in what ORCA's database has, as long as a lease lasts.

    A turn reads the open jobs that are due, looks for new jobs, and goes one part on through all granules.
    The first way through the granules takes them all: it is the back-fill. Whatever was missed by any other
    way the next one finds, also after a restart: how far it is stands with the lease.

    Every method raises SourceFailed where ORCA's database does not answer, LeaseLost where another has taken
    the lease, and what `JobStore.report` raises where the store does not write. The method can be called
    again then: what was not reported is read again.

    Args:
        store: where jobs are reported.
        database: ORCA's.
        identity: which database that is.
        lease: by which right.
        pace: how.
        executor: the threads that write.

    Attributes:
        filled: how many granules the back-fill has looked at.
        spent: how long ORCA's database has worked for this, in seconds.
    """

    def __init__(
        self,
        store: JobStore,
        database: OrcaDatabase,
        identity: Identity,
        lease: Lease,
        pace: Pace,
        executor: Executor,
    ) -> None:
        self._store = store
        self._database = database
        self._identity = identity
        self._lease = lease
        self._pace = pace
        self._executor = executor
        self._jobs: dict[str, FollowedJob] = {}
        self._granules = self._new_jobs = Walk()
        self._noted = ""
        self._refused: set[str] = set()
        self._asking = threading.Lock()
        self._asked: set[str] = set()
        self.filled = 0
        self.spent = 0.0

    @property
    def filling(self) -> bool:
        """Whether the back-fill has not ended."""
        return self._granules.since == 0

    @property
    def followed(self) -> int:
        """How many jobs are not complete."""
        return len(self._jobs)

    def ask(self, job_id: str) -> None:
        """Have the next turn read a job, whether it is due or not. May be called from any thread."""
        with self._asking:
            self._asked.add(job_id)

    def begin(self) -> None:
        """Learn what the store has: the jobs to follow, and how far the last owner of the lease has come."""
        with self._snapshot() as snapshot:
            horizon = snapshot.horizon
        self._granules, self._new_jobs, self.filled = self._read_progress(horizon)
        now = time.monotonic()
        before: int | None = None
        while True:
            states = [*_OPEN_STATES, JobState.UNSPECIFIED]
            query = JobQuery(self._pace.project_id, _LISTED_JOBS, before, states, SYSTEM)
            page = self._store.list_jobs(query)
            self._jobs.update((job.job_id, FollowedJob.of(job, now)) for job in page.jobs)
            if page.next_before is None:
                return
            before = page.next_before

    def turn(self) -> None:
        """Do what is due."""
        self._find_jobs()
        self._read_jobs(self._due())
        if not self.filling:
            self._walk_on()
        self._settle()
        self.note()

    def fill(self) -> None:
        """Do one part of the back-fill."""
        self._walk_on()
        self._settle()

    def note(self) -> None:
        """Keep with the lease how far this has come."""
        walks = {"granules": self._granules, "jobs": self._new_jobs}
        noted = json.dumps({"identity": self._identity, "filled": self.filled, **walks})
        if noted != self._noted:
            self._store.renew_lease(self._lease, LEASE_SECONDS, noted)
            self._noted = noted

    def _read_progress(self, horizon: int) -> tuple[Walk, Walk, int]:
        """Return the walks as they were noted, or new ones if that was of another history."""
        try:
            noted = json.loads(self._lease.progress)
            walks = [Walk(each[0], each[1], RowKey(*each[2])) for each in (noted["granules"], noted["jobs"])]
            if tuple(noted["identity"]) == self._identity and max(walks[0][:2] + walks[1][:2]) <= horizon:
                return walks[0], walks[1], int(noted["filled"])
        except (ValueError, KeyError, TypeError, IndexError):
            pass
        # What is there already is the back-fill's.
        return Walk(), Walk(horizon), 0

    @contextmanager
    def _snapshot(self) -> Iterator[OrcaSnapshot]:
        began = time.monotonic()
        try:
            with self._database.snapshot() as snapshot:
                yield snapshot
        finally:
            self.spent += time.monotonic() - began

    def _find_jobs(self) -> None:
        """Follow jobs that are new since the walk over all jobs was where it is now."""
        with self._snapshot() as snapshot:
            walk, found = snapshot.new_jobs(self._new_jobs, _WALKED_JOBS)
        unknown = [job_id for job_id in found if job_id not in self._jobs]
        known = self._store.read_jobs([self._key(job_id) for job_id in unknown])
        now = time.monotonic()
        for job_id in unknown:
            if self._key(job_id) not in known:
                self._jobs[job_id] = FollowedJob(job_id, now, now)
        self._new_jobs = walk

    def _due(self) -> Sequence[FollowedJob]:
        with self._asking:
            asked, self._asked = self._asked, set()
        now = time.monotonic()
        due = [job for job in self._jobs.values() if job.due <= now or job.job_id in asked]
        # What is complete, or not known, may have changed since the walk passed it.
        others = asked - self._jobs.keys()
        if others:
            self._take_found(self._read([Mark(job_id, self._granules.since) for job_id in others])[1])
        return due

    def _read_jobs(self, jobs: Sequence[FollowedJob]) -> None:
        """Read what is new of jobs that are followed, and report it."""
        for start in range(0, len(jobs), _JOBS_TOGETHER):
            group = jobs[start : start + _JOBS_TOGETHER]
            marks = [Mark(job.job_id, job.since) for job in group]
            first, limit = 0, _GRANULES_TOGETHER // len(group)
            while marks:
                horizon, found = self._read(marks, limit)
                first = first or horizon
                self._report(found)
                marks = [
                    Mark(mark.job_id, mark.since, *found[mark.job_id][-1].key[1:])
                    for mark in marks
                    if len(found.get(mark.job_id, ())) == limit
                ]
            now = time.monotonic()
            for job in group:
                job.schedule(first, now, self._pace.interval)

    def _read(
        self, marks: Sequence[Mark], limit: int = PAGE_GRANULES
    ) -> tuple[int, Mapping[str, Sequence[GranuleRow]]]:
        with self._snapshot() as snapshot:
            rows = snapshot.with_files(snapshot.changed(marks, limit))
            return snapshot.horizon, _by_job(rows)

    def _walk_on(self) -> None:
        """Go one part on through all granules, and report what nobody has."""
        with self._snapshot() as snapshot:
            walk, granules, examined = snapshot.part(self._granules)
            if not self.filling:
                # Open jobs are read by themselves.
                granules = [row for row in granules if row.key.job_id not in self._jobs]
            found = _by_job(snapshot.with_files(granules))
        if found:
            self._take_found(found)
        self.filled += examined if self.filling else 0
        self._granules = walk

    def _take_found(self, found: Mapping[str, Sequence[GranuleRow]]) -> None:
        """Report granules of any jobs, and follow those jobs that are not complete, or no more."""
        others = [job_id for job_id in found if job_id not in self._jobs]
        known = self._store.read_jobs([self._key(job_id) for job_id in others])
        now = time.monotonic()
        for job_id in others:
            stored = known.get(self._key(job_id))
            job = FollowedJob(job_id, 0.0, now) if stored is None else FollowedJob.of(stored.job, now)
            # Of what is new to the store the back-fill brings the rest.
            job.since = self._granules.horizon if self.filling and stored is None else 0
            self._jobs[job_id] = job
        self._report(found)
        for job_id in others:
            if self._jobs[job_id].complete:
                del self._jobs[job_id]

    def _report(self, found: Mapping[str, Sequence[GranuleRow]]) -> None:
        """Report granules of jobs that are followed, jobs side by side."""
        now, clock = time.monotonic(), time.time()

        def report(job_id: str) -> None:
            job = self._jobs[job_id]
            rows = [row for row in found[job_id] if self._is_storable(row)]
            if job.complete:
                # It is opened again with what is new of it, or not at all.
                rows = list(self._unheld(job_id, rows))
            if not rows:
                return
            # Of what was there before this source, nobody has seen it come.
            latest = max(row.request_time for row in rows) / 1_000_000
            arrived = now if job.since else now - max(0.0, clock - latest)
            job.note_rows(rows)
            result = self._write(job, list(map(granule_report, rows)), False if job.complete else None)
            if result is not None:
                job.note_result(result, arrived, now)

        list(self._executor.map(report, found))

    def _write(
        self, job: FollowedJob, granules: Sequence[GranuleReport], complete: bool | None = None
    ) -> ReportResult | None:
        """Report a job; `None` if it is not such as the store takes."""
        key = self._key(job.job_id)
        told = JobReport(
            *key,
            system=SYSTEM,
            job_type="recovery",
            begin_time=job.begun,
            end_time=job.ended if complete else None,
            granules_complete=complete,
            emptied=frozenset({"end_time"} if complete is False else ()),
        )
        try:
            result = self._store.report(Report(key, told, granules, authoritative=True), lease=self._lease)
            job.note_complete(complete)
            return result
        except (InvalidRequest, NotFound, PreconditionFailed) as refused:
            if job.job_id not in self._refused:
                self._refused.add(job.job_id)
                _log.error("job %s cannot be brought in: %s", job.job_id, refused)
            return None

    def _unheld(self, job_id: str, rows: Sequence[GranuleRow]) -> Sequence[GranuleRow]:
        """Return those of a job's rows that say something else than the store."""
        key = self._key(job_id)
        reports = [granule_report(row) for row in rows]
        held: dict[GranuleKey, Granule] = {}
        if len(rows) <= _LOOKED_UP:
            for report in reports:
                with suppress(NotFound):
                    held[report.key] = self._store.read_granule(key, report.key).granule
        else:
            with self._store.open_snapshot(key) as snapshot:
                held = {granule.key: granule for page in snapshot.pages for granule in page}
        told = zip(rows, reports, strict=True)
        return [row for row, each in told if each.key not in held or difference(each, held[each.key])]

    def _settle(self) -> None:
        """Tell of jobs that are complete, and leave those that have been for long: the walk sees to them."""
        now = time.monotonic()
        partial = self._granules.after.job_id if self.filling else ""
        settled = [
            job
            for job in self._jobs.values()
            if job.is_settled(now, self._pace.settle) and job.job_id != partial
        ]
        list(self._executor.map(lambda job: self._write(job, (), True), settled))
        for job_id in [job.job_id for job in self._jobs.values() if job.is_left(now)]:
            del self._jobs[job_id]

    def _is_storable(self, row: GranuleRow) -> bool:
        if storable(row):
            return True
        if row.key.job_id not in self._refused:
            self._refused.add(row.key.job_id)
            _log.error("granules of job %r cannot be brought in: their ids are no such", row.key.job_id)
        return False

    def _key(self, job_id: str) -> JobKey:
        return JobKey(self._pace.project_id, job_id)


def _by_job(rows: Iterable[GranuleRow]) -> Mapping[str, Sequence[GranuleRow]]:
    found: dict[str, list[GranuleRow]] = {}
    for row in rows:
        found.setdefault(row.key.job_id, []).append(row)
    return found
