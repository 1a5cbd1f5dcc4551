"""What reporters send, checked and in the service's own words.

Every function names all faults of its request in one `InvalidRequest`. Output-only fields are not looked at.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from jobstatus import v1 as pb
from jobstatus_grpc.convert.details import MESSAGES, read_details
from jobstatus_grpc.convert.faults import Faults, check_id, read_job_key, read_labels, read_text
from jobstatus_grpc.errors import MISSING
from jobstatus_grpc.model import (
    MAX_GRANULE_FILES,
    MAX_REPORT_BYTES,
    MAX_REPORT_GRANULES,
    MAX_TREE_DEPTH,
    MAX_TREE_JOBS,
    Details,
    FileReport,
    GranuleReport,
    GranuleState,
    ItemError,
    JobKey,
    JobReport,
    JobState,
    Report,
    sub_job_id,
)

_JOB_STATES: Final = tuple(JobState)
_GRANULE_STATES: Final = tuple(GranuleState)
# 0001-01-01 and 9999-12-31T23:59:59 in seconds since 1970-01-01, as google.protobuf.Timestamp has them.
_MIN_SECONDS: Final = -62_135_596_800
_MAX_SECONDS: Final = 253_402_300_799
_MAX_NANOS: Final = 999_999_999


def report_job(request: pb.ReportJobRequest) -> Report:
    """Return what ReportJob is told.

    Raises:
        InvalidRequest: the request breaks the contract.
    """
    faults = Faults()
    job = JobReport("", "")
    if request.HasField("job"):
        job = _Tree(faults).read(request.job)
    else:
        faults.add("job", "is required", MISSING)
    granules = _granules(request, faults)
    faults.check()
    return Report(job.key, job, granules, request.authoritative)


def report_granules(request: pb.ReportGranulesRequest) -> Report:
    """Return what ReportGranules is told.

    Raises:
        InvalidRequest: the request breaks the contract.
    """
    faults = Faults()
    key = read_job_key(request, faults)
    if not request.granules:
        faults.add("granules", "is required", MISSING)
    granules = _granules(request, faults)
    faults.check()
    return Report(key, None, granules, request.authoritative)


class _Tree:
    """A reported job with its sub-jobs, and what is wrong with any of them."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._keys: set[JobKey] = set()

    def read(self, job: pb.Job) -> JobReport:
        """Return the job, and all below it."""
        key = read_job_key(job, self._faults)
        parent = job.parent_job_id if job.HasField("parent_job_id") else None
        if parent is not None:
            check_id(parent, "parent_job_id", self._faults)
            if parent == key.job_id:
                self._faults.add("parent_job_id", "is the job itself")
        return self._read(job, key, parent, "job.", 1)

    def _read(self, job: pb.Job, key: JobKey, parent: str | None, path: str, depth: int) -> JobReport:
        if key in self._keys:
            self._faults.add("job_id", "is that of another job of this report")
        elif len(self._keys) == MAX_TREE_JOBS:
            self._faults.add("job_id", f"is that of one job more than the {MAX_TREE_JOBS} of a tree")
        self._keys.add(key)
        read = _job(job, key, parent, self._faults)
        if depth == MAX_TREE_DEPTH and job.sub_jobs:
            self._faults.add("sub_jobs", f"are more than {MAX_TREE_DEPTH} jobs deep")
        self._faults.place(path)
        if depth == MAX_TREE_DEPTH or len(self._keys) > MAX_TREE_JOBS:
            return read
        parts = (self._part(part, key, place, path, depth + 1) for place, part in enumerate(job.sub_jobs))
        return read._replace(sub_jobs=tuple(parts))

    def _part(self, part: pb.Job, above: JobKey, place: int, path: str, depth: int) -> JobReport:
        """Return a part of a job: of its project, and named after its place if it has no name."""
        if part.project_id and part.project_id != above.project_id:
            self._faults.add("project_id", "is not that of the job it is a part of")
        if part.HasField("parent_job_id") and part.parent_job_id != above.job_id:
            self._faults.add("parent_job_id", "is not the job it stands in")
        job_id = part.job_id or sub_job_id(above.job_id, place + 1)
        check_id(job_id, "job_id", self._faults)
        key = JobKey(above.project_id, job_id)
        return self._read(part, key, above.job_id, f"{path}sub_jobs[{place}].", depth)


def _job(job: pb.Job, key: JobKey, parent: str | None, faults: Faults) -> JobReport:
    has = job.HasField
    native_state = read_text(job.native_state, "native_state", faults) if has("native_state") else None
    state = _state(job.state if has("state") else None, native_state, len(_JOB_STATES), faults)
    return JobReport(
        key.project_id,
        key.job_id,
        read_text(job.system, "system", faults) if has("system") else None,
        read_text(job.job_type, "job_type", faults) if has("job_type") else None,
        None if state is None else _JOB_STATES[state],
        native_state,
        _attempt(job.attempt, faults) if has("attempt") else None,
        read_text(job.description, "description", faults) if has("description") else None,
        read_text(job.message, "message", faults) if has("message") else None,
        _error(job.error, faults) if has("error") else None,
        _time(job.begin_time, "begin_time", faults) if has("begin_time") else None,
        _time(job.end_time, "end_time", faults) if has("end_time") else None,
        job.granules_complete if has("granules_complete") else None,
        read_labels(job.labels, faults) or None,
        parent,
        _details(job, faults),
    )


