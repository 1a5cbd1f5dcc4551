"""A job and its sub-jobs in one document: where they stand, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from jobstatus_grpc.formats.base import Entry
from jobstatus_grpc.formats.kept import Kept
from jobstatus_grpc.formats.reader import Reader
from jobstatus_grpc.json_text import kind, member
from jobstatus_grpc.model import MAX_TREE_DEPTH, MAX_TREE_JOBS, WholeJob

SUB_JOBS: Final = "sub_jobs"


class Place(NamedTuple):
    """Where in a tree of a document a job stands."""

    path: str
    parent_job_id: str | None = None
    position: int = 1
    depth: int = 1


class Tree:
    """One document on its way into the reports of a job and its sub-jobs."""

    def __init__(self, entry: Entry, project_id: str) -> None:
        self.reader = Reader(entry)
        self.project_id = project_id
        self.root = entry.path
        self._found: dict[str, str] = {}

    def take(self, job_id: str, path: str) -> None:
        """Note where a job stands; no two may have one id."""
        first = self._found.setdefault(job_id, path)
        if first != path:
            # What has no id is a fault already.
            if job_id:
                self.reader.fault(path, f"is the same job as {first}: '{job_id}'")
        elif len(self._found) == MAX_TREE_JOBS + 1:
            self.reader.fault(self.root, f"has more than {MAX_TREE_JOBS} jobs")


def sub_jobs_in(
    reader: Reader, source: dict[str, Any], holder: Sequence[str], place: Place
) -> tuple[str, list[Any]] | None:
    """Return the array of sub-jobs in a document and its path; `None` if there is none.

    Args:
        reader: notes what is there instead.
        source: the document.
        holder: the keys that lead to the object with the array.
        place: where the document stands.
    """
    path, held = place.path, source
    for key in holder:
        path, value = member(path, key), held.get(key)
        inner = None if value is None or value == "" else reader.mapping(value, path)
        if inner is None:
            return None
        held = inner
    path, parts = f"{path}.{SUB_JOBS}", held.get(SUB_JOBS)
    if parts is None or parts == "":
        return None
    if not isinstance(parts, list):
        reader.fault(path, f"must be an array, is {kind(parts)}")
        return None
    if parts and place.depth == MAX_TREE_DEPTH:
        reader.fault(path, f"is deeper than {MAX_TREE_DEPTH} levels of jobs")
        return None
    return path, parts


def ordered(sub_jobs: Sequence[WholeJob], kept: Kept | None) -> list[WholeJob]:
    """Return sub-jobs in the order of the document that was kept, those it does not have after them.

    A sub-job that has a document, so came from its system, and is not in the latest one of its parent, is
    there no more.
    """
    if kept is None:
        return list(sub_jobs)
    known = {part.job.job_id: part for part in sub_jobs}
    listed = [known.pop(job_id) for job_id in kept.sub_jobs or () if job_id in known]
    return listed + [part for part in known.values() if part.document is None]


def placed(source: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """Return `source` with `value` under a path of keys; `None` takes the last of them away."""
    key, *rest = keys
    result = dict(source)
    if rest:
        inner = result.get(key)
        if value is not None or isinstance(inner, dict):
            result[key] = placed(inner if isinstance(inner, dict) else {}, rest, value)
    elif value is None:
        result.pop(key, None)
    else:
        result[key] = value
    return result
