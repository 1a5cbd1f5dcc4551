"""A database that was set back: its watchers are told so, and never get a mixture of two histories."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from folded import Folded
from postgres import MUTE, PostgresServer
from processes import ServerProcess
from reporting import PENDING, STAGED, SUCCEEDED, granules, names, read_table
from reports import granule, only
from sqlalchemy import make_url
from stored import run
from watching import SECOND, RawStream, Watcher

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient
from jobstatus_grpc.model import GranuleState, JobKey
from jobstatus_grpc.store import open_store

KEY = JobKey("default", "j")
SINCE = ["nothing", "as much", "more"]


def report_lost_history(client: JobStatusClient) -> pb.ReportGranulesResponse:
    """Report what the restored database will not know."""
    for name in names(5):
        result = client.report_granules("j", granules(STAGED, name, message="lost history"))
    return result


@contextmanager
def out_of_service(server: PostgresServer) -> Iterator[None]:
    """Stop the database for the block, and start it again."""
    server.stop()
    try:
        yield
    finally:
        server.start()


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
    """Check that the watcher was told of the other history, and has that."""
    assert folded.resets == ["HISTORY_CHANGED"]
    check_only(client, folded, since)


def check_only(client: JobStatusClient, folded: Folded, since: str) -> None:
    """Check that the watcher has the restored job, and nothing of what is gone."""
    assert folded.granules == read_table(client, "j")
    assert not any(granule.message == "lost history" for granule in folded.granules.values())
    assert any(granule.message == "other history" for granule in folded.granules.values()) == (
        since != "nothing"
    )


def check_token_is_reset(server: ServerProcess, client: JobStatusClient, folded: Folded, since: str) -> None:
    """Check that a watch from a token that is gone begins anew, and goes on to the job's end."""
    with Watcher(server.address, "j", folded.token, folded) as watcher:
        watcher.wait_for(lambda folded: folded.resets != [] and folded.whole, "the other snapshot")
        client.report_job(pb.Job(job_id="j", granules_complete=True), granules(SUCCEEDED, *names(5)))
        watcher.wait_for(lambda folded: folded.completed is not None, "the end")
    check_old_history(client, folded, since)


@pytest.mark.parametrize("since", SINCE)
def test_a_token_of_a_history_that_was_undone_is_a_reset(sqlite_url: str, tmp_path: Path, since: str) -> None:
    file = Path(make_url(sqlite_url).database or "")
    with ServerProcess(sqlite_url) as server, JobStatusClient(server.address) as client:
        client.report_job(pb.Job(job_id="j"), granules(PENDING, *names(5)))
        assert server.terminate() == 0
        # Nothing of it is in another file once the last process has closed it.
        assert list(tmp_path.iterdir()) == [file]
        shutil.copy(file, tmp_path / "copy")
        server.start()
        with Watcher(server.address, "j") as watcher:
            watcher.wait_for(lambda folded: folded.whole, "the snapshot")
            result = report_lost_history(client)
            watcher.wait_for_revision(result.revision)
        assert server.terminate() == 0
        shutil.copy(tmp_path / "copy", file)
        live_another_life(sqlite_url, since, result.revision)
        server.start()
        check_token_is_reset(server, client, watcher.folded, since)


@pytest.mark.parametrize("since", SINCE)
def test_streams_and_tokens_of_a_history_that_was_undone_are_reset(
    postgres_url: str, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory, since: str
) -> None:
    copy = tmp_path_factory.mktemp("backup") / "data"
    with ServerProcess(postgres_url) as server, JobStatusClient(server.address) as client:
        client.report_job(pb.Job(job_id="j"), granules(PENDING, *names(5)))
        with out_of_service(postgres_server):
            postgres_server.copy_data(copy)
        with RawStream(server.address, "j", **SECOND) as stream:
            stream.read_until(lambda frame: frame.snapshot.last)
            result = report_lost_history(client)
            stream.read_until(lambda frame: frame.revision == result.revision)
            left = stream.folded.copy()
            # The server sees the database only when the other history has got as far as it will.
            assert server.process is not None
            server.process.send_signal(signal.SIGSTOP)
            try:
                with out_of_service(postgres_server):
                    postgres_server.restore_data(copy)
                live_another_life(postgres_url, since, result.revision)
            finally:
                server.process.send_signal(signal.SIGCONT)
            stream.read_kind("reset")
            stream.read_until(lambda frame: frame.snapshot.last)
            result = client.report_granules("j", granules(STAGED, *names(5), message="as it is"))
            stream.read_until(lambda frame: frame.revision == result.revision)
            check_old_history(client, stream.folded, since)
        check_token_is_reset(server, client, left, since)


@pytest.mark.parametrize("since", ["nothing", "some"])
def test_a_stream_begun_before_a_server_notices_gets_nothing_of_the_history_that_was_undone(
    postgres_url: str, since: str
) -> None:
    tables = ("job", "granule", "change")
    run(postgres_url, MUTE)
    # Neither told nor polling, the server has to notice by what it reads for the new stream.
    with (
        ServerProcess(postgres_url, poll_interval="600") as server,
        JobStatusClient(server.address) as client,
    ):
        client.report_job(pb.Job(job_id="j"), granules(PENDING, *names(5)))
        run(postgres_url, *(f"create table {table}_copy as table {table}" for table in tables))
        with RawStream(server.address, "j", **SECOND) as open_before:
            open_before.read_until(lambda frame: frame.snapshot.last)
            result = report_lost_history(client)
            open_before.read_until(lambda frame: frame.revision == result.revision)
            # At once: whoever looks in between finds no job at all.
            undo = [f"truncate {table}; insert into {table} table {table}_copy" for table in tables]
            run(postgres_url, "; ".join(["begin", *undo, "commit"]))
            if since == "some":
                live_another_life(postgres_url, "as much", result.revision - 2)
            with RawStream(server.address, "j", **SECOND) as begun_after:
                begun_after.read_kind("heartbeat")
                assert begun_after.folded.revisions == []
                check_only(client, begun_after.folded, since)
                result = client.report_granules("j", granules(STAGED, *names(5), message="as it is"))
                for stream in (open_before, begun_after):
                    stream.read_until(lambda frame: frame.revision == result.revision)
                    assert stream.folded.granules == read_table(client, "j")
