"""Pages of a project's jobs, newest first, of a bounded number of rows each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, select

from jobstatus_grpc.model import MAX_FRAME_BYTES
from jobstatus_grpc.sizes import job_bytes
from jobstatus_grpc.store import rows, schema
from jobstatus_grpc.store.base import JobList, JobQuery, StoredJob
from jobstatus_grpc.store.pages import ENVELOPE_BYTES, fitting, read_steps

# Restricts a selection to the rows of `job` whose column has a value, from one `job_pk` to before another,
# newest first.
Newest = Callable[[Select[Any], ColumnElement[Any], str | int, int, int], Select[Any]]

_JOB: Final = schema.job.c

# How many jobs a page looks at where filters match rarely.
_EXAMINED_JOBS: Final = 10_000
_STEP_JOBS: Final = 125
_NEWEST: Final = 2**63 - 1


def read_list(
    connection: Connection,
    query: JobQuery,
    parent_pk: int | None,
    labelled: Sequence[ColumnElement[bool]],
    newest: Newest,
) -> JobList:
    """Return the jobs that are asked for, as many as fit.

    Args:
        connection: in a transaction that reads.
        query: which jobs.
        parent_pk: the row of the job whose parts they are; `None` for a project's roots.
        labelled: the conditions of the query's labels.
        newest: how the database reads an index backwards.
    """
    filters = [*labelled, *_filters(query)]
    end = _NEWEST if query.before is None else query.before

    def among(chosen: Select[Any], first: int, end: int) -> Select[Any]:
        """Restrict a selection to what an index has: the jobs a page chooses from."""
        if parent_pk is not None:
            return newest(chosen, _JOB.parent_pk, parent_pk, first, end).where(_JOB.job_id.is_not(None))
        roots = newest(chosen, _JOB.project_id, query.project_id, first, end)
        return roots.where(_JOB.job_id.is_not(None), _JOB.parent_pk.is_(None))

    last: int | None = None
    if filters:
        # The last job a page looks at; none if it looks at all that are left.
        examined = among(select(_JOB.job_pk), 0, end)
        last = connection.scalar(examined.limit(1).offset(_EXAMINED_JOBS - 1))

    def read_step(after: StoredJob | None, limit: int) -> list[StoredJob]:
        jobs = among(rows.SELECT_JOB, last or 0, end if after is None else after.job_pk)
        found = connection.execute(jobs.where(*filters).limit(limit))
        return [rows.stored_job_from_row(row) for row in found]

    budget = MAX_FRAME_BYTES - ENVELOPE_BYTES
    found = read_steps(read_step, _size, budget, query.limit, _STEP_JOBS)
    count = min(query.limit, fitting(found, _size, budget))
    if len(found) > count:
        last = found[count - 1].job_pk
    return JobList([stored.job for stored in found[:count]], last)


def _filters(query: JobQuery) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if query.states:
        filters.append(_JOB.state.in_([int(state) for state in query.states]))
    if query.system:
        filters.append(_JOB.system == query.system)
    if query.job_type:
        filters.append(_JOB.job_type == query.job_type)
    return filters


def _size(stored: StoredJob) -> int:
    return job_bytes(stored.job)
