"""Which failures of a database trying again can mend, and the trying."""

from __future__ import annotations

import logging
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jobstatus_grpc.errors import DeadlineExceeded, SchemaMismatch, StoreFull, StoreUnavailable

T = TypeVar("T")

_log = logging.getLogger(__name__)

# How long a call may go on trying, in seconds. Callers that wait longer rather hear UNAVAILABLE and decide.
BUDGET: Final = 2.0
_FIRST_DELAY: Final = 0.02
_LAST_DELAY: Final = 0.5

# SQLSTATE classes and states: connection exceptions, serialization failure, deadlock, lock not available,
# operator intervention (shutdown, crash, cannot connect now), too many connections, a standby that has not
# been promoted yet.
_MENDABLE_STATES: Final = ("08", "40001", "40P01", "55P03", "57P0", "53300", "25006")
_CANCELED_STATE: Final = "57014"
_FULL_STATE: Final = "53100"
_MENDABLE_SQLITE: Final = frozenset(
    (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CANTOPEN)
)
# SQLAlchemy's errors, and those of the driver where it is spoken to directly.
_FAILURES: Final = (DBAPIError, PoolTimeout, sqlite3.Error)


def milliseconds(end: float) -> int:
    """Return how long it is until `end`, for a database's own limits: at least 1."""
    return max(1, round((end - time.monotonic()) * 1000))


def retry(work: Callable[[float], T], deadline: float | None) -> T:
    """Return what `work` returns, trying again while that can mend its failure.

    Args:
        work: called with the moment of `time.monotonic()` at which the trying ends.
        deadline: the caller's own, as such a moment.

    Raises:
        StoreUnavailable: no try within the budget succeeded.
        DeadlineExceeded: the deadline passed first.
        StoreFull: the database is out of space.
    """
    start = time.monotonic()
    end = start + BUDGET if deadline is None else min(start + BUDGET, deadline)
    delay = _FIRST_DELAY
    while True:
        if deadline is not None and time.monotonic() >= deadline:
            raise DeadlineExceeded
        try:
            return work(end)
        except _FAILURES as error:
            failure = error
            mendable = _is_mendable(error)
        pause = delay * random.uniform(0.5, 1.5)
        if not mendable or time.monotonic() + pause >= end:
            _log.warning("the database failed: %s", type(failure).__name__, exc_info=failure)
            if deadline is not None and time.monotonic() + pause >= deadline:
                raise DeadlineExceeded from failure
            raise StoreUnavailable from failure
        time.sleep(pause)
        delay = min(delay * 2, _LAST_DELAY)


@contextmanager
def ending(opening: AbstractContextManager[Connection]) -> Iterator[None]:
    """End a transaction that was entered by hand."""
    try:
        yield
    except BaseException as error:
        opening.__exit__(type(error), error, error.__traceback__)
        raise
    opening.__exit__(None, None, None)


@contextmanager
def translated() -> Iterator[None]:
    """Let failures of the database leave as the service's errors, where nothing can be tried again.

    Raises:
        StoreUnavailable: the database did not answer.
    """
    try:
        yield
    except _FAILURES as error:
        _is_mendable(error)
        raise StoreUnavailable from error


def _is_mendable(error: Exception) -> bool:
    """Return whether trying again can help.

    Raises:
        StoreFull: the error says so.
        SchemaMismatch: the file is no database.
        Exception: the error itself, if it is no failure of the database but a mistake of ours.
    """
    if isinstance(error, PoolTimeout) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _is_mendable_sqlite(error, getattr(cause, "sqlite_errorcode", 0) & 0xFF)
    state = getattr(cause, "pgcode", None)
    if state is None:
        # psycopg2 gives no state for a connection that was refused or lost.
        if isinstance(error, OperationalError | InterfaceError):
            return True
        raise error
    if state == _FULL_STATE:
        raise StoreFull from error
    if state.startswith(_MENDABLE_STATES):
        return True
    if state == _CANCELED_STATE:
        return False
    raise error


def _is_mendable_sqlite(error: Exception, code: int) -> bool:
    if code == sqlite3.SQLITE_FULL:
        raise StoreFull from error
    if code == sqlite3.SQLITE_NOTADB:
        raise SchemaMismatch("the database's file is not one of SQLite's") from error
    if code in _MENDABLE_SQLITE:
        return True
    if code == sqlite3.SQLITE_IOERR:
        return False
    raise error
