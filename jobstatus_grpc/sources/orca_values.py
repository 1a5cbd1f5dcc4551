"""What is read of ORCA's recovery tables, and what it says in this service's words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from jobstatus_grpc.model import (
    MAX_FILES_BYTES,
    MAX_GRANULE_FILES,
    MAX_ID_BYTES,
    FileReport,
    Granule,
    GranuleFile,
    GranuleReport,
    GranuleState,
    ItemError,
    text_bytes,
)
from jobstatus_grpc.sizes import file_bytes

# recovery_status: the numbers are in the order in which a granule takes the least of its files'.
STATES: Final[Mapping[int, tuple[GranuleState, str]]] = {
    1: (GranuleState.PENDING, "pending"),
    2: (GranuleState.STAGED, "staged"),
    3: (GranuleState.FAILED, "error"),
    4: (GranuleState.SUCCEEDED, "success"),
}

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_MESSAGE: Final = 2_000
# There is an end to what a granule's files may take: their messages are told in short then, or not at all.
_SHORT_MESSAGES: Final = (_MAX_MESSAGE, 200, 0)


class RowKey(NamedTuple):
    """The key of recovery_job; `collection_id` is empty where the table has no such column."""

    job_id: str
    collection_id: str = ""
    granule_id: str = ""


class FileRow(NamedTuple):
    """A row of recovery_file. Times are microseconds since 1970."""

    filename: str
    status_id: int
    error_message: str | None
    restore_destination: str
    request_time: int
    completion_time: int | None


class GranuleRow(NamedTuple):
    """A row of recovery_job, with its files. Times are microseconds since 1970."""

    key: RowKey
    status_id: int
    request_time: int
    completion_time: int | None
    files: Sequence[FileRow] = ()


def storable(row: GranuleRow) -> bool:
    """Return whether the names of a granule and of its files are such as this service keeps."""
    ids = row.key if row.key.collection_id else (row.key.job_id, row.key.granule_id)
    return all(map(_is_name, ids)) and all(_is_name(file.filename) for file in row.files)


def _is_name(text: str) -> bool:
    return 0 < text_bytes(text) <= MAX_ID_BYTES and not _CONTROL.search(text)


def granule_report(row: GranuleRow) -> GranuleReport:
    """Return what a granule's row and those of its files say.

    The state of a granule that has files follows from theirs here as it does there. Of one in error the
    reason is the message of its first file that has one. Files that are more than a granule may have are not
    told: its state is what its own row says.
    """
    state, word = STATES.get(row.status_id, (GranuleState.UNSPECIFIED, str(row.status_id)))
    reason = None
    if state is GranuleState.FAILED:
        reason = next((file.error_message for file in row.files if _told(file)), None)
    return GranuleReport(
        row.key.collection_id,
        row.key.granule_id,
        state,
        word,
        # An empty one takes away what an earlier message of this attempt has left.
        error=ItemError(None, None if reason is None else cut(reason, _MAX_MESSAGE)),
        request_time=row.request_time,
        end_time=row.completion_time,
        files=_file_reports(row.files),
    )


def _file_reports(files: Sequence[FileRow]) -> Sequence[FileReport]:
    if len(files) <= MAX_GRANULE_FILES:
        for most in _SHORT_MESSAGES:
            reports = [_file_report(file, most) for file in files]
            if sum(map(file_bytes, reports)) <= MAX_FILES_BYTES:
                return reports
    return ()


def _file_report(file: FileRow, most: int) -> FileReport:
    state, word = STATES.get(file.status_id, (GranuleState.UNSPECIFIED, str(file.status_id)))
    reason = cut(file.error_message, most) if most and _told(file) and file.error_message else None
    return FileReport(
        file.filename,
        state,
        word,
        file.restore_destination,
        error=ItemError(None, reason),
        request_time=file.request_time,
        end_time=file.completion_time,
    )


def _told(file: FileRow) -> bool:
    return STATES.get(file.status_id, (None,))[0] is GranuleState.FAILED and bool(file.error_message)


def cut(text: str, most: int) -> str:
    """Return as much of a message as there is room for."""
    return text if len(text) <= most else f"{text[:most]}…"


def difference(theirs: GranuleReport, ours: Granule, files: Iterable[GranuleFile]) -> str:
    """Return in words how a granule and its files differ from what ORCA says; empty if they do not."""
    found = list(_differences(theirs, ours))
    held = {file.file_name: file for file in files}
    for file in theirs.files:
        here = held.pop(file.file_name, None)
        words = ["is not here"] if here is None else _differences(file, here)
        found += [f"file {file.file_name!r}: {each}" for each in words]
    found += [f"file {name!r}: is not in ORCA" for name in held]
    return "; ".join(found)


def _differences(theirs: GranuleReport | FileReport, ours: Granule | GranuleFile) -> Iterator[str]:
    pairs = {
        "state": (None if theirs.state is None else theirs.state.name, ours.state.name),
        "error": (theirs.error and theirs.error.reason, ours.error and ours.error.reason),
        "request_time": (theirs.request_time, ours.request_time),
        "end_time": (theirs.end_time, ours.end_time),
    }
    if isinstance(theirs, FileReport) and isinstance(ours, GranuleFile):
        pairs["restore_destination"] = (theirs.restore_destination, ours.restore_destination)
    for name, (one, other) in pairs.items():
        if one != other:
            yield f"{name} is {one!r} in ORCA, here {other!r}"
