from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from processes import ServerProcess

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

STAGED, SUCCEEDED = pb.GRANULE_STATE_STAGED, pb.GRANULE_STATE_SUCCEEDED
COUNT = 50


@pytest.fixture
def client(database_url: str) -> Iterator[JobStatusClient]:
    with ServerProcess(database_url) as server, JobStatusClient(server.address) as client:
        yield client


def granules(state: pb.GranuleState | None = None, attempt: int = 1) -> list[pb.Granule]:
    return [
        pb.Granule(collection_id="c", granule_id=f"g{index}", state=state, attempt=attempt)
        for index in range(COUNT)
    ]


def watch(client: JobStatusClient, **fields: Any) -> Iterator[pb.WatchJobResponse]:
    with grpc.insecure_channel(client.addresses[0]) as channel:
        stub = pb.JobStatusServiceStub(channel)
        yield from stub.WatchJob(pb.WatchJobRequest(job_id="job", **fields), timeout=60)


def pace(seconds: float) -> Duration:
    return Duration(nanos=int(seconds * 1e9)) if seconds < 1 else Duration(seconds=int(seconds))


def report_all(client: JobStatusClient) -> None:
    for state in (STAGED, SUCCEEDED):
        for granule in granules(state):
            client.report_granules("job", [granule])


def test_latest_sends_each_granule_once_a_frame_and_the_frames_add_up(client: JobStatusClient) -> None:
    client.report_job(pb.Job(job_id="job", granules_complete=True), granules())
    frames = watch(client, delivery=pb.DELIVERY_LATEST, min_interval=pace(0.3))
    assert next(frames).snapshot.last
    table = {f"g{index}": pb.GRANULE_STATE_PENDING for index in range(COUNT)}
    revision, covered, times = 1 + COUNT, 0, []
    with ThreadPoolExecutor(1) as pool:
        reporting = pool.submit(report_all, client)
        for frame in frames:
            if frame.WhichOneof("frame") == "completed":
                break
            times.append(time.monotonic())
            changes = frame.changes.changes
            changed = [change.granule.granule.granule_id for change in changes]
            assert len(set(changed)) == len(changed)
            covered += sum(change.change_count or 1 for change in changes)
            assert covered == frame.revision - revision
            for change in changes:
                if change.HasField("granule"):
                    table[change.granule.granule.granule_id] = change.granule.granule.state
            assert list(table.values()).count(SUCCEEDED) == frame.totals.succeeded_count
            assert list(table.values()).count(STAGED) == frame.totals.staged_count
        reporting.result()
    assert set(table.values()) == {SUCCEEDED}
    assert frame.completed.job.state == pb.JOB_STATE_SUCCEEDED
    # Frames that follow each other are an interval apart; the reader's clock is a little late now and then.
    assert all(later - earlier > 0.2 for earlier, later in pairwise(times))
    assert len(times) < COUNT


def test_none_sends_no_granule_but_the_totals_and_the_jobs_own_changes(client: JobStatusClient) -> None:
    client.report_job(pb.Job(job_id="job", granules_complete=True), granules())
    frames = watch(client, delivery=pb.DELIVERY_NONE, min_interval=pace(0.2))
    first = next(frames)
    assert first.snapshot.last
    assert first.snapshot.job.job_id == "job"
    assert not first.snapshot.granules
    assert first.totals.pending_count == COUNT
    client.report_granules("job", granules(STAGED))
    client.report_granules("job", granules(SUCCEEDED))
    states = []
    for frame in frames:
        if frame.WhichOneof("frame") == "completed":
            break
        assert not any(change.HasField("granule") for change in frame.changes.changes)
        states += [change.job.state for change in frame.changes.changes]
    assert states == [pb.JOB_STATE_RUNNING, pb.JOB_STATE_SUCCEEDED]
    assert frame.totals.succeeded_count == COUNT


@pytest.mark.parametrize("delivery", [pb.DELIVERY_LATEST, pb.DELIVERY_NONE])
def test_a_paced_stream_sends_its_heartbeats_while_it_rests(
    client: JobStatusClient, delivery: pb.Delivery
) -> None:
    client.report_job(pb.Job(job_id="job"), granules())
    frames = watch(client, delivery=delivery, min_interval=pace(20), heartbeat_interval=pace(1))
    token = next(frames).resume_token
    client.report_granules("job", granules(STAGED)[:1])
    changes = next(frames)
    assert changes.WhichOneof("frame") == "changes"
    client.report_granules("job", granules(STAGED)[1:2])
    beats = [next(frames) for _ in range(2)]
    assert [beat.WhichOneof("frame") for beat in beats] == ["heartbeat", "heartbeat"]
    assert {beat.revision for beat in beats} == {changes.revision}
    assert token != changes.resume_token


def test_any_delivery_goes_on_from_any_token(client: JobStatusClient) -> None:
    client.report_job(pb.Job(job_id="job"), granules())
    token = client.get("job").resume_token
    client.report_granules("job", granules(STAGED))
    client.report_granules("job", granules(SUCCEEDED))
    for delivery in (pb.DELIVERY_EVERY_CHANGE, pb.DELIVERY_LATEST, pb.DELIVERY_NONE):
        frames = list(watch(client, delivery=delivery, resume_token=token, snapshot_only=True))
        assert frames[-1].revision == client.get("job").job.revision
        assert frames[-1].totals.succeeded_count == COUNT
    latest = list(watch(client, delivery=pb.DELIVERY_LATEST, resume_token=token, snapshot_only=True))
    assert sum(len(frame.changes.changes) for frame in latest) == COUNT + 1
    assert {change.change_count for frame in latest for change in frame.changes.changes} == {0, 2}


def test_watchers_who_come_together_share_what_is_read(client: JobStatusClient) -> None:
    client.report_job(pb.Job(job_id="job"), [pb.Granule(granule_id=f"{i:05}") for i in range(9000)])
    snapshots = [list(watch(client, snapshot_only=True)) for _ in range(3)]
    assert len(snapshots[0]) > 1
    assert snapshots[0] == snapshots[1] == snapshots[2]
    client.report_granules("job", [pb.Granule(granule_id="00000", state=STAGED)])
    after = list(watch(client, snapshot_only=True))
    assert after[0].revision == snapshots[0][0].revision + 2
    assert after[0].snapshot.granules[0].state == STAGED


def test_a_stream_may_wait_for_a_job_that_nobody_has_reported(client: JobStatusClient) -> None:
    frames = watch(client, wait_for_job=True, heartbeat_interval=pace(1))
    for _ in range(2):
        beat = next(frames)
        assert (beat.WhichOneof("frame"), beat.revision, beat.resume_token) == ("heartbeat", 0, b"")
        assert beat.totals == pb.GranuleTotals(
            **dict.fromkeys(("pending_count", "staged_count", "succeeded_count", "failed_count"), 0),
            unspecified_count=0,
        )
    client.report_job(pb.Job(job_id="job", granules_complete=True), granules())
    snapshot = next(frame for frame in frames if frame.WhichOneof("frame") != "heartbeat")
    assert (snapshot.revision, len(snapshot.snapshot.granules), snapshot.snapshot.last) == (
        1 + COUNT,
        COUNT,
        True,
    )
    client.report_granules("job", granules(SUCCEEDED))
    assert [frame.WhichOneof("frame") for frame in frames if frame.WhichOneof("frame") != "heartbeat"] == [
        "changes",
        "completed",
    ]


def test_a_job_that_is_there_is_not_waited_for(client: JobStatusClient) -> None:
    client.report_job(pb.Job(job_id="job"), granules())
    assert next(watch(client, wait_for_job=True)).snapshot.last
