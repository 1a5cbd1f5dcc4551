"""The granules that have failed, and why: kept as reports are written, and read at a bounded cost.

A job's first reasons have rows of their own, with a number and how many granules they are for; a granule
whose reason finds no row is counted with none. A row is free again once it is for no granule any more. So all
that is read of a job, to write or to answer, are its reasons, the granules that move, and a few names of each
reason.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from sqlalchemy import Connection, delete, text

from jobstatus_grpc.digest import MAX_REASONS, FailureReason, Failures, Reason, reason_of
from jobstatus_grpc.model import Change, Granule, GranuleKey, GranuleState, Position
from jobstatus_grpc.store import schema
from jobstatus_grpc.store.queries import Query
from jobstatus_grpc.store.rows import Row

# A granule's reason where it has no row.
_OTHER: Final = 0
_NUMBERS: Final = range(1, MAX_REASONS + 1)


class FailedKey(NamedTuple):
    """A granule of any job."""

    job_pk: int
    collection_id: str
    granule_id: str


class Failed(NamedTuple):
    """A row of `failed_granule`, without its key."""

    reason_number: int
    attempt: int


class ReasonRow(NamedTuple):
    """A row of `failure_reason`."""

    job_pk: int
    reason_number: int
    code: str
    reason: str
    granule_count: int
    first_time: int
    last_time: int


class Written(NamedTuple):
    """What a transaction leaves in the tables; all keys are different.

    Attributes:
        failed: the granules that are failed and were not, or for another reason, or at another attempt.
        gone: those that are failed no more.
        reasons: the reasons that are for more or fewer granules, or new.
        emptied: the keys of those that are for none any more.
    """

    failed: Mapping[FailedKey, Failed]
    gone: Collection[FailedKey]
    reasons: Sequence[ReasonRow]
    emptied: Sequence[tuple[int, int]]


class FailureTables(Protocol):
    """The tables in a database's own words. Each method is one statement, or two for two tables."""

    def read_failed(self, connection: Connection, keys: Collection[FailedKey]) -> Mapping[FailedKey, Failed]:
        """Return those of the granules that are in the table."""

    def read_reasons(self, connection: Connection, job_pks: Collection[int]) -> Sequence[ReasonRow]:
        """Return the reasons of jobs."""

    def write(self, connection: Connection, written: Written) -> None:
        """Write, and remove, rows of both tables."""

    def query(self, job_pks: Collection[int]) -> Query:
        """Return the query for the jobs' failures: job_pk, revision, commit_id, failed_count and JSON.

        Of those that are there. The JSON is an array of the reasons, each with code, reason, granule_count,
        first_time, last_time and the keys of the first granules; NULL or empty if there are none.
        """


class _Move(NamedTuple):
    """A granule that failed in a transaction, or had failed before it."""

    had_failed: bool
    granule: Granule
    moment: int


def write(tables: FailureTables, connection: Connection, logs: Mapping[int, Sequence[Change]]) -> None:
    """Have the tables follow what is written into the histories of jobs.

    Costs nothing where no granule enters or leaves FAILED or changes in it, else a few statements.

    Args:
        tables: the tables.
        connection: in a transaction that holds the root's lock.
        logs: the new part of each job's history, oldest first, by `job_pk`.
    """
    moves = {job_pk: moved for job_pk, log in logs.items() if (moved := _moves(log))}
    if not moves:
        return
    had_failed = [
        FailedKey(job_pk, *key)
        for job_pk, moved in moves.items()
        for key, move in moved.items()
        if move.had_failed
    ]
    known = tables.read_failed(connection, had_failed) if had_failed else {}
    reasons: dict[int, list[ReasonRow]] = {job_pk: [] for job_pk in moves}
    for row in tables.read_reasons(connection, list(moves)):
        reasons[row.job_pk].append(row)
    kept = [_Keeping(job_pk, reasons[job_pk], moved, known) for job_pk, moved in moves.items()]
    tables.write(
        connection,
        Written(
            {key: failed for each in kept for key, failed in each.failed.items()},
            [key for each in kept for key in each.gone],
            [row for each in kept for row in each.changed()],
            [row[:2] for each in kept for row in each.emptied()],
        ),
    )


def _moves(log: Sequence[Change]) -> dict[GranuleKey, _Move]:
    """Return the granules that failed, or had, each as it is after its last change."""
    had_failed: dict[GranuleKey, bool] = {}
    latest: dict[GranuleKey, Change] = {}
    for change in log:
        item = change.item
        if isinstance(item, Granule):
            had = change.previous_state is GranuleState.FAILED
            if had or item.state is GranuleState.FAILED:
                had_failed.setdefault(item.key, had)
                latest[item.key] = change
    return {
        key: _Move(had_failed[key], change.item, change.change_time)
        for key, change in latest.items()
        if isinstance(change.item, Granule)
    }


