"""The calls that ask: how jobs and granules stand, and when a job ends."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final, Literal, TypedDict

import grpc

from jobstatus import v1 as pb
from jobstatus_grpc.client.core import Core
from jobstatus_grpc.client.durations import duration_of
from jobstatus_grpc.client.errors import JobStatusRpcError
from jobstatus_grpc.client.servers import Turns
from jobstatus_grpc.client.steps import Give, Requests, Steps

Until = Literal["terminal", "any_failure"] | float
"""What to wait for: the job's end, a failure, or a share of its granules, above 0 and up to 1."""

_BATCH_JOBS: Final = 500
# How long one call waits, in seconds: shorter than what stands between takes a silent call for dead.
_WAIT_ROUND: Final = 30.0


class PageOptions(TypedDict, total=False):
    """Which page of a job's granules to read.

    Attributes:
        states: only granules in one of these; none or absent: all.
        view: `JOB_VIEW_BASIC` leaves the granules out.
        page_size: how many at most; 0 or absent: 1,000.
        page_token: the `next_page_token` of the page before.
        timeout: how many seconds the call may take, instead of the client's.
    """

    states: Iterable[pb.GranuleState]
    view: pb.JobView
    page_size: int
    page_token: bytes
    timeout: float | None


class ListOptions(TypedDict, total=False):
    """Which jobs to list.

    Attributes:
        states: only jobs in one of these; none or absent: all.
        system: only jobs of this system.
        job_type: only jobs of this type.
        labels: only jobs that have all of these.
        page_size: how many in one call at most; 0 or absent: 100.
        page_token: the `next_page_token` of the page before.
        timeout: how many seconds a call may take, instead of the client's.
    """

    states: Iterable[pb.JobState]
    system: str
    job_type: str
    labels: Mapping[str, str] | None
    page_size: int
    page_token: bytes
    timeout: float | None


def get(core: Core, job_id: str, options: PageOptions) -> Steps[pb.GetJobStatusResponse]:
    """Read a page."""
    request = pb.GetJobStatusRequest(
        project_id=core.project_id,
        job_id=job_id,
        granule_states=options.get("states", ()),
        view=options.get("view", pb.JOB_VIEW_UNSPECIFIED),
        page_size=options.get("page_size", 0),
        page_token=options.get("page_token", b""),
    )
    page: pb.GetJobStatusResponse = yield from core.call("GetJobStatus", request, options.get("timeout"))
    return page


def granules(core: Core, job_id: str, options: PageOptions) -> Steps[None]:
    """Give the granules of this page and of all that follow."""
    states = tuple(options.get("states", ()))
    token = options.get("page_token", b"")
    while True:
        page = yield from get(core, job_id, {**options, "states": states, "page_token": token})
        yield Give(page.granules)
        token = page.next_page_token
        if not token:
            return


def granule(
    core: Core, collection_id: str, granule_id: str, job_id: str | None, timeout: float | None
) -> Steps[pb.GetGranuleStatusResponse]:
    """Read a granule with its files."""
    request = pb.GetGranuleStatusRequest(
        project_id=core.project_id, job_id=job_id, collection_id=collection_id, granule_id=granule_id
    )
    answer: pb.GetGranuleStatusResponse = yield from core.call("GetGranuleStatus", request, timeout)
    return answer


def list_page(core: Core, options: ListOptions) -> Steps[pb.ListJobsResponse]:
    """Read a page of jobs."""
    request = pb.ListJobsRequest(
        project_id=core.project_id,
        states=options.get("states", ()),
        system=options.get("system", ""),
        job_type=options.get("job_type", ""),
        labels=options.get("labels") or {},
        page_size=options.get("page_size", 0),
        page_token=options.get("page_token", b""),
    )
    page: pb.ListJobsResponse = yield from core.call("ListJobs", request, options.get("timeout"))
    return page


def list_jobs(core: Core, options: ListOptions) -> Steps[None]:
    """Give the jobs of this page and of all that follow."""
    states = tuple(options.get("states", ()))
    token = options.get("page_token", b"")
    while True:
        page = yield from list_page(core, {**options, "states": states, "page_token": token})
        yield Give(page.jobs)
        token = page.next_page_token
        if not token:
            return


def get_many(core: Core, job_ids: Iterable[str]) -> Steps[None]:
    """Give each job with its id, or the error that is in its place."""
    rest = iter(job_ids)
    waiting = [*islice(rest, _BATCH_JOBS)]
    while waiting:
        request = pb.BatchGetJobStatusRequest(project_id=core.project_id, job_ids=waiting)
        answer: pb.BatchGetJobStatusResponse = yield from core.call("BatchGetJobStatus", request)
        found: list[tuple[str, pb.Job | JobStatusRpcError]] = []
        for job_id, result in zip(waiting, answer.results, strict=True):
            failure = JobStatusRpcError.of_status(result.status) if result.HasField("status") else None
            # What no longer fits is asked for again; the first always fits.
            if failure is not None and failure.reason == "RESPONSE_FULL" and found:
                break
            found.append((job_id, failure or result.job))
        waiting = [*waiting[len(found) :], *islice(rest, len(found))]
        yield Give(found)


def wait(
    core: Core, job_id: str, until: Until, timeout: float | None, wait_for_job: bool
) -> Steps[pb.WaitJobResponse]:
    """Wait over any number of calls."""
    start = time.monotonic()
    end = math.inf if timeout is None else start + timeout
    request = pb.WaitJobRequest(project_id=core.project_id, job_id=job_id, wait_for_job=wait_for_job)
    if isinstance(until, str):
        setattr(request, until, True)
    else:
        request.done_share = until

    def ask(_: Turns) -> tuple[Requests, float]:
        left = min(max(0.0, end - time.monotonic()), _WAIT_ROUND)
        request.timeout.CopyFrom(duration_of(left))
        return request, left + core.timeout

    give_up = start + core.connect_timeout
    while True:
        try:
            answer: pb.WaitJobResponse = yield from core.tried("WaitJob", ask, give_up, give_up)
        except JobStatusRpcError as error:
            waits = request.wait_for_job and error.code is grpc.StatusCode.NOT_FOUND
            if not waits or time.monotonic() >= end:
                raise
        else:
            if answer.done or time.monotonic() >= end:
                return answer
            request.wait_for_job = False
        give_up = end + core.connect_timeout
