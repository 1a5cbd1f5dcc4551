"""ORCA's database, read by a role that may do nothing else; nothing is installed there.

How changes are found. Every version of a row carries the number of the transaction that made it, `xmin`. A
reading notes the horizon of its snapshot: the lowest number of a transaction still running, by
`pg_snapshot_xmin`. The next reading of the same rows takes those whose number is not below that horizon.

Nothing is missed. Take a version that the next reading's snapshot sees, and the last one's did not. Its
transaction had not ended when the last snapshot was taken. Either it was running: then its number is not
below the horizon, by the horizon's definition. Or it had no number yet: then it was given a later one. A
part of a transaction (a savepoint) has a number of its own, but a later one than the whole. So whenever a
transaction commits, however long it took and whatever was committed before it, its rows are read. Horizons
never fall, so it does no harm to note one too early: rows are read twice then, and found unchanged.

`xmin` has the number's lower 32 bits. The whole number is the greatest below the snapshot's end that fits:
never less than the true one, so rows can be read needlessly, but not be missed.

ORCA changes the row of a granule with each of its files, in the same transaction: files are read only where
their granule's row is new. What has no index is not asked for: all queries go by the primary keys.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from jobstatus_grpc.errors import SourceFailed, SourceRefused
from jobstatus_grpc.model import MAX_GRANULE_FILES
from jobstatus_grpc.sources.orca_values import FileRow, GranuleRow, RowKey

_log = logging.getLogger(__name__)

PAGE_GRANULES: Final = 2_000
_TABLES: Final = {
    "recovery_job": {"job_id", "granule_id", "status_id", "request_time", "completion_time"},
    "recovery_file": {
        *("job_id", "granule_id", "filename", "status_id", "error_message", "restore_destination"),
        *("request_time", "completion_time"),
    },
}
_ARGUMENTS: Final = {
    "application_name": "jobstatus source",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
# SQLSTATE classes that no second try mends: who we are, which database, what is there and may be read.
_REFUSING: Final = ("28", "3D", "3F", "42")
_REFUSING_WORDS: Final = (
    *("password authentication failed", "no password supplied", "does not exist"),
    *("no pg_hba.conf entry", "not permitted to log in"),
)

# The planner must not take to reading a whole table where its statistics are old or none were made.
_BEGIN: Final = """
begin isolation level repeatable read read only;
set local statement_timeout = 60000;
set local idle_in_transaction_session_timeout = 60000;
set local enable_seqscan = off; set local enable_bitmapscan = off; set local enable_hashjoin = off;
set local enable_mergejoin = off; set local enable_sort = off; set local enable_incremental_sort = off;
set local jit = off; set local max_parallel_workers_per_gather = 0;
select cast(cast(pg_snapshot_xmin(pg_current_snapshot()) as text) as bigint),
    cast(cast(pg_snapshot_xmax(pg_current_snapshot()) as text) as bigint),
    cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)
"""
_IDENTITY: Final = """
select cast(s.system_identifier as text), cast(c.timeline_id as text), current_database()
from pg_control_system() as s, pg_control_checkpoint() as c
"""
_COLUMNS: Final = """
select c.relname, a.attname
from pg_class as c join pg_attribute as a on a.attrelid = c.oid
where c.relnamespace = cast(to_regnamespace(:schema) as oid) and c.relname = any(:tables)
    and a.attnum > 0 and not a.attisdropped
"""
_SIZE: Final = "select cast(greatest(reltuples, 0) as bigint) from pg_class where oid = to_regclass(:table)"

_XID: Final = "(:end - ((:end - cast(cast(xmin as text) as bigint)) & 4294967295))"
# What lies beyond the times there are here, as infinity does, is told as the last or first of them.
_MICROSECONDS: Final = (
    "case when {0} is not null then cast(extract(epoch from least(greatest({0}, '0001-01-02'), "
    "'9999-12-30')) * 1000000 as bigint) end"
)
_TOLD: Final = f"status_id, {_MICROSECONDS.format('request_time')}, {_MICROSECONDS.format('completion_time')}"

# Each job's granules by the key, from where the last page of it ended.
_CHANGED: Final = """
select r.*
from unnest(cast(:job_ids as text[]), cast(:sinces as bigint[]), cast(:collection_ids as text[]),
    cast(:granule_ids as text[])) as k(job_id, since, collection_id, granule_id)
