"""The store in SQL, once for both databases; `sqlite.py` and `postgres.py` add what truly differs."""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Select, select, text, tuple_

from jobstatus_grpc.errors import HistoryChanged, HistoryPruned, JobNotFound, StoreUnavailable
from jobstatus_grpc.model import (
    MAX_FRAME_BYTES,
    Change,
    Granule,
    GranuleKey,
    JobKey,
    Position,
    Report,
    change_bytes,
    granule_bytes,
    job_bytes,
)
from jobstatus_grpc.store import removal, rows, schema
from jobstatus_grpc.store.base import (
    ChangeBatch,
    GranuleQuery,
    Head,
    Identity,
    JobList,
    JobPage,
    JobQuery,
    JobStore,
    Pruned,
    ReportResult,
    Snapshot,
    StoredJob,
)
from jobstatus_grpc.store.report import ReportTransaction
from jobstatus_grpc.store.retry import retry, translated

T = TypeVar("T")

_JOB: Final = schema.job.c
_GRANULE: Final = schema.granule.c
_CHANGE: Final = schema.change.c
_GRANULE_KEY: Final = tuple_(_GRANULE.collection_id, _GRANULE.granule_id)
_SELECT_JOB: Final = select(*rows.JOB_COLUMNS)
_SELECT_GRANULES: Final = select(*(_GRANULE[column.name] for column in rows.GRANULE_COLUMNS)).order_by(
    _GRANULE.collection_id, _GRANULE.granule_id
)
_SELECT_CHANGES: Final = select(*(_CHANGE[column.name] for column in rows.CHANGE_COLUMNS)).order_by(
    _CHANGE.revision
)

# A page is read in steps, so that many large rows are not all fetched to be thrown away.
_STEP_ROWS: Final = 1000
_STEP_CHANGES: Final = 250
_SNAPSHOT_ROWS: Final = 300
# How many jobs a page of ListJobs looks at where filters match rarely.
_EXAMINED_JOBS: Final = 10_000
# What a page or frame holds besides its items: tokens, totals, lengths.
_ENVELOPE_BYTES: Final = 4096


