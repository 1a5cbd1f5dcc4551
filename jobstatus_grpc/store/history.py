"""A job's history: the log from a position on."""

from __future__ import annotations

from typing import Final, Protocol

from jobstatus_grpc.errors import HistoryChanged, HistoryPruned
from jobstatus_grpc.model import MAX_FRAME_BYTES, Position
from jobstatus_grpc.sizes import change_bytes
from jobstatus_grpc.store import rows
from jobstatus_grpc.store.base import ChangeBatch
from jobstatus_grpc.store.pages import fitting
from jobstatus_grpc.store.queries import Ask, Query

_JOB_NAMES: Final = ", ".join(f"job.{column.name}" for column in rows.JOB_COLUMNS)
_CHANGE_NAMES: Final = ", ".join(column.name for column in rows.CHANGE_COLUMNS)
# Of a change, without its texts of any length.
_CHANGE_BYTES: Final = 128


class Dialect(Protocol):
    """The query as a database wants it."""

    def history_query(self, job_pk: int, revision: int, limit: int) -> Query:
        """Return the query for the job, its `change_floor`, and so many of its changes from a revision on.

        As `statement` writes it: all in one row, of one moment, and none for a job that is deleted.
        """


def statement(array: str, join: str, size: str, parameter: str) -> str:
    """Return the query's statement.

    The job and its changes come as texts: as columns and rows they cost the process that asks three times as
    much. Beyond a frame there is no change but one, however long they are.

    Args:
        array: the function that makes a JSON array of its arguments, as text.
        join: the aggregate that joins texts by a comma.
        size: the function that tells how long a text is, without reading it if it can.
        parameter: how a parameter is written.
    """
    texts = " + ".join(f"coalesce({size.format(name)}, 0)" for name in ("job", "message", "error_reason"))
    job_pk, revision, limit = map(parameter.format, ("job_pk", "revision", "limit"))
    return f"""
select {array.format(_JOB_NAMES)}, job.change_floor, (
    select '[' || {join.format("log.document")} || ']'
    from (
        select {array.format(_CHANGE_NAMES)} as document
        from (
            select change.*, sum({_CHANGE_BYTES} + {texts}) over (
                order by revision rows between unbounded preceding and 1 preceding
            ) as bytes_before
            from change
            where job_pk = {job_pk} and revision >= {revision}
            order by revision
            limit {limit}
        ) as recent
        where coalesce(bytes_before, 0) <= {MAX_FRAME_BYTES}
    ) as log
)
from job
where job_pk = {job_pk} and delete_time is null
"""  # noqa: S608


def read_changes(
    ask: Ask, dialect: Dialect, job_pk: int, position: Position, limit: int
) -> ChangeBatch | None:
    """Return the changes after `position`, which the job's log must have, as many as fit."""
    # From the change at `position` on.
    found = ask(dialect.history_query(job_pk, position.revision, limit + 1))
    if not found:
        return None
    ((job, floor, log),) = found
    stored = rows.stored_job_from_json(job)
    held, *changes = rows.changes_from_json(log or "[]", stored) or (None,)
    if held is None or held.position != position:
        # What lies below the floor can be neither proved nor refuted any more.
        raise HistoryPruned if 0 < position.revision < floor else HistoryChanged
    return ChangeBatch(stored, held.totals, changes[: fitting(changes, change_bytes, MAX_FRAME_BYTES)])
