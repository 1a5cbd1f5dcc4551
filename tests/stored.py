"""What a database holds, read through the store or past it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine, create_engine, func, make_url, select
from sqlalchemy.pool import NullPool

from jobstatus_grpc.model import Change, Granule, GranuleState, Job, JobKey, Position, Totals
from jobstatus_grpc.store import open_store, schema
from jobstatus_grpc.store.base import GranuleQuery, JobQuery, JobStore

_TABLES: Final = ("job", "granule", "change")


class LogRow(NamedTuple):
    """As much of a change row as tells where it stands."""

    revision: int
    commit_id: int
    change_time: int
    granule_id: str | None
    state: int | None
    totals: Totals


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Open a connection of the test's own, whose statements are committed one by one."""
    made = _engine(url)
    with made.connect() as connection:
        yield connection


@contextmanager
def opened(url: str) -> Iterator[JobStore]:
    """Open a store of the caller's own, prepared."""
    store = open_store(url)
    try:
        store.prepare()
        yield store
    finally:
        store.close()


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg2")
    return create_engine(parsed, poolclass=NullPool, isolation_level="AUTOCOMMIT")


def log_rows(url: str, job_pk: int) -> list[LogRow]:
    """Return the whole log of a job, past the store."""
    change = schema.change.c
    counts = (
        change.unspecified_count,
        change.pending_count,
        change.staged_count,
        change.succeeded_count,
        change.failed_count,
    )
    columns = (change.revision, change.commit_id, change.change_time, change.granule_id, change.state)
    query = select(*columns, *counts).where(change.job_pk == job_pk).order_by(change.revision)
    with connected(url) as connection:
        return [LogRow(*row[:5], Totals._make(row[5:])) for row in connection.execute(query)]


def count_rows(url: str, job_pk: int) -> dict[str, int]:
    """Return how many rows a job has in each table."""
    with connected(url) as connection:
        return {
            table.name: int(
                connection.scalar(select(func.count()).select_from(table).where(table.c.job_pk == job_pk))
                or 0
            )
            for table in (schema.job, schema.granule, schema.change)
        }


def run(url: str, *statements: str) -> list[Any]:
    """Run statements past the store, and return the rows of the last."""
    with connected(url) as connection:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
        return list(result) if result.returns_rows else []


def copied(url: str) -> Iterator[None]:
    """Copy the jobs when first asked, and put them back when asked again."""
    run(url, *(f"create table {table}_copy as select * from {table}" for table in _TABLES))
    yield
    run(url, *(f"delete from {table}" for table in _TABLES))
    run(url, *(f"insert into {table} select * from {table}_copy" for table in _TABLES))
    yield


def first_position(url: str, job_pk: int) -> Position:
    """Return the position of a job's first change."""
    row = log_rows(url, job_pk)[0]
    return Position(row.revision, row.commit_id)


def history(store: JobStore, job_pk: int, after: Position, limit: int = 1000) -> list[Change]:
    """Return all changes of a job after a position, read in parts."""
    changes: list[Change] = []
    while True:
        batch = store.read_changes(job_pk, after, limit)
        assert batch is not None
        assert len(batch.changes) <= limit
        if not batch.changes:
            assert after == batch.stored.position
            return changes
        changes += batch.changes
        after = batch.changes[-1].position


def granules(store: JobStore, key: JobKey) -> list[Granule]:
    """Return all granules of a job at one revision."""
    with store.open_snapshot(key) as snapshot:
        return [granule for page in snapshot.pages for granule in page]


def walk(
    store: JobStore, key: JobKey, limit: int, states: Collection[GranuleState] = ()
) -> Iterator[list[Granule]]:
    """Yield the pages of a job's granules."""
    after = None
    while True:
        page = store.read_page(key, GranuleQuery(limit, after, states))
        assert len(page.granules) <= limit
        assert page.granules or not page.more
        yield list(page.granules)
        if not page.more:
            return
        after = page.granules[-1].key


def walk_jobs(store: JobStore, query: JobQuery) -> Iterator[list[Job]]:
    """Yield the pages of a list of jobs."""
    while True:
        page = store.list_jobs(query)
        assert len(page.jobs) <= query.limit
        yield list(page.jobs)
        if page.next_before is None:
            return
        query = query._replace(before=page.next_before)