class _Keeping:
    """The failures of one job, while they are brought up to date."""

    def __init__(
        self,
        job_pk: int,
        reasons: Iterable[ReasonRow],
        moves: Mapping[GranuleKey, _Move],
        known: Mapping[FailedKey, Failed],
    ) -> None:
        self.failed: dict[FailedKey, Failed] = {}
        self.gone: list[FailedKey] = []
        self._job_pk = job_pk
        self._before = {row.reason_number: row for row in reasons}
        self._rows = dict(self._before)
        self._numbers = {Reason(row.code, row.reason): number for number, row in self._before.items()}
        keyed = {FailedKey(job_pk, *key): move for key, move in moves.items()}
        # Rows that are left first: another reason may have the place at once.
        for key in keyed:
            if key in known:
                self._count(known[key].reason_number, -1)
        for key, move in keyed.items():
            if move.granule.state is GranuleState.FAILED:
                self._enter(key, move, known.get(key))
            elif key in known:
                self.gone.append(key)

    def changed(self) -> list[ReasonRow]:
        """Return the reasons that are for some granules, and are not as they were."""
        return [
            row for number, row in self._rows.items() if row.granule_count and row != self._before.get(number)
        ]

    def emptied(self) -> list[ReasonRow]:
        """Return the reasons there were that are for no granule any more."""
        return [self._before[number] for number in self._before if not self._rows[number].granule_count]

    def _enter(self, key: FailedKey, move: _Move, before: Failed | None) -> None:
        failed = Failed(self._number_of(reason_of(move.granule), move.moment), move.granule.attempt)
        self._count(failed.reason_number, 1)
        if failed != before:
            self.failed[key] = failed
            if failed.reason_number != _OTHER:
                row = self._rows[failed.reason_number]
                self._rows[failed.reason_number] = row._replace(last_time=move.moment)

    def _count(self, number: int, added: int) -> None:
        if number != _OTHER:
            row = self._rows[number]
            self._rows[number] = row._replace(granule_count=row.granule_count + added)

    def _number_of(self, reason: Reason, moment: int) -> int:
        """Return the number of a reason's row, of a new one if it has none and there is a place."""
        number = self._numbers.get(reason)
        if number is None:
            free = (n for n in _NUMBERS if n not in self._rows or not self._rows[n].granule_count)
            number = next(free, _OTHER)
            if number != _OTHER:
                left = self._rows.get(number)
                if left is not None:
                    del self._numbers[Reason(left.code, left.reason)]
                self._rows[number] = ReasonRow(self._job_pk, number, *reason, 0, moment, moment)
                self._numbers[reason] = number
        return number


_WHY: Final = """
substr(coalesce(error_code, ''), 1, 64) as code,
substr(
    coalesce(case when error_code is null then coalesce(error_reason, message) else error_reason end, ''),
    1, 256
) as reason
"""
_COUNT_AGAIN: Final = text(f"""
insert into failure_reason (job_pk, reason_number, code, reason, granule_count, first_time, last_time)
select * from (
    select job_pk, row_number() over (order by min(revision)) as reason_number, code, reason,
        count(*) as granule_count, min(update_time) as first_time, max(update_time) as last_time
    from (
        select job_pk, revision, update_time, {_WHY}
        from granule where job_pk = :job_pk and state = {int(GranuleState.FAILED)}
    ) as failed
    group by job_pk, code, reason
) as counted
where reason_number <= {MAX_REASONS}
""")  # noqa: S608
_NAME_AGAIN: Final = text(f"""
insert into failed_granule (job_pk, collection_id, granule_id, reason_number, attempt)
select failed.job_pk, collection_id, granule_id, coalesce(reason_number, {_OTHER}), attempt
from (
    select job_pk, collection_id, granule_id, attempt, {_WHY}
    from granule where job_pk = :job_pk and state = {int(GranuleState.FAILED)}
) as failed
left join failure_reason on failure_reason.job_pk = failed.job_pk
    and failure_reason.code = failed.code and failure_reason.reason = failed.reason
""")  # noqa: S608


def rewrite(connection: Connection, job_pk: int, failed: bool) -> None:
    """Make the rows of a job anew, from all its granules: a program that keeps none has written it.

    Args:
        connection: in a transaction that holds the root's lock.
        job_pk: the job.
        failed: whether any granule has.
    """
    for table in (schema.failed_granule, schema.failure_reason):
        connection.execute(delete(table).where(table.c.job_pk == job_pk))
    for statement in (_COUNT_AGAIN, _NAME_AGAIN) if failed else ():
        connection.execute(statement, {"job_pk": job_pk})


def failures_from_row(row: Row) -> Failures:
    """Return the failures of a job in a row of the `query`."""
    _, revision, commit_id, failed_count, document = row
    reasons = [
        FailureReason(Reason(code, why), count, first, last, [GranuleKey(*key) for key in samples])
        for code, why, count, first, last, samples in json.loads(document or "[]")
    ]
    reasons.sort(key=lambda each: (-each.granule_count, each.reason))
    counted = sum(each.granule_count for each in reasons)
    return Failures(Position(revision, commit_id), reasons, failed_count - counted)
