"""Following ORCA's jobs by the right of one lease: what is read when, and what is reported of it."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from jobstatus_grpc.errors import InvalidRequest, NotFound, PreconditionFailed
from jobstatus_grpc.model import GranuleKey, GranuleReport, Job, JobKey, JobReport, JobState, Report
from jobstatus_grpc.sources.holding import LEASE_SECONDS
from jobstatus_grpc.sources.orca_database import (
    Identity,
    Mark,
    OrcaDatabase,
    OrcaSnapshot,
    Part,
    Walk,
)
from jobstatus_grpc.sources.orca_jobs import FollowedJob
from jobstatus_grpc.sources.orca_stored import Held, read_held
from jobstatus_grpc.sources.orca_values import GranuleRow, RowKey, difference, granule_report, storable
from jobstatus_grpc.store.base import JobQuery, JobStore, Lease, ReportResult

_log = logging.getLogger(__name__)

SYSTEM: Final = "orca"
_OPEN_STATES: Final = (JobState.PENDING, JobState.RUNNING)
# What one query is about, at most.
_JOBS_TOGETHER: Final = 100
_GRANULES_TOGETHER: Final = 10_000
_WALKED_JOBS: Final = 5_000
_LISTED_JOBS: Final = 500
# Granules and files that are reported together: many times as many take longer than a call may.
_REPORTED_ROWS: Final = 5_000
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


class Look(NamedTuple):
    """What was found of some jobs in one snapshot.

    Attributes:
        horizon: of the snapshot.
        limit: how many granules of each job there are at most.
        found: those that are new, by job.
    """

    horizon: int
    limit: int
    found: Mapping[str, Sequence[GranuleRow]]


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
        self._began = 0.0
        # The moments that the clocks of both databases call 1970: this machine's own may be any other.
        self._zero = self._stored_zero = 0.0
        self.filled = 0
        self.spent = 0.0

    @property
    def filling(self) -> bool:
        """Whether the back-fill has not ended."""
        return self._granules.since == 0

    @property
    def due(self) -> float:
        """When the next job is to be read, as a moment of `time.monotonic()`."""
        return min((job.due for job in self._jobs.values()), default=math.inf)

    @property
    def followed(self) -> int:
        """How many jobs are read by themselves: those that are open, or were not long ago."""
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
        self._stored_zero = time.monotonic() - self._store.read_clock() / 1_000_000
        before: int | None = None
        while True:
            states = [*_OPEN_STATES, JobState.UNSPECIFIED]
            query = JobQuery(self._pace.project_id, _LISTED_JOBS, before, states, SYSTEM)
            page = self._store.list_jobs(query)
            self._jobs.update((job.job_id, self._followed(job)) for job in page.jobs)
            if page.next_before is None:
                return
            before = page.next_before

    def turn(self, began: float) -> None:
        """Do what is due.

        Args:
            began: the moment of `time.monotonic()` from which the next turn is counted.
        """
        self._began = began
        due = self._due()
        group = due[:_JOBS_TOGETHER]
        # What there mostly is to do takes but one snapshot.
        with self._snapshot() as snapshot:
            look = _look(snapshot, [Mark(job.job_id, job.since) for job in group]) if group else None
            jobs, new = snapshot.new_jobs(self._new_jobs, _WALKED_JOBS)
            part = None if self.filling else self._part(snapshot)
        # What is read of a granule later is also reported later: nothing old goes over what is new.
        if look is not None:
            self._take_group(group, look)
        if part is not None:
            self._take_part(*part)
        for start in range(_JOBS_TOGETHER, len(due), _JOBS_TOGETHER):
            self._take_group(due[start : start + _JOBS_TOGETHER])
        self._take_new(new)
        self._new_jobs = jobs
        self._settle()
        self.note()

    def fill(self) -> None:
        """Do one part of the back-fill."""
        with self._snapshot() as snapshot:
            part = self._part(snapshot)
        self._take_part(*part)
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
                self._zero = time.monotonic() - snapshot.clock / 1_000_000
                yield snapshot
        finally:
            self.spent += time.monotonic() - began

    def _due(self) -> Sequence[FollowedJob]:
        """Return the jobs to read now; those that are asked for and not followed are read at once."""
        with self._asking:
            asked, self._asked = self._asked, set()
        due = [job for job in self._jobs.values() if job.due <= self._began or job.job_id in asked]
        others = [Mark(job_id, self._granules.since) for job_id in asked - self._jobs.keys()]
        for start in range(0, len(others), _JOBS_TOGETHER):
            with self._snapshot() as snapshot:
                look = _look(snapshot, others[start : start + _JOBS_TOGETHER])
            self._take_found(look.found, 0)
        return due

    def _take_group(self, group: Sequence[FollowedJob], look: Look | None = None) -> None:
        """Report what is new of jobs that are followed, page by page, of which `look` is the first."""
        marks = [Mark(job.job_id, job.since) for job in group]
        horizon = 0
        while marks:
            if look is None:
                with self._snapshot() as snapshot:
                    look = _look(snapshot, marks)
            horizon = horizon or look.horizon
            self._report(look.found)
            ends = ((mark, look.found.get(mark.job_id, ())) for mark in marks)
            marks = [
                Mark(mark.job_id, mark.since, *rows[-1].key[1:])
                for mark, rows in ends
                if len(rows) == look.limit
            ]
            look = None
        for job in group:
            # Counted from the turn's beginning: the next one, an interval after it, is not to find it early.
            job.schedule(horizon, self._began, self._pace.interval)

    def _take_new(self, job_ids: Sequence[str]) -> None:
        """Follow those of some jobs that the store does not know, and read them."""
        unknown = [job_id for job_id in job_ids if job_id not in self._jobs]
        known = self._store.read_jobs([self._key(job_id) for job_id in unknown])
        now = time.monotonic()
        new = [FollowedJob(job_id, now, now) for job_id in unknown if self._key(job_id) not in known]
        self._jobs.update((job.job_id, job) for job in new)
        for start in range(0, len(new), _JOBS_TOGETHER):
            self._take_group(new[start : start + _JOBS_TOGETHER])

    def _part(self, snapshot: OrcaSnapshot) -> tuple[Part, Mapping[str, Sequence[GranuleRow]]]:
        """Return the next part of the way through all granules, and what is new of those in it."""
        part = snapshot.part(self._granules)
        granules = part.granules
        if not self.filling:
            # Jobs that are followed are read by themselves.
            granules = [row for row in granules if row.key.job_id not in self._jobs]
        return part, _by_job(snapshot.with_files(granules))

    def _take_part(self, part: Part, found: Mapping[str, Sequence[GranuleRow]]) -> None:
        # Of a job that is new to the store the back-fill brings the rest.
        self._take_found(found, part.walk.horizon or part.walk.since if self.filling else 0)
        self.filled += part.examined if self.filling else 0
        self._granules = part.walk

    def _take_found(self, found: Mapping[str, Sequence[GranuleRow]], since: int) -> None:
        """Report granules of any jobs, and follow those jobs that are not complete, or no more.

        Args:
            found: the granules.
            since: from which transaction on those of the jobs are to be read that are new to the store.
        """
        others = [job_id for job_id in found if job_id not in self._jobs]
        known = self._store.read_jobs([self._key(job_id) for job_id in others])
        for job_id in others:
            stored = known.get(self._key(job_id))
            if stored is None:
                self._jobs[job_id] = FollowedJob(job_id, -math.inf, -math.inf, since)
            else:
                self._jobs[job_id] = self._followed(stored.job)
        self._report(found, old=self.filling)
        for job_id in others:
            if self._jobs[job_id].complete:
                del self._jobs[job_id]

    def _report(self, found: Mapping[str, Sequence[GranuleRow]], old: bool = False) -> None:
        """Report granules of jobs that are followed, jobs side by side.

        Args:
            found: the granules, by job.
            old: whether they may have been there for long. So they may where their job was not read before:
                nobody has seen them come, and when they were requested has to do.
        """
        now = time.monotonic()

        def report(job_id: str) -> None:
            job = self._jobs[job_id]
            rows = [row for row in found[job_id] if self._is_storable(row)]
            if job.complete:
                # It is opened again with what is new of it, or not at all.
                rows = list(self._unheld(job_id, rows))
            if not rows:
                return
            live = bool(job.due) and not old
            requested = max(row.request_time for row in rows)
            latest = max(requested, *(row.completion_time or 0 for row in rows))
            job.note_rows(rows)
            moments = [_moment(each, self._zero, now) for each in (requested, latest)]
            for part in _parts(rows):
                result = self._write(job, list(map(granule_report, part)), False if job.complete else None)
                if result is not None:
                    job.note_result(result, *([now, now] if live else moments))

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
        held: dict[GranuleKey, Held] = {}
        with suppress(NotFound):
            if len(rows) > _LOOKED_UP:
                held |= read_held(self._store, key)
        for report in reports if len(rows) <= _LOOKED_UP else ():
            with suppress(NotFound):
                held[report.key] = Held(*self._store.read_granule(key, report.key)[1:])
        told = zip(rows, reports, strict=True)
        return [row for row, each in told if each.key not in held or difference(each, *held[each.key])]

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
            _log.error("granules of job %r are left out: they have names that are none here", row.key.job_id)
        return False

    def _followed(self, job: Job) -> FollowedJob:
        return FollowedJob.of(job, _moment(job.update_time, self._stored_zero, time.monotonic()))

    def _key(self, job_id: str) -> JobKey:
        return JobKey(self._pace.project_id, job_id)


def _moment(microseconds: int, zero: float, now: float) -> float:
    """Return a time of a database's as one of `time.monotonic()`, now at the latest.

    Args:
        microseconds: the time.
        zero: the moment that its clock calls 1970.
        now: this moment.
    """
    return min(now, zero + microseconds / 1_000_000)


def _look(snapshot: OrcaSnapshot, marks: Sequence[Mark]) -> Look:
    limit = _GRANULES_TOGETHER // len(marks)
    rows = snapshot.with_files(snapshot.changed(marks, limit))
    return Look(snapshot.horizon, limit, _by_job(rows))


def _parts(rows: Iterable[GranuleRow]) -> Iterator[Sequence[GranuleRow]]:
    """Yield rows in parts, none of them empty, that a store writes well within its time."""
    part: list[GranuleRow] = []
    size = 0
    for row in rows:
        if part and size + 1 + len(row.files) > _REPORTED_ROWS:
            yield part
            part, size = [], 0
        part.append(row)
        size += 1 + len(row.files)
    if part:
        yield part


def _by_job(rows: Iterable[GranuleRow]) -> Mapping[str, Sequence[GranuleRow]]:
    found: dict[str, list[GranuleRow]] = {}
    for row in rows:
        found.setdefault(row.key.job_id, []).append(row)
    return found
