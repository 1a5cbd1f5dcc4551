"""A source that runs in the test's own process, and what it has brought in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from orca import OrcaDatabase
from stored import granules

from jobstatus_grpc.model import JobKey
from jobstatus_grpc.sources import orca_database
from jobstatus_grpc.sources.orca import OrcaSource
from jobstatus_grpc.sources.orca_following import Pace
from jobstatus_grpc.store.base import JobStore

JOB: Final = JobKey("daac", "job")


@contextmanager
def bringing(store: JobStore, orca: OrcaDatabase, **pace: Any) -> Iterator[OrcaSource]:
    """Run a source for as long as the context lasts."""
    database = orca_database.OrcaDatabase(orca.url)
    source = OrcaSource(store, database, Pace("daac", **{"interval": 0.1, "settle": 0.5, **pace}))
    failed: list[BaseException] = []

    def run() -> None:
        try:
            source.run()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield source
    finally:
        source.stop()
        thread.join(timeout=30)
        database.close()
    assert failed == []


def states(store: JobStore, key: JobKey = JOB) -> dict[str, tuple[str, int]]:
    """Return the granules of a job that may not be there yet: their states and attempts."""
    if not store.read_jobs([key]):
        return {}
    return {each.granule_id: (each.state.name, each.attempt) for each in granules(store, key)}
