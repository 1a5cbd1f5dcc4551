"""Reports of one tree merged one after the other, for one transaction. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from jobstatus_grpc.errors import InvalidRequest, JobNotFound, ParentConflict
from jobstatus_grpc.merge.report import Merged, merge_report
from jobstatus_grpc.model import Change, FileTally, Granule, GranuleKey, Job, JobDocument, JobKey, Report

Refusal: TypeAlias = InvalidRequest | JobNotFound | ParentConflict


class MergedGroup(NamedTuple):
    """Reports merged into the jobs of a tree.

    Attributes:
        jobs: the jobs to be written, by key, new ones after those they are parts of: whose history goes on.
        logs: the new part of each one's history, oldest first, by key; of `jobs` alone.
        documents: what is kept of jobs, to be written, by key.
        granule_documents: the documents of granules, to be written, by their job's key and their own: those
            that changed, whether the granule did or not.
        granule_files: what the files of granules come to, to be written, by their job's key and their own,
            with those files that changed.
        outcomes: what became of each report, in their order. What is refused has changed nothing.
    """

    jobs: Mapping[JobKey, Job]
    logs: Mapping[JobKey, Sequence[Change]]
    documents: Mapping[JobKey, JobDocument]
    granule_documents: Mapping[JobKey, Mapping[GranuleKey, str | None]]
    granule_files: Mapping[JobKey, Mapping[GranuleKey, FileTally]]
    outcomes: Sequence[Merged | Refusal]


def merge_reports(
    jobs: Mapping[JobKey, Job],
    granules: Mapping[JobKey, Mapping[GranuleKey, Granule]],
    reports: Sequence[Report],
    commit_id: int,
    now: int,
    documents: Mapping[JobKey, JobDocument] = MappingProxyType({}),
) -> MergedGroup:
    """Merge reports into the jobs of a tree, each as if it came alone.

    Args:
        jobs: the jobs that the reports name and that exist, and all above them, by key.
        granules: the granules among those reported that exist, by their job's key and their own.
        reports: what is reported, checked already, in the order of arrival; all of one tree.
        commit_id: of the transaction.
        now: the time of the changes.
        documents: what is kept of those of the jobs of which the reports tell details or a document.
    """
    known = dict(jobs)
    kept = dict(documents)
    kept_now: dict[JobKey, JobDocument] = {}
    granule_documents: dict[JobKey, dict[GranuleKey, str | None]] = {}
    found = {key: dict(each) for key, each in granules.items()}
    written: dict[JobKey, Job] = {}
    logs: dict[JobKey, list[Change]] = {}
    outcomes: list[Merged | Refusal] = []
    for report in reports:
        of_job = found.setdefault(report.key, {})
        try:
            merged = merge_report(known, of_job, report, commit_id, now, kept)
        except (InvalidRequest, JobNotFound, ParentConflict) as refused:
            outcomes.append(refused)
            continue
        outcomes.append(merged)
        known.update(merged.jobs)
        written.update(merged.jobs)
        for key, changes in merged.logs.items():
            logs.setdefault(key, []).extend(changes)
        kept.update(merged.documents)
        kept_now.update(merged.documents)
        changed = _changed_documents(of_job, merged.granules)
        if changed:
            granule_documents.setdefault(report.key, {}).update(changed)
        of_job.update(merged.granules)
    return MergedGroup(written, logs, kept_now, granule_documents, _changed_files(granules, found), outcomes)


def _changed_documents(
    before: Mapping[GranuleKey, Granule], after: Mapping[GranuleKey, Granule]
) -> dict[GranuleKey, str | None]:
    found = {}
    for key, granule in after.items():
        current = before.get(key)
        if granule.document != (None if current is None else current.document):
            found[key] = granule.document
    return found


def _changed_files(
    before: Mapping[JobKey, Mapping[GranuleKey, Granule]],
    after: Mapping[JobKey, Mapping[GranuleKey, Granule]],
) -> dict[JobKey, dict[GranuleKey, FileTally]]:
    found: dict[JobKey, dict[GranuleKey, FileTally]] = {}
    for job, granules in after.items():
        for key, granule in granules.items():
            files = granule.files
            if files is None:
                continue
            current = before.get(job, {}).get(key)
            known = None if current is None else current.files
            if files != known:
                named = {} if known is None else known.named
                changed = {name: file for name, file in files.named.items() if named.get(name) != file}
                found.setdefault(job, {})[key] = files._replace(named=changed)
    return found
