"""The jobs of a tree: those a report needs to know, and those below a job as readers get them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection

from jobstatus_grpc.model import Job, JobKey, JobReport, Report, WholeJob
from jobstatus_grpc.sizes import own_bytes
from jobstatus_grpc.store import rows, schema
from jobstatus_grpc.store.base import StoredJob

_JOB: Final = schema.job.c
# The subqueries are answered before a lock is waited for. They can be: a job's root never changes, and no row
# is ever another job's; a tree that is deleted meanwhile is not found.
SELECT_ROOT: Final = f"""
select {", ".join(column.name for column in rows.JOB_COLUMNS)}
from job
where delete_time is null and job_pk = coalesce(
    (select coalesce(root_pk, job_pk) from job where project_id = :project_id and job_id = :job_id),
    (select coalesce(root_pk, job_pk) from job where project_id = :project_id and job_id = :parent_job_id)
)
"""  # noqa: S608
_SELECT_BELOW: Final = rows.SELECT_JOB.where(_JOB.delete_time.is_(None)).order_by(_JOB.job_pk)


def claims(report: Report) -> Sequence[JobKey]:
    """Return whose tree a report is of: its job's, or that of the parent it tells if its job is not there."""
    told = report.job
    if told is None or told.parent_job_id is None:
        return (report.key,)
    return (report.key, JobKey(report.key.project_id, told.parent_job_id))


def is_of(root: StoredJob | None, report: Report, jobs: Mapping[JobKey, StoredJob]) -> bool:
    """Return whether a report is of this root's tree."""
    known = next((jobs[key] for key in claims(report) if key in jobs), None)
    return root is not None and known is not None and known.root_pk == root.job_pk


def parent_key(job: Job) -> JobKey | None:
    """Return the job that a job is a part of."""
    return None if job.parent_job_id is None else JobKey(job.project_id, job.parent_job_id)


def read_path(
    find: Callable[[Collection[JobKey]], Mapping[JobKey, StoredJob]],
    reports: Sequence[Report],
    root: StoredJob | None,
) -> dict[JobKey, StoredJob]:
    """Return the jobs that reports name and that exist, and all above them.

    Reads nothing where only the root is named, else once for each level of the tree at most.

    Args:
        find: reads those of some jobs that exist.
        reports: what is reported.
        root: of the tree, as it is locked.
    """
    jobs = {} if root is None else {root.job.key: root}
    wanted = {key for report in reports for key in _named(report)} - jobs.keys()
    while wanted:
        found = find(wanted)
        jobs |= found
        above = {parent_key(stored.job) for stored in found.values()}
        wanted = {key for key in above if key is not None} - jobs.keys()
    return jobs


def _named(report: Report) -> Iterator[JobKey]:
    yield from claims(report)
    for job in told_jobs(report):
        yield job.key


def told_jobs(report: Report) -> Iterator[JobReport]:
    """Yield what a report says of jobs: of its own, and of all below it."""
    told = [report.job] if report.job else []
    while told:
        job = told.pop()
        told += job.sub_jobs
        yield job


def read_sub_jobs(connection: Connection, stored: StoredJob) -> Sequence[WholeJob]:
    """Return the parts of a job, in the order of their first reports, with all below and without details."""
    return assemble(stored, read_below(connection, stored), lambda below: WholeJob(below.job)).sub_jobs


def read_below(connection: Connection, stored: StoredJob) -> Sequence[StoredJob]:
    """Return the jobs below a job, each after the one it is a part of, in the order of their first reports.

    There may be others of the same tree among them.
    """
    if not stored.job.sub_jobs.direct:
        return ()
    # A sub-job is younger than what it is a part of.
    younger = _SELECT_BELOW.where(_JOB.root_pk == stored.root_pk, _JOB.job_pk > stored.job_pk)
    return [rows.stored_job_from_row(row) for row in connection.execute(younger)]


def assemble(
    stored: StoredJob, below: Sequence[StoredJob], whole: Callable[[StoredJob], WholeJob]
) -> WholeJob:
    """Return a job with its parts, each made by `whole` and then given what is below it.

    Args:
        stored: the job.
        below: as `read_below` returns them.
        whole: makes a job without its parts.
    """
    parts: dict[str, list[WholeJob]] = {}
    for each in reversed(below):
        mine = parts.pop(each.job.job_id, [])
        made = whole(each)._replace(sub_jobs=mine[::-1])
        parts.setdefault(each.job.parent_job_id or "", []).append(made)
    return whole(stored)._replace(sub_jobs=parts.get(stored.job.job_id, ())[::-1])


def tree_bytes(jobs: Sequence[WholeJob]) -> int:
    """Return an upper bound of the bytes that jobs and all below them take in a frame, with their details."""
    return sum(own_bytes(each.job) + tree_bytes(each.sub_jobs) for each in jobs)
