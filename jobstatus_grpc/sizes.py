"""How many bytes things take on the wire: what their limits, and those of frames, are kept by. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from jobstatus_grpc.model import (
    Change,
    Details,
    DetailValue,
    FileReport,
    Granule,
    GranuleFile,
    ItemError,
    Job,
    SubJob,
    text_bytes,
)


def _error_bytes(error: ItemError | None) -> int:
    return 0 if error is None else 8 + text_bytes(error.code) + text_bytes(error.reason)


def granule_bytes(granule: Granule) -> int:
    """Return an upper bound of the bytes `granule` takes in a frame.

    The texts as they are, and 96 for all numbers, times, tags and lengths.
    """
    texts = (
        granule.collection_id + granule.granule_id + (granule.native_state or "") + (granule.message or "")
    )
    return 96 + text_bytes(texts) + _error_bytes(granule.error)


def file_bytes(file: GranuleFile | FileReport) -> int:
    """Return an upper bound of the bytes `file` takes in a message.

    The texts as they are, and 96 for all numbers, times, tags and lengths.
    """
    texts = file.file_name + (file.native_state or "") + (file.restore_destination or "")
    return 96 + text_bytes(texts) + _error_bytes(file.error)


def job_bytes(job: Job) -> int:
    """Return an upper bound of the bytes `job` takes in a frame.

    The texts as they are, 16 for each label, and 192 for all numbers, times, tags and lengths.
    """
    return (
        192
        + text_bytes(job.project_id)
        + text_bytes(job.job_id)
        + text_bytes(job.parent_job_id)
        + text_bytes(job.system)
        + text_bytes(job.job_type)
        + text_bytes(job.native_state)
        + text_bytes(job.description)
        + text_bytes(job.message)
        + _error_bytes(job.error)
        + sum(16 + text_bytes(key) + text_bytes(value) for key, value in job.labels.items())
    )


def details_bytes(details: Details) -> int:
    """Return an upper bound of the bytes `details` take in a frame.

    The texts as they are, and 16 for each number, tag and length.
    """
    return 16 + _value_bytes(details.fields)


def _value_bytes(value: DetailValue) -> int:
    if isinstance(value, str):
        return text_bytes(value)
    if isinstance(value, int):
        return 0
    if isinstance(value, Mapping):
        return sum(48 + text_bytes(key) + _value_bytes(inner) for key, inner in value.items())
    return sum(16 + _value_bytes(inner) for inner in value)


def own_bytes(job: Job) -> int:
    """Return an upper bound of the bytes `job` takes in a frame with its details."""
    return job_bytes(job) + job.details_bytes


def change_bytes(change: Change) -> int:
    """Return an upper bound of the bytes `change` takes in a frame."""
    item = change.item
    if isinstance(item, Granule):
        return 32 + granule_bytes(item)
    return 32 + job_bytes(item.job if isinstance(item, SubJob) else item)
