"""What leaves the database: the rows of deleted jobs, changes too old to be kept, jobs long ended.

Changes too old and jobs long ended are found on a walk over the jobs in the order of their keys, so many of
them at a time, each with one look at the oldest row of its log. No index leads there, on purpose. One over
the times of changes would be written with every change, the most frequent write of all, to save a walk now
and then. One over a column of `job` that reports move (`update_time`, or `revision` in the index's condition)
would take its updates in place from PostgreSQL: every report would write into every index of `job`. And one
over the time of the oldest change kept, which reports do not move, would have to forget a job that is pruned
to its head and be told of it again by its next report. The walk costs some microseconds a job, and where only
the head is left not even a look at the log.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, delete, or_, select, tuple_, update

from jobstatus_grpc.model import JobState
from jobstatus_grpc.store import schema

_JOB: Final = schema.job.c
_GRANULE: Final = schema.granule.c
_CHANGE: Final = schema.change.c
_FAILED: Final = schema.failed_granule.c
_FILE: Final = schema.granule_file.c
_FILE_KEY: Final = tuple_(_FILE.collection_id, _FILE.granule_id, _FILE.file_name)
_FAILED_KEY: Final = tuple_(_FAILED.collection_id, _FAILED.granule_id)
_GRANULE_KEY: Final = tuple_(_GRANULE.collection_id, _GRANULE.granule_id)

_PURGED_ROWS: Final = 5000
# How many jobs one step of a walk looks at.
_EXAMINED_JOBS: Final = 1000
_ENDED: Final = [int(state) for state in JobState if state.terminal]

# The time of the oldest change kept. A subquery, not a join: a database that knows nothing yet about the
# tables' sizes may join by reading the whole log.
_OLDEST_TIME: Final = (
    select(_CHANGE.change_time)
    .where(_CHANGE.job_pk == _JOB.job_pk, _CHANGE.revision == _JOB.change_floor)
    .correlate(schema.job)
    .scalar_subquery()
)


def find_jobs(
    connection: Connection, after: int, having: Collection[ColumnElement[bool]], limit: int
) -> tuple[Sequence[int], int | None]:
    """Return the first `limit` jobs after `after` that fulfil `having`, and up to which job it has looked.

    The latter is `None` if no jobs are left to look at.
    """
    last = connection.scalar(
        select(_JOB.job_pk)
        .where(_JOB.job_pk > after)
        .order_by(_JOB.job_pk)
        .offset(_EXAMINED_JOBS - 1)
        .limit(1)
    )
    among = [_JOB.job_pk > after, *([] if last is None else [_JOB.job_pk <= last])]
    found = connection.scalars(
        select(_JOB.job_pk).where(*among, *having).order_by(_JOB.job_pk).limit(limit)
    ).all()
    return found, found[-1] if len(found) == limit else last


def has_changes_before(moment: int) -> list[ColumnElement[bool]]:
    """Return the conditions that a job has changes before a moment besides its head's."""
    return [_JOB.delete_time.is_(None), _JOB.change_floor < _JOB.revision, moment > _OLDEST_TIME]


def ended_before(moment: int) -> list[ColumnElement[bool]]:
    """Return the conditions that a job is a root, has ended, and was last reported before a moment."""
    return [
        _JOB.delete_time.is_(None),
        _JOB.parent_pk.is_(None),
        _JOB.state.in_(_ENDED),
        _JOB.update_time < moment,
        # Reported still, though nothing changes any more: it would only come back as a new job.
        _JOB.last_report_time < moment,
    ]


