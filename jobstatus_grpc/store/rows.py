"""Rows of the tables to and from the model; the one place that knows the order of the columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import select

from jobstatus_grpc.model import (
    Change,
    FileTally,
    Granule,
    GranuleFile,
    GranuleKey,
    GranuleState,
    ItemError,
    Job,
    JobState,
    SubJob,
    SubJobs,
    Totals,
)
from jobstatus_grpc.pace import Pace
from jobstatus_grpc.store import schema
from jobstatus_grpc.store.base import StoredJob
from jobstatus_grpc.store.values import Tally

GRANULE_KIND: Final = 1
JOB_KIND: Final = 2
SUB_JOB_KIND: Final = 3

Row = Sequence[Any]


class TypedColumn(NamedTuple):
    """A column and its PostgreSQL type."""

    name: str
    type: str


# The columns in the order the functions below read and write them.
GRANULE_COLUMNS: Final = (
    TypedColumn("collection_id", "text"),
    TypedColumn("granule_id", "text"),
    TypedColumn("state", "smallint"),
    TypedColumn("native_state", "text"),
    TypedColumn("attempt", "integer"),
    TypedColumn("error_code", "text"),
    TypedColumn("error_reason", "text"),
    TypedColumn("message", "text"),
    TypedColumn("request_time", "bigint"),
    TypedColumn("end_time", "bigint"),
    TypedColumn("update_time", "bigint"),
    TypedColumn("revision", "bigint"),
)
# The name of a file, of any job.
FILE_KEY_COLUMNS: Final = (
    TypedColumn("job_pk", "bigint"),
    *GRANULE_COLUMNS[:2],
    TypedColumn("file_name", "text"),
)
FILE_COLUMNS: Final = (
    *FILE_KEY_COLUMNS,
    TypedColumn("state", "smallint"),
    TypedColumn("native_state", "text"),
    TypedColumn("restore_destination", "text"),
    TypedColumn("error_code", "text"),
    TypedColumn("error_reason", "text"),
    TypedColumn("attempt", "integer"),
    TypedColumn("request_time", "bigint"),
    TypedColumn("end_time", "bigint"),
    TypedColumn("update_time", "bigint"),
)
# What the files of a granule come to, as it is written.
TALLY_COLUMNS: Final = (*FILE_KEY_COLUMNS[:3], TypedColumn("files", "text"))
# A granule's document, as it is written.
DOCUMENT_COLUMNS: Final = (
    TypedColumn("job_pk", "bigint"),
    *GRANULE_COLUMNS[:2],
    TypedColumn("document", "text"),
)
COUNT_COLUMNS: Final = (
    TypedColumn("unspecified_count", "integer"),
    TypedColumn("pending_count", "integer"),
    TypedColumn("staged_count", "integer"),
    TypedColumn("succeeded_count", "integer"),
    TypedColumn("failed_count", "integer"),
)
CHANGE_COLUMNS: Final = (
    TypedColumn("revision", "bigint"),
    TypedColumn("commit_id", "bigint"),
    TypedColumn("change_time", "bigint"),
    TypedColumn("kind", "smallint"),
    TypedColumn("previous_state", "smallint"),
    *GRANULE_COLUMNS[:10],
    TypedColumn("job", "text"),
    *COUNT_COLUMNS,
)
# A row of the log as it is written.
LOG_COLUMNS: Final = (TypedColumn("job_pk", "bigint"), *CHANGE_COLUMNS)
JOB_COLUMNS: Final = tuple(
    schema.job.c[name]
    for name in [
        "job_pk",
        "commit_id",
        "last_report_time",
        "project_id",
        "job_id",
        "system",
        "job_type",
        "state",
        "native_state",
        "attempt",
        "description",
        "message",
        "error_code",
        "error_reason",
        "create_time",
        "begin_time",
        "end_time",
        "update_time",
        "unspecified_count",
        "pending_count",
        "staged_count",
        "succeeded_count",
        "failed_count",
        "granules_complete",
        "labels",
        "revision",
        "state_reported",
        "begin_time_reported",
        "end_time_reported",
        "parent_job_id",
        "sub_jobs",
        "root_pk",
        "details_bytes",
        "tally",
    ]
)
# Those of them that a report may change.
REPORTED_COLUMNS: Final = (
    *(
        column.name
        for column in JOB_COLUMNS[5:]
        if column.name not in {"create_time", "parent_job_id", "root_pk"}
    ),
    "commit_id",
    "last_report_time",
)
# And those that a new job has besides.
NEW_JOB_COLUMNS: Final = (
    *REPORTED_COLUMNS,
    *("project_id", "job_id", "create_time", "change_floor", "root_pk", "parent_pk", "parent_job_id"),
)
SELECT_JOB: Final = select(*JOB_COLUMNS)
# What a change of a sub-job keeps, and one of the job itself: its totals have columns of their own. Details
# are in no change.
_SUB_JOB_FIELDS: Final = tuple(
    field for field in Job._fields if field not in {"project_id", "sub_jobs", "details_bytes"}
)
_JOB_FIELDS: Final = tuple(
    field
    for field in _SUB_JOB_FIELDS
    if field not in {"job_id", "parent_job_id", "totals", "revision", "update_time"}
)
_GRANULE_STATES: Final = tuple(GranuleState)
_JOB_STATES: Final = tuple(JobState)


def granule_from_row(row: Row) -> Granule:
    """Return the granule in a row of GRANULE_COLUMNS."""
    collection, name, state, native, attempt, code, reason, message, request, end, update, revision = row
    error = None if code is None and reason is None else ItemError(code, reason)
    return Granule(
        collection,
        name,
        _GRANULE_STATES[state],
        native,
        attempt,
        error,
        message,
        request,
        end,
        update,
        revision,
    )


def granule_with_document(row: Row) -> Granule:
    """Return the granule in a row of GRANULE_COLUMNS and its document."""
    *columns, document = row
    granule = granule_from_row(columns)
    return granule if document is None else granule._replace(document=document)


def reported_granule(row: Row) -> Granule:
    """Return the granule in a row of GRANULE_COLUMNS, its document, and what its files come to."""
    *columns, files = row
    granule = granule_with_document(columns)
    return granule if files is None else granule._replace(files=FileTally(*json.loads(files)))


def tally_row(job_pk: int, key: GranuleKey, files: FileTally) -> Row:
    """Return the values of TALLY_COLUMNS."""
    return (job_pk, *key, json.dumps(files[:-1]))


def file_row(job_pk: int, key: GranuleKey, file: GranuleFile) -> Row:
    """Return the values of FILE_COLUMNS."""
    name, state, native, destination, error, *rest = file
    return (job_pk, *key, name, int(state), native, destination, *(error or _NO_ERROR), *rest)


def file_from_row(row: Row) -> GranuleFile:
    """Return the file in a row of FILE_COLUMNS from `file_name` on."""
    name, state, native, destination, code, reason, *rest = row
    error = None if code is None and reason is None else ItemError(code, reason)
    return GranuleFile(name, _GRANULE_STATES[state], native, destination, error, *rest)


def granules_from_json(document: str) -> list[Granule]:
    """Return the granules in a JSON array of rows of GRANULE_COLUMNS."""
    return list(map(granule_from_row, json.loads(document)))


_NO_ERROR: Final = ItemError()
_NO_SUB_JOBS: Final = SubJobs()
_NO_GRANULE: Final = (None,) * 10


def log_row(job_pk: int, change: Change) -> Row:
    """Return the values of LOG_COLUMNS."""
    revision, commit_id, change_time, item, before, totals = change
    if not isinstance(item, Granule):
        kind = JOB_KIND if isinstance(item, Job) else SUB_JOB_KIND
        document = (
            _document(item, _JOB_FIELDS) if isinstance(item, Job) else _document(item.job, _SUB_JOB_FIELDS)
        )
        return (job_pk, revision, commit_id, change_time, kind, None, *_NO_GRANULE, document, *totals)
    collection, name, state, native, attempt, error, message, request, end, *_ = item
    code, reason = error or _NO_ERROR
    previous = None if before is None else int(before)
    return (
        *(job_pk, revision, commit_id, change_time, GRANULE_KIND, previous),
        *(collection, name, int(state), native, attempt, code, reason, message, request, end),
        None,
        *totals,
    )


def change_from_row(row: Row, stored: StoredJob) -> Change:
    """Return the change in a row of CHANGE_COLUMNS of that job."""
    revision, commit_id, change_time, kind, previous = row[:5]
    totals = Totals._make(row[16:21])
    item: Granule | Job | SubJob
    if kind == GRANULE_KIND:
        item = granule_from_row((*row[5:15], change_time, revision))
    elif kind == SUB_JOB_KIND:
        item = SubJob(_from_document(row[15], project_id=stored.job.project_id))
    else:
        item = _from_document(
            row[15],
            project_id=stored.job.project_id,
            job_id=stored.job.job_id,
            parent_job_id=stored.job.parent_job_id,
            totals=totals,
            revision=revision,
            update_time=change_time,
        )
    before = None if previous is None else _GRANULE_STATES[previous]
    return Change(revision, commit_id, change_time, item, before, totals)


def changes_from_json(document: str, stored: StoredJob) -> list[Change]:
    """Return the changes in a JSON array of rows of CHANGE_COLUMNS of that job."""
    return [change_from_row(row, stored) for row in json.loads(document)]


def job_row(job: Job, pace: Pace | None, commit_id: int, last_report_time: int) -> Row:
    """Return the values of REPORTED_COLUMNS."""
    code, reason = job.error or (None, None)
    return (
        job.system,
        job.job_type,
        int(job.state),
        job.native_state,
        job.attempt,
        job.description,
        job.message,
        code,
        reason,
        job.begin_time,
        job.end_time,
        job.update_time,
        *job.totals,
        job.granules_complete,
        json.dumps(dict(job.labels), ensure_ascii=False),
        job.revision,
        job.state_reported,
        job.begin_time_reported,
        job.end_time_reported,
        json.dumps(job.sub_jobs) if job.sub_jobs.direct else None,
        job.details_bytes or None,
        json.dumps([job.revision, *(pace or ())]),
        commit_id,
        last_report_time,
    )


def new_job_row(job: Job, reported: Row, root_pk: int | None, parent_pk: int | None) -> Row:
    """Return the values of NEW_JOB_COLUMNS; `reported` are those of REPORTED_COLUMNS."""
    ids = (job.project_id, job.job_id, job.create_time, 1)
    return (*reported, *ids, root_pk, parent_pk, job.parent_job_id)


def stored_job_from_row(row: Row) -> StoredJob:
    """Return the job in a row of JOB_COLUMNS."""
    return StoredJob(
        row[0],
        row[1],
        row[2],
        Job(
            project_id=row[3],
            job_id=row[4],
            system=row[5],
            job_type=row[6],
            state=_JOB_STATES[row[7]],
            native_state=row[8],
            attempt=row[9],
            description=row[10],
            message=row[11],
            error=None if row[12] is None and row[13] is None else ItemError(row[12], row[13]),
            create_time=row[14],
            begin_time=row[15],
            end_time=row[16],
            update_time=row[17],
            totals=Totals._make(row[18:23]),
            granules_complete=bool(row[23]),
            labels=json.loads(row[24]),
            revision=row[25],
            state_reported=bool(row[26]),
            begin_time_reported=bool(row[27]),
            end_time_reported=bool(row[28]),
            parent_job_id=row[29],
            sub_jobs=_NO_SUB_JOBS if row[30] is None else SubJobs._make(json.loads(row[30])),
            details_bytes=row[32] or 0,
        ),
        row[0] if row[31] is None else row[31],
        None if row[33] is None else _tally(json.loads(row[33])),
    )


def _tally(numbers: Sequence[int]) -> Tally:
    return Tally(numbers[0], Pace._make(numbers[1:]) if numbers[1:] else None)


def stored_job_from_json(document: str) -> StoredJob:
    """Return the job in a JSON array of JOB_COLUMNS."""
    return stored_job_from_row(json.loads(document))


def _document(job: Job, fields: Sequence[str]) -> str:
    return json.dumps({field: getattr(job, field) for field in fields}, ensure_ascii=False)


def _from_document(document: str, **known: Any) -> Job:
    values = json.loads(document) | known
    values["state"] = _JOB_STATES[values["state"]]
    values["error"] = None if values["error"] is None else ItemError._make(values["error"])
    values["totals"] = Totals._make(values["totals"])
    return Job(**values)
