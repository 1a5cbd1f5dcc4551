"""Jobs that are parts of jobs, through a real server: reported, read, listed, watched and deleted."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from processes import PATIENCE, ServerProcess
from streaming import reason_of

from jobstatus import v1 as pb

Stubs = tuple[pb.JobStatusServiceStub, pb.JobReportServiceStub]


def told(name: str = "", *parts: pb.Job, **fields: object) -> pb.Job:
    """Return the report of a job with its parts."""
    return pb.Job(job_id=name, sub_jobs=parts, **fields)  # type: ignore[arg-type]


def shape(job: pb.Job) -> dict[str, object]:
    """Return the ids below a job."""
    return {part.job_id: shape(part) for part in job.sub_jobs}


@pytest.fixture
def stubs(database_url: str) -> Iterator[Stubs]:
    """Return the calls of a server."""
    with ServerProcess(database_url) as server, grpc.insecure_channel(server.address) as channel:
        yield pb.JobStatusServiceStub(channel), pb.JobReportServiceStub(channel)


def test_a_tree_is_reported_read_and_listed(stubs: Stubs) -> None:
    status, report = stubs
    tree = told("a", told("b", told(), told()), told("c", system="sdrs"))
    answer = report.ReportJob(pb.ReportJobRequest(job=tree))
    assert (answer.applied_count, answer.state) == (5, pb.JOB_STATE_PENDING)
    whole: dict[str, object] = {"b": {"b.1": {}, "b.2": {}}, "c": {}}
    for view in (pb.JOB_VIEW_UNSPECIFIED, pb.JOB_VIEW_BASIC):
        found = status.GetJobStatus(pb.GetJobStatusRequest(job_id="a", view=view)).job
        assert shape(found) == whole
        assert [part.parent_job_id for part in found.sub_jobs] == ["a", "a"]
        assert found.sub_jobs[1].system == "sdrs"
    assert shape(status.GetJobStatus(pb.GetJobStatusRequest(job_id="b")).job) == whole["b"]
    parts = status.ListJobs(pb.ListJobsRequest(parent_job_id="b")).jobs
    assert [part.job_id for part in parts] == ["b.2", "b.1"]
    assert [job.job_id for job in status.ListJobs(pb.ListJobsRequest()).jobs] == ["a"]
    page = status.ListJobs(pb.ListJobsRequest(parent_job_id="b", page_size=1))
    with pytest.raises(grpc.RpcError) as refused:
        status.ListJobs(pb.ListJobsRequest(parent_job_id="a", page_token=page.next_page_token))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_answer_is_never_older_than_what_was_reported_of_a_part(stubs: Stubs) -> None:
    status, report = stubs
    report.ReportJob(pb.ReportJobRequest(job=told("a", told("b"))))
    granule = pb.Granule(granule_id="g", state=pb.GRANULE_STATE_STAGED)
    for number in range(1, 4):
        granule.message = f"{number} of 3"
        answer = report.ReportGranules(pb.ReportGranulesRequest(job_id="b", granules=[granule]))
        for _ in range(2):
            part = status.GetJobStatus(pb.GetJobStatusRequest(job_id="a")).job.sub_jobs[0]
            assert (part.revision, part.totals.staged_count) == (answer.revision, 1)


@pytest.mark.parametrize("delivery", [pb.DELIVERY_EVERY_CHANGE, pb.DELIVERY_LATEST, pb.DELIVERY_NONE])
def test_who_watches_a_job_sees_its_parts_change_and_the_end(stubs: Stubs, delivery: int) -> None:
    status, report = stubs
    report.ReportJob(
        pb.ReportJobRequest(job=told("a", told("b", granules_complete=True), granules_complete=True))
    )
    granule = pb.Granule(granule_id="g", state=pb.GRANULE_STATE_PENDING)
    report.ReportGranules(pb.ReportGranulesRequest(job_id="b", granules=[granule]))
    request = pb.WatchJobRequest(job_id="a", delivery=delivery)  # type: ignore[arg-type]
    frames = status.WatchJob(request, timeout=PATIENCE)
    snapshot = next(frames).snapshot
    assert (shape(snapshot.job), snapshot.last) == ({"b": {}}, True)
    granule.state = pb.GRANULE_STATE_FAILED
    report.ReportGranules(pb.ReportGranulesRequest(job_id="b", granules=[granule]))
    seen, last = [], None
    for frame in frames:
        seen += [change.sub_job for change in frame.changes.changes if change.HasField("sub_job")]
        last = frame
    assert [(part.job_id, part.parent_job_id, part.state) for part in seen] == [
        ("b", "a", pb.JOB_STATE_FAILED)
    ]
    assert seen[0].totals.failed_count == 1
    assert last is not None
    assert last.completed.job.state == pb.JOB_STATE_FAILED


def test_what_breaks_a_tree_is_refused_in_words(stubs: Stubs) -> None:
    status, report = stubs
    report.ReportJob(pb.ReportJobRequest(job=told("a", told("b"))))
    report.ReportJob(pb.ReportJobRequest(job=told("z")))

    def refused(call: object, request: object) -> tuple[str, str]:
        with pytest.raises(grpc.RpcError) as error:
            call(request)  # type: ignore[operator]
        return error.value.code().name, reason_of(error.value)  # type: ignore[arg-type]

    moved = pb.ReportJobRequest(job=told("b", parent_job_id="z"))
    assert refused(report.ReportJob, moved) == ("FAILED_PRECONDITION", "PARENT_CONFLICT")
    orphan = pb.ReportJobRequest(job=told("c", parent_job_id="nobody"))
    assert refused(report.ReportJob, orphan) == ("NOT_FOUND", "JOB_NOT_FOUND")
    assert refused(report.DeleteJob, pb.DeleteJobRequest(job_id="b")) == ("FAILED_PRECONDITION", "NOT_A_ROOT")
    watch = status.WatchJob(pb.WatchJobRequest(job_id="b"), timeout=PATIENCE)
    assert next(watch).snapshot.last
    report.DeleteJob(pb.DeleteJobRequest(job_id="a"))
    with pytest.raises(grpc.RpcError) as ended:
        list(watch)
    assert reason_of(ended.value) == "JOB_DELETED"  # type: ignore[arg-type]


def test_all_faults_of_a_tree_are_named_at_once(stubs: Stubs) -> None:
    _, report = stubs
    deep = told("8")
    for name in "7654321":
        deep = told(name, deep)
    deep.sub_jobs[0].sub_jobs[0].project_id = "other"
    bottom = deep
    while bottom.sub_jobs:
        bottom = bottom.sub_jobs[0]
    bottom.sub_jobs.add(job_id="9")
    deep.sub_jobs.add(job_id="1", parent_job_id="x", attempt=0)
    with pytest.raises(grpc.RpcError) as error:
        report.ReportJob(pb.ReportJobRequest(job=deep))
    words = error.value.details() or ""
    assert "job.sub_jobs[0].sub_jobs[0].project_id" in words
    assert "more" in words
