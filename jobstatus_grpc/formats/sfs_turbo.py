"""The answer of SFS Turbo's ShowJobDetail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jobstatus_grpc.errors import JobNotFound, JobStatusError
from jobstatus_grpc.formats import times
from jobstatus_grpc.formats.base import ErrorAnswer
from jobstatus_grpc.formats.failures import Failure, failure_of, words_of
from jobstatus_grpc.formats.huawei import HuaweiFormat, service_of
from jobstatus_grpc.formats.shapes import Shape
from jobstatus_grpc.model import JobState

_ANSWERS: Final[Mapping[Failure, tuple[int, str]]] = {
    Failure.INVALID: (400, "SFS.TURBO.0001"),
    Failure.CONFLICT: (400, "SFS.TURBO.0001"),
    # The gateway's codes: SFS Turbo has none of its own for these.
    Failure.UNAUTHENTICATED: (401, "APIGW.0301"),
    Failure.FORBIDDEN: (403, "APIGW.0302"),
    Failure.NOT_FOUND: (404, "SFS.TURBO.0019"),
}
_LONGEST_WORDS: Final = 512  # As the API documents `errMsg`.


class SfsTurboFormat(HuaweiFormat):
    """The answer. It leaves out what it does not tell."""

    name = "sfs-turbo"
    system = "sfs_turbo"
    states: Mapping[str, JobState] = {
        "waiting": JobState.PENDING,
        "running": JobState.RUNNING,
        "success": JobState.SUCCEEDED,
        "failed": JobState.FAILED,
    }
    shape = Shape({}, others="other_fields")
    holder = ()
    nests = False
    nulls = False
    order = ("job_id", "status", "job_type", "begin_time", "end_time", "error_code", "fail_reason")

    def write_time(self, time: int) -> str:
        return times.seconds(time)

    def detects(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        if "job_id" not in value:
            return any(name in value for name in ("errCode", "error_code", "errorCode"))
        return service_of(value) == self.system

    def render_error(self, error: JobStatusError, _request_id: str) -> ErrorAnswer:
        status, code = _ANSWERS.get(failure_of(error), (500, "SFS.TURBO.0005"))
        words = "Invalid Job Id" if isinstance(error, JobNotFound) else words_of(error)
        return ErrorAnswer(status, {"errCode": code, "errMsg": words[:_LONGEST_WORDS]})


FORMS: Final = (SfsTurboFormat(),)
