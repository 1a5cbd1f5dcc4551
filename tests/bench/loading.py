"""The baseline of writes: the rows that a job has left, loaded again by the means of the database itself.

Into the same tables, with the same indexes, and as durably, from the same tuples: by COPY in PostgreSQL, by
an executemany in SQLite, all rows at once.
"""

from __future__ import annotations

import io
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg2
from sqlalchemy import make_url

from jobstatus_grpc.store import schema

Rows = Mapping[str, Sequence[tuple[Any, ...]]]

# By table the order of the rows' arrival.
_ORDERS: Final = {"granule": "collection_id, granule_id", "change": "revision"}
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


class Loading(ABC):
    """Loads the rows of a job again, as those of one that is not there."""

    @abstractmethod
    def fetch(self, job_pk: int) -> Rows:
        """Return the rows of a job, by table, under a key that no job has."""

    @abstractmethod
    def load(self, rows: Rows) -> None:
        """Write rows in one transaction."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the database."""


def open_loading(url: str) -> Loading:
    """Return the one for a database."""
    return SqliteLoading(url) if url.startswith("sqlite") else PostgresLoading(url)


class PostgresLoading(Loading):
    """By COPY."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)

    def fetch(self, job_pk: int) -> Rows:
        with self._connection, self._connection.cursor() as cursor:
            rows = {}
            for table in _ORDERS:
                cursor.execute(_query(table, job_pk))
                rows[table] = cursor.fetchall()
            return rows

    def load(self, rows: Rows) -> None:
        self.load_texts(copy_texts(rows))

    def load_texts(self, texts: Mapping[str, str]) -> None:
        """Write rows that are texts already."""
        with self._connection, self._connection.cursor() as cursor:
            for table, text in texts.items():
                cursor.copy_expert(f"copy {table} from stdin", io.StringIO(text))

    def close(self) -> None:
        self._connection.close()


class SqliteLoading(Loading):
    """By an executemany for each table."""

    def __init__(self, url: str) -> None:
        self._connection = sqlite3.connect(make_url(url).database or "", isolation_level=None)
        self._connection.execute("pragma synchronous = full")

    def fetch(self, job_pk: int) -> Rows:
        return {table: self._connection.execute(_query(table, job_pk)).fetchall() for table in _ORDERS}

    def load(self, rows: Rows) -> None:
        self._connection.execute("begin immediate")
        for table, of_table in rows.items():
            places = ", ".join("?" * len(of_table[0]))
            self._connection.executemany(f"insert into {table} values ({places})", of_table)
        self._connection.execute("commit")

    def close(self) -> None:
        self._connection.close()


def _query(table: str, job_pk: int) -> str:
    key, *others = (column.name for column in schema.metadata.tables[table].c)
    return f"select -{key}, {', '.join(others)} from {table} where {key} = {job_pk} order by {_ORDERS[table]}"


def copy_texts(rows: Rows) -> Mapping[str, str]:
    """Return rows in the form that COPY reads."""
    return {
        table: "".join("\t".join(map(_field, row)) + "\n" for row in of_table)
        for table, of_table in rows.items()
    }


def _field(value: Any) -> str:
    if value is None:
        return r"\N"
    return value.translate(_ESCAPES) if isinstance(value, str) else str(value)