class SqlJobStore(JobStore):
    """A store in a relational database.

    Attributes:
        writes: connections whose transactions write.
        reads: connections whose transactions read one snapshot of the database.
        insert: SQLAlchemy's insert of the database's dialect, which knows ON CONFLICT.
    """

    insert: Callable[..., Any]

    def __init__(self, writes: Engine, reads: Engine) -> None:
        self.writes = writes
        self.reads = reads
        self._identity: Identity | None = None
        self._closed = threading.Event()

    @property
    def identity(self) -> Identity:
        if self._identity is None:
            raise StoreUnavailable
        return self._identity

    @abc.abstractmethod
    def write(self, end: float) -> AbstractContextManager[Connection]:
        """Open a transaction that writes, for a try that ends at `end`; commit it at the end."""

    @abc.abstractmethod
    def read(self, end: float) -> AbstractContextManager[Connection]:
        """Open a transaction that reads one snapshot of the database, for a try that ends at `end`."""

    def renew(self, connection: Connection) -> None:
        """Be told that a long transaction has got on. Most databases do not mind."""

    @abc.abstractmethod
    def lock_job(self, connection: Connection, key: JobKey) -> StoredJob | None:
        """Lock the job's row, in a statement of its own, and return it as it is then."""

    @abc.abstractmethod
    def read_granules(
        self, connection: Connection, job_pk: int, keys: Sequence[GranuleKey]
    ) -> tuple[int, Mapping[GranuleKey, Granule]]:
        """Return the database's clock, and those of the granules that exist."""

    def insert_job(self, connection: Connection, values: Mapping[str, Any]) -> int | None:
        """Insert a job and return its `job_pk`; `None` if somebody else did first."""
        inserted = self.insert(schema.job).values(values).on_conflict_do_nothing().returning(_JOB.job_pk)
        return connection.execute(inserted).scalar()

    @abc.abstractmethod
    def write_report(
        self,
        connection: Connection,
        job_pk: int,
        granules: Sequence[rows.Row],
        changes: Sequence[rows.Row],
    ) -> None:
        """Write the granules, and append the changes, not empty."""

    @abc.abstractmethod
    def announce(self, job_pk: int) -> None:
        """Tell other processes, soon and from outside any transaction, that the job has changed."""

    @abc.abstractmethod
    def _heads_query(self, job_pks: Collection[int]) -> tuple[str, dict[str, Any]]:
        """Return the query for job_pk, revision, commit_id, last_report_time of those that are there."""

    @abc.abstractmethod
    def _jobs_query(self, keys: Sequence[JobKey]) -> tuple[str, dict[str, Any]]:
        """Return the query for the JOB_COLUMNS of those that are there."""

    @abc.abstractmethod
    def _has_label(self, key: str, value: str) -> ColumnElement[bool]:
        """Return the condition that a job has this label."""

    def ping(self) -> None:
        self._reading(lambda connection: connection.execute(select(schema.store.c.store_id)).one(), None)

    def report(self, report: Report, deadline: float | None = None) -> ReportResult:
        transaction = ReportTransaction(self, report)
        result = self._retry(transaction.run, deadline)
        if result.changed:
            self.announce(result.job_pk)
        return result

    def delete_job(self, key: JobKey, deadline: float | None = None) -> int:
        # The retry of a delete whose commit was in doubt must not hit a job that took the ids since.
        found: int | None = None

        def run(end: float) -> int:
            nonlocal found
            with self.write(end) as connection:
                if found is None:
                    stored = self.lock_job(connection, key)
                    if stored is None:
                        raise JobNotFound(*key)
                    found = stored.job_pk
                removal.mark_deleted(connection, [found])
            return found

        job_pk = self._retry(run, deadline)
        self.announce(job_pk)
        return job_pk

    def purge(self) -> bool:
        return self._writing(removal.purge)

    def read_clock(self) -> int:
        return self._reading(lambda connection: self.read_granules(connection, 0, ())[0], None)

    def prune_changes(self, before: int, after: int = 0, limit: int = 1000) -> Pruned:
        found, last = self._reading(
            lambda connection: removal.find_jobs(connection, after, removal.has_changes_before(before), 1),
            None,
        )
        if not found:
            return Pruned(0, last)
        job_pk = found[0]
        removed = self._writing(lambda connection: removal.prune_changes(connection, job_pk, before, limit))
        # Where the limit has cut, the next step looks at the same job again.
        return Pruned(removed, job_pk - 1 if removed == limit else job_pk)

    def prune_jobs(self, before: int, after: int = 0, limit: int = 100) -> Pruned:
        found, last = self._reading(
            lambda connection: removal.find_jobs(connection, after, removal.ended_before(before), limit), None
        )
        if not found:
            return Pruned(0, last)
        removed = self._writing(lambda connection: removal.prune_jobs(connection, found, before))
        for job_pk in found:
            self.announce(job_pk)
        return Pruned(removed, last)

    def read_job(self, key: JobKey, deadline: float | None = None) -> StoredJob:
        return self._reading(lambda connection: _find_job(connection, key), deadline)

    def read_jobs(self, keys: Sequence[JobKey], deadline: float | None = None) -> Mapping[JobKey, StoredJob]:
        def run(connection: Connection) -> Mapping[JobKey, StoredJob]:
            query, parameters = self._jobs_query(keys)
            found = map(rows.stored_job_from_row, connection.execute(text(query), parameters))
            return {stored.job.key: stored for stored in found}

        return self._reading(run, deadline) if keys else {}

    def read_page(self, key: JobKey, query: GranuleQuery, deadline: float | None = None) -> JobPage:
        def run(connection: Connection) -> JobPage:
            stored = _find_job(connection, key)
            budget = MAX_FRAME_BYTES - job_bytes(stored.job) - _ENVELOPE_BYTES
            granules: list[Granule] = []
            after = query.after
            # One granule more than the page holds tells whether others follow.
            while (missing := query.limit + 1 - len(granules)) > 0:
                found = _read_granule_step(connection, stored.job_pk, query, after, min(missing, _STEP_ROWS))
                granules += found
                if len(found) < min(missing, _STEP_ROWS) or sum(map(granule_bytes, granules)) > budget:
                    break
                after = found[-1].key
            fitting = min(query.limit, _fitting(granules, granule_bytes, budget))
            return JobPage(stored, granules[:fitting], len(granules) > fitting)

        return self._reading(run, deadline)

    def list_jobs(self, query: JobQuery, deadline: float | None = None) -> JobList:
        def run(connection: Connection) -> JobList:
            filters = self._filters(query)
            jobs = _SELECT_JOB.where(*_among(query)).order_by(_JOB.job_pk.desc()).limit(query.limit + 1)
            last = None
            if filters:
                last = connection.scalar(
                    select(_JOB.job_pk)
                    .where(*_among(query))
                    .order_by(_JOB.job_pk.desc())
                    .limit(1)
                    .offset(_EXAMINED_JOBS - 1)
                )
                jobs = jobs.where(*filters, *([] if last is None else [_JOB.job_pk >= last]))
            found = [rows.stored_job_from_row(row) for row in connection.execute(jobs)]
            fitting = _fitting(found, lambda stored: job_bytes(stored.job), MAX_FRAME_BYTES - _ENVELOPE_BYTES)
            fitting = min(query.limit, fitting)
            if len(found) > fitting:
                last = found[fitting - 1].job_pk
            return JobList([stored.job for stored in found[:fitting]], last)

        return self._reading(run, deadline)

    def _filters(self, query: JobQuery) -> list[ColumnElement[bool]]:
        filters = [self._has_label(key, value) for key, value in query.labels.items()]
        if query.states:
            filters.append(_JOB.state.in_([int(state) for state in query.states]))
        if query.system:
            filters.append(_JOB.system == query.system)
        if query.job_type:
            filters.append(_JOB.job_type == query.job_type)
        return filters

    def read_changes(
        self, job_pk: int, position: Position, limit: int, deadline: float | None = None
    ) -> ChangeBatch | None:
        def run(connection: Connection) -> ChangeBatch | None:
            found = connection.execute(
                _SELECT_JOB.where(_JOB.job_pk == job_pk, _JOB.delete_time.is_(None))
            ).one_or_none()
            if found is None:
                return None
            stored = rows.stored_job_from_row(found)
            held, *changes = _read_change_steps(connection, stored, position, limit)
            fitting = _fitting(changes, change_bytes, MAX_FRAME_BYTES)
            return ChangeBatch(stored, held.totals, changes[:fitting])

        return self._reading(run, deadline)

    @contextmanager
    def open_snapshot(self, key: JobKey, deadline: float | None = None) -> Iterator[Snapshot]:
        def start(end: float) -> tuple[AbstractContextManager[Connection], Connection, StoredJob]:
            opening = self.read(end)
            connection = opening.__enter__()
            try:
                stored = _find_job(connection, key)
            except BaseException as error:
                opening.__exit__(type(error), error, error.__traceback__)
                raise
            return opening, connection, stored

        opening, connection, stored = self._retry(start, deadline)
        with translated(), _closing(opening):
            yield Snapshot(stored, self._snapshot_pages(connection, stored.job_pk))

    def _snapshot_pages(self, connection: Connection, job_pk: int) -> Iterator[Sequence[Granule]]:
        query = GranuleQuery(_SNAPSHOT_ROWS)
        after = None
        while page := _read_granule_step(connection, job_pk, query, after, _SNAPSHOT_ROWS):
            self.renew(connection)
            yield page
            after = page[-1].key

    def read_heads(self, job_pks: Collection[int]) -> Mapping[int, Head]:
        def run(connection: Connection) -> Mapping[int, Head]:
            query, parameters = self._heads_query(job_pks)
            found = connection.execute(text(query), parameters)
            return {row[0]: Head(Position(row[1], row[2]), row[3]) for row in found}

        return self._reading(run, None) if job_pks else {}

    def close(self) -> None:
        self._closed.set()
        self.writes.dispose()
        self.reads.dispose()

    def _reading(self, work: Callable[[Connection], T], deadline: float | None) -> T:
        def run(end: float) -> T:
            with self.read(end) as connection:
                return work(connection)

        return self._retry(run, deadline)

    def _writing(self, work: Callable[[Connection], T]) -> T:
        def run(end: float) -> T:
            with self.write(end) as connection:
                return work(connection)

        return self._retry(run, None)

    def _retry(self, work: Callable[[float], T], deadline: float | None) -> T:
        # Nothing can be asked of a database that is not known to have the schema.
        if self._identity is None:
            raise StoreUnavailable
        return retry(work, deadline)


