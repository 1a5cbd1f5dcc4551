"""Requests that nobody should send, by the hundred thousand, and streams opened only to be reset."""

from __future__ import annotations

import random
import socket
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

import h2.config
import h2.connection
import h2.errors
import h2.exceptions
import pytest
from frames import requests, send
from moments import wait_until
from processes import ServerProcess, resident_megabytes

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

NUMBER: Final = 100_000
AT_ONCE: Final = 10_000
STREAMS: Final = 50_000
ROUNDS: Final = 3
MEGABYTES: Final = 600
WATCH: Final = "/jobstatus.v1.JobStatusService/WatchJob"


def answers(server: ServerProcess, seconds: float = 5.0) -> None:
    """Check that a server answers a new client, and how soon."""
    with JobStatusClient(server.address, connect_timeout=seconds, timeout=seconds) as client:
        assert client.report_job(pb.Job(job_id="still here")).revision >= 1


def test_bad_requests_have_documented_answers_and_leave_nothing_behind(database_url: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    calls = requests(seed)
    with ServerProcess(database_url, log_level="error", max_watches="256") as server:
        with JobStatusClient(server.address) as client:
            client.report_job(pb.Job(job_id="j"), [pb.Granule(granule_id="g")])
        send(server.address, list(islice(calls, AT_ONCE)))
        before = resident_megabytes(server.pid)
        for _ in range(NUMBER // AT_ONCE - 1):
            assert sum(send(server.address, list(islice(calls, AT_ONCE))).values()) == AT_ONCE
        assert resident_megabytes(server.pid) < before + MEGABYTES
        answers(server)


class Resetting:
    """A client that opens streams, asks, and resets each at once, without waiting for anything."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._connection.initiate_connection()
        self._authority = address
        # What it says of itself comes first, so that the streams are within what it takes.
        self._socket.sendall(self._connection.data_to_send())
        self._connection.receive_data(self._socket.recv(65536))
        self._socket.sendall(self._connection.data_to_send())

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def open_and_reset(self, number: int) -> int:
        """Open and reset so many streams, or until the server has had enough; return how many it were."""
        request = pb.WatchJobRequest(job_id="j").SerializeToString()
        body = b"\0" + len(request).to_bytes(4, "big") + request
        headers = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", WATCH.encode()),
            (b":authority", self._authority.encode()),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        ]
        done = 0
        # A connection may be closed on who does that: it is what a server can do against it.
        with suppress(OSError, h2.exceptions.H2Error):
            while done < number:
                stream = self._connection.get_next_available_stream_id()
                self._connection.send_headers(stream, headers)
                self._connection.send_data(stream, body, end_stream=True)
                self._connection.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
                self._socket.sendall(self._connection.data_to_send())
                done += 1
        return done


def open_and_reset(address: str) -> None:
    """Open and reset all streams, over as many connections as it takes."""
    left = STREAMS
    while left:
        resetting = Resetting(address)
        left -= resetting.open_and_reset(left)
        resetting.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_streams_opened_and_reset_by_the_thousand_cost_bounded_memory_and_nobody_else(
    sqlite_url: str, workers: str
) -> None:
    with ServerProcess(sqlite_url, log_level="error", workers=workers) as server:
        with JobStatusClient(server.address) as client:
            client.report_job(pb.Job(job_id="j"))
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        pids = [int(child) for child in children] if workers != "1" else [server.pid]
        before = [resident_megabytes(pid) for pid in pids]
        for _ in range(ROUNDS):
            open_and_reset(server.address)
            begun = time.monotonic()
            answers(server)
            assert time.monotonic() - begun < 5
            held = [resident_megabytes(pid) for pid in pids]
            grown = [after - past for after, past in zip(held, before, strict=True)]
            print(f"grown by {grown} MB")
            # What gRPC keeps for calls it keeps for the next ones.
            assert max(grown) < MEGABYTES
        with JobStatusClient(server.address) as client:
            # Their places for watches have been given back.
            wait_until(lambda: next(iter(client.watch("j"))).revision == 1, "a watch begins")
