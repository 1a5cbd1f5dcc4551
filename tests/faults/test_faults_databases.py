"""Databases that go away while they are watched: no stream ends, nothing is lost, nothing comes twice."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import grpc
from folded import Frame
from grpc_health.v1 import health_pb2, health_pb2_grpc
from moments import wait_until
from postgres import PostgresServer
from processes import ServerProcess
from proxy import Proxy
from reporting import FAILED, PENDING, STAGED, SUCCEEDED, Writer, granules, names, read_table
from watching import SECOND, Ending, RawStream, Watcher, watch_kinds

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def lag(frame: Frame) -> float:
    return frame.heartbeat.lag.ToMicroseconds() / 1e6 if frame.HasField("heartbeat") else -1.0


def test_a_stream_outlives_a_crash_of_the_database(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    with (
        ServerProcess(postgres_url) as server,
        JobStatusClient(server.address) as client,
        grpc.insecure_channel(server.address) as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)

        def answers(expected: int, service: str = "") -> bool:
            request = health_pb2.HealthCheckRequest(service=service)
            return bool(health.Check(request, timeout=10).status == expected)

        client.report_job(pb.Job(job_id="j"), granules(PENDING, *names(10)))
        client.report_granules("j", granules(FAILED, "x", message="torn"))
        assert answers(SERVING)
        with RawStream(server.address, "j", **SECOND) as stream:
            told = stream.read_until(lambda frame: frame.heartbeat.HasField("failures")).heartbeat.failures
            postgres_server.stop("immediate")
            try:
                stream.read_until(lambda frame: lag(frame) > 1.2)
                late = len(stream.frames) - 1
                stream.read_until(lambda frame: lag(frame) > 3.2)
                wait_until(lambda: answers(NOT_SERVING), "the server is not ready")
                assert answers(NOT_SERVING, "jobstatus.v1.JobStatusService")
                assert answers(SERVING, "liveness")
                # In step with the clock: heartbeats neither stop nor hurry while the database is away.
                beats = [frame.heartbeat for frame in stream.frames[late:]]
                assert all(beat.failures == told for beat in beats)
                for before, after in pairwise(beats):
                    passed = after.server_time.ToMicroseconds() - before.server_time.ToMicroseconds()
                    assert 0.8e6 < passed < 2.5e6
                    assert abs(after.lag.ToMicroseconds() - before.lag.ToMicroseconds() - passed) < 0.1e6
            finally:
                postgres_server.start()
            wait_until(lambda: answers(SERVING), "the server is ready again")
            for state in (STAGED, SUCCEEDED):
                result = client.report_granules("j", granules(state, *names(10)))
            stream.read_until(lambda frame: frame.revision == result.revision, 10)
            stream.read_until(lambda frame: 0 <= lag(frame) < 2)
            folded = stream.folded
        assert folded.revisions == list(range(14, result.revision + 1))
        assert (len(folded.snapshots), folded.resets) == (1, [])
        assert folded.granules == read_table(client, "j")


def test_streams_begun_around_a_crash_of_the_database_bring_everything_once(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    with (
        ServerProcess(postgres_url) as server,
        JobStatusClient(server.address, connect_timeout=60) as client,
    ):
        client.report_job(pb.Job(job_id="j"), granules(PENDING, *names(300)))
        reports = [granules(state, name) for state in (STAGED, SUCCEEDED) for name in names(300)]
        with (
            Writer(server.address, "j", reports, connect_timeout=60) as writer,
            Watcher(server.address, "j") as watcher,
        ):
            for crash in range(1, 3):
                watcher.wait_for_revision(301 + 150 * crash)
                postgres_server.stop("immediate")
                postgres_server.start()
            writer.join()
            watcher.wait_for_revision(client.get("j", view=pb.JOB_VIEW_BASIC).job.revision)
            folded = watcher.folded
        assert (folded.succeeded(), folded.resets) == (300, [])
        assert folded.revisions == list(range(folded.snapshots[0] + 1, folded.revision + 1))
        assert folded.granules == read_table(client, "j")
        # A crash of the database is no reason to break a stream.
        assert not watcher.breaks


def test_streams_that_resume_at_a_database_which_has_fallen_silent_are_told_so_however_many(
    postgres_url: str,
) -> None:
    with (
        Proxy(postgres_url) as proxy,
        ServerProcess(proxy.url) as server,
        JobStatusClient(server.address) as client,
    ):
        client.report_job(pb.Job(job_id="j"))
        # Different places each cost a read of their own, and reads have few threads.
        tokens = [client.get("j").resume_token]
        for name in names(11):
            client.report_granules("j", granules(PENDING, name))
            tokens.append(client.get("j").resume_token)
        proxy.stall()
        begun = time.monotonic()

        def resume(token: bytes) -> tuple[list[str], Ending]:
            return watch_kinds(server.address, "j", resume_token=token, **SECOND)

        with ThreadPoolExecutor(len(tokens)) as pool:
            for kinds, ending in pool.map(resume, tokens):
                assert kinds == []
                assert ending.code is grpc.StatusCode.UNAVAILABLE
                assert ending.reason == "STORE_UNAVAILABLE"
                assert ending.retry_delay is not None
        # One after the other they would take a quarter of a minute.
        assert time.monotonic() - begun < 5
        with RawStream(server.address, "j", **SECOND) as stream:
            stream.read_kind("heartbeat", 5)
        proxy.resume()
