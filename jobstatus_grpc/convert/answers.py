"""The encoder of answers: what GetJobStatus answers, as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from jobstatus import v1 as pb
from jobstatus_grpc.convert.resources import failures_to_pb, job_to_pb, progress_to_pb
from jobstatus_grpc.convert.wire import delimited, encode_granules
from jobstatus_grpc.digest import Failures
from jobstatus_grpc.model import Details, Granule, Job, WholeJob
from jobstatus_grpc.pace import Progress

_JOB: Final = pb.GetJobStatusResponse.JOB_FIELD_NUMBER
_GRANULES: Final = pb.GetJobStatusResponse.GRANULES_FIELD_NUMBER
_NEXT_PAGE_TOKEN: Final = pb.GetJobStatusResponse.NEXT_PAGE_TOKEN_FIELD_NUMBER
_RESUME_TOKEN: Final = pb.GetJobStatusResponse.RESUME_TOKEN_FIELD_NUMBER
_FAILURES: Final = pb.GetJobStatusResponse.FAILURES_FIELD_NUMBER
_PROGRESS: Final = pb.GetJobStatusResponse.PROGRESS_FIELD_NUMBER


class AnswerEncoder:
    """Encodes the answers of `GetJobStatus`; fulfils `reads.AnswerEncoder`."""

    def job_status(
        self,
        job: Job,
        sub_jobs: Sequence[WholeJob],
        details: Details | None,
        granules: Sequence[Granule],
        next_page_token: bytes,
        resume_token: bytes,
        failures: Failures | None,
    ) -> bytes:
        return b"".join(
            (
                delimited(_JOB, job_to_pb(job, sub_jobs, details).SerializeToString()),
                encode_granules(_GRANULES, granules),
                delimited(_NEXT_PAGE_TOKEN, next_page_token) if next_page_token else b"",
                delimited(_RESUME_TOKEN, resume_token),
                b""
                if failures is None
                else delimited(_FAILURES, failures_to_pb(failures).SerializeToString()),
            )
        )

    def progress(self, progress: Progress) -> bytes:
        return delimited(_PROGRESS, progress_to_pb(progress).SerializeToString())