cross join lateral (
    select {key}, {told}
    from {schema}.recovery_job
    where recovery_job.job_id = k.job_id and ({order}) > ({after}) and {xid} >= k.since
    order by {order}
    limit :limit
) as r
"""
# A part of the table in the order of its key: what is new of it, and the last.
_PART: Final = """
select * from (
    select *, row_number() over () as number from (
        select {key}, {told}, {xid} >= :since as fresh
        from {schema}.recovery_job
        where (job_id, {order}) > (:job_id, {from_key})
        order by job_id, {order}
        limit :limit
    ) as part
) as numbered
where fresh or number = :limit
"""
# From one job to the next by the index, whatever lies between. Of a job that was not there before, all rows
# are new: any one tells.
_JOBS: Final = """
with recursive jobs(job_id, fresh, number) as (
    (
        select job_id, {xid} >= :since, 1 from {schema}.recovery_job
        where job_id > :job_id order by job_id limit 1
    )
    union all
    select next.job_id, next.fresh, jobs.number + 1
    from jobs cross join lateral (
        select job_id, {xid} >= :since as fresh from {schema}.recovery_job
        where job_id > jobs.job_id order by job_id limit 1
    ) as next
    where jobs.number < :limit
)
select job_id, fresh, number from jobs where fresh or number = :limit
"""
_FILES: Final = """
select k.number, f.*
from unnest(cast(:job_ids as text[]), cast(:collection_ids as text[]), cast(:granule_ids as text[]))
    with ordinality as k(job_id, collection_id, granule_id, number)
cross join lateral (
    select filename, status_id, error_message, restore_destination, {request}, {completion}
    from {schema}.recovery_file
    where job_id = k.job_id and {same} granule_id = k.granule_id
    order by filename
    limit :limit
) as f
"""


class Identity(NamedTuple):
    """Which database it is: the same name is the same history of transactions."""

    system: str
    timeline: str
    database: str


class Mark(NamedTuple):
    """From where on a job's granules are to be read: those made since a transaction, after a key."""

    job_id: str
    since: int
    collection_id: str = ""
    granule_id: str = ""


class Walk(NamedTuple):
    """A way through a whole table, in parts, again and again.

    Attributes:
        since: what is not older than this transaction is read.
        horizon: since when the next way is to read; that of the first part of this one. 0 before it.
        after: the last key it has come to.
    """

    since: int = 0
    horizon: int = 0
    after: RowKey = RowKey("")

    def on(self, horizon: int, last: RowKey | None) -> Walk:
        """Return the walk after a part that was read at a horizon; `None` is its end.

        The next way begins then: it reads what was made since the first part of this one.
        """
        start = self.horizon or horizon
        return Walk(start) if last is None else Walk(self.since, start, last)


class Part(NamedTuple):
    """What a part of a walk has found.

    Attributes:
        walk: the walk after it.
        granules: those that are new.
        examined: how many rows that took, at most.
    """

    walk: Walk
    granules: Sequence[GranuleRow]
    examined: int


