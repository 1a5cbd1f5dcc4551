"""The store: `open_store` gives the one a URL names."""

from __future__ import annotations

from typing import Final

from sqlalchemy import URL, Engine, func, make_url, select
from sqlalchemy.exc import ArgumentError

from jobstatus_grpc.store import migrations
from jobstatus_grpc.store.base import JobStore
from jobstatus_grpc.store.postgres import PostgresJobStore, engine
from jobstatus_grpc.store.retry import retry
from jobstatus_grpc.store.sqlite import SqliteJobStore

_UPGRADE_LOCK: Final = int.from_bytes(b"jobstat", "big")


def open_store(
    database_url: str, read_connections: int = 4, write_connections: int = 4, notify: bool = True
) -> JobStore:
    """Return the store at `sqlite:///FILE` or `postgresql://…`; nothing is connected yet.

    Args:
        database_url: where the store is.
        read_connections: how many there may be for reading.
        write_connections: how many there may be for writing.
        notify: whether PostgreSQL is to pass news between processes.

    Raises:
        ValueError: the URL names no database of these kinds.
    """
    url = _parse(database_url)
    if url.get_backend_name() == "sqlite":
        return SqliteJobStore(url, read_connections, write_connections)
    return PostgresJobStore(url, read_connections, write_connections, notify)


def upgrade(database_url: str) -> None:
    """Bring the schema of a database to what this program needs, in one transaction.

    Raises:
        ValueError: the URL names no database of these kinds.
        SchemaMismatch: the schema is of another major version.
        StoreUnavailable: the database does not answer.
    """
    url = _parse(database_url)
    if url.get_backend_name() == "sqlite":
        store = SqliteJobStore(url, 1, 1)
        try:
            store.prepare()
        finally:
            store.close()
        return
    made = engine(url, 1, "READ COMMITTED")
    try:
        retry(lambda _: _upgrade(made), None)
    finally:
        made.dispose()


def _upgrade(made: Engine) -> None:
    with made.begin() as connection:
        # Until there is a table there is nothing else to lock; the second to come finds the work done.
        connection.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        migrations.upgrade(connection)


def _parse(database_url: str) -> URL:
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        raise ValueError("the database URL cannot be read: use sqlite:///FILE or postgresql://…") from error
    if url.get_backend_name() not in {"sqlite", "postgresql"}:
        raise ValueError(f"no store for {url.get_backend_name()}: use sqlite:///FILE or postgresql://…")
    return url
