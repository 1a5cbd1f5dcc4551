"""One job on its way through a report: its own fields, its granules, its sub-jobs, and the roll-up. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from jobstatus_grpc.errors import Violation
from jobstatus_grpc.merge.fields import derive, merge_job, new_job, own_fields
from jobstatus_grpc.merge.granules import merge_granule
from jobstatus_grpc.merge.steps import Outcome
from jobstatus_grpc.model import (
    MAX_FILES_BYTES,
    MAX_GRANULE_BYTES,
    MAX_GRANULE_FILES,
    Change,
    FileTally,
    Granule,
    GranuleKey,
    GranuleReport,
    GranuleState,
    Job,
    JobDocument,
    JobReport,
    SubJob,
    SubJobs,
    Totals,
)
from jobstatus_grpc.sizes import granule_bytes, own_bytes


class JobMerge:
    """A job, changed by a report or by what has become of its sub-jobs.

    Args:
        job: the job as it stands, or what is first reported of it now.
        kept: what is kept of it, if that is reported on.
        commit_id: of the transaction.
        now: the time of the changes.

    Attributes:
        before: the job as it stood; `None` if it is new.
        job: the job as it is now; settled by `settle`.
        kept: what is to be kept of it now.
        written: its granules that are to be written, by key.
        changes: the new part of its history.
    """

    def __init__(self, job: Job | JobReport, kept: JobDocument, commit_id: int, now: int) -> None:
        self.before = job if isinstance(job, Job) else None
        self.job = job if isinstance(job, Job) else new_job(job, now)
        self.kept = kept
        self.written: dict[GranuleKey, Granule] = {}
        self.changes: list[Change] = []
        self._commit_id = commit_id
        self._now = now
        self._kept_before = kept
        self._logged = self.job, kept.details
        self._revision = self.job.revision
        self._counts = list(self.job.totals)
        self._moved = False

    @property
    def rewritten(self) -> bool:
        """Whether what is kept of the job is to be written. Of a new attempt nothing is kept of the last."""
        restarted = self.before is not None and self.before.attempt < self.job.attempt
        return restarted or self.kept != self._kept_before

    def take_report(self, report: JobReport, authoritative: bool) -> Outcome:
        """Merge what is reported of the job's own fields. Of a new job it is the first revision."""
        outcome, self.job, self.kept = merge_job(self.job, self.kept, report, authoritative)
        if self._revision:
            return outcome
        self._log_job()
        return Outcome.APPLIED

    def take_granules(
        self,
        reports: Sequence[GranuleReport],
        known: Mapping[GranuleKey, Granule],
        authoritative: bool,
        outcomes: list[int],
    ) -> list[Violation]:
        """Merge what is reported of granules; count the outcomes, and return what is beyond its limit."""
        written, counts = self.written, self._counts
        violations = []
        for index, report in enumerate(reports):
            key = report.key
            current = written.get(key) or known.get(key)
            outcome, granule = merge_granule(current, report, authoritative, self._now, self._revision + 1)
            outcomes[outcome] += 1
            if outcome is not Outcome.APPLIED:
                if granule is not current:
                    written[key] = granule
                continue
            if granule_bytes(granule) > MAX_GRANULE_BYTES:
                text = f"the granule takes more than {MAX_GRANULE_BYTES} bytes"
                violations.append(Violation(f"granules[{index}]", text))
            written[key] = granule
            if granule.files is not None:
                violations += _beyond_limits(f"granules[{index}].files", granule.files)
                # The history knows nothing of them, and would hold on to what each report has told of them.
                granule = granule._replace(files=None)
            counts[granule.state] += 1
            if current is None:
                self._moved = True
                self._log(granule, None)
                continue
            counts[current.state] -= 1
            if current.state != granule.state or current.attempt != granule.attempt:
                self._moved = True
            self._log(granule, current.state)
        return violations

    def take_sub_jobs(self, changed: Sequence[JobMerge]) -> None:
        """Log what has become of jobs below this one, settled, and count them."""
        counts = list(self.job.sub_jobs)
        for below in changed:
            before, after = below.before, below.job
            if after.parent_job_id == self.job.job_id:
                counts[after.state] += 1
                if before is not None:
                    counts[before.state] -= 1
                if before is None or (before.state, before.attempt) != (after.state, after.attempt):
                    self._moved = True
            if self.job.parent_job_id is None:
                counts[-2] += before is None
                counts[-1] += own_bytes(after) - (0 if before is None else own_bytes(before))
            self._log(SubJob(after), None)
        self.job = self.job._replace(sub_jobs=SubJobs._make(counts))

    def settle(self) -> bool:
        """Derive the state unless it is reported; return whether those above have to be told of this job."""
        self.job = self.job._replace(totals=Totals._make(self._counts))
        if not self.job.state_reported:
            self.job = derive(self.job, self._now, self._moved)
        logged, details = self._logged
        if self.kept.details != details or own_fields(self.job) != own_fields(logged):
            self._log_job()
        if self.changes:
            self.job = self.job._replace(revision=self._revision, update_time=self._now)
        before = self.before
        return (
            before is None
            or before.totals != self.job.totals
            or self.kept.details != self._kept_before.details
            or own_fields(before) != own_fields(self.job)
        )

    def _log_job(self) -> None:
        self.job = self.job._replace(revision=self._revision + 1, update_time=self._now)
        self._logged = self.job, self.kept.details
        self._log(self.job, None)

    def _log(self, item: Granule | Job | SubJob, previous: GranuleState | None) -> None:
        self._revision += 1
        totals = Totals._make(self._counts)
        self.changes.append(Change(self._revision, self._commit_id, self._now, item, previous, totals))


def _beyond_limits(field: str, files: FileTally) -> Iterator[Violation]:
    """Yield what is too much about a granule's files."""
    if files.total > MAX_GRANULE_FILES:
        yield Violation(field, f"the granule would have more than {MAX_GRANULE_FILES}")
    if files.total_bytes > MAX_FILES_BYTES:
        yield Violation(field, f"they would take more than {MAX_FILES_BYTES} bytes")
