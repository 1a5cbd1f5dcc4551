"""What this process tells the others through PostgreSQL: NOTIFY after commits.

A notification is a hint. It is sent from outside the write transaction, because inside it takes a lock
that all commits of the cluster share; so it can be lost, and whoever listens also polls.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

import psycopg2
from sqlalchemy import URL

from jobstatus_grpc.store.postgres_connection import close, connect_alone
from jobstatus_grpc.store.watchdog import Watchdog

_log = logging.getLogger(__name__)

CHANNEL: Final = "jobstatus"
EVERYTHING: Final = "*"
"""The word that says: look at everything."""
PROOF_MARK: Final = "?"
"""What the words begin with that a process sends to itself."""

# At most one notification in this many seconds and process; the first after a quiet moment goes at once.
_INTERVAL: Final = 0.02
# Beyond this many jobs a notification says "look at everything", and stays far below its 8,000 bytes.
_MAX_JOBS: Final = 300
# How long the database may take to answer, in seconds. Less than a listener waits for its proof: a connection
# that has died unnoticed costs neither the proof nor a notification, only this time.
_ANSWER_TIMEOUT: Final = 1.0
_CLOSE_TIMEOUT: Final = 2.0


class Announcer:
    """Sends notifications from a thread of its own; started with the first.

    Args:
        url: the database.
        watchdog: ends connections that do not answer.
    """

    def __init__(self, url: URL, watchdog: Watchdog) -> None:
        self._url = url
        self._watchdog = watchdog
        self._wake = threading.Condition()
        self._job_pks: set[int] = set()
        self._proofs: set[str] = set()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: Any = None
        self._failing = False

    def announce(self, job_pk: int) -> None:
        """Notify, soon, that the job has changed. Never blocks, never fails."""
        with self._wake:
            self._job_pks.add(job_pk)
            self._start()

    def prove(self, word: str) -> None:
        """Send a word, soon, that begins with `PROOF_MARK`. Never blocks, never fails."""
        with self._wake:
            self._proofs.add(word)
            self._start()

    def close(self) -> None:
        """Send what is waiting, and end."""
        with self._wake:
            self._closed.set()
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout=_CLOSE_TIMEOUT)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="jobstatus-announce", daemon=True)
            self._thread.start()
        self._wake.notify()

    def _run(self) -> None:
        while words := self._take():
            self._send(" ".join(words))
            self._closed.wait(_INTERVAL)
        close(self._connection)

    def _take(self) -> list[str]:
        """Return the words of the next notification, waiting for them; none after the end."""
        with self._wake:
            self._wake.wait_for(lambda: self._job_pks or self._proofs or self._closed.is_set())
            job_pks, self._job_pks = self._job_pks, set()
            proofs, self._proofs = self._proofs, set()
        return [*(map(str, job_pks) if len(job_pks) <= _MAX_JOBS else [EVERYTHING]), *proofs]

    def _send(self, payload: str) -> None:
        """Send, and once more on a new connection if the one at hand turns out to be dead."""
        while True:
            used = self._connection is not None
            try:
                self._connection = self._connection or connect_alone(self._url)
                with self._watchdog.guard(self._connection, _ANSWER_TIMEOUT):
                    self._connection.cursor().execute("select pg_notify(%s, %s)", (CHANNEL, payload))
            except psycopg2.Error:
                close(self._connection)
                self._connection = None
                if used:
                    continue
                # The listeners poll: what is lost here is some latency.
                if not self._failing:
                    _log.warning("notifications are lost until the database takes them again", exc_info=True)
                self._failing = True
            else:
                self._failing = False
            return
