"""Disks that are full: reports are refused in words, reads and watches go on, and space mends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from moments import wait_until
from postgres import PostgresServer

from faults.disks import filled, small_disk
from faults.fleet import Fleet
from faults.recordings import Asked, Refused
from faults.trials import Trial

# A tablespace and a database of that name.
SMALL = "jobstatus_small"


@contextmanager
def small_database(server: PostgresServer, template: str, directory: Path) -> Iterator[str]:
    """Have a database whose tables, and nothing else, are on a disk; return its URL."""
    server.execute(f"CREATE TABLESPACE {SMALL} LOCATION '{directory}'")
    server.execute(f'CREATE DATABASE {SMALL} TEMPLATE "{template}" TABLESPACE {SMALL}')
    try:
        yield server.url(SMALL)
    finally:
        server.drop_database(SMALL)
        server.execute(f"DROP TABLESPACE {SMALL}")


def fill(run: Trial, directory: Path) -> None:
    """Let a trial go on with a full disk until reports are refused, and for some seconds more."""
    run.flow()
    with run.fault(least=0):
        begun = time.monotonic()
        with filled(directory):
            before = run.crowd.counts["answered"]
            wait_until(lambda: run.crowd.counts.get("refused", 0) > 20, "reports are refused", 60)
            time.sleep(max(0.0, begun + 5 - time.monotonic()))
            assert run.crowd.counts["answered"] > before
        freed = time.monotonic()
        run.flow(1)
        assert time.monotonic() - freed < 5
    run.flow()


def check(run: Trial) -> None:
    """Check what reporters were told, that all questions were answered, and that no stream broke."""
    refused = {
        (event.failure.code, event.failure.reason)
        for events in run.recording.values()
        for event in events
        if isinstance(event, Refused)
    }
    assert refused == {("RESOURCE_EXHAUSTED", "STORE_FULL")}
    assert not any(back.open for back in run.backs)
    askers = [events for who, events in run.recording.items() if "asker" in who]
    assert all(isinstance(event, Asked) for events in askers for event in events)


def test_a_full_disk_under_a_file_refuses_reports_and_nothing_else(
    tmp_path: Path, trial: Callable[..., Trial]
) -> None:
    directory = tmp_path / "disk"
    directory.mkdir()
    with (
        small_disk(directory, 32),
        Fleet(f"sqlite:///{directory}/jobstatus.db", tmp_path) as fleet,
        trial("disk full, SQLite", fleet) as run,
    ):
        fill(run, directory)
    check(run)


def test_a_full_disk_under_postgresql_refuses_reports_and_nothing_else(
    postgres_server: PostgresServer, postgres_template: str, tmp_path: Path, trial: Callable[..., Trial]
) -> None:
    with (
        small_disk(postgres_server.make_directory("small"), 64) as directory,
        small_database(postgres_server, postgres_template, directory) as url,
        Fleet(url, tmp_path, postgres=postgres_server) as fleet,
        trial("disk full, PostgreSQL", fleet) as run,
    ):
        fill(run, directory)
    check(run)
