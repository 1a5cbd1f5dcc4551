"""What readers ask, checked and in the service's own words.

Every function names all faults of its request in one `InvalidRequest`. Output-only fields are not looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from google.protobuf.duration_pb2 import Duration

from jobstatus import v1 as pb
from jobstatus_grpc.convert.faults import (
    Faults,
    HasJobKey,
    check_id,
    read_job_key,
    read_labels,
    read_project_id,
    read_text,
)
from jobstatus_grpc.model import (
    Delivery,
    GranuleKey,
    GranuleState,
    JobKey,
    JobState,
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


_DELIVERIES: Final = {
    pb.DELIVERY_UNSPECIFIED: Delivery.EVERY_CHANGE,
    pb.DELIVERY_EVERY_CHANGE: Delivery.EVERY_CHANGE,
    pb.DELIVERY_LATEST: Delivery.LATEST,
    pb.DELIVERY_NONE: Delivery.NONE,
}
_VIEWS: Final = frozenset(pb.JobView.values())
_JOB_STATES: Final = tuple(JobState)
_GRANULE_STATES: Final = tuple(GranuleState)
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


class GetGranuleStatus(NamedTuple):
    """What GetGranuleStatus is asked.

    Attributes:
        key: the job; with an empty id that of the project which requested the granule last.
        granule: the granule.
    """

    key: JobKey
    granule: GranuleKey


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
        parent_job_id: the job whose direct sub-jobs are listed; empty for jobs that are no parts of others.
    """

    project_id: str
    limit: int
    page_token: bytes
    states: list[JobState]
    system: str
    job_type: str
    labels: Mapping[str, str]
    parent_job_id: str


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


def job_key(request: HasJobKey) -> JobKey:
    """Return which job `request` is about.

    Raises:
        InvalidRequest: an id breaks the contract.
    """
    faults = Faults()
    key = read_job_key(request, faults)
    faults.check()
    return key


def get_job_status(request: pb.GetJobStatusRequest) -> GetJobStatus:
    """Return what GetJobStatus is asked.

    Raises:
        InvalidRequest: the request breaks the contract.
    """
    faults = Faults()
    key = read_job_key(request, faults)
    limit = _page_limit(request.page_size, GRANULE_PAGE, MAX_GRANULE_PAGE, faults)
    numbers = _known(request.granule_states, len(_GRANULE_STATES), "granule_states", faults)
    if request.view not in _VIEWS:
        faults.add("view", f"{request.view} is not a view")
    faults.check()
    states = [_GRANULE_STATES[number] for number in numbers]
    return GetJobStatus(key, limit, request.page_token, states, request.view == pb.JOB_VIEW_BASIC)


def get_granule_status(request: pb.GetGranuleStatusRequest) -> GetGranuleStatus:
    """Return what GetGranuleStatus is asked.

    Raises:
        InvalidRequest: the request breaks the contract.
    """
    faults = Faults()
    project_id = read_project_id(request.project_id, faults)
    if request.HasField("job_id"):
        check_id(request.job_id, "job_id", faults)
    if request.collection_id:
        check_id(request.collection_id, "collection_id", faults)
    check_id(request.granule_id, "granule_id", faults)
    faults.check()
    return GetGranuleStatus(
        JobKey(project_id, request.job_id), GranuleKey(request.collection_id, request.granule_id)
    )


def list_jobs(request: pb.ListJobsRequest) -> ListJobs:
    """Return what ListJobs is asked.

    Raises:
        InvalidRequest: the request breaks the contract.
    """
    faults = Faults()
    project_id = read_project_id(request.project_id, faults)
    limit = _page_limit(request.page_size, JOB_PAGE, MAX_JOB_PAGE, faults)
    numbers = _known(request.states, len(_JOB_STATES), "states", faults)
    read_text(request.system, "system", faults)
    read_text(request.job_type, "job_type", faults)
    labels = read_labels(request.labels, faults)
    parent = request.parent_job_id
    if parent:
        check_id(parent, "parent_job_id", faults)
    faults.check()
    states = [_JOB_STATES[number] for number in numbers]
    token = request.page_token
    return ListJobs(project_id, limit, token, states, request.system, request.job_type, labels, parent)


def watch_job(request: pb.WatchJobRequest) -> WatchJob:
    """Return what WatchJob is asked.

    Raises:
        InvalidRequest: the request breaks the contract.
    """
    faults = Faults()
    key = read_job_key(request, faults)
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


def _page_limit(page_size: int, default: int, most: int, faults: Faults) -> int:
    if page_size < 0:
        faults.add("page_size", "is negative")
    return min(page_size or default, most)


def _known(numbers: Iterable[int], count: int, field: str, faults: Faults) -> Collection[int]:
    """Return `numbers`, each once and in order, if all are among the first `count` of an enum."""
    for index, number in enumerate(numbers):
        if not 0 <= number < count:
            faults.add(f"{field}[{index}]", f"{number} is not a state")
    return sorted(set(numbers))


def _seconds(request: pb.WatchJobRequest, field: str, default: float, least: float, faults: Faults) -> float:
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
