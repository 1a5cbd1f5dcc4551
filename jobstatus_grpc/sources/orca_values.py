"""What is read of ORCA's recovery tables, and what it says in this service's words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from jobstatus_grpc.model import MAX_ID_BYTES, GranuleReport, GranuleState, ItemError, text_bytes

# recovery_status: the numbers are in the order in which a granule takes the least of its files'.
STATES: Final[Mapping[int, tuple[GranuleState, str]]] = {
    1: (GranuleState.PENDING, "pending"),
    2: (GranuleState.STAGED, "staged"),
    3: (GranuleState.FAILED, "error"),
    4: (GranuleState.SUCCEEDED, "success"),
}


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
    """Return whether the ids of a granule are such as this service keeps."""
    ids = row.key if row.key.collection_id else (row.key.job_id, row.key.granule_id)
    return all(one.isprintable() and 0 < text_bytes(one) <= MAX_ID_BYTES for one in ids)


def granule_report(row: GranuleRow) -> GranuleReport:
    """Return what a granule's row and those of its files say.

    Of a granule in error the reason is the message of its first file that has one.
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
        error=ItemError(None, None if reason is None else cut(reason)),
        request_time=row.request_time,
        end_time=row.completion_time,
    )


def _told(file: FileRow) -> bool:
    return STATES.get(file.status_id, (None,))[0] is GranuleState.FAILED and bool(file.error_message)


def cut(text: str) -> str:
    """Return as much of a message as a granule has room for."""
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}…"


_MAX_MESSAGE: Final = 2_000
