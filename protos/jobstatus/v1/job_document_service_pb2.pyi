from google.rpc import status_pb2 as _status_pb2
from jobstatus.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ImportJobsRequest(_message.Message):
    __slots__ = ("project_id", "format", "chunk")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    format: str
    chunk: bytes
    def __init__(self, project_id: _Optional[str] = ..., format: _Optional[str] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class ImportJobsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ImportedJob]
    def __init__(self, results: _Optional[_Iterable[_Union[ImportedJob, _Mapping]]] = ...) -> None: ...

class ImportedJob(_message.Message):
    __slots__ = ("path", "format", "job_id", "status", "revision", "totals", "state", "applied_count", "unchanged_count", "stale_count")
    PATH_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    STALE_COUNT_FIELD_NUMBER: _ClassVar[int]
    path: str
    format: str
    job_id: str
    status: _status_pb2.Status
    revision: int
    totals: _resources_pb2.GranuleTotals
    state: _resources_pb2.JobState
    applied_count: int
    unchanged_count: int
    stale_count: int
    def __init__(self, path: _Optional[str] = ..., format: _Optional[str] = ..., job_id: _Optional[str] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., revision: _Optional[int] = ..., totals: _Optional[_Union[_resources_pb2.GranuleTotals, _Mapping]] = ..., state: _Optional[_Union[_resources_pb2.JobState, str]] = ..., applied_count: _Optional[int] = ..., unchanged_count: _Optional[int] = ..., stale_count: _Optional[int] = ...) -> None: ...

class ExportJobRequest(_message.Message):
    __slots__ = ("project_id", "job_id", "format")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    job_id: str
    format: str
    def __init__(self, project_id: _Optional[str] = ..., job_id: _Optional[str] = ..., format: _Optional[str] = ...) -> None: ...

class ExportJobResponse(_message.Message):
    __slots__ = ("format", "revision", "chunk")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    format: str
    revision: int
    chunk: bytes
    def __init__(self, format: _Optional[str] = ..., revision: _Optional[int] = ..., chunk: _Optional[bytes] = ...) -> None: ...