def parse_url(orca_url: str) -> URL:
    """Return the URL of ORCA's database.

    Raises:
        ValueError: it is none; the words repeat nothing of it.
    """
    try:
        url = make_url(orca_url)
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() != "postgresql" or not url.database:
        raise ValueError("is not postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return url.set(drivername="postgresql+psycopg2")


def _engine(url: URL) -> Engine:
    return create_engine(
        url.set(query={}),
        connect_args={**_ARGUMENTS, **url.query},
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
    )


class OrcaDatabase:
    """ORCA's recovery tables. Used by one thread at a time; one connection, made when it is needed.

    Args:
        orca_url: where it is, and as whom to read it.
        schema: of the tables.
        told: tells the URL anew; raises ValueError where it cannot.

    Raises:
        ValueError: the URL is none of PostgreSQL's.
    """

    def __init__(self, orca_url: str, schema: str = "orca", told: Callable[[], str] | None = None) -> None:
        self._url = parse_url(orca_url)
        self._schema = schema
        self._told = told
        self._engine = _engine(self._url)
        self._statements: Mapping[str, Any] = {}
        self._collections = True

    @property
    def shown(self) -> str:
        """Where it is, without who reads it."""
        return f"{self._url.host}:{self._url.port or 5432}/{self._url.database}"

    def renew(self) -> None:
        """Ask anew where it is, and as whom to read it: a password may have been changed."""
        if self._told is not None:
            try:
                self._url = parse_url(self._told())
            except ValueError as error:
                _log.warning("ORCA's secret %s", error)
                return
            self._engine.dispose()
            self._engine = _engine(self._url)

    def identify(self) -> Identity:
        """Return which database it is, having looked that the tables are there and may be read.

        Raises:
            SourceFailed: it does not answer.
            SourceRefused: it does not let us in, or the tables are not as they should be.
        """
        with self._connected() as connection:
            tables = {"schema": self._schema, "tables": list(_TABLES)}
            columns: dict[str, set[str]] = {name: set() for name in _TABLES}
            for table, column in connection.execute(text(_COLUMNS), tables):
                columns[table].add(column)
            self._check(columns)
            identity = Identity(*connection.execute(text(_IDENTITY)).one())
        self._prepare("collection_id" in columns["recovery_job"])
        with self.snapshot() as snapshot:
            snapshot.changed([Mark("", 0)])
            snapshot.files([RowKey("")])
        return identity

    def _check(self, columns: Mapping[str, set[str]]) -> None:
        missing = [
            f"no table {self._schema}.{table}"
            if not columns[table]
            else f"{self._schema}.{table} has no {', '.join(sorted(needed - columns[table]))}"
            for table, needed in _TABLES.items()
            if needed - columns[table]
        ]
        if len({"collection_id" in found for found in columns.values()}) > 1 and not missing:
            missing.append("only one of the tables has collection_id")
        if missing:
            raise SourceRefused(f"{self.shown} is no ORCA database: {'; '.join(missing)}")

    def _prepare(self, collections: bool) -> None:
        order = "collection_id, granule_id" if collections else "granule_id"
        words = {
            "schema": self._schema,
            "xid": _XID,
            "told": _TOLD,
            "order": order,
            "key": f"job_id, {order}" if collections else "job_id, '' as collection_id, granule_id",
            "after": ", ".join(f"k.{name}" for name in order.split(", ")),
            "from_key": ", ".join(f":{name}" for name in order.split(", ")),
            "same": "collection_id = k.collection_id and" if collections else "",
            "request": f"{_MICROSECONDS.format('request_time')} as requested",
            "completion": f"{_MICROSECONDS.format('completion_time')} as completed",
        }
        named = {"changed": _CHANGED, "part": _PART, "jobs": _JOBS, "files": _FILES}
        self._statements = {name: text(statement.format(**words)) for name, statement in named.items()}

    def count(self) -> int:
        """Return about how many granules there are, as the statistics have it."""
        with self._connected() as connection:
            return connection.scalar(text(_SIZE), {"table": f"{self._schema}.recovery_job"}) or 0

    @contextmanager
    def snapshot(self) -> Iterator[OrcaSnapshot]:
        """Open the database as it is at one moment, for as long as the context lasts.

        Raises:
            SourceFailed: it does not answer, also within the context.
            SourceRefused: it does not let us in.
        """
        with self._connected() as connection:
            row = connection.exec_driver_sql(_BEGIN).one()
            try:
                yield OrcaSnapshot(connection, self._statements, *row)
            finally:
                if not connection.invalidated:
                    connection.exec_driver_sql("rollback")

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            self._engine.dispose()
            raise self._failure(error) from error

    def _failure(self, error: DBAPIError) -> SourceFailed:
        words = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else "no answer"
        state = getattr(error.orig, "pgcode", None) or ""
        known = isinstance(error, OperationalError) and any(one in words for one in _REFUSING_WORDS)
        if state.startswith(_REFUSING) or (not state and known):
            return SourceRefused(f"{self.shown} refuses: {words}")
        return SourceFailed(f"{self.shown} does not answer: {words}")

    def close(self) -> None:
        """Let go of the connection."""
        self._engine.dispose()


class OrcaSnapshot:
    """The database as it is at one moment.

    Attributes:
        horizon: the lowest number of a transaction that had not ended; what the next reading begins with.
        clock: the time there, in microseconds since 1970.
    """

    def __init__(
        self, connection: Connection, statements: Mapping[str, Any], horizon: int, end: int, clock: int
    ) -> None:
        self.horizon = horizon
        self.end = end
        self.clock = clock
        self._connection = connection
        self._statements = statements

    def changed(self, marks: Sequence[Mark], limit: int = PAGE_GRANULES) -> Sequence[GranuleRow]:
        """Return the granules of some jobs from their marks on, so many of each job at most.

        Without files. Within a job they are in the order of the key.
        """
        columns = zip(*marks, strict=True)
        names = ("job_ids", "sinces", "collection_ids", "granule_ids")
        values = {name: list(column) for name, column in zip(names, columns, strict=True)}
        found = self._run("changed", {**values, "limit": limit})
        return [_granule_row(row) for row in found]

    def part(self, walk: Walk, limit: int = PAGE_GRANULES) -> Part:
        """Return the next part of a walk over all granules."""
        values = {**walk.after._asdict(), "since": walk.since, "limit": limit}
        rows = self._run("part", values)
        last = next((row for row in rows if row[-1] == limit), None)
        granules = [_granule_row(row) for row in rows if row[-2]]
        after = None if last is None else RowKey(*last[:3])
        return Part(walk.on(self.horizon, after), granules, limit)

    def new_jobs(self, walk: Walk, limit: int) -> tuple[Walk, Sequence[str]]:
        """Return the next part of a walk over all jobs, and those that are new."""
        values = {"job_id": walk.after.job_id, "since": walk.since, "limit": limit}
        rows = self._run("jobs", values)
        last = next((RowKey(row[0]) for row in rows if row[2] == limit), None)
        return walk.on(self.horizon, last), [row[0] for row in rows if row[1]]

    def files(self, keys: Sequence[RowKey]) -> Mapping[RowKey, Sequence[FileRow]]:
        """Return the files of some granules, in the order of their names; of too many one too many."""
        columns = zip(*keys, strict=True)
        names = ("job_ids", "collection_ids", "granule_ids")
        values = {name: list(column) for name, column in zip(names, columns, strict=True)}
        found: dict[RowKey, list[FileRow]] = {}
        for row in self._run("files", {**values, "limit": MAX_GRANULE_FILES + 1}):
            found.setdefault(keys[row[0] - 1], []).append(FileRow(*row[1:]))
        return found

    def with_files(self, granules: Sequence[GranuleRow]) -> Sequence[GranuleRow]:
        """Return granules with their files."""
        files = self.files([row.key for row in granules]) if granules else {}
        return [row._replace(files=files.get(row.key, ())) for row in granules]

    def _run(self, name: str, values: Mapping[str, Any]) -> Sequence[Any]:
        bound = {**values, "end": self.end} if name != "files" else values
        return self._connection.execute(self._statements[name], bound).all()


def _granule_row(row: Any) -> GranuleRow:
    return GranuleRow(RowKey(*row[:3]), *row[3:6])
