"""Several servers on one SQLite file, which die and stand still."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from moments import wait_until
from processes import ServerProcess
from reporting import PENDING, STAGED, SUCCEEDED, Writer, granules, names, read_table
from sqlalchemy import make_url
from watching import Watcher

from faults.fleet import Fleet
from faults.proof import Allowed
from faults.trials import Trial
from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

HELD = 10.0


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the database of all trials of this module is."""
    return tmp_path_factory.mktemp("database") / "jobstatus.db"


@pytest.fixture(scope="module")
def file_fleet(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three servers on one file, for all trials of this module."""
    with Fleet(f"sqlite:///{file}", tmp_path_factory.mktemp("fleet")) as made:
        yield made


def test_a_locked_file_refuses_reports_and_loses_none_that_was_taken(sqlite_url: str) -> None:
    with ServerProcess(sqlite_url) as server, JobStatusClient(server.address) as client:
        client.report_job(pb.Job(job_id="j"), granules(PENDING, *names(500)))
        reports = [granules(state, name) for state in (STAGED, SUCCEEDED) for name in names(500)]
        file = make_url(sqlite_url).database or ""
        with (
            Writer(server.address, "j", reports, connect_timeout=0.5) as writer,
            Watcher(server.address, "j") as watcher,
            closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as other,
        ):
            watcher.wait_for(lambda folded: len(folded.revisions) > 50, "some changes")
            other.execute("BEGIN EXCLUSIVE")
            released = time.monotonic() + HELD
            held = len(writer.acknowledged)
            wait_until(lambda: len(writer.refused) > 1, "reports are refused")
            while time.monotonic() < released:
                watcher.wait_for_heartbeat()
            # The one that was on its way may have been answered late.
            assert len(writer.acknowledged) <= held + 1
            other.execute("ROLLBACK")
            writer.join()
            watcher.wait_for_revision(client.get("j", view=pb.JOB_VIEW_BASIC).job.revision)
            folded = watcher.folded
            assert not watcher.breaks
        assert {(error.code, error.reason) for error in writer.refused} == {
            (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        }
        assert folded.revisions == list(range(folded.snapshots[0] + 1, folded.revision + 1))
        assert (len(folded.snapshots), folded.resets) == (1, [])
        table = read_table(client, "j")
        assert folded.granules == table
        for reported in writer.acknowledged:
            assert table["c", reported.granule_id].state >= reported.state  # type: ignore[index]


def test_servers_of_one_file_killed_while_they_write_leave_it_whole(
    file_fleet: Fleet, file: Path, trial: Callable[..., Trial]
) -> None:
    with trial("SIGKILL of servers on one SQLite file, 9 times", file_fleet) as run:
        run.flow()
        with run.fault(least=180):
            for kill in range(9):
                server = file_fleet.servers[kill % 3]
                server.kill()
                run.flow(10)
                file_fleet.start(server)
                run.flow(10)
        run.flow()
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_server_that_stands_still_over_its_file_is_waited_for_or_passed_by(
    file_fleet: Fleet, trial: Callable[..., Trial]
) -> None:
    server = file_fleet.servers[0]
    with trial(
        "SIGSTOP of a server on one SQLite file, 3 times", file_fleet, allowed=Allowed(silence=True)
    ) as run:
        run.flow()
        with run.fault(least=20):
            for _ in range(3):
                # It may have the file's lock: then nobody writes meanwhile.
                server.freeze()
                time.sleep(3)
                server.thaw()
                run.flow(20)
        run.flow()
