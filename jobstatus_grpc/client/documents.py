"""The calls that take jobs in and give them out as their systems' JSON."""

from __future__ import annotations

from typing import Final

from jobstatus import v1 as pb
from jobstatus_grpc.client.core import Core
from jobstatus_grpc.client.steps import Steps

#: For how many seconds a document may go in or out: the largest take a minute.
DOCUMENT_TIMEOUT: Final = 600.0

_CHUNK_BYTES: Final = 1024 * 1024


def import_jobs(core: Core, text: bytes, form: str, timeout: float) -> Steps[list[pb.ImportedJob]]:
    """Send a text, and return what became of each of its jobs."""
    parts = [text[start : start + _CHUNK_BYTES] for start in range(0, len(text), _CHUNK_BYTES)] or [b""]
    requests = [pb.ImportJobsRequest(chunk=part) for part in parts]
    requests[0].project_id, requests[0].format = core.project_id, form
    answer: pb.ImportJobsResponse = yield from core.call("ImportJobs", requests, timeout)
    return list(answer.results)


def export_job(core: Core, job_id: str, form: str, timeout: float) -> Steps[bytes]:
    """Return a job's document."""
    request = pb.ExportJobRequest(project_id=core.project_id, job_id=job_id, format=form)
    parts: list[pb.ExportJobResponse] = yield from core.call("ExportJob", request, timeout)
    return b"".join(part.chunk for part in parts)
