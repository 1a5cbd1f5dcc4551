"""What SDRS and SFS Turbo call alike: both are services of one cloud, and their jobs of one make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobstatus_grpc.formats.reader import Reader
from jobstatus_grpc.formats.tasks import TaskFormat
from jobstatus_grpc.model import ItemError, Job, JobReport, JobState


class HuaweiFormat(TaskFormat):
    """A form with `job_id`, `job_type`, `error_code` and `fail_reason`."""

    id_key = "job_id"
    state_key = "status"
    texts: Mapping[str, str] = {"job_type": "job_type"}
    times: Mapping[str, str] = {"begin_time": "begin_time", "end_time": "end_time"}
    fact_keys = ("error_code", "fail_reason")

    def read_error(self, reader: Reader, source: Mapping[str, Any], path: str, _state: JobState) -> ItemError:
        return ItemError(*(reader.text(source, key, path) for key in self.fact_keys))

    def facts(self, job: Job | JobReport, _before: JobReport | None) -> dict[str, Any]:
        code, reason = job.error or (None, None)
        return {"error_code": code, "fail_reason": reason}


def service_of(job: Mapping[str, Any]) -> str | None:
    """Return whose a job is by the look of it: `sdrs`, `sfs_turbo`, or `None` if it does not show."""
    for key, system in (("entities", "sdrs"), ("job_status", "sdrs"), ("sub_jobs", "sfs_turbo")):
        if key in job:
            return system
    status, begins = (job.get(key) for key in ("status", "begin_time"))
    if isinstance(status, str) and status.isupper() != status.islower():
        return "sdrs" if status.isupper() else "sfs_turbo"
    separator = begins[10:11] if isinstance(begins, str) else ""
    return {"T": "sdrs", " ": "sfs_turbo"}.get(separator)
