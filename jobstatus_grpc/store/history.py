"""A job's history: the log from a position on."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, select

from jobstatus_grpc.errors import HistoryChanged, HistoryPruned
from jobstatus_grpc.model import MAX_FRAME_BYTES, Change, Position, change_bytes
from jobstatus_grpc.store import rows, schema
from jobstatus_grpc.store.base import ChangeBatch, StoredJob
from jobstatus_grpc.store.pages import fitting

_JOB: Final = schema.job.c
_CHANGE: Final = schema.change.c
_SELECT_CHANGES: Final = select(*(_CHANGE[column.name] for column in rows.CHANGE_COLUMNS)).order_by(
    _CHANGE.revision
)

_STEP_CHANGES: Final = 250


def read_changes(connection: Connection, stored: StoredJob, position: Position, limit: int) -> ChangeBatch:
    """Return the changes after `position`, which the job's log must have, as many as fit."""
    held, *changes = _read_steps(connection, stored, position, limit)
    count = fitting(changes, change_bytes, MAX_FRAME_BYTES)
    return ChangeBatch(stored, held.totals, changes[:count])


def _read_steps(connection: Connection, stored: StoredJob, position: Position, limit: int) -> list[Change]:
    """Return the change at `position`, which must be in the log, and those after it."""
    changes: list[Change] = []
    size = 0
    held = position.revision
    while len(changes) <= limit and size < MAX_FRAME_BYTES:
        step = min(limit + 1 - len(changes), _STEP_CHANGES)
        found = connection.execute(
            _SELECT_CHANGES.where(_CHANGE.job_pk == stored.job_pk, _CHANGE.revision >= held).limit(step)
        ).all()
        read = [rows.change_from_row(row, stored) for row in found]
        if not changes and (not read or read[0].position != position):
            raise _why_not_held(connection, stored.job_pk, position)
        changes += read
        size += sum(map(change_bytes, read))
        if len(read) < step:
            break
        held = read[-1].revision + 1
    return changes


def _why_not_held(connection: Connection, job_pk: int, position: Position) -> HistoryChanged:
    """Return what to say of a position that the log does not have."""
    floor = connection.scalar(select(_JOB.change_floor).where(_JOB.job_pk == job_pk))
    # What lies below the floor can be neither proved nor refuted any more.
    return HistoryPruned() if 0 < position.revision < (floor or 0) else HistoryChanged()
