"""Resuming: a token brings everything after its frame, wherever that was and whatever has been since."""

from __future__ import annotations

from contextlib import closing

import grpc
from folded import Folded
from processes import ServerProcess
from reporting import FAILED, PENDING, STAGED, SUCCEEDED, granules, names, read_table
from watching import SECOND, Ending, RawStream, Unfolded

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

OK = Ending(grpc.StatusCode.OK)


def live(client: JobStatusClient, job_id: str, stream: RawStream) -> list[Folded]:
    """Let a job live while it is watched; return what was folded after each frame with a token."""
    stream.read_kind("snapshot")
    stops = [stream.folded.copy()]
    mixed = [*granules(FAILED, "b", "c"), *granules(STAGED, "b", "d"), *granules(SUCCEEDED, "a")]
    for report in (
        pb.ReportGranulesRequest(granules=granules(STAGED, "a")),
        pb.ReportGranulesRequest(granules=granules(PENDING, *names(30))),
        pb.ReportJobRequest(job=pb.Job(job_id=job_id, description="new")),
        pb.ReportGranulesRequest(granules=mixed),
        pb.ReportGranulesRequest(granules=granules(SUCCEEDED, *names(30), "d")),
        pb.ReportJobRequest(job=pb.Job(job_id=job_id, granules_complete=True)),
    ):
        if isinstance(report, pb.ReportGranulesRequest):
            report.job_id = job_id
        revision = client.report(report).revision
        while stream.folded.revision < revision:
            stream.read_kind("changes")
            stops.append(stream.folded.copy())
        if revision < 10:
            stream.read_kind("heartbeat")
            stops.append(stream.folded.copy())
    assert stream.rest() == ["completed"]
    return [*stops, stream.folded.copy()]


def test_every_token_of_a_stream_brings_exactly_the_rest(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, "a", "b"))
    with RawStream(shared_server.address, job_id, **SECOND) as stream:
        stops = live(shared_client, job_id, stream)
    whole = stops[-1]
    assert whole.granules == read_table(shared_client, job_id)
    assert len({stop.token for stop in stops}) > 5
    for stop in stops:
        folded = stop.copy()
        folded.completed = None
        with RawStream(shared_server.address, job_id, folded, resume_token=stop.token) as rest:
            kinds = rest.rest()
            assert rest.ending() == OK
        expected = ["changes", "completed"] if stop.revision < whole.revision else ["completed"]
        assert kinds == expected
        assert (folded.revisions, folded.granules) == (whole.revisions, whole.granules)
        assert (folded.completed, folded.resets) == (whole.completed, [])


def test_the_tokens_of_reads_bring_exactly_the_rest(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, "a"))
    with RawStream(shared_server.address, job_id) as stream:
        stream.read_kind("snapshot")
        stops = [(stream.folded.copy(), shared_client.get(job_id).resume_token)]
        for state in (STAGED, SUCCEEDED):
            shared_client.report_granules(job_id, granules(state, "a"))
            basic = shared_client.get(job_id, view=pb.JOB_VIEW_BASIC)
            while stream.folded.revision < basic.job.revision:
                stream.read_kind("changes")
            stops.append((stream.folded.copy(), basic.resume_token))
        shared_client.report_job(pb.Job(job_id=job_id, granules_complete=True))
        stream.read_kind("completed")
    for stop, token in stops:
        with RawStream(shared_server.address, job_id, stop, resume_token=token) as rest:
            assert rest.rest() == ["changes", "completed"]
        assert stop.revisions == stream.folded.revisions


def test_a_token_far_behind_brings_many_frames_then_what_happens_next(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id))
    with RawStream(shared_server.address, job_id, snapshot_only=True) as stream:
        stream.rest()
    many = names(6000)
    for state in (PENDING, STAGED):
        shared_client.report_granules(job_id, granules(state, *many, message="m" * 200))
    folded = stream.folded
    with RawStream(shared_server.address, job_id, folded, resume_token=folded.token) as behind:
        behind.read_until(lambda frame: frame.revision >= 12_001)
        assert len(behind.frames) > 2
        # Each token is of what its own frame delivered, though all of them were read at one head.
        for before in behind.frames[:-1]:
            rest = shared_client.frames(job_id, before.resume_token, snapshot_only=True)
            with closing(rest):
                assert next(rest).changes.changes[0].revision == before.revision + 1
        shared_client.report_granules(job_id, granules(SUCCEEDED, *many[:3]))
        behind.read_until(lambda frame: frame.revision >= 12_005)
    assert folded.revisions == list(range(2, 12_006))
    assert folded.granules == read_table(shared_client, job_id)


