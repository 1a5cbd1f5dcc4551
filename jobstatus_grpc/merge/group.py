"""Reports of one tree merged one after the other, for one transaction. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from jobstatus_grpc.errors import InvalidRequest, JobNotFound, ParentConflict
from jobstatus_grpc.merge.report import Merged, merge_report
from jobstatus_grpc.model import Change, Granule, GranuleKey, Job, JobKey, Report

Refusal: TypeAlias = InvalidRequest | JobNotFound | ParentConflict


class MergedGroup(NamedTuple):
    """Reports merged into the jobs of a tree.

    Attributes:
        jobs: the jobs to be written, by key, new ones after those they are parts of: whose history goes on.
        logs: the new part of each one's history, oldest first, by key; of `jobs` alone.
        outcomes: what became of each report, in their order. What is refused has changed nothing.
    """

    jobs: Mapping[JobKey, Job]
    logs: Mapping[JobKey, Sequence[Change]]
    outcomes: Sequence[Merged | Refusal]


def merge_reports(
    jobs: Mapping[JobKey, Job],
    granules: Mapping[JobKey, Mapping[GranuleKey, Granule]],
    reports: Sequence[Report],
    commit_id: int,
    now: int,
) -> MergedGroup:
    """Merge reports into the jobs of a tree, each as if it came alone.

    Args:
        jobs: the jobs that the reports name and that exist, and all above them, by key.
        granules: the granules among those reported that exist, by their job's key and their own.
        reports: what is reported, checked already, in the order of arrival; all of one tree.
        commit_id: of the transaction.
        now: the time of the changes.
    """
    known = dict(jobs)
    found = {key: dict(each) for key, each in granules.items()}
    written: dict[JobKey, Job] = {}
    logs: dict[JobKey, list[Change]] = {}
    outcomes: list[Merged | Refusal] = []
    for report in reports:
        of_job = found.setdefault(report.key, {})
        try:
            merged = merge_report(known, of_job, report, commit_id, now)
        except (InvalidRequest, JobNotFound, ParentConflict) as refused:
            outcomes.append(refused)
            continue
        outcomes.append(merged)
        known.update(merged.jobs)
        written.update(merged.jobs)
        for key, changes in merged.logs.items():
            logs.setdefault(key, []).extend(changes)
        of_job.update(merged.granules)
    return MergedGroup(written, logs, outcomes)
