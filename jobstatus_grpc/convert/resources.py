"""Jobs, granules and totals, between the model and the wire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from jobstatus import v1 as pb
from jobstatus_grpc.convert.details import details_to_pb
from jobstatus_grpc.digest import Failures
from jobstatus_grpc.model import Details, Granule, GranuleFile, ItemError, Job, Totals, WholeJob
from jobstatus_grpc.pace import Progress

_MICROSECONDS: Final = 1_000_000


def timestamp(microseconds: int) -> Timestamp:
    """Return a time of the model as a Timestamp."""
    seconds, rest = divmod(microseconds, _MICROSECONDS)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def duration(seconds: float) -> Duration:
    """Return seconds, not negative, as a Duration."""
    whole, rest = divmod(round(seconds * _MICROSECONDS), _MICROSECONDS)
    return Duration(seconds=whole, nanos=rest * 1000)


def totals_to_pb(totals: Totals) -> pb.GranuleTotals:
    """Return totals with all five counts present."""
    return pb.GranuleTotals(
        pending_count=totals.pending,
        staged_count=totals.staged,
        succeeded_count=totals.succeeded,
        failed_count=totals.failed,
        unspecified_count=totals.unspecified,
    )


def granule_to_pb(granule: Granule, files: Iterable[GranuleFile] = ()) -> pb.Granule:
    """Return a granule as a reader gets it, with these files."""
    request_time, end_time = granule.request_time, granule.end_time
    return pb.Granule(
        collection_id=granule.collection_id,
        granule_id=granule.granule_id,
        state=granule.state,  # type: ignore[arg-type]
        native_state=granule.native_state,
        attempt=granule.attempt,
        error=_error_to_pb(granule.error),
        message=granule.message,
        request_time=None if request_time is None else timestamp(request_time),
        end_time=None if end_time is None else timestamp(end_time),
        update_time=timestamp(granule.update_time),
        revision=granule.revision,
        files=map(_file_to_pb, files),
    )


def _file_to_pb(file: GranuleFile) -> pb.GranuleFile:
    request_time, end_time = file.request_time, file.end_time
    return pb.GranuleFile(
        file_name=file.file_name,
        state=file.state,  # type: ignore[arg-type]
        native_state=file.native_state,
        restore_destination=file.restore_destination,
        error=_error_to_pb(file.error),
        attempt=file.attempt,
        request_time=None if request_time is None else timestamp(request_time),
        end_time=None if end_time is None else timestamp(end_time),
        update_time=timestamp(file.update_time),
    )


def job_to_pb(job: Job, sub_jobs: Iterable[WholeJob] = (), details: Details | None = None) -> pb.Job:
    """Return a job as a reader gets it, without granules, with these details, sub-jobs and what is below."""
    begin_time, end_time = job.begin_time, job.end_time
    return pb.Job(
        project_id=job.project_id,
        job_id=job.job_id,
        parent_job_id=job.parent_job_id,
        system=job.system,
        job_type=job.job_type,
        state=job.state,  # type: ignore[arg-type]
        native_state=job.native_state,
        attempt=job.attempt,
        description=job.description,
        message=job.message,
        error=_error_to_pb(job.error),
        create_time=timestamp(job.create_time),
        begin_time=None if begin_time is None else timestamp(begin_time),
        end_time=None if end_time is None else timestamp(end_time),
        update_time=timestamp(job.update_time),
        totals=totals_to_pb(job.totals),
        granules_complete=job.granules_complete,
        labels=job.labels,
        revision=job.revision,
        sub_jobs=[job_to_pb(each.job, each.sub_jobs, each.details) for each in sub_jobs],
        **_details_to_pb(details),
    )


def failures_to_pb(failures: Failures) -> pb.FailureDigest:
    """Return why granules have failed as a reader gets it."""
    return pb.FailureDigest(
        revision=failures.position.revision,
        reasons=[
            pb.FailureReason(
                code=each.reason.code,
                reason=each.reason.text,
                granule_count=each.granule_count,
                first_time=timestamp(each.first_time),
                last_time=timestamp(each.last_time),
                sample_granules=[pb.GranuleKey(**key._asdict()) for key in each.samples],
            )
            for each in failures.reasons
        ],
        other_count=failures.other_count,
    )


def progress_to_pb(progress: Progress) -> pb.Progress:
    """Return how fast a job gets on as a reader gets it."""
    end_time = progress.estimated_end_time
    return pb.Progress(
        ended_per_second=progress.rate,
        estimated_end_time=None if end_time is None else timestamp(end_time),
    )


def _details_to_pb(details: Details | None) -> dict[str, Any]:
    return {} if details is None else {details.system: details_to_pb(details)}


def _error_to_pb(error: ItemError | None) -> pb.ItemError | None:
    return None if error is None else pb.ItemError(code=error.code, reason=error.reason)
