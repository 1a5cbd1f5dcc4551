"""A server that stops, and streams that have grown old: the watch goes on elsewhere."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import grpc
from moments import wait_until
from processes import ServerProcess
from reporting import PENDING, SUCCEEDED, Writer, endless, granules, names, read_table
from watching import SECOND, RawStream, Watcher

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient


def ends_sent_away(stream: RawStream, reason: str) -> None:
    """Read a stream to its end, which is that the watch goes on elsewhere."""
    kinds = stream.rest()
    assert kinds[-1] == "reconnect"
    assert kinds.count("reconnect") == 1
    assert stream.folded.reconnects == [reason]
    ending = stream.ending()
    assert (ending.code, ending.reason) == (grpc.StatusCode.UNAVAILABLE, reason)
    assert ending.retry_delay is not None


def listens(server: ServerProcess) -> bool:
    """Return whether anything, a process it left for example, takes connections where the server did."""
    host, _, port = server.address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_server_that_is_told_to_stop_sends_every_watcher_elsewhere(database_url: str) -> None:
    with ServerProcess(database_url) as server, JobStatusClient(server.address) as client:
        for job_id in ("busy", "idle"):
            client.report_job(pb.Job(job_id=job_id), granules(PENDING, *names(50)))
        streams = [RawStream(server.address, job_id) for job_id in ["busy", "idle"] * 10]
        for stream in streams:
            stream.read_kind("snapshot")
        result = client.report_granules("busy", granules(SUCCEEDED, *names(50)))
        begun = time.monotonic()
        assert server.terminate() == 0
        # Well within the grace, which is for those that do not read.
        assert time.monotonic() - begun < 5
        for number, stream in enumerate(streams):
            with stream:
                ends_sent_away(stream, "SERVER_DRAINING")
                assert stream.folded.revision in ((51,) if number % 2 else (51, result.revision))
        assert not listens(server)
        # What was in hand when it stopped goes on at the next server.
        server.start()
        folded = streams[0].folded
        with RawStream(server.address, "busy", folded, resume_token=folded.token, **SECOND) as stream:
            while folded.revision < result.revision:
                stream.read_kind("changes")
        assert folded.granules == read_table(client, "busy")


def test_a_watcher_that_does_not_read_holds_up_no_stop(database_url: str) -> None:
    with ServerProcess(database_url, drain_seconds="1") as server, JobStatusClient(server.address) as client:
        client.report_job(pb.Job(job_id="j"))
        with RawStream(server.address, "j") as frozen, RawStream(server.address, "j") as reading:
            frozen.read_kind("snapshot")
            reading.read_kind("snapshot")
            for number in range(6):
                large = granules(PENDING, *names(200, f"{number}-"), message="m" * 15_000)
                client.report_granules("j", large)
            reading.read_until(lambda frame: frame.revision == 1201)
            begun = time.monotonic()
            assert server.terminate() == 0
            assert time.monotonic() - begun < 1 + 3
            ends_sent_away(reading, "SERVER_DRAINING")


def test_a_stream_at_its_maximum_age_is_sent_elsewhere(database_url: str) -> None:
    with (
        ServerProcess(database_url, max_stream_age="1") as server,
        JobStatusClient(server.address) as client,
    ):
        client.report_job(pb.Job(job_id="j"), granules(PENDING, *names(500)))
        with RawStream(server.address, "j") as stream:
            stream.read_kind("snapshot")
            begun = time.monotonic()
            ends_sent_away(stream, "STREAM_EXPIRED")
            assert 0.7 < time.monotonic() - begun < 5


def test_a_client_goes_on_by_itself_as_often_as_it_is_sent_elsewhere(sqlite_url: str, tmp_path: Path) -> None:
    many, log = names(2000), tmp_path / "log"
    server = ServerProcess(sqlite_url, max_stream_age="0.7", log_format="json")
    with log.open("w") as server.log, server, JobStatusClient(server.address) as client:
        client.report_job(pb.Job(job_id="j", granules_complete=True), granules(PENDING, *many))
        with Watcher(server.address, "j") as watcher:
            watcher.wait_for(lambda folded: folded.whole, "the snapshot")
            writing = Writer(server.address, "j", endless(many, 1))
            with writing:
                wait_until(lambda: log.read_text().count("WatchJob") >= 4, "four streams have expired")
            assert not writing.refused
            result = client.report_granules("j", granules(SUCCEEDED, *many, attempt=9999))
            watcher.wait_for(lambda folded: folded.completed is not None, "the end")
            folded = watcher.folded
        # The job's creation and its granules came with the snapshot.
        assert folded.revisions == list(range(folded.snapshots[0] + 1, result.revision + 1))
        assert (len(folded.snapshots), folded.resets) == (1, [])
        assert folded.granules == read_table(client, "j")
