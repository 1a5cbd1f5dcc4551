"""What a store's statements cost, as its database tells: each is explained where and when it is executed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import psycopg2.extensions
from sqlalchemy import event

from jobstatus_grpc.store.sql import SqlJobStore

TABLES = ("job", "job_document", "granule", "granule_file", "change", "failed_granule", "failure_reason")
_EXPLAINED = ("select", "with", "insert", "update", "delete")
_WRONG_NODES = ("Seq Scan", "Sort", "Incremental Sort", "Hash Join", "Merge Join")
_STEPS = 100


class Cost(NamedTuple):
    """What some statements took.

    Attributes:
        work: PostgreSQL: blocks that were looked at; SQLite: hundreds of steps of its machine.
        faults: where a table was read from end to end, or rows were brought into order.
    """

    work: int
    faults: list[str]


class Explained:
    """Explains whatever a store executes; to be made before the store has connected."""

    def __init__(self, store: SqlJobStore) -> None:
        self._work = 0
        self._faults: list[str] = []
        self._traced: dict[str, None] = {}
        self._sqlite = store.reads.dialect.name == "sqlite"
        for engine in (store.reads, store.writes):
            event.listen(engine, "connect", self._connected)
        self._path = store.reads.url.database

    def take(self) -> Cost:
        """Return what was executed since the last call."""
        faults = [*self._faults, *self._sqlite_faults()]
        work, self._work = self._work, 0
        self._faults.clear()
        self._traced.clear()
        return Cost(work, faults)

    def _connected(self, connection: Any, _: object) -> None:
        if self._sqlite:
            connection.set_trace_callback(self._trace)
            connection.set_progress_handler(self._step, _STEPS)
        else:
            explained = self

            class Cursor(psycopg2.extensions.cursor):
                def execute(self, query: Any, values: Any = None) -> None:
                    words = self.mogrify(query, values).decode()
                    if _is_explained(words):
                        super().execute("savepoint explained")
                        super().execute(
                            f"explain (analyze, buffers, timing off, summary off, format json) {words}"
                        )
                        ((plan,),) = self.fetchall()
                        explained._take_plan(words, plan[0]["Plan"])
                        super().execute("rollback to savepoint explained")
                    super().execute(query, values)

            connection.cursor_factory = Cursor

    def _take_plan(self, words: str, plan: dict[str, Any]) -> None:
        for node, whole in _nodes(plan, True):
            if whole:
                self._work += node["Shared Hit Blocks"] + node["Shared Read Blocks"]
            kind, table = node["Node Type"], node.get("Relation Name")
            if kind in _WRONG_NODES and (table is None or table in TABLES):
                self._faults.append(f"{kind} {table or ''}: {words}")

    def _trace(self, words: str) -> None:
        if _is_explained(words):
            self._traced[words] = None

    def _step(self) -> None:
        self._work += 1

    def _sqlite_faults(self) -> Iterator[str]:
        if not self._traced:
            return
        with closing(sqlite3.connect(self._path or "")) as connection:
            for words in self._traced:
                for row in connection.execute(f"explain query plan {words}"):
                    line = str(row[3])
                    scanned = line.split()[0] == "SCAN" and line.split()[1] in TABLES and "INDEX" not in line
                    if scanned or "TEMP B-TREE" in line:
                        yield f"{line}: {words}"


def _is_explained(words: str) -> bool:
    return words.split(None, 1)[0].lower() in _EXPLAINED


def _nodes(plan: dict[str, Any], whole: bool) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the nodes of a plan, and of each whether its numbers are in no other's."""
    yield plan, whole
    for child in plan.get("Plans", ()):
        # What a statement writes by the way is executed after the rest, and counted by itself.
        yield from _nodes(child, child.get("Parent Relationship") == "InitPlan")
