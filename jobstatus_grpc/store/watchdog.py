"""Ends connections on which a database has fallen silent.

libpq waits for an answer without a limit of its own, and the database's limits are of no use when it is the
network, or a proxy on the way, that has stopped. A connection that is shut down under its thread fails at
once, as if the server had gone; whether a commit on it happened is found out by the next try.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg2

_log = logging.getLogger(__name__)

_INTERVAL: Final = 0.25


class Watchdog:
    """Watches over connections in use, from one thread, which starts with the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: dict[Any, float] = {}
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def guard(self, connection: Any, seconds: float) -> Iterator[None]:
        """End `connection`, of psycopg2, if the block takes longer."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="jobstatus-watchdog", daemon=True)
                self._thread.start()
            self._limits[connection] = time.monotonic() + seconds
        try:
            yield
        finally:
            with self._lock:
                self._limits.pop(connection, None)

    def renew(self, connection: Any, seconds: float) -> None:
        """Give a guarded connection so long again."""
        with self._lock:
            if connection in self._limits:
                self._limits[connection] = time.monotonic() + seconds

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(_INTERVAL):
            now = time.monotonic()
            # Under the lock: whoever leaves its block waits for us, so the descriptor is still its own.
            with self._lock:
                for connection in [each for each, limit in self._limits.items() if limit < now]:
                    del self._limits[connection]
                    _log.warning("the database has fallen silent: its connection is ended")
                    _shut_down(connection)


def _shut_down(connection: Any) -> None:
    with (
        suppress(psycopg2.Error, OSError),  # Closed by its owner meanwhile, or broken.
        socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as shared,
    ):
        shared.shutdown(socket.SHUT_RDWR)
