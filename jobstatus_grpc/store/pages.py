"""Pages of a job's granules, in the order of their keys, each at most a frame of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Integer, Select, bindparam, select, tuple_

from jobstatus_grpc.digest import Failures, failures_bytes
from jobstatus_grpc.model import MAX_FRAME_BYTES, Granule, GranuleKey, GranuleState, WholeJob
from jobstatus_grpc.sizes import granule_bytes
from jobstatus_grpc.store import rows, schema
from jobstatus_grpc.store.base import GranuleQuery, JobPage, StoredJob
from jobstatus_grpc.store.documents import read_details
from jobstatus_grpc.store.failures import FailureTables, failures_from_row
from jobstatus_grpc.store.trees import assemble, read_below, tree_bytes

T = TypeVar("T")

_GRANULE: Final = schema.granule.c
_GRANULE_KEY: Final = tuple_(_GRANULE.collection_id, _GRANULE.granule_id)
_SELECT_GRANULES: Final = select(*(_GRANULE[column.name] for column in rows.GRANULE_COLUMNS)).order_by(
    _GRANULE.collection_id, _GRANULE.granule_id
)
_FAILED: Final = schema.failed_granule.c
_SELECT_FAILED: Final = select(_FAILED.collection_id, _FAILED.granule_id).order_by(
    _FAILED.collection_id, _FAILED.granule_id
)

_SELECT_WITH_DOCUMENTS: Final = _SELECT_GRANULES.add_columns(_GRANULE.document)

# The usual page, and the one more that tells whether others follow.
_STEP_ROWS: Final = 1001
_SNAPSHOT_ROWS: Final = 300
# What a page or frame holds besides its items: tokens, totals, lengths.
ENVELOPE_BYTES: Final = 4096


class Reading(Protocol):
    """What pages are read with, in a database's own words."""

    failures: FailureTables

    def read_granules(
        self, connection: Connection, job_pk: int, keys: Sequence[GranuleKey]
    ) -> tuple[int, Mapping[GranuleKey, Granule]]:
        """Return the database's clock, and those of the granules that exist."""


def read_page(connection: Connection, stored: StoredJob, query: GranuleQuery, reading: Reading) -> JobPage:
    """Return the job with the granules that are asked for, as many as fit."""
    only_failed = set(query.states) == {GranuleState.FAILED} and stored.tells_failures

    def read_step(last: Granule | None, limit: int) -> list[Granule]:
        after = query.after if last is None else last.key
        if only_failed:
            return _read_failed(connection, stored.job_pk, reading, after, limit)
        return _read_step(connection, stored.job_pk, query, after, limit)

    failures = None
    if query.after is None and stored.has_failures:
        failures = _read_failures(connection, stored.job_pk, reading.failures)
    below = read_below(connection, stored)
    details = read_details(connection, [stored, *below])
    whole = assemble(stored, below, lambda each: WholeJob(each.job, details.get(each.job_pk)))
    budget = MAX_FRAME_BYTES - tree_bytes([whole]) - failures_bytes(failures) - ENVELOPE_BYTES
    granules: Sequence[Granule] = ()
    if query.limit:
        granules = read_steps(read_step, granule_bytes, budget, query.limit, _STEP_ROWS)
    count = min(query.limit, fitting(granules, granule_bytes, budget))
    return JobPage(stored, granules[:count], len(granules) > count, whole.sub_jobs, whole.details, failures)


def _read_failures(connection: Connection, job_pk: int, tables: FailureTables) -> Failures:
    query = tables.query([job_pk])
    return failures_from_row(connection.exec_driver_sql(query.statement, query.parameters).one())


def _read_failed(
    connection: Connection, job_pk: int, reading: Reading, after: GranuleKey | None, limit: int
) -> list[Granule]:
    wanted = _SELECT_FAILED.where(_FAILED.job_pk == job_pk).limit(limit)
    if after is not None:
        wanted = wanted.where(tuple_(*after) < tuple_(_FAILED.collection_id, _FAILED.granule_id))
    keys = [GranuleKey(*row) for row in connection.execute(wanted)]
    _, found = reading.read_granules(connection, job_pk, keys)
    return [found[key] for key in keys]


def read_all(
    connection: Connection, job_pk: int, *, with_documents: bool = False
) -> Iterator[Sequence[Granule]]:
    """Yield all granules of a job, some hundreds at a time: no step holds the interpreter for long."""
    query = GranuleQuery(_SNAPSHOT_ROWS)
    after = None
    while page := _read_step(connection, job_pk, query, after, _SNAPSHOT_ROWS, with_documents):
        yield page
        after = page[-1].key


# Made once: to put it together took longer than the database to find the rows.
@cache
def _select_step(after: bool, states: bool, documents: bool) -> Select[Any]:
    select_granules = _SELECT_WITH_DOCUMENTS if documents else _SELECT_GRANULES
    wanted = select_granules.where(_GRANULE.job_pk == bindparam("job_pk"))
    if after:
        key = tuple_(bindparam("after_collection_id"), bindparam("after_granule_id"))
        wanted = wanted.where(key < _GRANULE_KEY)
    if states:
        wanted = wanted.where(_GRANULE.state.in_(bindparam("states", expanding=True)))
    return wanted.limit(bindparam("limit", type_=Integer))


def _read_step(
    connection: Connection,
    job_pk: int,
    query: GranuleQuery,
    after: GranuleKey | None,
    limit: int,
    with_documents: bool = False,
) -> list[Granule]:
    wanted = _select_step(after is not None, bool(query.states), with_documents)
    collection_id, granule_id = after or ("", "")
    known = {
        "job_pk": job_pk,
        "limit": limit,
        "states": [int(state) for state in query.states],
        "after_collection_id": collection_id,
        "after_granule_id": granule_id,
    }
    from_row = rows.granule_with_document if with_documents else rows.granule_from_row
    # The driver's own rows: SQLAlchemy's cost as much again.
    return list(map(from_row, connection.execute(wanted, known).cursor.fetchall()))


def read_steps(
    read: Callable[[T | None, int], list[T]], size: Callable[[T], int], budget: int, limit: int, step: int
) -> list[T]:
    """Return the first items, one more than `limit` if there are so many, or more than `budget` bytes.

    Read in steps, so that many large rows are not all fetched to be thrown away.

    Args:
        read: returns as many of the items after one as it is told, or all that are left.
        size: tells an item's bytes.
        budget: how many bytes are wanted.
        limit: how many items are wanted. One more tells whether others follow.
        step: how many are read at once.
    """
    items: list[T] = []
    while (wanted := min(limit + 1 - len(items), step)) > 0 and budget >= 0:
        found = read(items[-1] if items else None, wanted)
        items += found
        if len(found) < wanted:
            break
        budget -= sum(map(size, found))
    return items


def fitting(items: Sequence[T], size: Callable[[T], int], budget: int) -> int:
    """Return how many of the first `items` fit into `budget` bytes: at least one."""
    for count, item in enumerate(items):
        budget -= size(item)
        if budget < 0 and count:
            return count
    return len(items)
