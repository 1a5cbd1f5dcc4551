"""News through PostgreSQL: LISTEN on a connection of its own, and the proof that something is heard there.

A pooler takes LISTEN and passes nothing on; a network may lose a connection without a word. Both look like
a quiet database. So a listener has its process notify itself, over another connection as all others do, and
believes in news only as long as it hears that.
"""

from __future__ import annotations

import logging
import random
import select
import socket
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Final

import psycopg2
from sqlalchemy import URL

from jobstatus_grpc.model import NewsMode
from jobstatus_grpc.store.base import News, NewsSource
from jobstatus_grpc.store.postgres_announcer import CHANNEL, PROOF_MARK, Announcer
from jobstatus_grpc.store.postgres_connection import close, connect_alone
from jobstatus_grpc.store.watchdog import Watchdog

_log = logging.getLogger(__name__)

# After so many seconds without a notification the listener asks for one,
_SILENCE: Final = 5.0
# which has to come within so many.
_PATIENCE: Final = 3.0
# Seconds between two connections: at first, for a database that will come back, and at most.
_FIRST_PAUSE: Final = 0.5
_OUTAGE_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 60.0


class _Deaf(Exception):
    """Nothing can be heard.

    Args:
        why: in words for the operator.
        pause: seconds between two tries, at most.
    """

    def __init__(self, why: str, pause: float) -> None:
        super().__init__(why)
        self.pause = pause


class Proof:
    """Whether notifications arrive on one connection.

    Args:
        send: sends a word to oneself.
        now: the moment at which listening began, as are all its moments: of `time.monotonic()`.

    Attributes:
        given: whether they ever did.
    """

    def __init__(self, send: Callable[[str], None], now: float) -> None:
        self.given = False
        self._send = send
        self._word = ""
        self._ask(now)

    @property
    def due(self) -> float:
        """The moment at which there is something to `demand`."""
        return self._since + (_PATIENCE if self._word else _SILENCE)

    def hear(self, words: Collection[str], now: float) -> None:
        """Take notice of what was heard: any word breaks a silence, only the one sent last is a proof."""
        if self._word in words:
            self.given = True
            self._word = ""
        if not self._word:
            self._since = now

    def demand(self, now: float) -> bool:
        """Ask for a proof if it is time to; return whether none is overdue."""
        if now < self.due:
            return True
        if self._word:
            return False
        self._ask(now)
        return True

    def _ask(self, now: float) -> None:
        # A new word each time: what was sent before the connection was made proves nothing.
        self._word = f"{PROOF_MARK}{random.getrandbits(64):x}"
        self._since = now
        self._send(self._word)


