import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from jobstatus.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_VIEW_UNSPECIFIED: _ClassVar[JobView]
    JOB_VIEW_BASIC: _ClassVar[JobView]
    JOB_VIEW_FULL: _ClassVar[JobView]

class Delivery(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_UNSPECIFIED: _ClassVar[Delivery]
    DELIVERY_EVERY_CHANGE: _ClassVar[Delivery]
    DELIVERY_LATEST: _ClassVar[Delivery]
    DELIVERY_NONE: _ClassVar[Delivery]

class NewsMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NEWS_MODE_UNSPECIFIED: _ClassVar[NewsMode]
    NEWS_MODE_NOTIFY: _ClassVar[NewsMode]
    NEWS_MODE_POLL: _ClassVar[NewsMode]
JOB_VIEW_UNSPECIFIED: JobView
JOB_VIEW_BASIC: JobView
JOB_VIEW_FULL: JobView
DELIVERY_UNSPECIFIED: Delivery
DELIVERY_EVERY_CHANGE: Delivery
DELIVERY_LATEST: Delivery
DELIVERY_NONE: Delivery
NEWS_MODE_UNSPECIFIED: NewsMode
NEWS_MODE_NOTIFY: NewsMode
NEWS_MODE_POLL: NewsMode

class GetJobStatusRequest(_message.Message):
    __slots__ = ("project_id", "job_id", "page_size", "page_token", "granule_states", "view")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    GRANULE_STATES_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    job_id: str
    page_size: int
    page_token: bytes
    granule_states: _containers.RepeatedScalarFieldContainer[_resources_pb2.GranuleState]
    view: JobView
    def __init__(self, project_id: _Optional[str] = ..., job_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[bytes] = ..., granule_states: _Optional[_Iterable[_Union[_resources_pb2.GranuleState, str]]] = ..., view: _Optional[_Union[JobView, str]] = ...) -> None: ...

class GetJobStatusResponse(_message.Message):
    __slots__ = ("job", "granules", "next_page_token", "resume_token", "failures", "progress")
    JOB_FIELD_NUMBER: _ClassVar[int]
    GRANULES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    job: _resources_pb2.Job
    granules: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Granule]
    next_page_token: bytes
    resume_token: bytes
    failures: _resources_pb2.FailureDigest
    progress: _resources_pb2.Progress
    def __init__(self, job: _Optional[_Union[_resources_pb2.Job, _Mapping]] = ..., granules: _Optional[_Iterable[_Union[_resources_pb2.Granule, _Mapping]]] = ..., next_page_token: _Optional[bytes] = ..., resume_token: _Optional[bytes] = ..., failures: _Optional[_Union[_resources_pb2.FailureDigest, _Mapping]] = ..., progress: _Optional[_Union[_resources_pb2.Progress, _Mapping]] = ...) -> None: ...

