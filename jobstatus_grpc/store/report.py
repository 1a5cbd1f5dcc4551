"""The one write transaction: a report on its way into the database."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import Connection, select, update

from jobstatus_grpc.errors import JobNotFound
from jobstatus_grpc.merge import Merged, merge_report
from jobstatus_grpc.model import Position, Report
from jobstatus_grpc.store import rows, schema
from jobstatus_grpc.store.base import ReportResult, StoredJob

if TYPE_CHECKING:
    from jobstatus_grpc.store.sql import SqlJobStore

# `last_report_time` moves at most this often, in microseconds, so a report that changes nothing mostly reads.
_REPORT_TIME_STEP: Final = 1_000_000


class _Try(NamedTuple):
    """What a try was about to commit: enough to find out later whether it did."""

    job_pk: int
    first_revision: int
    result: ReportResult


class ReportTransaction:
    """A report, tried until it is known to be committed or refused.

    The lock of the job's row is taken in a statement of its own, before anything else is read: in one
    statement with a read it would read what was there before the lock. It makes the order of commits the
    order of revisions.

    When a connection breaks during a commit, nobody knows whether it happened. The commit id is drawn once,
    not per try, and the next try, once it holds the lock (so that the lost transaction has ended one way or
    the other), looks for it in the log.
    """

    def __init__(self, store: SqlJobStore, report: Report) -> None:
        self._store = store
        self._report = report
        self._commit_id = random.SystemRandom().getrandbits(64) - 2**63
        self._tried: _Try | None = None

    def run(self, end: float) -> ReportResult:
        """Try once, and return what became of the report.

        Raises:
            JobNotFound: granules of a job that nobody reported.
            InvalidRequest: an item would grow beyond its limit.
        """
        with self._store.write(end) as connection:
            while True:
                stored = self._store.lock_job(connection, self._report.key)
                done = self._committed_before(connection)
                if done is not None:
                    return done
                if stored is not None:
                    return self._update(connection, stored)
                if self._report.job is None:
                    raise JobNotFound(*self._report.key)
                created = self._create(connection)
                if created is not None:
                    return created

    def _committed_before(self, connection: Connection) -> ReportResult | None:
        if self._tried is None:
            return None
        change = schema.change.c
        job_pk, revision, result = self._tried
        commit_id = connection.scalar(
            select(change.commit_id).where(change.job_pk == job_pk, change.revision == revision)
        )
        return result if commit_id == self._commit_id else None

    def _create(self, connection: Connection) -> ReportResult | None:
        """Insert the job with its granules; return `None` if another transaction has just done so."""
        now, _ = self._store.read_granules(connection, 0, ())
        merged = merge_report(None, {}, self._report, self._commit_id, now)
        job = merged.job
        values = {
            **rows.job_values(job),
            "project_id": job.project_id,
            "job_id": job.job_id,
            "create_time": job.create_time,
            "commit_id": self._commit_id,
            "change_floor": 1,
            "last_report_time": now,
        }
        job_pk = self._store.insert_job(connection, values)
        return None if job_pk is None else self._write(connection, job_pk, 0, merged, {})

    def _update(self, connection: Connection, stored: StoredJob) -> ReportResult:
        keys = list({report.key for report in self._report.granules})
        clock, granules = self._store.read_granules(connection, stored.job_pk, keys)
        # The log's times never go back, whatever the database's clock does.
        now = max(clock, stored.job.update_time)
        merged = merge_report(stored.job, granules, self._report, self._commit_id, now)
        values: dict[str, object] = {}
        # This one goes with the clock, also back: else it would stand still until the clock is there again.
        if abs(clock - stored.last_report_time) >= _REPORT_TIME_STEP:
            values["last_report_time"] = clock
        if merged.changes:
            values |= rows.job_values(merged.job)
            values["commit_id"] = self._commit_id
            return self._write(connection, stored.job_pk, stored.job.revision, merged, values)
        if values:
            self._set(connection, stored.job_pk, values)
        return _result(stored.job_pk, merged, stored.commit_id)

    def _write(
        self, connection: Connection, job_pk: int, base: int, merged: Merged, values: dict[str, object]
    ) -> ReportResult:
        result = _result(job_pk, merged, self._commit_id)
        self._store.write_report(
            connection,
            job_pk,
            [rows.granule_row(granule) for granule in merged.granules.values()],
            [rows.change_row(change) for change in merged.changes],
        )
        if values:
            self._set(connection, job_pk, values)
        self._tried = _Try(job_pk, base + 1, result)
        return result

    def _set(self, connection: Connection, job_pk: int, values: Mapping[str, object]) -> None:
        job = schema.job
        connection.execute(update(job).where(job.c.job_pk == job_pk).values(**values))


def _result(job_pk: int, merged: Merged, commit_id: int) -> ReportResult:
    return ReportResult(
        job_pk,
        Position(merged.job.revision, commit_id),
        merged.job.totals,
        merged.job.state,
        bool(merged.changes),
        merged.applied,
        merged.unchanged,
        merged.stale,
    )