def ended(server: ServerProcess, job_id: str) -> Folded:
    """Watch a job that has ended, and return it with its end forgotten."""
    with RawStream(server.address, job_id) as stream:
        assert stream.rest() == ["snapshot", "completed"]
        assert stream.ending() == OK
    folded = stream.folded
    folded.completed = None
    return folded


def test_changes_that_were_read_together_and_fit_into_no_frame_come_in_several(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    start = shared_client.report_job(pb.Job(job_id=job_id)).revision
    token = shared_client.get(job_id).resume_token
    # Two are a megabyte less two kilobytes: what else is in a frame has no room beside them.
    for turn in "ab":
        shared_client.report_job(pb.Job(job_id=job_id, description=turn + "d" * 523_200))
    shared_client.report_granules(job_id, granules(PENDING, *names(4)))
    with RawStream(shared_server.address, job_id, Unfolded(), resume_token=token) as behind:
        frames = [behind.read_kind("changes") for _ in range(2)]
    delivered = [[change.revision - start for change in frame.changes.changes] for frame in frames]
    assert delivered == [[1], [2, 3, 4, 5, 6]]
    assert [frame.revision - start for frame in frames] == [1, 6]


def test_the_token_of_an_end_tells_the_end_again_or_how_a_job_was_opened_again(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id, state=pb.JOB_STATE_FAILED), granules(FAILED, "a"))
    folded = ended(shared_server, job_id)
    again = folded.copy()
    with RawStream(shared_server.address, job_id, again, resume_token=folded.token) as stream:
        assert (stream.rest(), stream.ending()) == (["completed"], OK)
    shared_client.report_job(pb.Job(job_id=job_id, state=pb.JOB_STATE_RUNNING, attempt=2))
    with RawStream(shared_server.address, job_id, folded, resume_token=folded.token, **SECOND) as stream:
        frames = [stream.next(), stream.next()]
        assert [frame.WhichOneof("frame") for frame in frames if frame] == ["changes", "heartbeat"]
        assert folded.job is not None
        assert (folded.job.state, folded.job.attempt) == (pb.JOB_STATE_RUNNING, 2)
        shared_client.report_job(pb.Job(job_id=job_id, state=pb.JOB_STATE_SUCCEEDED, attempt=2))
        assert stream.rest() == ["changes", "completed"]


def test_the_token_of_a_derived_end_tells_how_a_new_granule_opened_it_again(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id, granules_complete=True), granules(SUCCEEDED, "a"))
    folded = ended(shared_server, job_id)
    shared_client.report_granules(job_id, granules(PENDING, "b"))
    with RawStream(shared_server.address, job_id, folded, resume_token=folded.token) as stream:
        stream.read_kind("changes")
        assert folded.job is not None
        assert (folded.job.state, folded.counts) == (pb.JOB_STATE_RUNNING, (1, 0, 1, 0, 0))
        shared_client.report_granules(job_id, granules(FAILED, "b"))
        assert stream.rest() == ["changes", "completed"]
        assert stream.ending() == OK


def test_a_job_that_ended_and_was_opened_again_meanwhile_does_not_complete_its_watch(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, "a"))
    with RawStream(shared_server.address, job_id, snapshot_only=True) as stream:
        stream.rest()
    folded = stream.folded
    for attempt in range(1, 20):
        for state in (pb.JOB_STATE_RUNNING, pb.JOB_STATE_SUCCEEDED):
            shared_client.report_job(pb.Job(job_id=job_id, state=state, attempt=attempt))
    shared_client.report_job(pb.Job(job_id=job_id, state=pb.JOB_STATE_RUNNING, attempt=20))
    with RawStream(shared_server.address, job_id, folded, resume_token=folded.token, **SECOND) as stream:
        stream.read_until(lambda frame: frame.revision == 41)
        assert stream.next() is not None
        assert stream.frames[-1].HasField("heartbeat")
        shared_client.report_job(pb.Job(job_id=job_id, state=pb.JOB_STATE_SUCCEEDED, attempt=20))
        assert stream.rest() == ["changes", "completed"]