def _details(job: pb.Job, faults: Faults) -> Details | None:
    system = job.WhichOneof("details")
    if system is None:
        return None
    if job.system in MESSAGES and job.system != system:
        faults.add(system, f"are not details of the job's system, which is '{job.system}'")
    return read_details(system, getattr(job, system), faults)


def _granules(request: pb.ReportJobRequest | pb.ReportGranulesRequest, faults: Faults) -> list[GranuleReport]:
    size, count = request.ByteSize(), len(request.granules)
    if size > MAX_REPORT_BYTES:
        faults.add("request", f"takes {size} bytes, more than {MAX_REPORT_BYTES}")
    if count > MAX_REPORT_GRANULES:
        faults.add("granules", f"are {count}, more than {MAX_REPORT_GRANULES}")
    faults.place("")
    reports = []
    for granule in request.granules[:MAX_REPORT_GRANULES]:
        reports.append(_granule(granule, faults))
        if faults.placed != len(faults.found):
            faults.place(f"granules[{len(reports) - 1}].")
    return reports


def _granule(granule: pb.Granule, faults: Faults) -> GranuleReport:
    has = granule.HasField
    collection_id = granule.collection_id
    if collection_id:
        check_id(collection_id, "collection_id", faults)
    granule_id = granule.granule_id
    check_id(granule_id, "granule_id", faults)
    native_state = read_text(granule.native_state, "native_state", faults) if has("native_state") else None
    state = _state(granule.state if has("state") else None, native_state, len(_GRANULE_STATES), faults)
    return GranuleReport(
        collection_id,
        granule_id,
        None if state is None else _GRANULE_STATES[state],
        native_state,
        _attempt(granule.attempt, faults) if has("attempt") else None,
        _error(granule.error, faults) if has("error") else None,
        read_text(granule.message, "message", faults) if has("message") else None,
        _time(granule.request_time, "request_time", faults) if has("request_time") else None,
        _time(granule.end_time, "end_time", faults) if has("end_time") else None,
        files=_files(granule, faults) if granule.files else (),
    )


def _files(granule: pb.Granule, faults: Faults) -> list[FileReport]:
    count = len(granule.files)
    if count > MAX_GRANULE_FILES:
        faults.add("files", f"are {count}, more than {MAX_GRANULE_FILES}")
    files: dict[str, FileReport] = {}
    for index, file in enumerate(granule.files[:MAX_GRANULE_FILES]):
        local = Faults()
        read = _file(file, local)
        if read.file_name in files:
            local.add("file_name", "is that of another file of this granule")
        files[read.file_name] = read
        for fault in local.found:
            faults.add(f"files[{index}].{fault.field}", fault.description, fault.reason)
    return list(files.values())


def _file(file: pb.GranuleFile, faults: Faults) -> FileReport:
    has = file.HasField
    check_id(file.file_name, "file_name", faults)
    native_state = read_text(file.native_state, "native_state", faults) if has("native_state") else None
    state = _state(file.state if has("state") else None, native_state, len(_GRANULE_STATES), faults)
    destination = None
    if has("restore_destination"):
        destination = read_text(file.restore_destination, "restore_destination", faults)
    return FileReport(
        file.file_name,
        None if state is None else _GRANULE_STATES[state],
        native_state,
        destination,
        _error(file.error, faults) if has("error") else None,
        _attempt(file.attempt, faults) if has("attempt") else None,
        _time(file.request_time, "request_time", faults) if has("request_time") else None,
        _time(file.end_time, "end_time", faults) if has("end_time") else None,
    )


def _state(number: int | None, native_state: str | None, count: int, faults: Faults) -> int | None:
    """Return the number of a reported state; `None` if none is reported."""
    if number is not None and not 0 <= number < count:
        faults.add("state", f"{number} is not a state")
        return None
    if number:
        return number
    if native_state == "":
        # It would say that the system's word has no counterpart here, and that there is no word.
        faults.add("native_state", "is empty and there is no state beside it")
    return None if native_state is None else number


def _attempt(attempt: int, faults: Faults) -> int:
    if attempt < 1:
        faults.add("attempt", f"{attempt} is less than 1")
    return attempt


def _error(error: pb.ItemError, faults: Faults) -> ItemError:
    return ItemError(
        read_text(error.code, "error.code", faults) if error.HasField("code") else None,
        read_text(error.reason, "error.reason", faults) if error.HasField("reason") else None,
    )


def _time(time: Timestamp, field: str, faults: Faults) -> int:
    """Return `time` in microseconds; what is smaller is cut off."""
    seconds, nanos = time.seconds, time.nanos
    if not (_MIN_SECONDS <= seconds <= _MAX_SECONDS and 0 <= nanos <= _MAX_NANOS):
        faults.add(field, "is not a valid time from year 1 to 9999")
    return seconds * 1_000_000 + nanos // 1_000
