"""Heartbeats: they come when nothing else does, and tell how well informed the stream is."""

from __future__ import annotations

import time
from itertools import pairwise
from statistics import median

import grpc
import pytest
from folded import Frame
from google.protobuf.timestamp_pb2 import Timestamp
from processes import ServerProcess
from reporting import PENDING, granules
from watching import SECOND, Ending, RawStream, watch_kinds

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient


def seconds(moment: Timestamp) -> float:
    return moment.ToMicroseconds() / 1e6


@pytest.mark.session
def test_a_silent_stream_beats_as_often_as_it_was_asked_to_and_tells_how_well_informed_it_is(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    begun = time.time()
    shared_client.report_job(pb.Job(job_id=job_id))
    reported = time.time()
    notified = shared_server.database_url.startswith("postgresql")
    with (
        RawStream(shared_server.address, job_id, **SECOND) as one,
        RawStream(shared_server.address, job_id, heartbeat_interval={"seconds": 2}) as other,
    ):
        for stream, interval, number in ((one, 1.0, 5), (other, 2.0, 2)):
            beats = [stream.read_kind("heartbeat").heartbeat for _ in range(number)]
            times = [seconds(beat.server_time) for beat in beats]
            pauses = [after - before for before, after in pairwise(times)]
            assert min(pauses) >= 0.89 * interval
            # A slow machine may be late once.
            assert median(pauses) <= 1.11 * interval + 0.1
            assert len(stream.frames) == 1 + number
            for beat in beats:
                assert begun - 0.1 <= seconds(beat.last_report_time) <= reported + 0.1
                assert reported <= seconds(beat.server_time) <= time.time()
                assert 0 <= beat.lag.ToMicroseconds() / 1e6 < 2
                assert beat.news_mode == (pb.NEWS_MODE_NOTIFY if notified else pb.NEWS_MODE_POLL)


def test_a_heartbeat_comes_only_after_silence(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id))
    with RawStream(shared_server.address, job_id, **SECOND) as stream:
        stream.read_kind("snapshot")
        end = time.monotonic() + 1.5
        last, pauses = time.monotonic(), []

        def is_change(frame: Frame) -> bool:
            nonlocal last
            now = time.monotonic()
            if frame.HasField("heartbeat"):
                pauses.append(now - last)
            last = now
            return frame.HasField("changes")

        number = 0
        while time.monotonic() < end:
            shared_client.report_granules(job_id, granules(PENDING, f"g{number}"))
            stream.read_until(is_change)
            number += 1
    assert number > 5
    assert all(pause > 0.5 for pause in pauses)


def test_a_heartbeat_interval_out_of_bounds_is_refused(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id))
    for bad in ({"nanos": 999_999_999}, {"seconds": 60, "nanos": 1}, {"seconds": -1}):
        kinds, ending = watch_kinds(shared_server.address, job_id, heartbeat_interval=bad)
        assert (kinds, ending.code) == ([], grpc.StatusCode.INVALID_ARGUMENT)
        assert ending.reason == "INVALID_PARAMETER_VALUE"
    for good in ({"seconds": 60}, {}):
        kinds, ending = watch_kinds(shared_server.address, job_id, heartbeat_interval=good, max_frames=1)
        assert (kinds, ending) == (["snapshot"], Ending(grpc.StatusCode.OK))


def test_a_heartbeat_of_a_resumed_stream_stands_where_the_token_does(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, "a"))
    with RawStream(shared_server.address, job_id, snapshot_only=True) as stream:
        stream.rest()
    token = stream.folded.token
    fields = {**SECOND, "project_id": "default", "resume_token": token, "max_frames": 2}
    with RawStream(shared_server.address, job_id, stream.folded, **fields) as resumed:
        assert resumed.rest() == ["heartbeat", "heartbeat"]
