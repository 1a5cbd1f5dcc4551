from jobstatus.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReportJobRequest(_message.Message):
    __slots__ = ("job", "granules", "authoritative")
    JOB_FIELD_NUMBER: _ClassVar[int]
    GRANULES_FIELD_NUMBER: _ClassVar[int]
    AUTHORITATIVE_FIELD_NUMBER: _ClassVar[int]
    job: _resources_pb2.Job
    granules: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Granule]
    authoritative: bool
    def __init__(self, job: _Optional[_Union[_resources_pb2.Job, _Mapping]] = ..., granules: _Optional[_Iterable[_Union[_resources_pb2.Granule, _Mapping]]] = ..., authoritative: bool = ...) -> None: ...

class ReportJobResponse(_message.Message):
    __slots__ = ("revision", "totals", "state", "applied_count", "unchanged_count", "stale_count")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    STALE_COUNT_FIELD_NUMBER: _ClassVar[int]
    revision: int
    totals: _resources_pb2.GranuleTotals
    state: _resources_pb2.JobState
    applied_count: int
    unchanged_count: int
    stale_count: int
    def __init__(self, revision: _Optional[int] = ..., totals: _Optional[_Union[_resources_pb2.GranuleTotals, _Mapping]] = ..., state: _Optional[_Union[_resources_pb2.JobState, str]] = ..., applied_count: _Optional[int] = ..., unchanged_count: _Optional[int] = ..., stale_count: _Optional[int] = ...) -> None: ...

class ReportGranulesRequest(_message.Message):
    __slots__ = ("project_id", "job_id", "granules", "authoritative")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    GRANULES_FIELD_NUMBER: _ClassVar[int]
    AUTHORITATIVE_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    job_id: str
    granules: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Granule]
    authoritative: bool
    def __init__(self, project_id: _Optional[str] = ..., job_id: _Optional[str] = ..., granules: _Optional[_Iterable[_Union[_resources_pb2.Granule, _Mapping]]] = ..., authoritative: bool = ...) -> None: ...

class ReportGranulesResponse(_message.Message):
    __slots__ = ("revision", "totals", "state", "applied_count", "unchanged_count", "stale_count")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    STALE_COUNT_FIELD_NUMBER: _ClassVar[int]
    revision: int
    totals: _resources_pb2.GranuleTotals
    state: _resources_pb2.JobState
    applied_count: int
    unchanged_count: int
    stale_count: int
    def __init__(self, revision: _Optional[int] = ..., totals: _Optional[_Union[_resources_pb2.GranuleTotals, _Mapping]] = ..., state: _Optional[_Union[_resources_pb2.JobState, str]] = ..., applied_count: _Optional[int] = ..., unchanged_count: _Optional[int] = ..., stale_count: _Optional[int] = ...) -> None: ...

class DeleteJobRequest(_message.Message):
    __slots__ = ("project_id", "job_id")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    job_id: str
    def __init__(self, project_id: _Optional[str] = ..., job_id: _Optional[str] = ...) -> None: ...

class DeleteJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
