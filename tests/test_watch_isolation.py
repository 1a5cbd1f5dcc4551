"""Watchers cost nothing while there is no news, and nobody else anything while they do not read."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from processes import ServerProcess
from reporting import PENDING, STAGED, granules, names, read_table
from watching import RawStream, Watcher

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

# What the server's pools and gRPC itself may start, whenever they like.
OWN_THREADS = 24
WATCHERS = 100


def status_of(server: ServerProcess, field: str) -> int:
    """Return a number of the process's status: threads, or KiB."""
    assert server.process is not None
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+)", text, re.MULTILINE)
    assert found is not None
    return int(found[1])


def slowest_answer(server: ServerProcess, client: JobStatusClient) -> float:
    """Return how long the slowest of some reads and health checks took."""
    slowest = 0.0
    with grpc.insecure_channel(server.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", "liveness", "jobstatus.v1.JobStatusService") * 10:
            begun = time.monotonic()
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            assert client.get("j").job.totals.pending_count == 10
            slowest = max(slowest, time.monotonic() - begun)
    return slowest


def test_idle_watchers_cost_no_threads_and_slow_nobody_down(database_url: str) -> None:
    with (
        ServerProcess(database_url) as server,
        JobStatusClient(server.address) as client,
        ExitStack() as streams,
    ):
        client.report_job(pb.Job(job_id="j"), granules(PENDING, *names(10)))
        before = slowest_answer(server, client)
        threads = status_of(server, "Threads")
        watchers = [streams.enter_context(RawStream(server.address, "j")) for _ in range(WATCHERS)]
        for watcher in watchers:
            watcher.read_kind("snapshot")
        assert status_of(server, "Threads") <= threads + OWN_THREADS < threads + WATCHERS
        # No measurement: an answer that waits for a watcher would wait for its heartbeat, 15 s.
        assert slowest_answer(server, client) < before + 2
        assert status_of(server, "Threads") <= threads + OWN_THREADS
        result = client.report_granules("j", granules(PENDING, "new"))
        for watcher in watchers:
            watcher.read_until(lambda frame: frame.revision == result.revision, 10)


def test_a_watcher_that_does_not_read_delays_nobody_and_takes_little_memory(database_url: str) -> None:
    with ServerProcess(database_url) as server, JobStatusClient(server.address) as client:
        many = names(250)
        client.report_job(pb.Job(job_id="j"), granules(PENDING, *many, message="first" * 3000))
        with RawStream(server.address, "j") as frozen, Watcher(server.address, "j") as watcher:
            frozen.read_kind("snapshot")
            # The first report warms up what every report needs.
            result = client.report_granules("j", granules(STAGED, *many, message="again" * 3000))
            watcher.wait_for_revision(result.revision)
            memory = status_of(server, "VmRSS")
            for turn in range(8):
                message = f"turn {turn}" + "m" * 15_000
                result = client.report_granules("j", granules(STAGED, *many, message=message))
                begun = time.monotonic()
                watcher.wait_for_revision(result.revision)
                assert time.monotonic() - begun < 5
            assert status_of(server, "VmRSS") - memory < 60 * 1024
            # It stands where it stopped reading, and gets everything once it reads again.
            frozen.read_until(lambda frame: frame.revision == result.revision)
            assert frozen.folded.granules == watcher.folded.granules == read_table(client, "j")
