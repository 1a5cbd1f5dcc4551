"""What S3 Glacier tells of a job: DescribeJob, the list of ListJobs, and the message to an SNS topic.

Two forms of it are about: the body of the HTTP answer, which writes nulls, here `glacier`, and what boto3 and
the AWS CLI make of it, which leaves them out, here `glacier-boto3`. Either parses both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from jobstatus_grpc.errors import MISSING, InvalidRequest, JobNotFound, JobStatusError
from jobstatus_grpc.formats import times
from jobstatus_grpc.formats.base import Entry, ErrorAnswer
from jobstatus_grpc.formats.failures import Failure, failure_of, words_of
from jobstatus_grpc.formats.glacier_shapes import DETAILS
from jobstatus_grpc.formats.lists import check_around, list_entries
from jobstatus_grpc.formats.reader import Reader
from jobstatus_grpc.formats.tasks import TaskFormat
from jobstatus_grpc.json_text import dump, load, member
from jobstatus_grpc.model import ItemError, Job, JobReport, JobState, WholeJob

SYSTEM: Final = "glacier"

_JOB_LIST: Final = "JobList"
_RESPONSE: Final = "ResponseMetadata"
_MESSAGE: Final = "StatusMessage"
_COMPLETED: Final = "Completed"
_MODEL_ORDER: Final = (
    *(
        "JobId",
        "JobDescription",
        "Action",
        "ArchiveId",
        "VaultARN",
        "CreationDate",
        "Completed",
        "StatusCode",
    ),
    *("StatusMessage", "ArchiveSizeInBytes", "InventorySizeInBytes", "SNSTopic", "CompletionDate"),
    *("SHA256TreeHash", "ArchiveSHA256TreeHash", "RetrievalByteRange", "Tier"),
    *("InventoryRetrievalParameters", "JobOutputPath", "SelectParameters", "OutputLocation"),
)
_ANSWERS: Final[Mapping[Failure, tuple[int, str]]] = {
    Failure.INVALID: (400, "InvalidParameterValueException"),
    Failure.CONFLICT: (400, "InvalidParameterValueException"),
    Failure.UNAUTHENTICATED: (400, "UnrecognizedClientException"),
    Failure.FORBIDDEN: (403, "AccessDeniedException"),
    Failure.NOT_FOUND: (404, "ResourceNotFoundException"),
    Failure.EXHAUSTED: (400, "ThrottlingException"),
    Failure.UNAVAILABLE: (500, "ServiceUnavailableException"),
    Failure.DEADLINE: (408, "RequestTimeoutException"),
    Failure.NOT_SERVED: (400, "NoLongerSupportedException"),
    Failure.INTERNAL: (500, "ServiceUnavailableException"),
}


class GlacierFormat(TaskFormat):
    """One of the forms of Glacier's description of a job.

    Args:
        name: the form's name.
        nulls: whether it writes nulls.
    """

    system = SYSTEM
    id_key = "JobId"
    state_key = "StatusCode"
    states: Mapping[str, JobState] = {
        "InProgress": JobState.RUNNING,
        "Succeeded": JobState.SUCCEEDED,
        "Failed": JobState.FAILED,
    }
    texts: Mapping[str, str] = {"Action": "job_type", "JobDescription": "description", _MESSAGE: "message"}
    times: Mapping[str, str] = {"CreationDate": "begin_time", "CompletionDate": "end_time"}
    fact_keys = (_COMPLETED,)
    shape = DETAILS
    ignored = (_RESPONSE,)

    def __init__(self, name: str, nulls: bool) -> None:
        self.name = name
        self.nulls = nulls
        # The service writes the keys in the order of their bytes, boto3 in that of its model.
        self.order = sorted(_MODEL_ORDER) if nulls else _MODEL_ORDER

    def write_time(self, time: int) -> str:
        return times.milliseconds(time)

    def read_error(self, reader: Reader, source: Mapping[str, Any], path: str, state: JobState) -> ItemError:
        completed = source.get(_COMPLETED)
        if completed is not None and not isinstance(completed, bool):
            reader.fault(member(path, _COMPLETED), "must be true or false")
        reason = source.get(_MESSAGE)
        told = state is JobState.FAILED and isinstance(reason, str) and reason
        return ItemError(None, reason if told else None)

    def facts(self, job: Job | JobReport, before: JobReport | None) -> dict[str, Any]:
        return {_COMPLETED: JobState(job.state or 0).terminal, _MESSAGE: _status_message(job, before)}

    def untold(self, source: Mapping[str, Any], state: JobState) -> Sequence[str]:
        # Glacier's own words may contradict each other; the state follows the code.
        return () if source.get(_COMPLETED) in (None, state.terminal) else (_COMPLETED,)

    def own_form(self, source: Mapping[str, Any]) -> str:
        has_nulls, of_boto3 = None in source.values(), _RESPONSE in source
        if has_nulls == of_boto3:
            return self.name
        return RAW if has_nulls else BOTO3

    def detects(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        if self.id_key in value:
            # Of a body of HTTP hardly any has a value for every key.
            return self.name == (RAW if None in value.values() else BOTO3)
        return _JOB_LIST in value or _is_notification(value) or ("code" in value and "type" in value)

    def entries(self, entry: Entry) -> Sequence[Entry]:
        return [_message(entry)] if _is_notification(entry.value) else list_entries(entry, _JOB_LIST)

    def render_list(self, jobs: Sequence[WholeJob]) -> str:
        marker: dict[str, Any] = {"Marker": None} if self.nulls else {}
        return dump({_JOB_LIST: [self.document(whole) for whole in jobs], **marker})

    def render_error(self, error: JobStatusError, _request_id: str) -> ErrorAnswer:
        status, code = _ANSWERS[failure_of(error)]
        words = words_of(error)
        if isinstance(error, InvalidRequest) and error.reason == MISSING:
            code = "MissingParameterValueException"
        if isinstance(error, JobNotFound):
            words = f"The job ID was not found: {error.metadata['job_id']}"
        kind = "Server" if status >= 500 else "Client"
        return ErrorAnswer(status, {"code": code, "message": words, "type": kind})


def _status_message(job: Job | JobReport, before: JobReport | None) -> str | None:
    """Return what StatusMessage says: of message and, if it failed, reason of a job the one that is news."""
    reason = job.error.reason if job.error is not None and job.state is JobState.FAILED else None
    if job.message is None or (before is not None and before.message == job.message):
        return reason or job.message
    return job.message


def _is_notification(value: Any) -> bool:
    """Return whether SNS has put a description into a message of its own."""
    return (
        isinstance(value, dict)
        and value.get("Type") == "Notification"
        and isinstance(value.get("Message"), str)
    )


def _message(entry: Entry) -> Entry:
    path = member(entry.path, "Message")
    check_around(entry, path)
    try:
        loaded = load(entry.value["Message"])
    except InvalidRequest as error:
        raise InvalidRequest([fault._replace(field=path) for fault in error.violations]) from None
    return Entry(loaded.value, path, loaded.marked)


RAW: Final = "glacier"
BOTO3: Final = "glacier-boto3"
FORMS: Final = (GlacierFormat(RAW, nulls=True), GlacierFormat(BOTO3, nulls=False))
