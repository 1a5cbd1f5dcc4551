"""A job's history: the log from a position on."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, select

from jobstatus_grpc.errors import HistoryChanged, HistoryPruned
from jobstatus_grpc.model import MAX_FRAME_BYTES, Change, Position, change_bytes
from jobstatus_grpc.store import rows, schema
from jobstatus_grpc.store.base import ChangeBatch, StoredJob
from jobstatus_grpc.store.pages import fitting, read_steps

_JOB: Final = schema.job.c
_CHANGE: Final = schema.change.c
_SELECT_CHANGES: Final = select(*(_CHANGE[column.name] for column in rows.CHANGE_COLUMNS)).order_by(
    _CHANGE.revision
)

_STEP_CHANGES: Final = 250


def read_changes(connection: Connection, stored: StoredJob, position: Position, limit: int) -> ChangeBatch:
    """Return the changes after `position`, which the job's log must have, as many as fit."""

    def read_step(last: Change | None, limit: int) -> list[Change]:
        first = position.revision if last is None else last.revision + 1
        changes = _SELECT_CHANGES.where(_CHANGE.job_pk == stored.job_pk, _CHANGE.revision >= first)
        return [rows.change_from_row(row, stored) for row in connection.execute(changes.limit(limit))]

    # From the change at `position` on.
    found = read_steps(read_step, change_bytes, MAX_FRAME_BYTES, limit, _STEP_CHANGES)
    if not found or found[0].position != position:
        raise _why_not_held(connection, stored.job_pk, position)
    held, *changes = found
    count = fitting(changes, change_bytes, MAX_FRAME_BYTES)
    return ChangeBatch(stored, held.totals, changes[:count])


def _why_not_held(connection: Connection, job_pk: int, position: Position) -> HistoryChanged:
    """Return what to say of a position that the log does not have."""
    floor = connection.scalar(select(_JOB.change_floor).where(_JOB.job_pk == job_pk))
    # What lies below the floor can be neither proved nor refuted any more.
    return HistoryPruned() if 0 < position.revision < (floor or 0) else HistoryChanged()
