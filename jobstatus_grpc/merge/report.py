"""A report merged into a job and its granules. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jobstatus_grpc.errors import InvalidRequest, Violation
from jobstatus_grpc.merge.granules import merge_granule
from jobstatus_grpc.merge.jobs import derive, merge_job, new_job, own_fields
from jobstatus_grpc.merge.steps import Outcome
from jobstatus_grpc.model import (
    MAX_GRANULE_BYTES,
    MAX_JOB_BYTES,
    Change,
    Granule,
    GranuleKey,
    GranuleState,
    Job,
    Report,
    Totals,
    granule_bytes,
    job_bytes,
)


class Merged(NamedTuple):
    """A report merged into a job.

    Attributes:
        job: the job after the report; its revision is the last change's.
        granules: the granules to be written, by key: only those that changed, if only in their documents.
        changes: the new part of the job's history, oldest first; may be empty.
        applied: how many items changed something.
        unchanged: how many said what was known.
        stale: how many came too late.
    """

    job: Job
    granules: Mapping[GranuleKey, Granule]
    changes: Sequence[Change]
    applied: int
    unchanged: int
    stale: int


def merge_report(
    job: Job | None, granules: Mapping[GranuleKey, Granule], report: Report, commit_id: int, now: int
) -> Merged:
    """Merge `report` into a job and those of its granules that it is about.

    Args:
        job: the job as it stands; `None` if it is first reported now, with a `report.job` then.
        granules: the granules among `report.granules` that exist, by key.
        report: what is reported, checked already.
        commit_id: of the transaction.
        now: the time of the changes.

    Raises:
        InvalidRequest: an item would grow beyond its limit.
    """
    merge = _Merge(job, granules, report, commit_id, now)
    merge.take_job()
    merge.take_granules()
    merge.roll_up()
    return merge.result()


class _Merge:
    """One report on its way into a job."""

    def __init__(
        self,
        job: Job | None,
        granules: Mapping[GranuleKey, Granule],
        report: Report,
        commit_id: int,
        now: int,
    ) -> None:
        self.created = job is None
        self.job = new_job(report, now) if job is None else job
        self.before = self.job
        self.known = granules
        self.report = report
        self.commit_id = commit_id
        self.now = now
        self.revision = self.job.revision
        self.counts = list(self.job.totals)
        self.written: dict[GranuleKey, Granule] = {}
        self.changes: list[Change] = []
        self.moved = False
        self.outcomes = [0] * len(Outcome)
        self.violations: list[Violation] = []

    def take_job(self) -> None:
        if self.report.job is None:
            return
        outcome, self.job = merge_job(self.job, self.report.job, self.report.authoritative)
        if self.created:
            outcome = Outcome.APPLIED
            self._log_job()
        self.outcomes[outcome] += 1
        if job_bytes(self.job) > MAX_JOB_BYTES:
            self.violations.append(Violation("job", f"its own fields take more than {MAX_JOB_BYTES} bytes"))

    def take_granules(self) -> None:
        known, written, outcomes, counts = self.known, self.written, self.outcomes, self.counts
        authoritative = self.report.authoritative
        for index, report in enumerate(self.report.granules):
            key = report.key
            current = written.get(key) or known.get(key)
            outcome, granule = merge_granule(current, report, authoritative, self.now, self.revision + 1)
            outcomes[outcome] += 1
            if outcome is not Outcome.APPLIED:
                if granule is not current:
                    written[key] = granule
                continue
            if granule_bytes(granule) > MAX_GRANULE_BYTES:
                text = f"the granule takes more than {MAX_GRANULE_BYTES} bytes"
                self.violations.append(Violation(f"granules[{index}]", text))
            written[key] = granule
            counts[granule.state] += 1
            if current is None:
                self.moved = True
                self._log(granule, None)
                continue
            counts[current.state] -= 1
            if current.state != granule.state or current.attempt != granule.attempt:
                self.moved = True
            self._log(granule, current.state)

    def roll_up(self) -> None:
        self.job = self.job._replace(totals=Totals._make(self.counts))
        if not self.job.state_reported:
            self.job = derive(self.job, self.now, self.moved)
        if own_fields(self.job) != own_fields(self.before):
            self._log_job()

    def result(self) -> Merged:
        if self.violations:
            raise InvalidRequest(self.violations)
        job = self.job
        if self.changes:
            job = job._replace(revision=self.revision, update_time=self.now)
        return Merged(job, self.written, self.changes, *self.outcomes)

    def _log_job(self) -> None:
        """Append the job as it is now. `before` is from here on what the last change row says."""
        self.job = self.job._replace(revision=self.revision + 1, update_time=self.now)
        self.before = self.job
        self._log(self.job, None)

    def _log(self, item: Granule | Job, previous: GranuleState | None) -> None:
        self.revision += 1
        totals = Totals._make(self.counts)
        self.changes.append(Change(self.revision, self.commit_id, self.now, item, previous, totals))
