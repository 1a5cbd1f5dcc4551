"""Documents that go in and out: what is asked, and what became of each job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from jobstatus import v1 as pb
from jobstatus_grpc.convert.faults import Faults, read_job_key, read_project_id
from jobstatus_grpc.model import MAX_FRAME_BYTES, JobKey

MAX_CHUNK_BYTES: Final = 1024 * 1024

# How much of a response goes to the details of errors.
_DETAILS_BYTES: Final = MAX_FRAME_BYTES // 2


class Source(NamedTuple):
    """Where the jobs of a text come from.

    Attributes:
        project_id: their project.
        form: the name of their form; empty for the one that each shows.
    """

    project_id: str
    form: str


def import_source(request: pb.ImportJobsRequest) -> Source:
    """Return what the first message of ImportJobs tells besides its chunk.

    Raises:
        InvalidRequest: it breaks the contract.
    """
    faults = Faults()
    project_id = read_project_id(request.project_id, faults)
    faults.check()
    return Source(project_id, request.format)


def import_chunk(request: pb.ImportJobsRequest, first: bool) -> bytes:
    """Return the chunk of a message of ImportJobs.

    Raises:
        InvalidRequest: the message breaks the contract.
    """
    faults = Faults()
    if len(request.chunk) > MAX_CHUNK_BYTES:
        faults.add("chunk", f"takes {len(request.chunk)} bytes, more than {MAX_CHUNK_BYTES}")
    if not first and request.project_id:
        faults.add("project_id", "belongs into the first message")
    if not first and request.format:
        faults.add("format", "belongs into the first message")
    faults.check()
    return request.chunk


class ExportJob(NamedTuple):
    """What ExportJob is asked.

    Attributes:
        key: the job.
        form: the name of the form; empty for the job's own.
    """

    key: JobKey
    form: str


def export_job(request: pb.ExportJobRequest) -> ExportJob:
    """Return what ExportJob is asked.

    Raises:
        InvalidRequest: the request breaks the contract.
    """
    faults = Faults()
    key = read_job_key(request, faults)
    faults.check()
    return ExportJob(key, request.format)


def import_jobs_to_pb(results: Sequence[pb.ImportedJob]) -> pb.ImportJobsResponse:
    """Return the answer to an import, without those details of errors that no longer fit."""
    room = _DETAILS_BYTES
    for result in results:
        room -= result.status.ByteSize()
        if room < 0:
            result.status.ClearField("details")
    return pb.ImportJobsResponse(results=results)
