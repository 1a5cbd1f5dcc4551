"""A watch from its first frame to its end."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from folded import count
from moments import wait_until
from processes import ServerProcess
from reporting import FAILED, PENDING, STAGED, SUCCEEDED, granules, names, read_table
from watching import SECOND, Ending, RawStream, Watcher, watch_kinds

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

OK = Ending(grpc.StatusCode.OK)


def test_a_watch_is_a_snapshot_then_every_change_then_completed(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    job = pb.Job(job_id=job_id, granules_complete=True, labels={"team": "a"})
    shared_client.report_job(job, granules(PENDING, "a", "b", "c"))
    with RawStream(shared_server.address, job_id) as stream:
        first = stream.next()
        assert first is not None
        assert first.snapshot.last
        assert first.snapshot.job == shared_client.get(job_id, view=pb.JOB_VIEW_BASIC).job
        assert first.revision == 4
        shared_client.report_granules(job_id, granules(STAGED, "a", "b"))
        shared_client.report_granules(job_id, [*granules(FAILED, "b"), *granules(SUCCEEDED, "c", "a")])
        kinds = stream.rest()
        assert stream.ending() == OK
        folded = stream.folded
    assert kinds[-1] == "completed"
    # Two staged, which starts the job; then three more, which end it.
    assert folded.revisions == list(range(5, 12))
    assert folded.completed is not None
    assert folded.completed == shared_client.get(job_id, view=pb.JOB_VIEW_BASIC).job
    assert folded.completed.state == pb.JOB_STATE_FAILED
    assert folded.granules == read_table(shared_client, job_id)
    assert folded.counts == (0, 0, 2, 1, 0)


def test_a_watch_of_a_job_that_has_ended_is_its_snapshot_and_its_end(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id, state=pb.JOB_STATE_SUCCEEDED))
    assert watch_kinds(shared_server.address, job_id) == (["snapshot", "completed"], OK)


def test_a_reported_end_completes_a_watch_though_granules_are_open(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, "a"))
    with RawStream(shared_server.address, job_id) as stream:
        stream.read_kind("snapshot")
        error = pb.ItemError(code="E1", reason="lost")
        shared_client.report_job(pb.Job(job_id=job_id, state=pb.JOB_STATE_FAILED, error=error))
        completed = stream.read_kind("completed").completed
        assert (completed.job.error, completed.job.totals.pending_count) == (error, 1)
        assert (stream.rest(), stream.ending()) == ([], OK)


def test_the_end_comes_after_all_of_a_large_report_that_brought_it(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    many = names(5000)
    shared_client.report_job(pb.Job(job_id=job_id, granules_complete=True), granules(PENDING, *many))
    with RawStream(shared_server.address, job_id) as stream:
        stream.read_until(lambda frame: frame.snapshot.last)
        result = shared_client.report_granules(job_id, granules(SUCCEEDED, *many))
        kinds = stream.rest()
        assert stream.ending() == OK
    assert set(kinds[:-1]) == {"changes"}
    assert kinds[-1] == "completed"
    assert (stream.folded.revision, stream.folded.succeeded()) == (result.revision, 5000)


def test_the_first_frame_does_not_wait_for_anything(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, "a"))
    minute: dict[str, Any] = {"heartbeat_interval": {"seconds": 60}}
    with RawStream(shared_server.address, job_id, **minute) as stream:
        first = stream.read_until(lambda _: True, 10)
        assert first.snapshot.last
    from_page = shared_client.get(job_id).resume_token
    for token, kind in ((first.resume_token, "heartbeat"), (from_page, "heartbeat"), (from_page, "changes")):
        if kind == "changes":
            shared_client.report_granules(job_id, granules(STAGED, "a"))
        folded = stream.folded.copy()
        with RawStream(shared_server.address, job_id, folded, resume_token=token, **minute) as resumed:
            assert resumed.read_until(lambda _: True, 10).WhichOneof("frame") == kind


def test_changes_of_one_job_are_not_told_to_the_watchers_of_another(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    for each in (job_id, f"{job_id} other"):
        shared_client.report_job(pb.Job(job_id=each), granules(PENDING, "a"))
    with Watcher(shared_server.address, job_id) as watcher:
        watcher.wait_for(lambda folded: folded.whole, "the snapshot")
        shared_client.report_granules(f"{job_id} other", granules(STAGED, "a"))
        result = shared_client.report_granules(job_id, granules(SUCCEEDED, "a"))
        watcher.wait_for_revision(result.revision)
        assert watcher.folded.granules == read_table(shared_client, job_id)


def test_all_watchers_of_a_job_are_told_the_same(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id))
    watchers = [Watcher(shared_server.address, job_id) for _ in range(5)]
    for number, watcher in enumerate(watchers):
        with watcher:
            watcher.wait_for(lambda folded: folded.whole, "the snapshot")
            shared_client.report_granules(job_id, granules(PENDING, f"g{number}"))
            for state in (STAGED, SUCCEEDED):
                result = shared_client.report_granules(job_id, granules(state, f"g{number}"))
            watcher.wait_for_revision(result.revision)
    with RawStream(shared_server.address, job_id) as late:
        late.read_kind("snapshot")
        assert late.folded.counts == (0, 0, 5, 0, 0)


def test_a_snapshot_alone_ends_well(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, "a"))
    with RawStream(shared_server.address, job_id, snapshot_only=True) as stream:
        assert (stream.rest(), stream.ending()) == (["snapshot"], OK)
        folded = stream.folded
    # A heartbeat says that there is nothing, and where that is.
    idle: dict[str, Any] = {"resume_token": folded.token, "snapshot_only": True}
    with RawStream(shared_server.address, job_id, folded, **idle) as stream:
        assert (stream.rest(), stream.ending()) == (["heartbeat"], OK)
    shared_client.report_granules(job_id, granules(STAGED, "a"))
    result = shared_client.report_granules(job_id, granules(SUCCEEDED, "a", "b"))
    with RawStream(shared_server.address, job_id, folded, **idle) as stream:
        assert set(stream.rest()) == {"changes"}
        assert stream.ending() == OK
    assert (folded.revision, folded.granules) == (result.revision, read_table(shared_client, job_id))


@pytest.mark.parametrize("most", [1, 3])
def test_a_stream_ends_well_after_as_many_frames_as_were_asked_for(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str, most: int
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, "a"))
    kinds, ending = watch_kinds(shared_server.address, job_id, max_frames=most, **SECOND)
    assert (kinds, ending) == (["snapshot", *["heartbeat"] * (most - 1)], OK)


def test_a_report_that_changes_nothing_sends_nothing_but_is_remembered(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id), granules(STAGED, "a"))
    with Watcher(shared_server.address, job_id) as watcher:
        before = watcher.wait_for_heartbeat().last_report_time.ToMicroseconds()

        def repeat() -> bool:
            same = shared_client.report_job(pb.Job(job_id=job_id), granules(STAGED, "a"))
            late = shared_client.report_granules(job_id, granules(PENDING, "a"))
            assert (same.applied_count, same.unchanged_count) == (0, 2)
            assert (late.applied_count, late.stale_count) == (0, 1)
            return watcher.folded.heartbeats[-1].last_report_time.ToMicroseconds() > before

        wait_until(repeat, "the reports are remembered")
        changed = shared_client.report_granules(job_id, granules(SUCCEEDED, "a"))
        watcher.wait_for_revision(changed.revision)
        assert (changed.revision, watcher.folded.revisions) == (4, [4])
        # One snapshot and one change: every other frame was a heartbeat.
        assert watcher.folded.frames == 2 + len(watcher.folded.heartbeats)
        assert watcher.folded.counts == count(read_table(shared_client, job_id).values())