@contextmanager
def _closing(opening: AbstractContextManager[Connection]) -> Iterator[None]:
    """End a transaction that was entered by hand."""
    try:
        yield
    except BaseException as error:
        opening.__exit__(type(error), error, error.__traceback__)
        raise
    opening.__exit__(None, None, None)


def job_by_key(key: JobKey) -> Select[Any]:
    """Return the query for a job's row."""
    return _SELECT_JOB.where(_JOB.project_id == key.project_id, _JOB.job_id == key.job_id)


def _find_job(connection: Connection, key: JobKey) -> StoredJob:
    row = connection.execute(job_by_key(key)).one_or_none()
    if row is None:
        raise JobNotFound(*key)
    return rows.stored_job_from_row(row)


def _among(query: JobQuery) -> list[ColumnElement[bool]]:
    """Return the conditions that the index answers: which jobs a page of a list chooses from."""
    among = [_JOB.project_id == query.project_id, _JOB.job_id.is_not(None), _JOB.parent_pk.is_(None)]
    if query.before is not None:
        among.append(_JOB.job_pk < query.before)
    return among


def _read_granule_step(
    connection: Connection, job_pk: int, query: GranuleQuery, after: GranuleKey | None, limit: int
) -> list[Granule]:
    wanted = _SELECT_GRANULES.where(_GRANULE.job_pk == job_pk).limit(limit)
    if after is not None:
        wanted = wanted.where(tuple_(*after) < _GRANULE_KEY)
    if query.states:
        wanted = wanted.where(_GRANULE.state.in_([int(state) for state in query.states]))
    return [rows.granule_from_row(row) for row in connection.execute(wanted)]


def _read_change_steps(
    connection: Connection, stored: StoredJob, position: Position, limit: int
) -> list[Change]:
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


def _fitting(items: Sequence[T], size: Callable[[T], int], budget: int) -> int:
    """Return how many of the first `items` fit into `budget` bytes: at least one."""
    for count, item in enumerate(items):
        budget -= size(item)
        if budget < 0 and count:
            return count
    return len(items)
