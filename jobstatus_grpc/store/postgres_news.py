"""News through PostgreSQL: NOTIFY after commits, LISTEN on a connection of its own.

A notification is a hint. It is sent from outside the write transaction, because inside it takes a lock
that all commits of the cluster share; so it can be lost, and whoever listens also polls.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
from contextlib import suppress
from typing import Any, Final

import psycopg2
from sqlalchemy import URL

from jobstatus_grpc.model import NewsMode
from jobstatus_grpc.store.base import News, NewsSource
from jobstatus_grpc.store.postgres_connection import connect

_log = logging.getLogger(__name__)

_CHANNEL: Final = "jobstatus"
_EVERYTHING: Final = "*"
# At most one notification in this many seconds and process; the first after a quiet moment goes at once.
_ANNOUNCE_INTERVAL: Final = 0.02
# Beyond this many jobs a notification says "look at everything", and stays far below its 8,000 bytes.
_ANNOUNCED_JOBS: Final = 300
_RECONNECT_DELAY: Final = 0.5


class Announcer:
    """Sends notifications from a thread of its own; started with the first."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._wake = threading.Condition()
        self._job_pks: set[int] = set()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def announce(self, job_pk: int) -> None:
        """Notify, soon, that the job has changed. Never blocks, never fails."""
        with self._wake:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="jobstatus-announce", daemon=True)
                self._thread.start()
            self._job_pks.add(job_pk)
            self._wake.notify()

    def close(self) -> None:
        """Send what is waiting, and end."""
        with self._wake:
            self._closed.set()
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def _run(self) -> None:
        connection = None
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._job_pks or self._closed.is_set())
                job_pks, self._job_pks = self._job_pks, set()
                if not job_pks:
                    break
            try:
                connection = connection or _open(self._url)
                payload = " ".join(map(str, job_pks)) if len(job_pks) <= _ANNOUNCED_JOBS else _EVERYTHING
                connection.cursor().execute("select pg_notify(%s, %s)", (_CHANNEL, payload))
            except psycopg2.Error:
                # The listeners poll: what is lost here is some latency.
                _log.info("a notification was lost", exc_info=True)
                _close(connection)
                connection = None
            self._closed.wait(_ANNOUNCE_INTERVAL)
        _close(connection)


class PostgresNews(NewsSource):
    """Listens; after every reconnect says `everything`, since what came meanwhile is lost."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._connection: Any = None
        self._waiting = threading.Lock()
        self._closed = threading.Event()
        # What wakes a `wait` that sleeps on its socket.
        self._waking, self._woken = socket.socketpair()

    @property
    def mode(self) -> NewsMode:
        return NewsMode.POLL if self._connection is None else NewsMode.NOTIFY

    def wait(self, timeout: float) -> News:
        with self._waiting:
            if self._closed.is_set():
                return News()
            if self._connection is None:
                return self._reconnect(timeout)
            try:
                # What libpq has read already does not make the socket readable.
                heard = self._heard()
                if not heard:
                    select.select([self._connection, self._woken], [], [], timeout)
                    heard = self._heard()
            except (psycopg2.Error, OSError, ValueError):
                _log.warning("the listening connection is lost; polling until it is back")
                _close(self._connection)
                self._connection = None
                return News()
        return heard

    def close(self) -> None:
        self._closed.set()
        with suppress(OSError):
            self._waking.send(b"!")
        with self._waiting:
            _close(self._connection)
            self._connection = None
            self._waking.close()
            self._woken.close()

    def _reconnect(self, timeout: float) -> News:
        try:
            connection = _open(self._url)
            # In autocommit: listening from here on, before anything is re-read.
            connection.cursor().execute(f"listen {_CHANNEL}")
        except psycopg2.Error:
            self._closed.wait(min(timeout, _RECONNECT_DELAY))
            return News()
        self._connection = connection
        return News(everything=True)

    def _heard(self) -> News:
        self._connection.poll()
        payloads = [notification.payload for notification in self._connection.notifies]
        self._connection.notifies.clear()
        words = {word for payload in payloads for word in payload.split()}
        if not all(word.isdecimal() for word in words):
            return News(everything=True)
        return News(frozenset(map(int, words)))


def _open(url: URL) -> Any:
    """Return a connection outside the pool, in autocommit: none of its notifications waits for a commit."""
    connection = connect(url)
    connection.autocommit = True
    return connection


def _close(connection: Any) -> None:
    """Close a connection that may be broken."""
    if connection is not None:
        try:
            connection.close()
        except psycopg2.Error:
            _log.debug("closing a broken connection", exc_info=True)
