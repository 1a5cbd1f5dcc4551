"""The services: check, call, convert. Errors leave as they are; the interceptor answers them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

from jobstatus import v1 as pb
from jobstatus_grpc.convert import documents, reports, requests, resources
from jobstatus_grpc.convert.batches import batch_get_job_status, batch_to_pb
from jobstatus_grpc.convert.waits import wait_job
from jobstatus_grpc.errors import JobStatusError, ServerDraining
from jobstatus_grpc.exports import DocumentExporter
from jobstatus_grpc.formats import AUTO
from jobstatus_grpc.imports import DocumentImporter, Imported
from jobstatus_grpc.limits import WatchLimits
from jobstatus_grpc.model import JobKey
from jobstatus_grpc.parsing import Upload
from jobstatus_grpc.reads import StatusQuery, StatusReader
from jobstatus_grpc.reports import ReportWriter
from jobstatus_grpc.status import request_id_of, to_status
from jobstatus_grpc.store.base import JobList, JobQuery, ReportResult, StoredGranule, StoredJob
from jobstatus_grpc.streams import WatchQuery
from jobstatus_grpc.tokens import JobFilter, ResumePoint, Tokens
from jobstatus_grpc.transfers import Transfers
from jobstatus_grpc.waits import Until, Wait, WaitQuery
from jobstatus_grpc.watch import WatchHub

# In quotes: generic only to type checkers.
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class JobStatusServicer(pb.JobStatusServiceServicer):
    """The readers' side.

    Args:
        reader: answers from the store.
        hub: serves the watches, and those who wait.
        limits: how many watches there may be.
        tokens: returns what makes and reads tokens; raises StoreUnavailable before the store is known.
        asked: told, by project and job, what callers want to know of.
    """

    def __init__(
        self,
        reader: StatusReader,
        hub: WatchHub,
        limits: WatchLimits,
        tokens: Callable[[], Tokens],
        asked: Callable[[str, str], None],
    ) -> None:
        self._reader = reader
        self._hub = hub
        self._limits = limits
        self._tokens = tokens
        self._asked = asked

    async def GetJobStatus(self, request: pb.GetJobStatusRequest, context: _Context) -> bytes:  # noqa: N802
        """Answer ready-made bytes: registered with a serializer that leaves them alone."""
        asked = requests.get_job_status(request)
        self._asked(*asked.key)
        if asked.basic:
            return await self._reader.answer(StatusQuery(asked.key, 0), deadline(context))
        query = StatusQuery(asked.key, asked.limit, tuple(asked.states), asked.page_token)
        return await self._reader.answer(query, deadline(context))

    async def GetGranuleStatus(  # noqa: N802
        self, request: pb.GetGranuleStatusRequest, context: _Context
    ) -> pb.GetGranuleStatusResponse:
        asked = requests.get_granule_status(request)

        def answer(found: StoredGranule) -> pb.GetGranuleStatusResponse:
            granule = resources.granule_to_pb(found.granule, found.files)
            return pb.GetGranuleStatusResponse(**found.job._asdict(), granule=granule)

        return await self._reader.read_granule(asked.key, asked.granule, deadline(context), answer)

    async def ListJobs(  # noqa: N802
        self, request: pb.ListJobsRequest, context: _Context
    ) -> pb.ListJobsResponse:
        asked = requests.list_jobs(request)
        chosen = JobFilter(asked.project_id, *asked[3:])
        before = None
        if asked.page_token:
            before = self._tokens().read_job_page_token(chosen, asked.page_token)
        query = JobQuery(asked.project_id, asked.limit, before, *chosen[1:])
        return await self._reader.list_jobs(query, deadline(context), partial(self._answer_list, chosen))

    def _answer_list(self, chosen: JobFilter, found: JobList) -> pb.ListJobsResponse:
        next_page = b""
        if found.next_before is not None:
            next_page = self._tokens().job_page_token(chosen, found.next_before)
        return pb.ListJobsResponse(jobs=map(resources.job_to_pb, found.jobs), next_page_token=next_page)

    async def BatchGetJobStatus(  # noqa: N802
        self, request: pb.BatchGetJobStatusRequest, context: _Context
    ) -> pb.BatchGetJobStatusResponse:
        asked = batch_get_job_status(request)
        keys = [wanted for wanted in asked.wanted if isinstance(wanted, JobKey)]
        told = partial(to_status, request_id=request_id_of(context))

        def answer(found: Mapping[JobKey, StoredJob]) -> pb.BatchGetJobStatusResponse:
            return batch_to_pb(asked, {key: stored.job for key, stored in found.items()}, told)

        return await self._reader.read_jobs(keys, deadline(context), answer)

    async def WaitJob(  # noqa: N802
        self, request: pb.WaitJobRequest, context: _Context
    ) -> pb.WaitJobResponse:
        asked = wait_job(request)
        self._asked(*asked.key)
        until = Until(asked.any_failure, asked.done_share)
        query = WaitQuery(asked.key, until, asked.timeout, asked.wait_for_job, deadline(context))
        with self._limits.take(asked.key.project_id):
            stored, done = await Wait(self._hub, self._reader, query).run()
        point = ResumePoint(stored.job_pk, stored.position)
        return pb.WaitJobResponse(
            job=resources.job_to_pb(stored.job),
            done=done,
            resume_token=self._tokens().resume_token(asked.key, point),
        )

    def WatchJob(  # noqa: N802
        self, request: pb.WatchJobRequest, context: _Context
    ) -> Awaitable[None]:
        """Answer ready-made bytes: registered with a serializer that leaves them alone."""
        asked = requests.watch_job(request)
        if self._hub.draining:
            raise ServerDraining
        call = asyncio.current_task()
        if call is None:
            raise AssertionError("a handler runs in its call's task")
        # Not given back when the watch ends: what a client has not read stays in gRPC's memory, and counts,
        # until gRPC is done with the call.
        call.add_done_callback(self._limits.take(asked.key.project_id).release)
        self._asked(*asked.key)
        point = None
        if asked.resume_token:
            point = self._tokens().read_resume_token(asked.key, asked.resume_token)
        query = WatchQuery(
            asked.key,
            point,
            asked.delivery,
            asked.min_interval,
            asked.wait_for_job,
            asked.snapshot_only,
            asked.max_frames,
            asked.heartbeat_interval,
        )
        return self._hub.watch(query, context.write)


class JobReportServicer(pb.JobReportServiceServicer):
    """The writers' side."""

    def __init__(self, writer: ReportWriter) -> None:
        self._writer = writer

    async def ReportJob(  # noqa: N802
        self, request: pb.ReportJobRequest, context: _Context
    ) -> pb.ReportJobResponse:
        check = partial(reports.report_job, request)
        result = await self._writer.report(check, request.ByteSize(), deadline(context))
        return pb.ReportJobResponse(**_outcome(result))

    async def ReportGranules(  # noqa: N802
        self, request: pb.ReportGranulesRequest, context: _Context
    ) -> pb.ReportGranulesResponse:
        check = partial(reports.report_granules, request)
        result = await self._writer.report(check, request.ByteSize(), deadline(context))
        return pb.ReportGranulesResponse(**_outcome(result))

    async def DeleteJob(  # noqa: N802
        self, request: pb.DeleteJobRequest, context: _Context
    ) -> pb.DeleteJobResponse:
        await self._writer.delete_job(requests.job_key(request), deadline(context))
        return pb.DeleteJobResponse()


