"""A report merged into the jobs of a tree. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from jobstatus_grpc.errors import InvalidRequest, JobNotFound, ParentConflict, Violation
from jobstatus_grpc.merge.job import JobMerge
from jobstatus_grpc.merge.steps import Outcome
from jobstatus_grpc.model import (
    MAX_JOB_BYTES,
    MAX_TREE_DEPTH,
    MAX_TREE_JOBS,
    Change,
    Granule,
    GranuleKey,
    Job,
    JobDocument,
    JobKey,
    JobReport,
    Report,
)
from jobstatus_grpc.sizes import own_bytes

_NOTHING: Final = JobDocument()


class Merged(NamedTuple):
    """A report merged into the jobs of a tree.

    Attributes:
        job: the job reported, after the report; its revision is its last change's.
        granules: its granules to be written, by key: only those that changed, if only in their documents.
        jobs: the jobs to be written, by key: those whose history goes on.
        logs: the new part of each one's history, oldest first, by key; of `jobs` alone.
        documents: what is kept of jobs, to be written, by key: only what changed, and where an attempt began.
        applied: how many items changed something.
        unchanged: how many said what was known.
        stale: how many came too late.
    """

    job: Job
    granules: Mapping[GranuleKey, Granule]
    jobs: Mapping[JobKey, Job]
    logs: Mapping[JobKey, Sequence[Change]]
    documents: Mapping[JobKey, JobDocument]
    applied: int
    unchanged: int
    stale: int

    @property
    def changes(self) -> Sequence[Change]:
        """The new part of the history of the job reported; may be empty."""
        return self.logs.get(self.job.key, [])


def merge_report(
    jobs: Mapping[JobKey, Job],
    granules: Mapping[GranuleKey, Granule],
    report: Report,
    commit_id: int,
    now: int,
    documents: Mapping[JobKey, JobDocument] = MappingProxyType({}),
) -> Merged:
    """Merge `report` into the jobs it is about, the job's granules, and all jobs above.

    Args:
        jobs: the jobs that `report` names and that exist, and all above them, by key.
        granules: the granules among `report.granules` that exist, by key.
        report: what is reported, checked already.
        commit_id: of the transaction.
        now: the time of the changes.
        documents: what is kept of those of the jobs of which `report` tells details or a document.

    Raises:
        JobNotFound: granules, or a sub-job, of a job that nobody reported.
        ParentConflict: a job is reported under another parent than it has.
        InvalidRequest: an item or the tree would grow beyond its limit.
    """
    merge = _ReportMerge(jobs, documents, report, commit_id, now)
    if report.job is not None:
        merge.take_job(report.job)
    merge.take_granules(granules)
    merge.roll_up()
    return merge.result()


class _ReportMerge:
    """One report on its way into a tree."""

    def __init__(
        self,
        jobs: Mapping[JobKey, Job],
        documents: Mapping[JobKey, JobDocument],
        report: Report,
        commit_id: int,
        now: int,
    ) -> None:
        self.known = jobs
        self.documents = documents
        self.report = report
        self.commit_id = commit_id
        self.now = now
        self.merges: dict[JobKey, JobMerge] = {}
        self.outcomes = [0] * len(Outcome)
        self.violations: list[Violation] = []

    def take_job(self, told: JobReport) -> None:
        """Merge a job's own fields, then its sub-jobs, in their order."""
        merge = self._merge_of(told.key, told)
        self.outcomes[merge.take_report(told, self.report.authoritative)] += 1
        for sub_job in told.sub_jobs:
            self.take_job(sub_job)

    def take_granules(self, known: Mapping[GranuleKey, Granule]) -> None:
        merge = self._merge_of(self.report.key, None)
        self.violations += merge.take_granules(
            self.report.granules, known, self.report.authoritative, self.outcomes
        )

    def roll_up(self) -> None:
        """Settle the jobs from the deepest up, each telling all above it what has become of it."""
        told: dict[JobKey, list[JobMerge]] = {}
        levels: dict[int, list[JobMerge]] = {}
        for merge in list(self.merges.values()):
            levels.setdefault(self._depth(merge.job), []).append(merge)
        for depth in range(max(levels), 0, -1):
            for merge in levels.get(depth, ()):
                below = told.get(merge.job.key, [])
                if below:
                    merge.take_sub_jobs(below)
                changed = merge.settle()
                above = _parent_of(merge.job)
                if above is None:
                    self._check_tree(merge.job)
                elif below or changed:
                    if above not in self.merges:
                        levels.setdefault(depth - 1, []).append(self._merge_of(above, None))
                    told.setdefault(above, []).extend([*([merge] if changed else ()), *below])

    def result(self) -> Merged:
        if self.violations:
            raise InvalidRequest(self.violations)
        reported = self.merges[self.report.key]
        grown = {key: merge for key, merge in self.merges.items() if merge.changes}
        return Merged(
            reported.job,
            reported.written,
            {key: merge.job for key, merge in grown.items()},
            {key: merge.changes for key, merge in grown.items()},
            {key: merge.kept for key, merge in self.merges.items() if merge.rewritten},
            *self.outcomes,
        )

    def _merge_of(self, key: JobKey, told: JobReport | None) -> JobMerge:
        """Return the merge of a job, begun with it as it stands or as it is first told."""
        merge = self.merges.get(key)
        job = self.known.get(key) if merge is None else merge.job
        if job is not None:
            if told is not None and told.parent_job_id not in (None, job.parent_job_id):
                raise ParentConflict(*key)
            merge = merge or JobMerge(job, self.documents.get(key, _NOTHING), self.commit_id, self.now)
        elif told is None:
            raise JobNotFound(*key)
        else:
            merge = JobMerge(told, _NOTHING, self.commit_id, self.now)
            self._check_parent(merge.job)
        self.merges[key] = merge
        return merge

    def _check_parent(self, job: Job) -> None:
        """Refuse a new job whose parent is not there, or as deep as jobs may be."""
        above = _parent_of(job)
        if above is None:
            return
        if self._find(above) is None:
            raise JobNotFound(*above)
        if self._depth(job) > MAX_TREE_DEPTH:
            self.violations.append(Violation("job", f"a tree would be more than {MAX_TREE_DEPTH} jobs deep"))

    def _check_tree(self, root: Job) -> None:
        """Refuse a tree that has grown beyond its limits."""
        if own_bytes(root) + root.sub_jobs.tree_bytes > MAX_JOB_BYTES:
            whole = "its own fields take" if root.sub_jobs.tree_count == 0 else "the fields of its tree take"
            self.violations.append(Violation("job", f"{whole} more than {MAX_JOB_BYTES} bytes"))
        if root.sub_jobs.tree_count >= MAX_TREE_JOBS:
            self.violations.append(Violation("job", f"its tree has more than {MAX_TREE_JOBS} jobs"))

    def _depth(self, job: Job) -> int:
        depth = 1
        while (above := _parent_of(job)) is not None:
            found = self._find(above)
            if found is None:
                raise JobNotFound(*above)
            job, depth = found, depth + 1
        return depth

    def _find(self, key: JobKey) -> Job | None:
        merge = self.merges.get(key)
        return self.known.get(key) if merge is None else merge.job


def _parent_of(job: Job) -> JobKey | None:
    return None if job.parent_job_id is None else JobKey(job.project_id, job.parent_job_id)
