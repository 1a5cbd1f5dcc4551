"""Pages of a project's jobs, newest first, of a bounded number of rows each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, select

from jobstatus_grpc.model import MAX_FRAME_BYTES, job_bytes
from jobstatus_grpc.store import rows, schema
from jobstatus_grpc.store.base import JobList, JobQuery
from jobstatus_grpc.store.pages import ENVELOPE_BYTES, fitting

_JOB: Final = schema.job.c

# How many jobs a page looks at where filters match rarely.
_EXAMINED_JOBS: Final = 10_000


def read_list(
    connection: Connection, query: JobQuery, parent_pk: int | None, labelled: Sequence[ColumnElement[bool]]
) -> JobList:
    """Return the jobs that are asked for, as many as fit.

    Args:
        connection: in a transaction that reads.
        query: which jobs.
        parent_pk: the row of the job whose parts they are.
        labelled: the conditions of the query's labels.
    """
    among = _among(query, parent_pk)
    filters = [*labelled, *_filters(query)]
    jobs = rows.SELECT_JOB.where(*among).order_by(_JOB.job_pk.desc()).limit(query.limit + 1)
    last = None
    if filters:
        last = connection.scalar(
            select(_JOB.job_pk).where(*among).order_by(_JOB.job_pk.desc()).limit(1).offset(_EXAMINED_JOBS - 1)
        )
        jobs = jobs.where(*filters, *([] if last is None else [_JOB.job_pk >= last]))
    found = [rows.stored_job_from_row(row) for row in connection.execute(jobs)]
    count = fitting(found, lambda stored: job_bytes(stored.job), MAX_FRAME_BYTES - ENVELOPE_BYTES)
    count = min(query.limit, count)
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


def _among(query: JobQuery, parent_pk: int | None) -> list[ColumnElement[bool]]:
    """Return the conditions that an index answers: which jobs a page of a list chooses from."""
    among: list[ColumnElement[bool]] = [_JOB.job_id.is_not(None)]
    if parent_pk is None:
        among += [_JOB.project_id == query.project_id, _JOB.parent_pk.is_(None)]
    else:
        among.append(_JOB.parent_pk == parent_pk)
    if query.before is not None:
        among.append(_JOB.job_pk < query.before)
    return among
