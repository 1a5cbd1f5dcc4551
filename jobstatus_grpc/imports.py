"""Documents that come in: each of their jobs reported as its system's truth."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import closing
from typing import NamedTuple

from jobstatus_grpc.errors import (
    DeadlineExceeded,
    InvalidRequest,
    JobNotFound,
    JobStatusError,
    NotFound,
    PreconditionFailed,
)
from jobstatus_grpc.model import JobReport, Report
from jobstatus_grpc.parsing import Batch, DocumentParser, Finding, Findings, Upload, granules_bytes
from jobstatus_grpc.reports import ReportWriter
from jobstatus_grpc.store.base import JobStore, ReportResult


class Imported(NamedTuple):
    """What became of one job of a text.

    Attributes:
        found: what the text told of it.
        result: the job right after its last batch, with the counts of all of them; `None` if it was refused.
        error: why it was refused.
    """

    found: Finding
    result: ReportResult | None = None
    error: JobStatusError | None = None


class DocumentImporter:
    """Imports documents, without blocking the event loop.

    Args:
        store: where jobs are.
        writer: takes the reports.
        parser: parses the texts.
        executor: the threads that read the store.
    """

    def __init__(
        self, store: JobStore, writer: ReportWriter, parser: DocumentParser, executor: Executor
    ) -> None:
        self._store = store
        self._writer = writer
        self._parser = parser
        self._executor = executor

    async def take(
        self, upload: Upload, form: str, project_id: str, deadline: float | None
    ) -> Sequence[Imported]:
        """Report the jobs of a text one after the other, and return what became of each.

        Who leaves meanwhile takes nothing back. Raises what `ReportWriter.report` raises that is not the
        job's own fault; what was not reported then can be sent again with what was.

        Args:
            upload: the text.
            form: the name of its form; `AUTO` for those that its jobs show.
            project_id: the jobs' project.
            deadline: the caller's.

        Raises:
            InvalidRequest: the text cannot be read, or there is no such form.
        """
        results = []
        with closing(await self._parser.parse(upload, form, project_id)) as findings:
            while (found := await findings.next_job()) is not None:
                results.append(await self._take_one(found, findings, deadline))
        return results

    async def _take_one(self, found: Finding, findings: Findings, deadline: float | None) -> Imported:
        if found.job is None:
            return Imported(found, error=InvalidRequest(found.violations))
        try:
            return Imported(found, await self._report(found, found.job, findings, deadline))
        except (InvalidRequest, NotFound, PreconditionFailed) as error:
            return Imported(found, error=error)

    async def _report(
        self, found: Finding, job: JobReport, findings: Findings, deadline: float | None
    ) -> ReportResult:
        """Report a job: nothing tells of its end before its last granules are in."""
        batch = await findings.next_batch() or ()
        if len(batch) == found.granules:
            return await self._write(job, job, batch, deadline)
        opening = await self._opening(found, job, deadline)
        result = await self._write(job, opening, batch, deadline)
        if opening is not None:
            # The job is told of twice, and counts once.
            counted = "applied" if result.applied else "unchanged"
            result = result._replace(**{counted: getattr(result, counted) - 1})
        batch = await findings.next_batch() or ()
        while (following := await findings.next_batch()) is not None:
            result = _added(result, await self._write(job, None, batch, deadline))
            batch = following
        return _added(result, await self._write(job, job, batch, deadline))

    async def _opening(self, found: Finding, job: JobReport, deadline: float | None) -> JobReport | None:
        """Return what has to be told of a job before any of its granules, lest it seem to have ended.

        Nothing of one that is known not to have all its granules, nor of one that has as many as the document
        has: it would be opened and closed again by every document, and its watchers told so.
        """
        loop = asyncio.get_running_loop()
        read = loop.run_in_executor(self._executor, self._store.read_job, job.key, deadline)
        try:
            known = (await read).job
        except JobNotFound:
            known = None
        if known and not (known.granules_complete and sum(known.totals) < found.granules):
            return None
        return JobReport(job.project_id, job.job_id, job.system, job.job_type, granules_complete=False)

    async def _write(
        self, job: JobReport, told: JobReport | None, batch: Batch, deadline: float | None
    ) -> ReportResult:
        if deadline is not None and time.monotonic() >= deadline:
            raise DeadlineExceeded
        report = Report(job.key, told, batch, authoritative=True)
        size = granules_bytes(batch) + len(job.document or "")
        return await self._writer.report(lambda: report, size, deadline)


def _added(before: ReportResult, after: ReportResult) -> ReportResult:
    """Return the later of two results, with the counts of both."""
    return after._replace(
        applied=before.applied + after.applied,
        unchanged=before.unchanged + after.unchanged,
        stale=before.stale + after.stale,
    )
