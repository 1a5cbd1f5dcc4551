"""Holding a lease for as long as a process works by its right."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from jobstatus_grpc.errors import JobStatusError, LeaseLost
from jobstatus_grpc.store.base import JobStore, Lease

_log = logging.getLogger(__name__)

LEASE_SECONDS: Final = 5.0
"""After how long without a sign of life another may take a lease."""

TAKE_INTERVAL: Final = 1.0
"""How often one that waits for a lease looks whether it may."""


@contextmanager
def held(store: JobStore, lease: Lease) -> Iterator[threading.Event]:
    """Keep a lease while the context lasts, and let go of it at the end; set the event if it is lost."""
    ended, lost = threading.Event(), threading.Event()

    def keep() -> None:
        while not ended.wait(LEASE_SECONDS / 5):
            try:
                store.renew_lease(lease, LEASE_SECONDS)
            except LeaseLost:
                lost.set()
                return
            except JobStatusError:
                _log.debug("the lease of %s cannot be renewed", lease.name, exc_info=True)

    keeper = threading.Thread(target=keep, name="jobstatus-lease", daemon=True)
    keeper.start()
    try:
        yield lost
    finally:
        ended.set()
        keeper.join()
        with suppress(JobStatusError):
            store.renew_lease(lease, 0)
