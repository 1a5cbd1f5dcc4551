"""The one write transaction: reports of one tree on their way into the database."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection

from jobstatus_grpc.errors import LeaseLost
from jobstatus_grpc.merge import merge_reports
from jobstatus_grpc.model import Granule, GranuleKey, JobDocument, JobKey, Report
from jobstatus_grpc.store import documents, files, trees
from jobstatus_grpc.store.base import Lease, ReportOutcome, StoredJob
from jobstatus_grpc.store.growth import JobTaken, TreeGrowth

if TYPE_CHECKING:
    from jobstatus_grpc.store.sql import SqlJobStore


class _Try(NamedTuple):
    """What a try was about to commit: enough to find out later whether it did."""

    job_pk: int
    first_revision: int
    outcomes: Sequence[ReportOutcome | None]


class ReportTransaction:
    """Reports of one tree, tried until they are known to be committed or refused.

    The lock of the root's row is taken in a statement of its own, before anything else is read: in one
    statement with a read it would read what was there before the lock. It makes the order of commits the
    order of revisions, for every job of the tree.

    When a connection breaks during a commit, nobody knows whether it happened. The commit id is drawn once,
    not per try, and the next try, once it holds the lock (so that the lost transaction has ended one way or
    the other), looks for it in the log: it is there for all reports of the transaction, or for none.

    Args:
        store: where they go.
        reports: not empty, in the order in which they are to be merged. What turns out to be of another tree
            than the first is left out.
        lease: by which right they are reported.
    """

    def __init__(self, store: SqlJobStore, reports: Sequence[Report], lease: Lease | None = None) -> None:
        self._store = store
        self._reports = reports
        self._lease = lease
        self._commit_id = random.SystemRandom().getrandbits(64) - 2**63
        self._tried: _Try | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether a try may have been committed, and no later one has found out."""
        return self._tried is not None

    def run(self, end: float) -> Sequence[ReportOutcome | None]:
        """Try once, and return what became of each report; `None` for one that was left out."""
        first = self._reports[0]
        parent = None if first.job is None else first.job.parent_job_id
        while True:
            with suppress(JobTaken), self._store.write_locked(end, first.key, parent) as (connection, root):
                done = self._committed_before(connection)
                return self._take(connection, root) if done is None else done

    def _committed_before(self, connection: Connection) -> Sequence[ReportOutcome | None] | None:
        if self._tried is None:
            return None
        job_pk, revision, outcomes = self._tried
        if self._store.read_commit_id(connection, job_pk, revision) == self._commit_id:
            return outcomes
        self._tried = None
        return None

    def _take(self, connection: Connection, root: StoredJob | None) -> Sequence[ReportOutcome | None]:
        # After the root's lock: whoever takes the lease waits for nothing but this transaction's end.
        if self._lease is not None and not self._store.hold_lease(connection, self._lease):
            raise LeaseLost(self._lease.name)
        jobs = trees.read_path(partial(self._store.find_jobs, connection), self._reports, root)
        first = self._reports[0]
        if root is None and any(key in jobs for key in trees.claims(first)):
            # Reported by another since the lock was asked for: it is known, and not locked.
            raise JobTaken
        ours = [report.key == first.key or trees.is_of(root, report, jobs) for report in self._reports]
        reports = [report for report, taken in zip(self._reports, ours, strict=True) if taken]
        clock, granules = self._read_granules(connection, jobs, reports)
        # The log's times never go back, whatever the database's clock does.
        now = max([clock, *(stored.job.update_time for stored in jobs.values())])
        stand = {key: stored.job for key, stored in jobs.items()}
        kept = self._read_documents(connection, jobs, reports)
        group = merge_reports(stand, granules, reports, self._commit_id, now, kept)
        growth = TreeGrowth(self._store, connection, root, jobs, self._commit_id, clock)
        growth.write(group)
        growth.write_report_times({report.key for report in reports})
        settled = iter([growth.outcome(each) for each in group.outcomes])
        outcomes = [next(settled) if taken else None for taken in ours]
        if group.logs:
            key, log = next(iter(group.logs.items()))
            self._tried = _Try(growth.job_pks[key], log[0].revision, outcomes)
        return outcomes

    def _read_documents(
        self, connection: Connection, jobs: Mapping[JobKey, StoredJob], reports: Sequence[Report]
    ) -> Mapping[JobKey, JobDocument]:
        """Return what is kept of those of the jobs of which details or a document are reported."""
        told = {
            jobs[job.key].job_pk: job.key
            for report in reports
            for job in trees.told_jobs(report)
            if (job.details is not None or job.document is not None) and job.key in jobs
        }
        found = documents.read(connection, told) if told else {}
        return {told[job_pk]: kept for job_pk, kept in found.items()}

    def _read_granules(
        self, connection: Connection, jobs: Mapping[JobKey, StoredJob], reports: Sequence[Report]
    ) -> tuple[int, Mapping[JobKey, Mapping[GranuleKey, Granule]]]:
        """Return the database's clock, and those of the granules reported that exist, by their jobs."""
        wanted: dict[JobKey, set[GranuleKey]] = {}
        for report in reports:
            if report.key in jobs and report.granules:
                wanted.setdefault(report.key, set()).update(each.key for each in report.granules)
        found = {}
        for key, keys in wanted.items():
            clock, found[key] = self._store.read_granules(connection, jobs[key].job_pk, list(keys))
        if not found:
            clock, _ = self._store.read_granules(connection, 0, ())
        return clock, self._with_files(connection, jobs, reports, found)

    def _with_files(
        self,
        connection: Connection,
        jobs: Mapping[JobKey, StoredJob],
        reports: Sequence[Report],
        granules: Mapping[JobKey, Mapping[GranuleKey, Granule]],
    ) -> Mapping[JobKey, Mapping[GranuleKey, Granule]]:
        """Return the granules, each with those of its files that are reported and exist."""
        wanted = {
            name
            for report in reports
            if report.key in granules
            for name in files.wanted(jobs[report.key].job_pk, granules[report.key], report.granules)
        }
        if not wanted:
            return granules
        found = self._store.files.read(connection, wanted)
        return {key: files.with_files(jobs[key].job_pk, of_job, found) for key, of_job in granules.items()}