class JobDocumentServicer(pb.JobDocumentServiceServicer):
    """Jobs in the JSON of their systems.

    Args:
        importer: takes documents.
        exporter: writes them.
        transfers: how many there may be at once, and how slow they may be.
    """

    def __init__(self, importer: DocumentImporter, exporter: DocumentExporter, transfers: Transfers) -> None:
        self._importer = importer
        self._exporter = exporter
        self._transfers = transfers

    async def ImportJobs(  # noqa: N802
        self, requests: AsyncIterable[pb.ImportJobsRequest], context: _Context
    ) -> pb.ImportJobsResponse:
        with self._transfers.take(), closing(Upload()) as upload:
            source = None
            async for request in self._transfers.parts(requests):
                upload.add(documents.import_chunk(request, first=source is None))
                source = source or documents.import_source(request)
            project_id, form = source or documents.import_source(pb.ImportJobsRequest())
            found = await self._importer.take(upload, form or AUTO, project_id, deadline(context))
        told = partial(to_status, request_id=request_id_of(context))
        return documents.import_jobs_to_pb([_imported(each, told) for each in found])

    async def ExportJob(self, request: pb.ExportJobRequest, context: _Context) -> None:  # noqa: N802
        key, form = documents.export_job(request)
        with (
            self._transfers.take(),
            closing(await self._exporter.write(key, form, deadline(context))) as exported,
        ):
            part = pb.ExportJobResponse(format=exported.form, revision=exported.revision)
            for part.chunk in exported.chunks():
                async with self._transfers.patient():
                    await context.write(part)
                part = pb.ExportJobResponse()


def _imported(imported: Imported, told: Callable[[JobStatusError], Message]) -> pb.ImportedJob:
    """Return what became of one job of a document."""
    found, result, error = imported
    answer = pb.ImportedJob(path=found.path, format=found.form, job_id=found.job.job_id if found.job else "")
    if result is not None:
        answer.MergeFrom(pb.ImportedJob(**_outcome(result)))
    if error is not None:
        answer.status.MergeFrom(told(error))
    return answer


def _outcome(result: ReportResult) -> dict[str, Any]:
    """Return the fields that every report answers with."""
    return {
        "revision": result.position.revision,
        "totals": resources.totals_to_pb(result.totals),
        "state": result.state,
        "applied_count": result.applied,
        "unchanged_count": result.unchanged,
        "stale_count": result.stale,
    }


def deadline(context: _Context) -> float | None:
    """Return the caller's deadline as a moment of `time.monotonic()`."""
    left = context.time_remaining()
    return None if left is None else time.monotonic() + left
