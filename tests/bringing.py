"""A source in the test's own process, or as the command that a user starts, and what it has brought in."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from orca import OrcaDatabase
from processes import COMMAND, environment
from stored import granules

from jobstatus_grpc.model import JobKey
from jobstatus_grpc.sources import orca_database
from jobstatus_grpc.sources.orca import OrcaSource, Standing
from jobstatus_grpc.sources.orca_following import Pace
from jobstatus_grpc.store.base import JobStore

JOB: Final = JobKey("daac", "job")


@contextmanager
def bringing(
    store: JobStore,
    orca: OrcaDatabase,
    tell: Callable[[Standing], None] = lambda _: None,
    told: Callable[[], str] | None = None,
    **pace: Any,
) -> Iterator[OrcaSource]:
    """Run a source for as long as the context lasts."""
    database = orca_database.OrcaDatabase(orca.url, told=told)
    source = OrcaSource(store, database, Pace("daac", **{"interval": 0.1, "settle": 0.5, **pace}), tell)
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
        # Also where the test has failed already: it may be for this.
        if failed:
            raise failed[0]


def states(store: JobStore, key: JobKey = JOB) -> dict[str, tuple[str, int]]:
    """Return the granules of a job that may not be there yet: their states and attempts."""
    if not store.read_jobs([key]):
        return {}
    return {each.granule_id: (each.state.name, each.attempt) for each in granules(store, key)}


class SourceCommand:
    """`jobstatus source orca`, started as a user starts it.

    Args:
        database_url: the store's.
        orca: where jobs come from.
        interval: how often open jobs are read, in seconds.
        settle: for how long no granule comes before a job is complete, in seconds.
    """

    def __init__(
        self, database_url: str, orca: OrcaDatabase, interval: float = 0.2, settle: float = 2.0
    ) -> None:
        given = ("--database-url", database_url, "--project-id", JOB.project_id, "--orca-url", orca.url)
        pace = ("--interval", str(interval), "--settle", str(settle))
        self._command = [COMMAND, "source", "orca", *given, *pace]
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start it again."""
        return subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
        )

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal; return when it has ended of it."""
        self.process.send_signal(number)
        if number != signal.SIGSTOP:
            self.process.wait(timeout=30)
