"""A database that was set back: a watcher is told so, and never gets one history's changes after another's."""

from __future__ import annotations

import signal
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from folded import Folded
from postgres import PostgresServer
from processes import ServerProcess
from reporting import PENDING, STAGED, SUCCEEDED, granules, names, read_table
from reports import granule, only
from sqlalchemy import make_url
from watching import RawStream, Watcher

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient
from jobstatus_grpc.model import GranuleState, JobKey
from jobstatus_grpc.store import open_store

SECOND = {"heartbeat_interval": {"seconds": 1}}
KEY = JobKey("default", "j")
SINCE = ["nothing", "as much", "more"]


class Backup:
    """A copy of a database that nothing uses at the moment."""

    def __init__(self, url: str, to: Path, postgres: PostgresServer | None) -> None:
        self._file = Path(make_url(url).database or "")
        self._copy = to / "copy"
        self._postgres = postgres

    def take(self) -> None:
        if self._postgres is None:
            shutil.copytree(self._file.parent, self._copy)
            return
        self._postgres.stop()
        self._postgres.copy_data(self._copy)
        self._postgres.start()

    def restore(self) -> None:
        if self._postgres is None:
            shutil.rmtree(self._file.parent)
            shutil.copytree(self._copy, self._file.parent)
            return
        self._postgres.stop()
        self._postgres.restore_data(self._copy)
        self._postgres.start()


@pytest.fixture
def backup(
    database_url: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Backup:
    postgres = request.getfixturevalue("postgres_server") if "postgresql" in database_url else None
    return Backup(database_url, tmp_path_factory.mktemp("backup"), postgres)


def live_another_life(url: str, since: str, lost: int) -> int:
    """Let the restored database get on without the watcher, who knows revisions up to `lost`.

    Reports go past the server, each granule in a transaction of its own. Returns the head's revision.
    """
    store = open_store(url)
    try:
        store.prepare()
        head = store.read_job(KEY).job.revision
        assert head < lost
        goal = {"nothing": head, "as much": lost, "more": lost + 5}[since]
        others = iter(names(100, "other"))
        while head < goal:
            report = only(granule(next(others), GranuleState.FAILED, message="other history"), key=KEY)
            head = store.report(report).position.revision
        assert head == goal
        return head
    finally:
        store.close()


def check_old_history(client: JobStatusClient, folded: Folded, since: str) -> None:
    """Check that the watcher has the restored job, and nothing of what is gone."""
    assert folded.resets == ["HISTORY_CHANGED"]
    assert folded.granules == read_table(client, "j")
    assert not any(granule.message == "lost history" for granule in folded.granules.values())
    assert any(granule.message == "other history" for granule in folded.granules.values()) == (
        since != "nothing"
    )


@contextmanager
def lived_twice(url: str, backup: Backup, since: str) -> Iterator[tuple[ServerProcess, Folded]]:
    """Start a server on a database that was set back behind what a watcher has seen."""
    with ServerProcess(url) as server, JobStatusClient(server.address) as client:
        client.report_job(pb.Job(job_id="j"), granules(PENDING, *names(5)))
        assert server.terminate() == 0
        backup.take()
        server.start()
        client.get("j")
        with Watcher(server.address, "j") as watcher:
            watcher.wait_for(lambda folded: folded.whole, "the snapshot")
            for name in names(5):
                result = client.report_granules("j", granules(STAGED, name, message="lost history"))
            watcher.wait_for_revision(result.revision)
        assert server.terminate() == 0
        backup.restore()
        head = live_another_life(url, since, result.revision)
        server.start()
        assert client.get("j").job.revision == head
        yield server, watcher.folded


@pytest.mark.parametrize("since", SINCE)
def test_a_token_of_a_history_that_was_undone_is_a_reset(
    database_url: str, backup: Backup, since: str
) -> None:
    with lived_twice(database_url, backup, since) as (server, folded):
        with Watcher(server.address, "j", folded.token, folded) as watcher:
            watcher.wait_for(lambda folded: folded.resets != [] and folded.whole, "the other snapshot")
            with JobStatusClient(server.address) as client:
                client.report_job(pb.Job(job_id="j", granules_complete=True), granules(SUCCEEDED, *names(5)))
                watcher.wait_for(lambda folded: folded.completed is not None, "the end")
                check_old_history(client, folded, since)
        # The stream that was reset brought nothing that was not in a snapshot or after it.
        assert folded.revisions[-1] == folded.revision


@pytest.mark.parametrize("since", SINCE)
def test_an_open_stream_whose_history_is_undone_is_reset(
    postgres_url: str, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory, since: str
) -> None:
    backup = Backup(postgres_url, tmp_path_factory.mktemp("backup"), postgres_server)
    with ServerProcess(postgres_url) as server, JobStatusClient(server.address) as client:
        client.report_job(pb.Job(job_id="j"), granules(PENDING, *names(5)))
        backup.take()
        with RawStream(server.address, "j", **SECOND) as stream:
            stream.read_until(lambda frame: frame.snapshot.last)
            for name in names(5):
                result = client.report_granules("j", granules(STAGED, name, message="lost history"))
            stream.read_until(lambda frame: frame.revision == result.revision)
            assert server.process is not None
            # It sees the database only when the other history has got as far as it will.
            server.process.send_signal(signal.SIGSTOP)
            try:
                backup.restore()
                live_another_life(postgres_url, since, result.revision)
            finally:
                server.process.send_signal(signal.SIGCONT)
            stream.read_kind("reset")
            stream.read_until(lambda frame: frame.snapshot.last)
            result = client.report_granules("j", granules(SUCCEEDED, *names(5)))
            stream.read_until(lambda frame: frame.revision == result.revision)
            check_old_history(client, stream.folded, since)
