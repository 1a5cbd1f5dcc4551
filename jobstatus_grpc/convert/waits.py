"""WaitJob: what it is asked."""

from __future__ import annotations

from typing import Final, NamedTuple

from google.protobuf.duration_pb2 import Duration

from jobstatus import v1 as pb
from jobstatus_grpc.convert.requests import job_key
from jobstatus_grpc.errors import InvalidRequest, Violation
from jobstatus_grpc.model import JobKey

WAIT_SECONDS: Final = 30.0
MAX_WAIT_SECONDS: Final = 600.0

_MAX_NANOS: Final = 999_999_999


class WaitJob(NamedTuple):
    """What WaitJob is asked.

    Attributes:
        key: the job.
        any_failure: whether a failed granule ends the waiting.
        done_share: the share of ended granules, above 0 and up to 1, that ends the waiting; `None` for none.
        timeout: how long to wait at most, in seconds, 0 to 600.
        wait_for_job: whether to wait for a job that nobody has reported.
    """

    key: JobKey
    any_failure: bool
    done_share: float | None
    timeout: float
    wait_for_job: bool


def wait_job(request: pb.WaitJobRequest) -> WaitJob:
    """Return what WaitJob is asked.

    Raises:
        InvalidRequest: the request breaks the contract.
    """
    faults: list[Violation] = []
    key = JobKey("", "")
    try:
        key = job_key(request)
    except InvalidRequest as error:
        faults += error.violations
    until = request.WhichOneof("until")
    share = request.done_share if until == "done_share" else None
    if share is not None and not 0 < share <= 1:  # NaN too is not.
        faults.append(Violation("done_share", f"{share} is not above 0 and up to 1"))
    elif until in ("terminal", "any_failure") and not getattr(request, until):
        faults.append(Violation(until, "must be true"))
    timeout = _timeout(request.timeout) if request.HasField("timeout") else WAIT_SECONDS
    if timeout is None:
        faults.append(Violation("timeout", f"is not a duration from 0 to {MAX_WAIT_SECONDS:g} seconds"))
    if faults or timeout is None:
        raise InvalidRequest(faults)
    return WaitJob(key, until == "any_failure", share, timeout, request.wait_for_job)


def _timeout(duration: Duration) -> float | None:
    """Return a timeout in seconds; `None` for one that cannot be."""
    seconds, nanos = duration.seconds, duration.nanos
    valid = 0 <= seconds <= MAX_WAIT_SECONDS and 0 <= nanos <= _MAX_NANOS
    timeout = seconds + nanos / 1e9
    return timeout if valid and timeout <= MAX_WAIT_SECONDS else None
