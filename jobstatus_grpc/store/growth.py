"""What reports have made of a tree, on its way into the tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from jobstatus_grpc.merge import Merged, MergedGroup, Refusal
from jobstatus_grpc.model import Change, Job, JobKey, Position
from jobstatus_grpc.pace import Pace, advance, count_ended
from jobstatus_grpc.store import documents, failures, files, rows, trees
from jobstatus_grpc.store.base import ReportOutcome, ReportResult, StoredJob

if TYPE_CHECKING:
    from jobstatus_grpc.store.sql import SqlJobStore

# `last_report_time` moves at most this often, in microseconds, so a report that changes nothing mostly reads.
_REPORT_TIME_STEP: Final = 1_000_000
_NOWHERE: Final = Position(0, 0)


class JobTaken(Exception):
    """Somebody else has just reported a job that was not there."""


class TreeGrowth:
    """What one transaction adds to a tree.

    Args:
        store: where it goes.
        connection: in a transaction that holds the root's lock.
        root: the root; `None` if the tree begins here.
        jobs: the jobs as they stand, by key.
        commit_id: of the transaction.
        clock: the database's.

    Attributes:
        job_pks: the rows of the jobs, the new ones among them once they are written.
    """

    def __init__(
        self,
        store: SqlJobStore,
        connection: Connection,
        root: StoredJob | None,
        jobs: Mapping[JobKey, StoredJob],
        commit_id: int,
        clock: int,
    ) -> None:
        self._store = store
        self._connection = connection
        self._root = root
        self._jobs = jobs
        self._commit_id = commit_id
        self._clock = clock
        self._written: Mapping[JobKey, rows.Row] = {}
        self.job_pks = {key: stored.job_pk for key, stored in jobs.items()}

    def write(self, group: MergedGroup) -> None:
        """Insert the new jobs, and write all that has changed.

        Raises:
            JobTaken: a new job is not new any more; the transaction is to begin again.
        """
        if group.jobs:
            self._write_jobs(group)
        # What is kept may change where nothing else does, and without a revision.
        if group.documents:
            kept = {self.job_pks[key]: each for key, each in group.documents.items()}
            new = {self.job_pks[key] for key in group.documents if key not in self._jobs}
            documents.write(self._connection, kept, new)
        if group.granule_documents:
            self._store.write_granule_documents(
                self._connection,
                [
                    (self.job_pks[job], *key, document)
                    for job, changed in group.granule_documents.items()
                    for key, document in changed.items()
                ],
            )
        told = [
            (self.job_pks[job], key, tally)
            for job, changed in group.granule_files.items()
            for key, tally in changed.items()
        ]
        if told:
            files.write(self._store.files, self._connection, told)

    def _write_jobs(self, group: MergedGroup) -> None:
        self._written = {
            key: rows.job_row(job, self._pace(key, group.logs[key]), self._commit_id, self._report_time(key))
            for key, job in group.jobs.items()
        }
        self._insert({key: job for key, job in group.jobs.items() if key not in self._jobs})
        self._store.write_report(
            self._connection,
            [(*row, self.job_pks[key]) for key, row in self._written.items()],
            [rows.log_row(self.job_pks[key], change) for key, log in group.logs.items() for change in log],
        )
        self._write_failures(group)

    def _write_failures(self, group: MergedGroup) -> None:
        strangers = {key for key in group.jobs if key in self._jobs and not self._jobs[key].tells_failures}
        for key in strangers:
            failures.rewrite(self._connection, self.job_pks[key], group.jobs[key].totals.failed > 0)
        followed = {self.job_pks[key]: log for key, log in group.logs.items() if key not in strangers}
        failures.write(self._store.failures, self._connection, followed)

    def _pace(self, key: JobKey, log: Sequence[Change]) -> Pace | None:
        known = self._jobs.get(key)
        now = log[-1].change_time
        if known is None:
            return advance(None, count_ended(log), now, now)
        return advance(known.pace, count_ended(log), now, known.job.update_time)

    def _insert(self, new: Mapping[JobKey, Job]) -> None:
        """Insert jobs, level by level, since each needs the row of the job it is a part of."""
        root_pk = None if self._root is None else self._root.job_pk
        while new:
            level = {}
            for key, job in new.items():
                above = trees.parent_key(job)
                if above is None or above in self.job_pks:
                    parent_pk = None if above is None else self.job_pks[above]
                    level[key] = rows.new_job_row(job, self._written[key], root_pk, parent_pk)
            inserted = self._store.insert_jobs(self._connection, list(level.values()))
            if len(inserted) < len(level):
                raise JobTaken
            self.job_pks |= inserted
            root_pk = root_pk or next(iter(inserted.values()))
            new = {key: job for key, job in new.items() if key not in level}

    def write_report_times(self, reported: Collection[JobKey]) -> None:
        """Tell of jobs that were reported, and are not written, when that was."""
        quiet = (self._jobs[key] for key in reported if key in self._jobs and key not in self._written)
        overdue = [each.job_pk for each in quiet if self._is_overdue(each)]
        if overdue:
            self._store.write_report_time(self._connection, overdue, self._clock)

    def _report_time(self, key: JobKey) -> int:
        known = self._jobs.get(key)
        return self._clock if known is None or self._is_overdue(known) else known.last_report_time

    def _is_overdue(self, stored: StoredJob) -> bool:
        # It goes with the clock, also back: else it would stand still until the clock is there again.
        return abs(self._clock - stored.last_report_time) >= _REPORT_TIME_STEP

    def outcome(self, merged: Merged | Refusal) -> ReportOutcome:
        """Return what became of a report."""
        if not isinstance(merged, Merged):
            return merged
        job = merged.job
        known = self._jobs.get(job.key)
        base = _NOWHERE if known is None else known.position
        return ReportResult(
            self.job_pks[job.key],
            base if job.revision == base.revision else Position(job.revision, self._commit_id),
            job.totals,
            job.state,
            job.key if self._root is None else self._root.job.key,
            {key: self.job_pks[key] for key in merged.jobs},
            merged.applied,
            merged.unchanged,
            merged.stale,
        )
