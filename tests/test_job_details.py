"""Details of jobs through a real server: reported, answered by GetJobStatus, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from processes import PATIENCE, ServerProcess
from streaming import details_of

from jobstatus import v1 as pb

GLACIER = pb.GlacierDetails(
    archive_size_bytes=2**63 - 1,
    inventory_size_bytes=-(2**63),
    sns_topic="",
    tier='"\\{ü😀}\0',
    select_parameters=pb.GlacierSelectParameters(),
    other_fields={"n": "9007199254740993", "": "1.50"},
)
SDRS = pb.SdrsDetails(entities=pb.SdrsEntities(nic_id="n"))


class Server:
    """The calls of a server."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.status = pb.JobStatusServiceStub(channel)
        self._reports = pb.JobReportServiceStub(channel)

    def report(self, *granules: pb.Granule, **fields: Any) -> pb.ReportJobResponse:
        """Report a job."""
        request = pb.ReportJobRequest(job=pb.Job(**fields), granules=granules)
        answer: pb.ReportJobResponse = self._reports.ReportJob(request, timeout=PATIENCE)
        return answer

    def get(self, job_id: str, **fields: Any) -> pb.GetJobStatusResponse:
        """Read a job."""
        request = pb.GetJobStatusRequest(job_id=job_id, **fields)
        answer: pb.GetJobStatusResponse = self.status.GetJobStatus(request, timeout=PATIENCE)
        return answer


@pytest.fixture
def server(database_url: str) -> Iterator[Server]:
    """A running server."""
    with ServerProcess(database_url) as running, grpc.insecure_channel(running.address) as channel:
        yield Server(channel)


def test_whoever_asks_for_a_job_gets_its_details_whatever_the_page(server: Server) -> None:
    granules = [pb.Granule(granule_id=f"{number:04}") for number in range(300)]
    server.report(*granules[:3], job_id="small", glacier=GLACIER)
    server.report(*granules, job_id="large", sdrs=SDRS)
    server.report(job_id="empty", orca=pb.OrcaDetails())
    server.report(job_id="plain")
    for fields in (
        {},
        {"view": pb.JOB_VIEW_BASIC},
        {"page_size": 1},
        {"granule_states": [pb.GRANULE_STATE_PENDING]},
    ):
        for _ in range(2):
            assert server.get("small", **fields).job.glacier == GLACIER
            assert server.get("large", **fields).job.sdrs == SDRS
            assert server.get("empty", **fields).job.HasField("orca")
            assert server.get("plain", **fields).job.WhichOneof("details") is None
    first = server.get("large", page_size=2)
    assert server.get("large", page_size=2, page_token=first.next_page_token).job.sdrs == SDRS


def test_the_details_of_a_tree_come_with_it(server: Server) -> None:
    parts = [
        pb.Job(job_id="b", sdrs=SDRS, sub_jobs=[pb.Job(job_id="c", glacier=GLACIER)]),
        pb.Job(job_id="d"),
    ]
    server.report(job_id="a", sub_jobs=parts)
    for view in (pb.JOB_VIEW_FULL, pb.JOB_VIEW_BASIC):
        found = server.get("a", view=view).job
        b, d = found.sub_jobs
        assert [each.WhichOneof("details") for each in (found, b, d)] == [None, "sdrs", None]
        assert (b.sdrs, b.sub_jobs[0].glacier) == (SDRS, GLACIER)
    assert server.get("c").job.glacier == GLACIER


def test_an_answer_is_never_older_than_the_details_that_were_reported(server: Server) -> None:
    for number in range(1, 6):
        text = str(number)
        answer = server.report(job_id="j", sdrs=pb.SdrsDetails(resource_id=text))
        assert (answer.revision, answer.applied_count) == (number, 1)
        assert server.get("j").job.sdrs.resource_id == text
        again = server.report(job_id="j", sdrs=pb.SdrsDetails(resource_id=text))
        assert (again.revision, again.unchanged_count) == (number, 1)
    server.report(job_id="j", message="without a word about them")
    assert server.get("j").job.sdrs.resource_id == "5"
    server.report(job_id="j", glacier=GLACIER)
    assert server.get("j").job.WhichOneof("details") == "glacier"
    server.report(job_id="j", attempt=2)
    assert server.get("j").job.WhichOneof("details") is None


def test_lists_batches_and_watches_leave_details_out_and_tell_that_they_changed(server: Server) -> None:
    server.report(job_id="a", glacier=GLACIER, sub_jobs=[pb.Job(job_id="b", sdrs=SDRS)])
    token = server.get("a").resume_token
    server.report(job_id="a", sdrs=SDRS)
    server.report(job_id="b", glacier=GLACIER)
    status = server.status
    seen: list[pb.Job] = [*status.ListJobs(pb.ListJobsRequest()).jobs]
    seen += [each.job for each in status.BatchGetJobStatus(pb.BatchGetJobStatusRequest(job_ids="ab")).results]
    for request in (
        pb.WatchJobRequest(job_id="a", max_frames=1),
        pb.WatchJobRequest(job_id="a", snapshot_only=True),
        pb.WatchJobRequest(job_id="a", snapshot_only=True, resume_token=token),
    ):
        changed = []
        for frame in status.WatchJob(request, timeout=PATIENCE):
            told = frame.snapshot.job
            seen += [told, *told.sub_jobs]
            for change in frame.changes.changes:
                changed.append(change.WhichOneof("change"))
                seen.append(change.job if change.HasField("job") else change.sub_job)
    assert changed == ["job", "sub_job"]
    assert len(seen) > 8
    assert {each.WhichOneof("details") for each in seen} == {None}


def test_details_that_cannot_be_are_refused_with_all_their_faults(server: Server) -> None:
    broken = pb.SdrsDetails(other_fields={"a": "{"}, entities=pb.SdrsEntities(other_entities={"b": ""}))
    with pytest.raises(grpc.RpcError) as refused:
        server.report(job_id="j", system="glacier", sub_jobs=[pb.Job(job_id="k", sdrs=broken)], sdrs=broken)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    told = details_of(refused.value)  # type: ignore[arg-type]
    assert told["ErrorInfo"].reason == "INVALID_PARAMETER_VALUE"
    faults = told["BadRequest"].field_violations
    assert {fault.field for fault in faults} == {
        "job.sdrs",
        "job.sdrs.other_fields.a",
        "job.sdrs.entities.other_entities.b",
        "job.sub_jobs[0].sdrs.other_fields.a",
        "job.sub_jobs[0].sdrs.entities.other_entities.b",
    }
    with pytest.raises(grpc.RpcError) as refused:
        server.report(job_id="j", sdrs=pb.SdrsDetails(resource_id="x" * (512 * 1024)))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as refused:
        server.get("j")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_reporter_may_call_its_system_what_it_likes(server: Server) -> None:
    server.report(job_id="j", system="our glacier", glacier=GLACIER)
    assert server.get("j").job.glacier == GLACIER
