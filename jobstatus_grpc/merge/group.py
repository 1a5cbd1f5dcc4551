"""Reports of one job merged one after the other, for one transaction. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from jobstatus_grpc.errors import InvalidRequest, JobNotFound
from jobstatus_grpc.merge.report import Merged, merge_report
from jobstatus_grpc.model import Change, Granule, GranuleKey, Job, Report

Refusal: TypeAlias = InvalidRequest | JobNotFound


class MergedGroup(NamedTuple):
    """Reports merged into a job.

    Attributes:
        job: the job after them; `None` if there is none.
        changes: the new part of the job's history, oldest first; may be empty.
        outcomes: what became of each report, in their order. What is refused has changed nothing.
    """

    job: Job | None
    changes: Sequence[Change]
    outcomes: Sequence[Merged | Refusal]


def merge_reports(
    job: Job | None,
    granules: Mapping[GranuleKey, Granule],
    reports: Sequence[Report],
    commit_id: int,
    now: int,
) -> MergedGroup:
    """Merge reports into a job and those of its granules that they are about, each as if it came alone.

    Args:
        job: the job as it stands; `None` if there is none yet.
        granules: the granules among those reported that exist, by key.
        reports: what is reported, checked already, in the order of arrival; all of one job.
        commit_id: of the transaction.
        now: the time of the changes.
    """
    known = dict(granules)
    changes: list[Change] = []
    outcomes: list[Merged | Refusal] = []
    for report in reports:
        if job is None and report.job is None:
            outcomes.append(JobNotFound(*report.key))
            continue
        try:
            merged = merge_report(job, known, report, commit_id, now)
        except InvalidRequest as refused:
            outcomes.append(refused)
            continue
        job = merged.job
        known.update(merged.granules)
        changes += merged.changes
        outcomes.append(merged)
    return MergedGroup(job, changes, outcomes)
