"""The one write transaction: reports of one tree on their way into the database."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import Connection

from jobstatus_grpc.merge import Merged, MergedGroup, merge_reports
from jobstatus_grpc.model import Position, Report
from jobstatus_grpc.store import rows
from jobstatus_grpc.store.base import ReportOutcome, ReportResult, StoredJob

if TYPE_CHECKING:
    from jobstatus_grpc.store.sql import SqlJobStore

# `last_report_time` moves at most this often, in microseconds, so a report that changes nothing mostly reads.
_REPORT_TIME_STEP: Final = 1_000_000


class _Try(NamedTuple):
    """What a try was about to commit: enough to find out later whether it did."""

    job_pk: int
    first_revision: int
    outcomes: Sequence[ReportOutcome]


class ReportTransaction:
    """Reports of one tree, tried until they are known to be committed or refused.

    The lock of the root's row is taken in a statement of its own, before anything else is read: in one
    statement with a read it would read what was there before the lock. It makes the order of commits the
    order of revisions.

    When a connection breaks during a commit, nobody knows whether it happened. The commit id is drawn once,
    not per try, and the next try, once it holds the lock (so that the lost transaction has ended one way or
    the other), looks for it in the log: it is there for all reports of the transaction, or for none.

    Args:
        store: where they go.
        reports: of one tree, not empty, in the order in which they are to be merged.
    """

    def __init__(self, store: SqlJobStore, reports: Sequence[Report]) -> None:
        self._store = store
        self._reports = reports
        self._root = reports[0].key
        if any(report.key != self._root for report in reports):
            raise ValueError("reports of different trees are not written together")
        self._commit_id = random.SystemRandom().getrandbits(64) - 2**63
        self._tried: _Try | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether a try may have been committed, and no later one has found out."""
        return self._tried is not None

    def run(self, end: float) -> Sequence[ReportOutcome]:
        """Try once, and return what became of each report."""
        while True:
            with self._store.write_locked(end, self._root) as (connection, stored):
                done = self._committed_before(connection)
                if done is None:
                    done = self._create(connection) if stored is None else self._update(connection, stored)
            if done is not None:
                return done

    def _committed_before(self, connection: Connection) -> Sequence[ReportOutcome] | None:
        if self._tried is None:
            return None
        job_pk, revision, outcomes = self._tried
        if self._store.read_commit_id(connection, job_pk, revision) == self._commit_id:
            return outcomes
        self._tried = None
        return None

    def _create(self, connection: Connection) -> Sequence[ReportOutcome] | None:
        """Insert the job with its granules; return `None` if another transaction has just done so."""
        now, _ = self._store.read_granules(connection, 0, ())
        group = merge_reports(None, {}, self._reports, self._commit_id, now)
        if group.job is None:
            return _outcomes(group, 0, Position(0, 0), self._commit_id)
        row = rows.job_row(group.job, self._commit_id, now)
        job_pk = self._store.insert_job(connection, group.job, row)
        return None if job_pk is None else self._write(connection, job_pk, Position(0, 0), group, row)

    def _update(self, connection: Connection, stored: StoredJob) -> Sequence[ReportOutcome]:
        keys = list({each.key for report in self._reports for each in report.granules})
        clock, granules = self._store.read_granules(connection, stored.job_pk, keys)
        # The log's times never go back, whatever the database's clock does.
        now = max(clock, stored.job.update_time)
        group = merge_reports(stored.job, granules, self._reports, self._commit_id, now)
        overdue = now - stored.last_report_time >= _REPORT_TIME_STEP
        if group.job is not None and group.changes:
            row = rows.job_row(group.job, self._commit_id, now if overdue else stored.last_report_time)
            return self._write(connection, stored.job_pk, stored.position, group, row)
        if overdue:
            self._store.write_report_time(connection, stored.job_pk, now)
        return _outcomes(group, stored.job_pk, stored.position, self._commit_id)

    def _write(
        self, connection: Connection, job_pk: int, base: Position, group: MergedGroup, job: rows.Row
    ) -> Sequence[ReportOutcome]:
        outcomes = _outcomes(group, job_pk, base, self._commit_id)
        self._store.write_report(
            connection,
            job_pk,
            job,
            [rows.log_row(job_pk, change) for change in group.changes],
        )
        self._tried = _Try(job_pk, base.revision + 1, outcomes)
        return outcomes


def _outcomes(group: MergedGroup, job_pk: int, base: Position, commit_id: int) -> Sequence[ReportOutcome]:
    """Return what became of each report of a group that found the job at `base`."""
    return [
        _result(each, job_pk, base, commit_id) if isinstance(each, Merged) else each
        for each in group.outcomes
    ]


def _result(merged: Merged, job_pk: int, base: Position, commit_id: int) -> ReportResult:
    job = merged.job
    return ReportResult(
        job_pk,
        base if job.revision == base.revision else Position(job.revision, commit_id),
        job.totals,
        job.state,
        bool(merged.changes),
        merged.applied,
        merged.unchanged,
        merged.stale,
    )
