"""Why granules have failed, and how fast they end: in answers, heartbeats, and the end of a watch."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from processes import ServerProcess
from reporting import FAILED, PENDING, STAGED, SUCCEEDED, granules, names
from watching import SECOND, RawStream, Unfolded

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, Kind

NO_WAY = pb.ItemError(code="E.2", reason="no way")


def seconds(moment: Timestamp) -> float:
    return moment.ToMicroseconds() / 1e6


def shape(failures: pb.FailureDigest) -> list[tuple[str, str, int, list[str]]]:
    """Return reasons, their counts, and the names of the samples."""
    return [
        (each.code, each.reason, each.granule_count, [key.granule_id for key in each.sample_granules])
        for each in failures.reasons
    ]


def failing(client: JobStatusClient, job_id: str) -> None:
    """Report a job with failures for two reasons, and one granule that is still open."""
    job = pb.Job(job_id=job_id, granules_complete=True)
    client.report_job(job, granules(FAILED, *names(1200), error=NO_WAY))
    client.report_granules(job_id, granules(FAILED, "a", "b", message="no disk"))
    client.report_granules(job_id, granules(STAGED, "open"))


EXPECTED = [
    ("E.2", "no way", 1200, ["g000000", "g000001", "g000002"]),
    ("", "no disk", 2, ["a", "b"]),
]


def test_first_pages_tell_why_granules_failed_whichever_they_are(
    shared_client: JobStatusClient, job_id: str
) -> None:
    failing(shared_client, job_id)
    wanted: list[Callable[[], pb.GetJobStatusResponse]] = [
        lambda: shared_client.get(job_id),
        lambda: shared_client.get(job_id, page_size=7),
        lambda: shared_client.get(job_id, page_size=10_000),
        lambda: shared_client.get(job_id, view=pb.JOB_VIEW_BASIC),
        lambda: shared_client.get(job_id, states=[FAILED], page_size=10),
        lambda: shared_client.get(job_id, states=[STAGED]),
    ]
    for get in wanted:
        # The second answer is one that was kept, where answers are.
        for _ in range(2):
            answer = get()
            assert shape(answer.failures) == EXPECTED
            assert answer.failures.revision == answer.job.revision
            assert answer.failures.other_count == 0
            for reason in answer.failures.reasons:
                told = seconds(reason.first_time), seconds(reason.last_time)
                assert (
                    seconds(answer.job.create_time) <= told[0] <= told[1] <= seconds(answer.job.update_time)
                )
    first = shared_client.get(job_id, states=[FAILED], page_size=1000)
    assert len(first.granules) == 1000
    rest = shared_client.get(job_id, states=[FAILED], page_size=1000, page_token=first.next_page_token)
    assert [len(rest.granules), rest.HasField("failures"), rest.HasField("progress")] == [202, False, False]


def test_an_answer_is_as_new_as_the_report_before_it(shared_client: JobStatusClient, job_id: str) -> None:
    shared_client.report_job(pb.Job(job_id=job_id))
    assert not shared_client.get(job_id).HasField("failures")
    for number in range(30):
        told = shared_client.report_granules(job_id, granules(FAILED, f"g{number:02}", error=NO_WAY))
        for answer in (shared_client.get(job_id), shared_client.get(job_id, view=pb.JOB_VIEW_BASIC)):
            assert answer.failures.revision == told.revision == answer.job.revision
            assert answer.failures.reasons[0].granule_count == number + 1
    shared_client.report_granules(job_id, granules(SUCCEEDED, *[f"g{n:02}" for n in range(30)], attempt=2))
    assert not shared_client.get(job_id).HasField("failures")


def test_the_pace_is_of_the_moment_of_the_answer_though_the_rest_is_kept(
    shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id, granules_complete=True), granules(PENDING, *names(100)))
    assert not shared_client.get(job_id).HasField("progress")
    shared_client.report_granules(job_id, granules(SUCCEEDED, *names(10)))
    begun = time.time()
    shared_client.report_granules(job_id, granules(SUCCEEDED, *names(30)))
    told: list[tuple[float, pb.Progress]] = []
    while len(told) < 3 and time.time() < begun + 30:
        time.sleep(0.4)
        progress = shared_client.get(job_id).progress
        if progress.HasField("ended_per_second"):
            told.append((time.time(), progress))
    rates = [progress.ended_per_second for _, progress in told]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1]
    for at, progress in told:
        assert progress.ended_per_second == pytest.approx(20 / (at - begun), rel=0.3)
        left = seconds(progress.estimated_end_time) - at
        assert left == pytest.approx(70 / progress.ended_per_second, abs=0.5)
    shared_client.report_granules(job_id, granules(SUCCEEDED, *names(100)))
    ended = shared_client.get(job_id)
    assert ended.job.state == pb.JOB_STATE_SUCCEEDED
    assert ended.progress.ended_per_second > 0
    assert not ended.progress.HasField("estimated_end_time")


def test_nothing_is_estimated_before_all_granules_are_known(
    shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, *names(10)))
    shared_client.report_granules(job_id, granules(SUCCEEDED, *names(1)))
    shared_client.report_granules(job_id, granules(SUCCEEDED, *names(2)))
    with RawStream(shared_client.addresses[0], job_id, **SECOND) as stream:
        beat = stream.read_until(lambda frame: frame.heartbeat.HasField("progress")).heartbeat
        assert beat.progress.ended_per_second > 0
        assert not beat.progress.HasField("estimated_end_time")
        shared_client.report_job(pb.Job(job_id=job_id, granules_complete=True))
        beat = stream.read_until(
            lambda frame: frame.heartbeat.progress.HasField("estimated_end_time")
        ).heartbeat
        assert seconds(beat.progress.estimated_end_time) > seconds(beat.server_time)


@pytest.mark.parametrize("delivery", [pb.DELIVERY_EVERY_CHANGE, pb.DELIVERY_LATEST, pb.DELIVERY_NONE])
def test_heartbeats_and_the_end_tell_why_granules_failed(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str, delivery: pb.Delivery
) -> None:
    failing(shared_client, job_id)
    one_less = ("", "no disk", 1, ["b"])
    with RawStream(shared_server.address, job_id, Unfolded(), delivery=delivery, **SECOND) as stream:
        for _ in range(2):
            frame = stream.read_kind("heartbeat")
            assert shape(frame.heartbeat.failures) == EXPECTED
            assert frame.heartbeat.failures.revision == frame.revision
        shared_client.report_granules(job_id, granules(STAGED, "a", attempt=2))
        frame = stream.read_until(lambda frame: one_less in shape(frame.heartbeat.failures))
        assert frame.heartbeat.failures.revision == frame.revision
        shared_client.report_granules(job_id, granules(SUCCEEDED, "a", "open", attempt=2))
        completed = stream.read_kind("completed")
        assert shape(completed.completed.failures) == [EXPECTED[0], one_less]
        assert completed.completed.failures.revision == completed.revision
        assert stream.next() is None


def test_a_watch_of_a_job_without_failures_tells_none(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    job = pb.Job(job_id=job_id, granules_complete=True)
    shared_client.report_job(job, granules(FAILED, "a"))
    shared_client.report_granules(job_id, granules(STAGED, "a", attempt=2))
    with RawStream(shared_server.address, job_id, **SECOND) as stream:
        assert not stream.read_kind("heartbeat").heartbeat.HasField("failures")
        shared_client.report_granules(job_id, granules(SUCCEEDED, "a", attempt=2))
        assert not stream.read_kind("completed").completed.HasField("failures")


def test_the_client_has_them_in_its_updates(shared_client: JobStatusClient, job_id: str) -> None:
    failing(shared_client, job_id)
    for update in shared_client.watch(job_id, heartbeats=True, heartbeat_interval=1):
        if update.kind is Kind.HEARTBEAT:
            assert update.failures is not None
            assert shape(update.failures) == EXPECTED
            shared_client.report_granules(job_id, granules(SUCCEEDED, "open"))
        elif update.kind is not Kind.COMPLETED:
            assert (update.failures, update.progress) == (None, None)
    assert update.failures is not None
    assert shape(update.failures) == EXPECTED
    assert update.failures.revision == update.revision
