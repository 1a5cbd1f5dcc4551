"""Lists of documents: what is in them, and what is wrong around them."""

from __future__ import annotations

from collections.abc import Sequence

from jobstatus_grpc import json_text
from jobstatus_grpc.errors import InvalidRequest, Violation
from jobstatus_grpc.formats.base import Entry
from jobstatus_grpc.json_text import kind, member


def list_entries(entry: Entry, key: str) -> Sequence[Entry]:
    """Return the documents in a list under `key`; what has no such key is one document.

    Raises:
        InvalidRequest: there is something else under the key.
    """
    if not isinstance(entry.value, dict) or key not in entry.value:
        return [entry]
    path, jobs = member(entry.path, key), entry.value[key]
    check_around(entry, path)
    if not isinstance(jobs, list):
        raise InvalidRequest([Violation(path, f"must be an array, is {kind(jobs)}")])
    return [Entry(job, f"{path}[{index}]", entry.marked) for index, job in enumerate(jobs)]


def check_around(entry: Entry, path: str) -> None:
    """Raise InvalidRequest with the faults of a list's text that are not in the documents at `path`."""
    faults = json_text.faults(entry.value, entry.path) if entry.marked else ()
    around = [fault for fault in faults if not fault.field.startswith(f"{path}[")]
    if around:
        raise InvalidRequest(around)
