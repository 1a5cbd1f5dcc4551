"""The source that brings in jobs from an ORCA database, live. One instance works, others wait for its end.

What it asks of ORCA's database is bounded: one connection, and one query at a time. In each interval it
reads the open jobs that are due, by their keys, at most 5,000 jobs' keys to find new ones, and 2,000
granules of all the others; and after a turn it rests for as long as the turn kept the database busy. Only
the back-fill goes on in the pauses, 2,000 granules at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, NamedTuple

from jobstatus_grpc.errors import (
    DeadlineExceeded,
    JobStatusError,
    LeaseLost,
    SourceFailed,
    SourceRefused,
    StoreFull,
    StoreUnavailable,
)
from jobstatus_grpc.sources.holding import LEASE_SECONDS, TAKE_INTERVAL, held
from jobstatus_grpc.sources.orca_database import Identity, OrcaDatabase
from jobstatus_grpc.sources.orca_following import OrcaFollowing, Pace
from jobstatus_grpc.store.base import JobStore

_log = logging.getLogger(__name__)

WRITE_THREADS: Final = 4
_RETRY_INTERVAL: Final = 1.0
_REFUSED_INTERVAL: Final = 10.0
# Of the time, how much ORCA's database works for this at most: one part in so many.
_REST: Final = 2
# Between two turns, however often somebody asks, in seconds.
_LEAST_GAP: Final = 0.1
_MENDABLE: Final = (SourceFailed, StoreUnavailable, StoreFull, DeadlineExceeded)


class Standing(NamedTuple):
    """How far a source is.

    Attributes:
        active: whether it has the lease.
        filled: how many granules the back-fill has looked at.
        granules: how many there are, as ORCA's statistics have it.
        filling: whether the back-fill has not ended.
        followed: how many jobs are read by themselves: those that are open, or were not long ago.
    """

    active: bool
    filled: int = 0
    granules: int = 0
    filling: bool = True
    followed: int = 0


class OrcaSource:
    """Brings in jobs from an ORCA database until it is stopped.

    Args:
        store: where jobs are reported; prepared, or not yet.
        database: ORCA's.
        pace: how.
        tell: called after every turn, in the source's thread.
    """

    def __init__(
        self,
        store: JobStore,
        database: OrcaDatabase,
        pace: Pace,
        tell: Callable[[Standing], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._database = database
        self._pace = pace
        self._tell = tell
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._following: OrcaFollowing | None = None
        self._last_words = ""

    def stop(self) -> None:
        """Have `run` return soon. May be called from any thread."""
        self._stopped.set()
        self._woken.set()

    def ask(self, job_id: str) -> None:
        """Have a job read at once: somebody wants to know. May be called from any thread."""
        following = self._following
        if following is not None:
            following.ask(job_id)
            self._woken.set()

    def run(self, patient: bool = True) -> None:
        """Bring in jobs, through anything that happens to either database.

        Args:
            patient: whether to wait also where ORCA's database refuses us from the start.

        Raises:
            SourceRefused: it does, and this is not patient.
        """
        known = patient
        while not self._stopped.is_set():
            pause = _RETRY_INTERVAL
            try:
                identity = self._database.identify()
                known = True
                self._lead(identity)
            except SourceRefused as error:
                if not known:
                    raise
                self._say(error)
                self._database.renew()
                pause = _REFUSED_INTERVAL
            except (LeaseLost, *_MENDABLE) as error:
                self._say(error)
                if isinstance(error, SourceFailed):
                    # It may have moved.
                    self._database.renew()
            finally:
                self._following = None
            self._stopped.wait(pause)

    def _say(self, error: JobStatusError) -> None:
        """Log what is in the way, once."""
        if str(error) != self._last_words:
            self._last_words = str(error)
            _log.warning("ORCA's jobs are not brought in now: %s", error)

    def _lead(self, identity: Identity) -> None:
        """Wait for the lease, and follow by its right."""
        name = f"orca/{identity.system}/{identity.database}"
        self._store.prepare()
        waiting = False
        while (lease := self._store.take_lease(name, LEASE_SECONDS)) is None:
            self._tell(Standing(False))
            if not waiting:
                _log.info("another source brings in ORCA's jobs; this one waits for it to end")
            waiting = True
            if self._stopped.wait(TAKE_INTERVAL):
                return
        with (
            held(self._store, lease) as lost,
            ThreadPoolExecutor(WRITE_THREADS, thread_name_prefix="jobstatus-orca") as executor,
        ):
            following = OrcaFollowing(self._store, self._database, identity, lease, self._pace, executor)
            following.begin()
            self._following = following
            _log.info("ORCA's jobs are brought in from %s", self._database.shown)
            self._last_words = ""
            while not (self._stopped.is_set() or lost.is_set()):
                self._take_turn(following)
            with suppress(JobStatusError):
                following.note()

    def _take_turn(self, following: OrcaFollowing) -> None:
        granules = self._database.count() if following.filling else 0
        self._woken.clear()
        began, spent = time.monotonic(), following.spent
        following.turn(began)
        rested = began + max(_LEAST_GAP, _REST * (following.spent - spent))
        end = max(min(began + self._pace.interval, following.due), rested)
        while following.filling and not self._stopped.is_set():
            following.fill()
            self._show(following, granules)
            if time.monotonic() >= end:
                break
        self._show(following, granules)
        if not self._stopped.wait(max(0.0, rested - time.monotonic())):
            self._woken.wait(max(0.0, end - time.monotonic()))

    def _show(self, following: OrcaFollowing, granules: int) -> None:
        filled = min(following.filled, granules) if following.filling else following.filled
        self._tell(Standing(True, filled, granules, following.filling, following.followed))
