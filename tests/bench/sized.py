"""A server on a store with as much in it as there may be, and the calls whose cost must not show it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count, repeat

import grpc
from filled import COLLECTION, fill_jobs, name_of
from stored import opened

from bench.stage import BenchedServer, Key, Stage
from jobstatus import v1 as pb
from jobstatus_grpc.model import (
    GranuleKey,
    GranuleReport,
    GranuleState,
    ItemError,
    JobKey,
    JobReport,
    Position,
    Report,
)
from jobstatus_grpc.store.base import StoredJob
from jobstatus_grpc.tokens import GranulePagePoint, JobFilter, ResumePoint, Tokens

# One call after the other.
Calls = Iterator[Callable[[], None]]

PAGE_JOBS = 100
BATCH = 1000
MISSED = 100
FAILURES = 10
_PROJECT = "many"
_TIMEOUT = 60.0
_BIG = JobKey("default", "big")
_SMALL = JobKey("default", "small")


def _failed() -> Iterator[GranuleReport]:
    """Yield granules that have failed, for a few reasons."""
    for number in range(1, FAILURES + 1):
        error = ItemError("AccessDenied", f"tape {number % 3} refused")
        yield GranuleReport(COLLECTION, name_of(number, "refused"), GranuleState.FAILED, error=error)


class Sized:
    """A store with many jobs, a big one and a small one; and a server on it.

    Attributes:
        jobs: how many there are.
        granules: how many the big job has; the small one has a thousand.
        server: the server.
    """

    def __init__(self, stage: Stage, stack: ExitStack, url: str) -> None:
        self.jobs = stage.number(1_000_000, 50_000)
        self.granules = stage.number(1_000_000, 20_000)
        fill_jobs(url, _PROJECT, self.jobs)
        with opened(url) as store:
            for key in (_BIG, _SMALL):
                # First, so that what is copied of the other granules is the end of the history.
                store.report(Report(key, JobReport(*key), [*_failed()]))
        self.big = stage.fill(url, _BIG, self.granules)
        self.small = stage.fill(url, _SMALL, BATCH)
        with opened(url) as store:
            self._tokens = Tokens(*store.identity)
            # Pages are of the filled jobs: the last of them was reported right before the big one.
            self._last = self.big.job_pk - 1
        self.server = stack.enter_context(BenchedServer(url))
        channel = stack.enter_context(grpc.insecure_channel(self.server.address))
        self._status = pb.JobStatusServiceStub(channel)
        self._reports = pb.JobReportServiceStub(channel)
        self._numbers = count(1)

    @property
    def key(self) -> Key:
        """The big job."""
        return self.big.job.key

    @property
    def pages(self) -> int:
        """How many pages a list of all jobs has."""
        return self.jobs // PAGE_JOBS

    def resumed(self, stored: StoredJob) -> Calls:
        """Watch a job from some changes before its head, as far as that."""
        position = Position(stored.job.revision - MISSED, stored.commit_id)
        token = self._tokens.resume_token(stored.job.key, ResumePoint(stored.job_pk, position))
        request = pb.WatchJobRequest(
            project_id=stored.job.project_id,
            job_id=stored.job.job_id,
            resume_token=token,
            snapshot_only=True,
        )

        def resume() -> None:
            frames = self._status.WatchJob(request, timeout=_TIMEOUT)
            assert sum(len(frame.changes.changes) for frame in frames) == MISSED

        return repeat(resume)

    def listed(self, page: int | None) -> Calls:
        """List a page of the jobs, by its number; `None` for a different one each time, any but the first."""
        while True:
            number = random.randint(2, self.pages - 1) if page is None else page
            yield partial(self._list, self._list_request(number), PAGE_JOBS)

    def sought(self, page: int) -> Calls:
        """Ask for jobs nobody has, from a page on: as many are looked at as ever are for one answer."""
        request = self._list_request(page, system="nobody's")
        return repeat(partial(self._list, request, 0))

    def read(self, stored: StoredJob) -> Calls:
        """Read a page of a job's granules, any."""
        while True:
            request = pb.GetJobStatusRequest(
                project_id=stored.job.project_id, job_id=stored.job.job_id, page_size=BATCH
            )
            before = random.randint(0, stored.job.totals.pending - BATCH)
            if before:
                point = GranulePagePoint(stored.job_pk, GranuleKey(COLLECTION, name_of(before)))
                request.page_token = self._tokens.granule_page_token(stored.job.key, (), point)
            yield partial(self._read, request, BATCH)

    def read_failed(self, stored: StoredJob) -> Calls:
        """Read the few granules of a job that have failed."""
        request = pb.GetJobStatusRequest(
            project_id=stored.job.project_id,
            job_id=stored.job.job_id,
            granule_states=[pb.GRANULE_STATE_FAILED],
        )
        return repeat(partial(self._read, request, FAILURES))

    def reported(self, stored: StoredJob) -> Calls:
        """Report a change of granules of a job, any thousand."""
        while True:
            message = str(next(self._numbers))
            request = pb.ReportGranulesRequest(project_id=stored.job.project_id, job_id=stored.job.job_id)
            for number in random.sample(range(1, stored.job.totals.pending + 1), BATCH):
                request.granules.add(
                    collection_id=COLLECTION,
                    granule_id=name_of(number),
                    state="GRANULE_STATE_STAGED",
                    message=message,
                )
            yield partial(self._report, request)

    def _list_request(self, page: int, system: str = "") -> pb.ListJobsRequest:
        request = pb.ListJobsRequest(project_id=_PROJECT, system=system)
        if page > 1:
            before = self._last + 1 - (page - 1) * PAGE_JOBS
            request.page_token = self._tokens.job_page_token(JobFilter(_PROJECT, system=system), before)
        return request

    def _list(self, request: pb.ListJobsRequest, jobs: int) -> None:
        assert len(self._status.ListJobs(request, timeout=_TIMEOUT).jobs) == jobs

    def _read(self, request: pb.GetJobStatusRequest, granules: int) -> None:
        assert len(self._status.GetJobStatus(request, timeout=_TIMEOUT).granules) == granules

    def _report(self, request: pb.ReportGranulesRequest) -> None:
        assert self._reports.ReportGranules(request, timeout=_TIMEOUT).applied_count == BATCH
