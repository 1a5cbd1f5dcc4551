"""BatchGetJobStatus: what it is asked, and the answer: as many results as fit, each of its own fate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from google.protobuf.message import Message

from jobstatus import v1 as pb
from jobstatus_grpc.convert.requests import job_key
from jobstatus_grpc.convert.resources import job_to_pb
from jobstatus_grpc.errors import (
    MISSING,
    InvalidRequest,
    JobNotFound,
    JobStatusError,
    ResponseFull,
    Violation,
)
from jobstatus_grpc.model import MAX_FRAME_BYTES, MAX_ID_BYTES, Job, JobKey

MAX_BATCH_JOBS: Final = 500

# Tag and length of one result.
_RESULT_BYTES: Final = 4


class BatchGetJobStatus(NamedTuple):
    """What BatchGetJobStatus is asked.

    Attributes:
        job_ids: as received, 1 to 500.
        wanted: the job of each, or what is wrong with its id.
    """

    job_ids: Sequence[str]
    wanted: Sequence[JobKey | InvalidRequest]


def batch_get_job_status(request: pb.BatchGetJobStatusRequest) -> BatchGetJobStatus:
    """Return what BatchGetJobStatus is asked.

    Raises:
        InvalidRequest: the request as a whole breaks the contract.
    """
    job_ids = request.job_ids
    if not job_ids:
        raise InvalidRequest([Violation("job_ids", "is required", MISSING)])
    if len(job_ids) > MAX_BATCH_JOBS:
        raise InvalidRequest([Violation("job_ids", f"are {len(job_ids)}, more than {MAX_BATCH_JOBS}")])
    return BatchGetJobStatus(job_ids, [_wanted(request.project_id, job_id) for job_id in job_ids])


def _wanted(project_id: str, job_id: str) -> JobKey | InvalidRequest:
    try:
        return job_key(JobKey(project_id, job_id))
    except InvalidRequest as error:
        shared = [fault for fault in error.violations if fault.field == "project_id"]
        if shared:
            raise InvalidRequest(shared) from None
        return error


def batch_to_pb(
    asked: BatchGetJobStatus, found: Mapping[JobKey, Job], to_status: Callable[[JobStatusError], Message]
) -> pb.BatchGetJobStatusResponse:
    """Return the answer to a batch: `MAX_FRAME_BYTES` at most, and at least one result that is not full.

    Args:
        asked: what was asked.
        found: the jobs that exist.
        to_status: returns what a caller is told about an error, as a `google.rpc.Status`.
    """
    full = pb.JobResult()
    full.status.CopyFrom(to_status(ResponseFull()))
    results = [pb.JobResult(job_id=_echo(job_id), status=full.status) for job_id in asked.job_ids]
    # That there is room for each of them to say so is certain from the start.
    room = MAX_FRAME_BYTES - sum(_RESULT_BYTES + result.ByteSize() for result in results)
    for index, wanted in enumerate(asked.wanted):
        result = pb.JobResult(job_id=results[index].job_id)
        if isinstance(wanted, JobStatusError):
            result.status.CopyFrom(to_status(wanted))
        elif wanted in found:
            result.job.CopyFrom(job_to_pb(found[wanted]))
        else:
            result.status.CopyFrom(to_status(JobNotFound(*wanted)))
        room -= result.ByteSize() - results[index].ByteSize()
        if room < 0:
            break
        results[index] = result
    return pb.BatchGetJobStatusResponse(results=results)


def _echo(job_id: str) -> str:
    """Return an id as asked, but for what makes it longer than an id can be."""
    return job_id.encode()[:MAX_ID_BYTES].decode(errors="ignore")
