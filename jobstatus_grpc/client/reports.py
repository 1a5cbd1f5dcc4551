"""The calls that report, and how any number of granules becomes reports the service takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

from jobstatus import v1 as pb
from jobstatus_grpc.client.core import Core
from jobstatus_grpc.client.errors import JobStatusRpcError
from jobstatus_grpc.client.queries import get
from jobstatus_grpc.client.steps import Steps, Take

Report = pb.ReportJobRequest | pb.ReportGranulesRequest
ReportResponse = pb.ReportJobResponse | pb.ReportGranulesResponse

# The service takes 10,000 granules and 4 MiB. Batches of 1,000 are as fast, and hold others up for less long.
_BATCH_GRANULES: Final = 1_000
_BATCH_BYTES: Final = 2 * 1024 * 1024
_COUNTED: Final = ("applied_count", "unchanged_count", "stale_count")


def report(core: Core, request: Report, timeout: float | None) -> Steps[ReportResponse]:
    """Send a report as it is, but for the project if it names none."""
    if isinstance(request, pb.ReportGranulesRequest):
        request.project_id = request.project_id or core.project_id
        return cast(ReportResponse, (yield from core.call("ReportGranules", request, timeout)))
    # Touching the job of a request that has none would give it one.
    if request.HasField("job"):
        request.job.project_id = request.job.project_id or core.project_id
    return cast(ReportResponse, (yield from core.call("ReportJob", request, timeout)))


def report_job(
    core: Core, job: pb.Job, granules: Iterable[pb.Granule], authoritative: bool, timeout: float | None
) -> Steps[pb.ReportJobResponse]:
    """Report a job, with granules of it, in one transaction."""
    request = pb.ReportJobRequest(job=job, granules=granules, authoritative=authoritative)
    return cast(pb.ReportJobResponse, (yield from report(core, request, timeout)))


def report_granules(
    core: Core, job_id: str, source: Any, authoritative: bool, timeout: float | None
) -> Steps[pb.ReportGranulesResponse]:
    """Report granules batch by batch, and return the last answer, with the counts of all."""
    total = pb.ReportGranulesResponse(applied_count=0, unchanged_count=0, stale_count=0)
    reported = 0
    batches = _Batches(source)
    try:
        while batch := (yield from batches.next()):
            request = pb.ReportGranulesRequest(job_id=job_id, granules=batch, authoritative=authoritative)
            answer = cast(pb.ReportGranulesResponse, (yield from report(core, request, timeout)))
            _add(total, answer)
            reported += len(batch)
    except JobStatusRpcError as error:
        if reported:
            error.add_note(f"the {reported} granules before have been reported")
        raise
    if not reported:
        job = (yield from get(core, job_id, {"view": pb.JOB_VIEW_BASIC, "timeout": timeout})).job
        total.revision, total.state = job.revision, job.state
        total.totals.CopyFrom(job.totals)
    return total


def delete(core: Core, job_id: str, timeout: float | None) -> Steps[None]:
    """Delete a job."""
    request = pb.DeleteJobRequest(project_id=core.project_id, job_id=job_id)
    yield from core.call("DeleteJob", request, timeout)


class _Batches:
    """Granules in batches the service takes, no granule twice in one: so each can be sent again unharmed."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._waiting: pb.Granule | None = None

    def next(self) -> Steps[list[pb.Granule]]:
        """Return the next batch; an empty one at the end."""
        batch: list[pb.Granule] = []
        names = set()
        size = 0
        while len(batch) < _BATCH_GRANULES:
            granule: pb.Granule | None = self._waiting or (yield Take(self._source))
            self._waiting = granule
            if granule is None:
                break
            name = (granule.collection_id, granule.granule_id)
            size += granule.ByteSize()
            if batch and (name in names or size > _BATCH_BYTES):
                break
            names.add(name)
            batch.append(granule)
            self._waiting = None
        return batch


def _add(total: pb.ReportGranulesResponse, answer: pb.ReportGranulesResponse) -> None:
    """Make `total` the latest answer, with the counts of all of them."""
    counts = {name: getattr(total, name) + getattr(answer, name) for name in _COUNTED}
    total.CopyFrom(answer)
    for name, count in counts.items():
        setattr(total, name, count)
