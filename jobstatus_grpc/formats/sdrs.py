"""The answer of SDRS's "Querying the Job Status", and its list of failed tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from jobstatus_grpc.errors import JobStatusError, Violation
from jobstatus_grpc.formats import times
from jobstatus_grpc.formats.base import Entry, ErrorAnswer, Parsed
from jobstatus_grpc.formats.failures import WRAPPERS, Failure, failure_of, words_of
from jobstatus_grpc.formats.huawei import HuaweiFormat, service_of
from jobstatus_grpc.formats.kept import Kept
from jobstatus_grpc.formats.lists import list_entries
from jobstatus_grpc.formats.shapes import Field, Shape
from jobstatus_grpc.json_text import dump
from jobstatus_grpc.model import Details, Job, JobReport, JobState, WholeJob

SYSTEM: Final = "sdrs"

_ENTITIES: Final = Shape(
    {
        name: Field(name)
        for name in (
            *("server_group_id", "protected_instance_id", "replication_pair_id", "native_server_id"),
            *("nic_id", "volume_ids"),
        )
    },
    others="other_entities",
    sparse=True,
)
_RESOURCE: Final = ("failure_status", "resource_id", "resource_name", "resource_type")
_FAILURE_JOBS: Final = "failure_jobs"
# The codes that SDRS documents; where it has none, the status of HTTP stands for it.
_ANSWERS: Final[Mapping[Failure, tuple[int, str]]] = {
    Failure.INVALID: (400, "SDRS.0201"),
    Failure.UNAUTHENTICATED: (401, "401"),
    Failure.FORBIDDEN: (403, "403"),
    Failure.NOT_FOUND: (404, "404"),
    Failure.CONFLICT: (409, "409"),
    Failure.EXHAUSTED: (503, "503"),
    Failure.UNAVAILABLE: (503, "503"),
    Failure.DEADLINE: (504, "504"),
    Failure.NOT_SERVED: (501, "501"),
    Failure.INTERNAL: (500, "SDRS.0013"),
}


class _SdrsFormat(HuaweiFormat):
    """What the answer and the list of failed tasks have in common."""

    name = "sdrs"
    system = SYSTEM
    states: Mapping[str, JobState] = {
        "INIT": JobState.PENDING,
        "RUNNING": JobState.RUNNING,
        "SUCCESS": JobState.SUCCEEDED,
        "FAIL": JobState.FAILED,
    }

    def write_time(self, time: int) -> str:
        return times.milliseconds(time)

    def render_error(self, error: JobStatusError, _request_id: str) -> ErrorAnswer:
        status, code = _ANSWERS[failure_of(error)]
        return ErrorAnswer(status, {"error": {"message": words_of(error), "code": code}})


class _FailedTask(_SdrsFormat):
    """An entry of the list of failed tasks. Such a task has no end time and no sub-jobs."""

    state_key = "job_status"
    times: Mapping[str, str] = {"begin_time": "begin_time"}
    shape = Shape({name: Field(name) for name in _RESOURCE}, others="other_fields")
    order = ("job_status", *_RESOURCE[1:], _RESOURCE[0], "job_id", "job_type", "begin_time")

    def detects(self, value: Any) -> bool:
        return isinstance(value, dict) and "job_status" in value and "status" not in value

    def keeps(self, kept: Kept) -> bool:
        return super().keeps(kept) and self.detects(kept.source)

    def check(self, whole: WholeJob, prefix: str, found: list[Violation]) -> None:
        super().check(whole, prefix, found)
        if whole.job.state is not JobState.FAILED:
            text = f"it is {whole.job.state.name}, and the list has failed tasks only"
            found.append(Violation(f"{prefix}state", text))


class SdrsFormat(_SdrsFormat):
    """The answer, and the list of failed tasks as the form's list."""

    shape = Shape({"entities": Field("entities", _ENTITIES)}, others="other_fields")
    holder = ("entities",)
    order = (
        "status",
        "entities",
        "job_id",
        "job_type",
        "begin_time",
        "end_time",
        "error_code",
        "fail_reason",
    )

    def detects(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        if "job_id" not in value:
            return any(name in value for name in (_FAILURE_JOBS, *WRAPPERS))
        return service_of(value) == self.system

    def entries(self, entry: Entry) -> Sequence[Entry]:
        return list_entries(entry, _FAILURE_JOBS)

    def parse(self, entry: Entry, project_id: str) -> Parsed:
        return (
            _TASK.parse(entry, project_id) if _TASK.detects(entry.value) else super().parse(entry, project_id)
        )

    def keeps(self, kept: Kept) -> bool:
        return super().keeps(kept) and not _TASK.detects(kept.source)

    def told(self, job: Job | JobReport, details: Details | None, before: JobReport | None) -> dict[str, Any]:
        found = super().told(job, details, before)
        found["entities"] = found["entities"] or {}
        return found

    def render_list(self, jobs: Sequence[WholeJob]) -> str:
        return dump({"count": len(jobs), _FAILURE_JOBS: [_TASK.document(whole) for whole in jobs]})


_TASK: Final = _FailedTask()
FORMS: Final = (SdrsFormat(),)