class GetGranuleStatusRequest(_message.Message):
    __slots__ = ("project_id", "job_id", "collection_id", "granule_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    GRANULE_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    job_id: str
    collection_id: str
    granule_id: str
    def __init__(self, project_id: _Optional[str] = ..., job_id: _Optional[str] = ..., collection_id: _Optional[str] = ..., granule_id: _Optional[str] = ...) -> None: ...

class GetGranuleStatusResponse(_message.Message):
    __slots__ = ("project_id", "job_id", "granule")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    GRANULE_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    job_id: str
    granule: _resources_pb2.Granule
    def __init__(self, project_id: _Optional[str] = ..., job_id: _Optional[str] = ..., granule: _Optional[_Union[_resources_pb2.Granule, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("project_id", "page_size", "page_token", "states", "system", "job_type", "labels", "parent_job_id")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PARENT_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    page_size: int
    page_token: bytes
    states: _containers.RepeatedScalarFieldContainer[_resources_pb2.JobState]
    system: str
    job_type: str
    labels: _containers.ScalarMap[str, str]
    parent_job_id: str
    def __init__(self, project_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[bytes] = ..., states: _Optional[_Iterable[_Union[_resources_pb2.JobState, str]]] = ..., system: _Optional[str] = ..., job_type: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., parent_job_id: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Job]
    next_page_token: bytes
    def __init__(self, jobs: _Optional[_Iterable[_Union[_resources_pb2.Job, _Mapping]]] = ..., next_page_token: _Optional[bytes] = ...) -> None: ...

class BatchGetJobStatusRequest(_message.Message):
    __slots__ = ("project_id", "job_ids")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    job_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, project_id: _Optional[str] = ..., job_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchGetJobStatusResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[JobResult]
    def __init__(self, results: _Optional[_Iterable[_Union[JobResult, _Mapping]]] = ...) -> None: ...

class JobResult(_message.Message):
    __slots__ = ("job_id", "job", "status")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    job: _resources_pb2.Job
    status: _status_pb2.Status
    def __init__(self, job_id: _Optional[str] = ..., job: _Optional[_Union[_resources_pb2.Job, _Mapping]] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class WaitJobRequest(_message.Message):
    __slots__ = ("project_id", "job_id", "terminal", "any_failure", "done_share", "timeout", "wait_for_job")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    TERMINAL_FIELD_NUMBER: _ClassVar[int]
    ANY_FAILURE_FIELD_NUMBER: _ClassVar[int]
    DONE_SHARE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    WAIT_FOR_JOB_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    job_id: str
    terminal: bool
    any_failure: bool
    done_share: float
    timeout: _duration_pb2.Duration
    wait_for_job: bool
    def __init__(self, project_id: _Optional[str] = ..., job_id: _Optional[str] = ..., terminal: bool = ..., any_failure: bool = ..., done_share: _Optional[float] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., wait_for_job: bool = ...) -> None: ...

class WaitJobResponse(_message.Message):
    __slots__ = ("job", "done", "resume_token")
    JOB_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    job: _resources_pb2.Job
    done: bool
    resume_token: bytes
    def __init__(self, job: _Optional[_Union[_resources_pb2.Job, _Mapping]] = ..., done: bool = ..., resume_token: _Optional[bytes] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("project_id", "job_id", "resume_token", "delivery", "min_interval", "wait_for_job", "snapshot_only", "max_frames", "heartbeat_interval")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    MIN_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    WAIT_FOR_JOB_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ONLY_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAMES_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    job_id: str
    resume_token: bytes
    delivery: Delivery
    min_interval: _duration_pb2.Duration
    wait_for_job: bool
    snapshot_only: bool
    max_frames: int
    heartbeat_interval: _duration_pb2.Duration
    def __init__(self, project_id: _Optional[str] = ..., job_id: _Optional[str] = ..., resume_token: _Optional[bytes] = ..., delivery: _Optional[_Union[Delivery, str]] = ..., min_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., wait_for_job: bool = ..., snapshot_only: bool = ..., max_frames: _Optional[int] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WatchJobResponse(_message.Message):
    __slots__ = ("revision", "totals", "resume_token", "snapshot", "changes", "heartbeat", "reset", "reconnect", "completed")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    revision: int
    totals: _resources_pb2.GranuleTotals
    resume_token: bytes
    snapshot: Snapshot
    changes: Changes
    heartbeat: Heartbeat
    reset: Reset
    reconnect: Reconnect
    completed: Completed
    def __init__(self, revision: _Optional[int] = ..., totals: _Optional[_Union[_resources_pb2.GranuleTotals, _Mapping]] = ..., resume_token: _Optional[bytes] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., changes: _Optional[_Union[Changes, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., reset: _Optional[_Union[Reset, _Mapping]] = ..., reconnect: _Optional[_Union[Reconnect, _Mapping]] = ..., completed: _Optional[_Union[Completed, _Mapping]] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("job", "granules", "last")
    JOB_FIELD_NUMBER: _ClassVar[int]
    GRANULES_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    job: _resources_pb2.Job
    granules: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Granule]
    last: bool
    def __init__(self, job: _Optional[_Union[_resources_pb2.Job, _Mapping]] = ..., granules: _Optional[_Iterable[_Union[_resources_pb2.Granule, _Mapping]]] = ..., last: bool = ...) -> None: ...

class Changes(_message.Message):
    __slots__ = ("changes",)
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("revision", "change_time", "change_count", "granule", "job", "sub_job")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    CHANGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    GRANULE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    SUB_JOB_FIELD_NUMBER: _ClassVar[int]
    revision: int
    change_time: _timestamp_pb2.Timestamp
    change_count: int
    granule: GranuleChange
    job: _resources_pb2.Job
    sub_job: _resources_pb2.Job
    def __init__(self, revision: _Optional[int] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., change_count: _Optional[int] = ..., granule: _Optional[_Union[GranuleChange, _Mapping]] = ..., job: _Optional[_Union[_resources_pb2.Job, _Mapping]] = ..., sub_job: _Optional[_Union[_resources_pb2.Job, _Mapping]] = ...) -> None: ...

class GranuleChange(_message.Message):
    __slots__ = ("granule", "previous_state")
    GRANULE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_STATE_FIELD_NUMBER: _ClassVar[int]
    granule: _resources_pb2.Granule
    previous_state: _resources_pb2.GranuleState
    def __init__(self, granule: _Optional[_Union[_resources_pb2.Granule, _Mapping]] = ..., previous_state: _Optional[_Union[_resources_pb2.GranuleState, str]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("server_time", "lag", "last_report_time", "news_mode", "failures", "progress")
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    LAST_REPORT_TIME_FIELD_NUMBER: _ClassVar[int]
    NEWS_MODE_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    server_time: _timestamp_pb2.Timestamp
    lag: _duration_pb2.Duration
    last_report_time: _timestamp_pb2.Timestamp
    news_mode: NewsMode
    failures: _resources_pb2.FailureDigest
    progress: _resources_pb2.Progress
    def __init__(self, server_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., lag: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., last_report_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., news_mode: _Optional[_Union[NewsMode, str]] = ..., failures: _Optional[_Union[_resources_pb2.FailureDigest, _Mapping]] = ..., progress: _Optional[_Union[_resources_pb2.Progress, _Mapping]] = ...) -> None: ...

class Reset(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Reconnect(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Completed(_message.Message):
    __slots__ = ("job", "failures", "progress")
    JOB_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    job: _resources_pb2.Job
    failures: _resources_pb2.FailureDigest
    progress: _resources_pb2.Progress
    def __init__(self, job: _Optional[_Union[_resources_pb2.Job, _Mapping]] = ..., failures: _Optional[_Union[_resources_pb2.FailureDigest, _Mapping]] = ..., progress: _Optional[_Union[_resources_pb2.Progress, _Mapping]] = ...) -> None: ...
