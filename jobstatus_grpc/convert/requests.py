"""What callers send, checked and in the service's own words.

Every function names all faults of its request in one `InvalidRequest`. Output-only fields are not looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from jobstatus import v1 as pb
from jobstatus_grpc.errors import INVALID, MISSING, InvalidRequest, Violation
from jobstatus_grpc.model import (
    DEFAULT_PROJECT,
    MAX_ID_BYTES,
    MAX_REPORT_BYTES,
    MAX_REPORT_GRANULES,
    Delivery,
    GranuleReport,
    GranuleState,
    ItemError,
    JobKey,
    JobReport,
    JobState,
    Report,
    text_bytes,
)

GRANULE_PAGE: Final = 1_000
MAX_GRANULE_PAGE: Final = 10_000
JOB_PAGE: Final = 100
MAX_JOB_PAGE: Final = 1_000
HEARTBEAT_SECONDS: Final = 15.0
MIN_HEARTBEAT_SECONDS: Final = 1.0
PACE_SECONDS: Final = 1.0
MIN_PACE_SECONDS: Final = 0.1
MAX_INTERVAL_SECONDS: Final = 60.0

# Faults beyond these are not kept: the honest report with the most has fewer, and all that a hostile one
# can have take a gigabyte.
_MAX_FAULTS: Final = 100_000
_SHOWN_KEY_CHARS: Final = 64

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # Unicode's category Cc, which never grows.
_DELIVERIES: Final = {
    pb.DELIVERY_UNSPECIFIED: Delivery.EVERY_CHANGE,
    pb.DELIVERY_EVERY_CHANGE: Delivery.EVERY_CHANGE,
    pb.DELIVERY_LATEST: Delivery.LATEST,
    pb.DELIVERY_NONE: Delivery.NONE,
}
_JOB_STATES: Final = tuple(JobState)
_GRANULE_STATES: Final = tuple(GranuleState)
# 0001-01-01 and 9999-12-31T23:59:59 in seconds since 1970-01-01, as google.protobuf.Timestamp has them.
_MIN_SECONDS: Final = -62_135_596_800
_MAX_SECONDS: Final = 253_402_300_799
_MAX_NANOS: Final = 999_999_999
_MAX_DURATION_SECONDS: Final = 315_576_000_000


class GetJobStatus(NamedTuple):
    """What GetJobStatus is asked.

    Attributes:
        key: the job.
        limit: how many granules at most, 1 to 10,000.
        page_token: as received; empty for the first page.
        states: only granules in one of these, each named once; empty for all.
        basic: whether to leave the granules out.
    """

    key: JobKey
    limit: int
    page_token: bytes
    states: list[GranuleState]
    basic: bool


class ListJobs(NamedTuple):
    """What ListJobs is asked.

    Attributes:
        project_id: the project.
        limit: how many jobs at most, 1 to 1,000.
        page_token: as received; empty for the first page.
        states: only jobs in one of these, each named once; empty for all.
        system: only jobs of this system; empty for all.
        job_type: only jobs of this type; empty for all.
        labels: only jobs with all of these; empty for all.
    """

    project_id: str
    limit: int
    page_token: bytes
    states: list[JobState]
    system: str
    job_type: str
    labels: Mapping[str, str]


class WatchJob(NamedTuple):
    """What WatchJob is asked.

    Attributes:
        key: the job.
        resume_token: as received; empty to start with a snapshot.
        delivery: how changes are delivered.
        min_interval: the pace of a paced delivery, in seconds, 0.1 to 60.
        wait_for_job: whether to wait for a job that nobody has reported.
        snapshot_only: whether to end after the snapshot, or after the changes up to now.
        max_frames: how many frames at most; 0 for no limit.
        heartbeat_interval: the longest silence, in seconds, 1 to 60.
    """

    key: JobKey
    resume_token: bytes
    delivery: Delivery
    min_interval: float
    wait_for_job: bool
    snapshot_only: bool
    max_frames: int
    heartbeat_interval: float


class HasJobKey(Protocol):
    """Any request about one job."""

    @property
    def project_id(self) -> str:
        """The project; empty for the default."""

    @property
    def job_id(self) -> str:
        """The job."""


def report_job(request: pb.ReportJobRequest) -> Report:
    """Return what ReportJob is told.

    Raises:
        InvalidRequest: the request breaks the contract.
    """
    faults = _Faults()
    job = JobReport("", "")
    if request.HasField("job"):
        job = _job(request.job, faults)
        faults.place("job.")
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
    faults = _Faults()
    key = _job_key(request, faults)
    if not request.granules:
        faults.add("granules", "is required", MISSING)
    granules = _granules(request, faults)
    faults.check()
    return Report(key, None, granules, request.authoritative)


def job_key(request: HasJobKey) -> JobKey:
    """Return which job `request` is about.

    Raises:
        InvalidRequest: an id breaks the contract.
    """
    faults = _Faults()
    key = _job_key(request, faults)
    faults.check()
    return key


def get_job_status(request: pb.GetJobStatusRequest) -> GetJobStatus:
    """Return what GetJobStatus is asked.

    Raises:
        InvalidRequest: the request breaks the contract.
    """
    faults = _Faults()
    key = _job_key(request, faults)
    limit = _page_limit(request.page_size, GRANULE_PAGE, MAX_GRANULE_PAGE, faults)
    numbers = _known(request.granule_states, len(_GRANULE_STATES), "granule_states", faults)
    if request.view not in pb.JobView.values():
        faults.add("view", f"{request.view} is not a view")
    faults.check()
    states = [_GRANULE_STATES[number] for number in numbers]
    return GetJobStatus(key, limit, request.page_token, states, request.view == pb.JOB_VIEW_BASIC)


def list_jobs(request: pb.ListJobsRequest) -> ListJobs:
    """Return what ListJobs is asked.

    Raises:
        InvalidRequest: the request breaks the contract.
    """
    faults = _Faults()
    project_id = _project_id(request.project_id, faults)
    limit = _page_limit(request.page_size, JOB_PAGE, MAX_JOB_PAGE, faults)
    numbers = _known(request.states, len(_JOB_STATES), "states", faults)
    _text(request.system, "system", faults)
    _text(request.job_type, "job_type", faults)
    labels = _labels(request.labels, faults)
    faults.check()
    states = [_JOB_STATES[number] for number in numbers]
    return ListJobs(project_id, limit, request.page_token, states, request.system, request.job_type, labels)


def watch_job(request: pb.WatchJobRequest) -> WatchJob:
    """Return what WatchJob is asked.

    Raises:
        InvalidRequest: the request breaks the contract.
    """
    faults = _Faults()
    key = _job_key(request, faults)
    if request.max_frames < 0:
        faults.add("max_frames", "is negative")
    if request.delivery not in _DELIVERIES:
        faults.add("delivery", f"{request.delivery} is not a delivery")
    pace = _seconds(request, "min_interval", PACE_SECONDS, MIN_PACE_SECONDS, faults)
    heartbeat = _seconds(request, "heartbeat_interval", HEARTBEAT_SECONDS, MIN_HEARTBEAT_SECONDS, faults)
    faults.check()
    return WatchJob(
        key,
        request.resume_token,
        _DELIVERIES[request.delivery],
        pace,
        request.wait_for_job,
        request.snapshot_only,
        request.max_frames,
        heartbeat,
    )


class _Faults:
    """The faults found so far.

    A part of a request is read without knowing where in it it stands, so that a faultless granule costs no
    path; whoever reads the part then places the faults that came up.
    """

    def __init__(self) -> None:
        self.found: list[Violation] = []
        self.placed = 0

    def add(self, field: str, description: str, reason: str = INVALID) -> None:
        if len(self.found) < _MAX_FAULTS:
            self.found.append(Violation(field, description, reason))

    def place(self, prefix: str) -> None:
        """Put `prefix` before the fields of the faults added since the last call of `place`."""
        for index in range(self.placed, len(self.found)):
            fault = self.found[index]
            self.found[index] = fault._replace(field=prefix + fault.field)
        self.placed = len(self.found)

    def check(self) -> None:
        if self.found:
            raise InvalidRequest(self.found)


def _job_key(request: HasJobKey, faults: _Faults) -> JobKey:
    project_id = _project_id(request.project_id, faults)
    _check_id(request.job_id, "job_id", faults)
    return JobKey(project_id, request.job_id)


def _project_id(project_id: str, faults: _Faults) -> str:
    if not project_id:
        return DEFAULT_PROJECT
    _check_id(project_id, "project_id", faults)
    return project_id


def _job(job: pb.Job, faults: _Faults) -> JobReport:
    has = job.HasField
    key = _job_key(job, faults)
    native_state = _text(job.native_state, "native_state", faults) if has("native_state") else None
    state = _state(job.state if has("state") else None, native_state, len(_JOB_STATES), faults)
    return JobReport(
        key.project_id,
        key.job_id,
        _text(job.system, "system", faults) if has("system") else None,
        _text(job.job_type, "job_type", faults) if has("job_type") else None,
        None if state is None else _JOB_STATES[state],
        native_state,
        _attempt(job.attempt, faults) if has("attempt") else None,
        _text(job.description, "description", faults) if has("description") else None,
        _text(job.message, "message", faults) if has("message") else None,
        _error(job.error, faults) if has("error") else None,
        _time(job.begin_time, "begin_time", faults) if has("begin_time") else None,
        _time(job.end_time, "end_time", faults) if has("end_time") else None,
        job.granules_complete if has("granules_complete") else None,
        _labels(job.labels, faults) or None,
    )


def _granules(
    request: pb.ReportJobRequest | pb.ReportGranulesRequest, faults: _Faults
) -> list[GranuleReport]:
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


def _granule(granule: pb.Granule, faults: _Faults) -> GranuleReport:
    has = granule.HasField
    collection_id = granule.collection_id
    if collection_id:
        _check_id(collection_id, "collection_id", faults)
    granule_id = granule.granule_id
    _check_id(granule_id, "granule_id", faults)
    native_state = _text(granule.native_state, "native_state", faults) if has("native_state") else None
    state = _state(granule.state if has("state") else None, native_state, len(_GRANULE_STATES), faults)
    return GranuleReport(
        collection_id,
        granule_id,
        None if state is None else _GRANULE_STATES[state],
        native_state,
        _attempt(granule.attempt, faults) if has("attempt") else None,
        _error(granule.error, faults) if has("error") else None,
        _text(granule.message, "message", faults) if has("message") else None,
        _time(granule.request_time, "request_time", faults) if has("request_time") else None,
        _time(granule.end_time, "end_time", faults) if has("end_time") else None,
    )


def _check_id(text: str, field: str, faults: _Faults) -> None:
    # Nearly all ids are printable ASCII, and this tells it without encoding or searching.
    if text.isascii() and text.isprintable() and 0 < len(text) <= MAX_ID_BYTES:
        return
    if not text:
        faults.add(field, "is required", MISSING)
    elif fault := _id_fault(text):
        faults.add(field, fault)


def _id_fault(text: str) -> str | None:
    """Return what keeps a text from being an id."""
    if not text:
        return "is empty"
    size = text_bytes(text)
    if size > MAX_ID_BYTES:
        return f"takes {size} bytes, more than {MAX_ID_BYTES}"
    return "contains a control character" if _CONTROL.search(text) else None


def _text(text: str, field: str, faults: _Faults) -> str:
    if "\0" in text:
        faults.add(field, "contains a NUL character, which not every database can keep")
    return text


def _state(number: int | None, native_state: str | None, count: int, faults: _Faults) -> int | None:
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


def _attempt(attempt: int, faults: _Faults) -> int:
    if attempt < 1:
        faults.add("attempt", f"{attempt} is less than 1")
    return attempt


def _error(error: pb.ItemError, faults: _Faults) -> ItemError:
    return ItemError(
        _text(error.code, "error.code", faults) if error.HasField("code") else None,
        _text(error.reason, "error.reason", faults) if error.HasField("reason") else None,
    )


def _time(time: Timestamp, field: str, faults: _Faults) -> int:
    """Return `time` in microseconds; what is smaller is cut off."""
    seconds, nanos = time.seconds, time.nanos
    if not (_MIN_SECONDS <= seconds <= _MAX_SECONDS and 0 <= nanos <= _MAX_NANOS):
        faults.add(field, "is not a valid time from year 1 to 9999")
    return seconds * 1_000_000 + nanos // 1_000


def _labels(labels: Mapping[str, str], faults: _Faults) -> dict[str, str]:
    for key, value in labels.items():
        if fault := _id_fault(key):
            faults.add(f"labels[{json.dumps(key[:_SHOWN_KEY_CHARS])}]", f"the key {fault}")
        if "\0" in value:
            _text(value, f"labels[{json.dumps(key[:_SHOWN_KEY_CHARS])}]", faults)
    return dict(labels)


def _page_limit(page_size: int, default: int, most: int, faults: _Faults) -> int:
    if page_size < 0:
        faults.add("page_size", "is negative")
    return min(page_size or default, most)


def _known(numbers: Iterable[int], count: int, field: str, faults: _Faults) -> Collection[int]:
    """Return `numbers`, each once and in order, if all are among the first `count` of an enum."""
    for index, number in enumerate(numbers):
        if not 0 <= number < count:
            faults.add(f"{field}[{index}]", f"{number} is not a state")
    return sorted(set(numbers))


def _seconds(request: pb.WatchJobRequest, field: str, default: float, least: float, faults: _Faults) -> float:
    """Return an interval of a watch, in seconds; absent or 0 is the default."""
    duration: Duration = getattr(request, field)
    seconds, nanos = duration.seconds, duration.nanos
    too_large = abs(seconds) > _MAX_DURATION_SECONDS or abs(nanos) > _MAX_NANOS
    if too_large or seconds < 0 < nanos or nanos < 0 < seconds:
        faults.add(field, "is not a valid duration")
    elif seconds or nanos:
        interval = seconds + nanos / 1e9
        if least <= interval <= MAX_INTERVAL_SECONDS:
            return interval
        faults.add(field, f"is not from {least:g} to {MAX_INTERVAL_SECONDS:g} seconds")
    return default