class PostgresNews(NewsSource):
    """Listens; after every reconnect says `everything`, since what came meanwhile is lost.

    Args:
        url: the database.
        announcer: what this process sends its notifications with.
        watchdog: ends connections that do not answer.
    """

    def __init__(self, url: URL, announcer: Announcer, watchdog: Watchdog) -> None:
        self._url = url
        self._announcer = announcer
        self._watchdog = watchdog
        self._mode: NewsMode | None = None
        self._connection: Any = None
        self._proof: Proof | None = None
        self._failures = 0
        self._tried = self._try_at = time.monotonic()
        self._waiting = threading.Lock()
        self._closed = threading.Event()
        # What wakes a `wait` that sleeps.
        self._waking, self._woken = socket.socketpair()

    @property
    def mode(self) -> NewsMode:
        return self._mode or NewsMode.POLL

    def wait(self, timeout: float) -> News:
        end = time.monotonic() + timeout
        heard = News()
        with self._waiting:
            while not heard and not self._closed.is_set():
                now = time.monotonic()
                try:
                    heard = self._go_on(now, end)
                except _Deaf as deaf:
                    self._give_up(deaf)
                if now >= end:
                    break
        if self._closed.is_set():
            self._let_go()
        return heard

    def close(self) -> None:
        self._closed.set()
        with suppress(OSError):
            self._waking.send(b"!")
        self._let_go()

    def _let_go(self) -> None:
        """Close the connection, unless a `wait` has it: that one does it then, having seen `_closed`."""
        if self._waiting.acquire(blocking=False):
            try:
                close(self._connection)
                self._connection = self._proof = None
                self._waking.close()
                self._woken.close()
            finally:
                self._waiting.release()

    def _go_on(self, now: float, end: float) -> News:
        """Return what has been heard, or rest until there may be something, `end` at the latest."""
        if self._proof is None:
            if now < self._try_at:
                self._rest(min(end, self._try_at) - now)
                return News()
            self._proof = self._connect(now)
            return News(everything=True)
        # First, since what libpq has read already does not make the socket readable.
        heard = self._hear(self._proof, now)
        if not heard:
            if not self._proof.demand(now):
                raise _Deaf("notifications do not arrive, as behind a pooler", _LONGEST_PAUSE)
            self._rest(min(end, self._proof.due) - now)
        return heard

    def _connect(self, now: float) -> Proof:
        self._tried = now
        try:
            self._connection = connect_alone(self._url)
        except psycopg2.Error as error:
            raise _Deaf("the database cannot be reached", _OUTAGE_PAUSE) from error
        self._connection.notifies = []
        try:
            # In autocommit: listening from here on, before anything is re-read.
            with self._watchdog.guard(self._connection, _PATIENCE):
                self._connection.cursor().execute(f"listen {CHANNEL}")
        except psycopg2.Error as error:
            raise _Deaf("the database does not answer to LISTEN, or refuses it", _LONGEST_PAUSE) from error
        return Proof(self._announcer.prove, time.monotonic())

    def _hear(self, proof: Proof, now: float) -> News:
        try:
            self._connection.poll()
        except psycopg2.Error as error:
            raise _Deaf("the listening connection is lost", _OUTAGE_PAUSE) from error
        payloads = [notification.payload for notification in self._connection.notifies]
        self._connection.notifies.clear()
        words = {word for payload in payloads for word in payload.split()}
        if words:
            proof.hear(words, now)
        if proof.given:
            self._failures = 0
            self._turn(NewsMode.NOTIFY, "what is sent is heard")
        words = {word for word in words if not word.startswith(PROOF_MARK)}
        if not all(word.isdecimal() for word in words):
            return News(everything=True)
        return News(frozenset(map(int, words)))

    def _rest(self, seconds: float) -> None:
        """Sleep until there is something to read. Not with `select`, which knows no more than 1024 files."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if self._connection is not None:
            with suppress(psycopg2.Error):  # Closed under us: the next reading tells.
                poll.register(self._connection, select.POLLIN)
        poll.poll(max(0.0, seconds) * 1000)

    def _give_up(self, deaf: _Deaf) -> None:
        """Throw the connection away, and decide when to make a new one."""
        close(self._connection)
        self._connection = self._proof = None
        now = time.monotonic()
        pause = min(_FIRST_PAUSE * 2.0 ** min(self._failures, 10), deaf.pause)
        # A connection that worked is made anew at once, unless it has just been made.
        begin = now if self._failures else self._tried
        self._try_at = begin + pause * random.uniform(1.0, 1.5)
        self._failures += 1
        self._turn(NewsMode.POLL, str(deaf))
        _log.debug("not listening: %s", deaf, exc_info=deaf.__cause__)

    def _turn(self, mode: NewsMode, why: str) -> None:
        if mode is not self._mode:
            self._mode = mode
            level = logging.INFO if mode is NewsMode.NOTIFY else logging.WARNING
            _log.log(level, "news of other processes come by %s: %s", mode.name.lower(), why)


class Silence(NewsSource):
    """Where NOTIFY is switched off: nothing is ever heard, and asking has to do."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        _log.info("news of other processes come by poll: notify is off")

    @property
    def mode(self) -> NewsMode:
        return NewsMode.POLL

    def wait(self, timeout: float) -> News:
        self._closed.wait(timeout)
        return News()

    def close(self) -> None:
        self._closed.set()