def prune_changes(connection: Connection, job_pk: int, before: int, limit: int) -> int:
    """Remove up to `limit` changes made before a moment, not the head's; return how many.

    Holds the lock of this one row and asks for no other, so whoever waits for it waits for nobody who waits.
    Waits for its turn itself: skipping a locked job would never get at the busiest, which needs it most.
    """
    job = connection.execute(
        select(_JOB.change_floor, _JOB.revision)
        .where(_JOB.job_pk == job_pk, _JOB.delete_time.is_(None))
        .with_for_update()
    ).one_or_none()
    if job is None:
        return 0
    floor: int = job.change_floor
    end = min(floor + limit, job.revision)
    # The log's times never go back, so what is old enough is the beginning of it.
    too_young = connection.scalar(
        select(_CHANGE.revision)
        .where(_CHANGE.job_pk == job_pk, _CHANGE.revision >= floor, _CHANGE.revision < end)
        .where(_CHANGE.change_time >= before)
        .order_by(_CHANGE.revision)
        .limit(1)
    )
    new_floor: int = end if too_young is None else too_young
    if new_floor > floor:
        # From the old floor on: below it lie the index entries of rows that are gone, and not yet vacuumed.
        connection.execute(
            delete(schema.change).where(
                _CHANGE.job_pk == job_pk, _CHANGE.revision >= floor, _CHANGE.revision < new_floor
            )
        )
        connection.execute(update(schema.job).where(_JOB.job_pk == job_pk).values(change_floor=new_floor))
    return new_floor - floor


def prune_jobs(connection: Connection, job_pks: Collection[int], before: int) -> int:
    """Delete those of the jobs that ended before a moment, as seen under their locks; return how many.

    A row that is locked belongs to a job that is being reported, or deleted: it is skipped. What never waits
    is never part of a deadlock, however many rows it locks.
    """
    found = connection.scalars(
        select(_JOB.job_pk)
        .where(_JOB.job_pk.in_(job_pks), *ended_before(before))
        .order_by(_JOB.job_pk)
        .with_for_update(skip_locked=True)
    ).all()
    mark_deleted(connection, found)
    return len(found)


def mark_deleted(connection: Connection, root_pks: Collection[int]) -> Sequence[int]:
    """Give the ids of trees free, and leave their rows to `purge`; return the rows of their jobs."""
    return connection.scalars(
        update(schema.job)
        .where(or_(_JOB.job_pk.in_(root_pks), _JOB.root_pk.in_(root_pks)), _JOB.delete_time.is_(None))
        .values(job_id=None, delete_time=time.time_ns() // 1000)
        .returning(_JOB.job_pk)
    ).all()


def purge(connection: Connection) -> bool:
    """Remove one batch of rows of a deleted job, its own last; return whether there may be more."""
    job_pk = connection.scalar(
        select(_JOB.job_pk).where(_JOB.delete_time.is_not(None)).order_by(_JOB.job_pk).limit(1)
    )
    if job_pk is None:
        return False
    granules = _purge_batch(connection, delete(schema.granule).where(_GRANULE.job_pk == job_pk), _GRANULE_KEY)
    changes = _purge_batch(
        connection, delete(schema.change).where(_CHANGE.job_pk == job_pk), tuple_(_CHANGE.revision)
    )
    failed = _purge_batch(
        connection, delete(schema.failed_granule).where(_FAILED.job_pk == job_pk), _FAILED_KEY
    )
    files = _purge_batch(connection, delete(schema.granule_file).where(_FILE.job_pk == job_pk), _FILE_KEY)
    if not granules and not changes and not failed and not files:
        connection.execute(delete(schema.failure_reason).where(schema.failure_reason.c.job_pk == job_pk))
        connection.execute(delete(schema.job_document).where(schema.job_document.c.job_pk == job_pk))
        connection.execute(delete(schema.job).where(_JOB.job_pk == job_pk))
    return True


def _purge_batch(connection: Connection, purging: Any, key: Any) -> int:
    """Delete the first rows by `key` of those `purging` would delete; return how many."""
    condition = purging.whereclause
    bound = connection.execute(
        select(*key.clauses).where(condition).order_by(*key.clauses).offset(_PURGED_ROWS).limit(1)
    ).one_or_none()
    if bound is not None:
        purging = purging.where(key < tuple_(*bound))
    return int(connection.execute(purging).rowcount)
