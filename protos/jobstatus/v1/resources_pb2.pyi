import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from jobstatus.v1 import details_pb2 as _details_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_PENDING: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]

class GranuleState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRANULE_STATE_UNSPECIFIED: _ClassVar[GranuleState]
    GRANULE_STATE_PENDING: _ClassVar[GranuleState]
    GRANULE_STATE_STAGED: _ClassVar[GranuleState]
    GRANULE_STATE_SUCCEEDED: _ClassVar[GranuleState]
    GRANULE_STATE_FAILED: _ClassVar[GranuleState]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_PENDING: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_FAILED: JobState
GRANULE_STATE_UNSPECIFIED: GranuleState
GRANULE_STATE_PENDING: GranuleState
GRANULE_STATE_STAGED: GranuleState
GRANULE_STATE_SUCCEEDED: GranuleState
GRANULE_STATE_FAILED: GranuleState

class Job(_message.Message):
    __slots__ = ("project_id", "job_id", "parent_job_id", "system", "job_type", "state", "native_state", "attempt", "description", "message", "error", "create_time", "begin_time", "end_time", "update_time", "totals", "granules_complete", "sub_jobs", "labels", "revision", "orca", "sdrs", "sfs_turbo", "glacier")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NATIVE_STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    BEGIN_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    GRANULES_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    SUB_JOBS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ORCA_FIELD_NUMBER: _ClassVar[int]
    SDRS_FIELD_NUMBER: _ClassVar[int]
    SFS_TURBO_FIELD_NUMBER: _ClassVar[int]
    GLACIER_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    job_id: str
    parent_job_id: str
    system: str
    job_type: str
    state: JobState
    native_state: str
    attempt: int
    description: str
    message: str
    error: ItemError
    create_time: _timestamp_pb2.Timestamp
    begin_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    totals: GranuleTotals
    granules_complete: bool
    sub_jobs: _containers.RepeatedCompositeFieldContainer[Job]
    labels: _containers.ScalarMap[str, str]
    revision: int
    orca: _details_pb2.OrcaDetails
    sdrs: _details_pb2.SdrsDetails
    sfs_turbo: _details_pb2.SfsTurboDetails
    glacier: _details_pb2.GlacierDetails
    def __init__(self, project_id: _Optional[str] = ..., job_id: _Optional[str] = ..., parent_job_id: _Optional[str] = ..., system: _Optional[str] = ..., job_type: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., native_state: _Optional[str] = ..., attempt: _Optional[int] = ..., description: _Optional[str] = ..., message: _Optional[str] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., begin_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., totals: _Optional[_Union[GranuleTotals, _Mapping]] = ..., granules_complete: bool = ..., sub_jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., revision: _Optional[int] = ..., orca: _Optional[_Union[_details_pb2.OrcaDetails, _Mapping]] = ..., sdrs: _Optional[_Union[_details_pb2.SdrsDetails, _Mapping]] = ..., sfs_turbo: _Optional[_Union[_details_pb2.SfsTurboDetails, _Mapping]] = ..., glacier: _Optional[_Union[_details_pb2.GlacierDetails, _Mapping]] = ...) -> None: ...

class Granule(_message.Message):
    __slots__ = ("collection_id", "granule_id", "state", "native_state", "attempt", "error", "message", "request_time", "end_time", "update_time", "revision", "files")
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    GRANULE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NATIVE_STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    collection_id: str
    granule_id: str
    state: GranuleState
    native_state: str
    attempt: int
    error: ItemError
    message: str
    request_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    revision: int
    files: _containers.RepeatedCompositeFieldContainer[GranuleFile]
    def __init__(self, collection_id: _Optional[str] = ..., granule_id: _Optional[str] = ..., state: _Optional[_Union[GranuleState, str]] = ..., native_state: _Optional[str] = ..., attempt: _Optional[int] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ..., message: _Optional[str] = ..., request_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revision: _Optional[int] = ..., files: _Optional[_Iterable[_Union[GranuleFile, _Mapping]]] = ...) -> None: ...

class GranuleFile(_message.Message):
    __slots__ = ("file_name", "state", "native_state", "restore_destination", "error", "attempt", "request_time", "end_time", "update_time")
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NATIVE_STATE_FIELD_NUMBER: _ClassVar[int]
    RESTORE_DESTINATION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    file_name: str
    state: GranuleState
    native_state: str
    restore_destination: str
    error: ItemError
    attempt: int
    request_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, file_name: _Optional[str] = ..., state: _Optional[_Union[GranuleState, str]] = ..., native_state: _Optional[str] = ..., restore_destination: _Optional[str] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ..., attempt: _Optional[int] = ..., request_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GranuleTotals(_message.Message):
    __slots__ = ("pending_count", "staged_count", "succeeded_count", "failed_count", "unspecified_count")
    PENDING_COUNT_FIELD_NUMBER: _ClassVar[int]
    STAGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNSPECIFIED_COUNT_FIELD_NUMBER: _ClassVar[int]
    pending_count: int
    staged_count: int
    succeeded_count: int
    failed_count: int
    unspecified_count: int
    def __init__(self, pending_count: _Optional[int] = ..., staged_count: _Optional[int] = ..., succeeded_count: _Optional[int] = ..., failed_count: _Optional[int] = ..., unspecified_count: _Optional[int] = ...) -> None: ...

class ItemError(_message.Message):
    __slots__ = ("code", "reason")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    code: str
    reason: str
    def __init__(self, code: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class FailureDigest(_message.Message):
    __slots__ = ("revision", "reasons", "other_count")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    OTHER_COUNT_FIELD_NUMBER: _ClassVar[int]
    revision: int
    reasons: _containers.RepeatedCompositeFieldContainer[FailureReason]
    other_count: int
    def __init__(self, revision: _Optional[int] = ..., reasons: _Optional[_Iterable[_Union[FailureReason, _Mapping]]] = ..., other_count: _Optional[int] = ...) -> None: ...

class FailureReason(_message.Message):
    __slots__ = ("code", "reason", "granule_count", "first_time", "last_time", "sample_granules")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRANULE_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_TIME_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_GRANULES_FIELD_NUMBER: _ClassVar[int]
    code: str
    reason: str
    granule_count: int
    first_time: _timestamp_pb2.Timestamp
    last_time: _timestamp_pb2.Timestamp
    sample_granules: _containers.RepeatedCompositeFieldContainer[GranuleKey]
    def __init__(self, code: _Optional[str] = ..., reason: _Optional[str] = ..., granule_count: _Optional[int] = ..., first_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sample_granules: _Optional[_Iterable[_Union[GranuleKey, _Mapping]]] = ...) -> None: ...

class GranuleKey(_message.Message):
    __slots__ = ("collection_id", "granule_id")
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    GRANULE_ID_FIELD_NUMBER: _ClassVar[int]
    collection_id: str
    granule_id: str
    def __init__(self, collection_id: _Optional[str] = ..., granule_id: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("ended_per_second", "estimated_end_time")
    ENDED_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_END_TIME_FIELD_NUMBER: _ClassVar[int]
    ended_per_second: float
    estimated_end_time: _timestamp_pb2.Timestamp
    def __init__(self, ended_per_second: _Optional[float] = ..., estimated_end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
