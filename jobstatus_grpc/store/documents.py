"""What is kept of jobs beside their own rows: details, source documents, and granules with theirs."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from jobstatus_grpc.model import Details, Granule, JobDocument, WholeJob
from jobstatus_grpc.store import schema, trees
from jobstatus_grpc.store.base import StoredJob

_DOCUMENT: Final = schema.job_document.c
_NOTHING: Final = JobDocument()


def details_from_text(text: str | None) -> Details | None:
    """Return the details that a column holds: the fields, by the system's name. No number is ever a float."""
    if text is None:
        return None
    ((system, fields),) = json.loads(text).items()
    return Details(system, fields)


def details_to_text(details: Details | None) -> str | None:
    """Return what the column holds of details."""
    return None if details is None else json.dumps({details.system: details.fields}, ensure_ascii=False)


def read(connection: Connection, job_pks: Collection[int]) -> Mapping[int, JobDocument]:
    """Return what is kept of those of the jobs of which anything is, in one statement."""
    wanted = select(_DOCUMENT.job_pk, _DOCUMENT.details, _DOCUMENT.document)
    found = connection.execute(wanted.where(_DOCUMENT.job_pk.in_(job_pks)))
    return {row[0]: JobDocument(details_from_text(row[1]), row[2]) for row in found}


def read_details(connection: Connection, jobs: Sequence[StoredJob]) -> Mapping[int, Details | None]:
    """Return the details of those of the jobs that have any, by their rows; in one statement, if one has."""
    told = [each.job_pk for each in jobs if each.job.details_bytes]
    if not told:
        return {}
    found = connection.execute(select(_DOCUMENT.job_pk, _DOCUMENT.details).where(_DOCUMENT.job_pk.in_(told)))
    return {row[0]: details_from_text(row[1]) for row in found}


def write(connection: Connection, kept: Mapping[int, JobDocument], new: Collection[int]) -> None:
    """Write what is to be kept of jobs, in two statements at most.

    Args:
        connection: in a transaction that holds the lock of the jobs' root.
        kept: by the jobs' rows; where nothing is kept there is no row.
        new: those of the jobs of which nothing can have been kept.
    """
    known = [job_pk for job_pk in kept if job_pk not in new]
    if known:
        connection.execute(delete(schema.job_document).where(_DOCUMENT.job_pk.in_(known)))
    written = [
        {"job_pk": job_pk, "details": details_to_text(each.details), "document": each.document}
        for job_pk, each in kept.items()
        if each != _NOTHING
    ]
    if written:
        connection.execute(insert(schema.job_document), written)


def read_whole(
    connection: Connection, stored: StoredJob, pages: Callable[[int], Iterator[Sequence[Granule]]]
) -> WholeJob:
    """Return a job with everything kept of it and of those below it.

    Args:
        connection: in a transaction that reads, and goes on as long as granules are wanted.
        stored: the job.
        pages: reads all granules of a job with their documents.
    """
    below = trees.read_below(connection, stored)
    kept = read(connection, [each.job_pk for each in (stored, *below)])

    def whole(each: StoredJob) -> WholeJob:
        details, document = kept.get(each.job_pk, _NOTHING)
        granules = _Granules(pages, each.job_pk) if any(each.job.totals) else ()
        return WholeJob(each.job, details, document, granules)

    return trees.assemble(stored, below, whole)


class _Granules(Iterable[Granule]):
    """The granules of a job, read as they are asked for, and anew each time."""

    def __init__(self, pages: Callable[[int], Iterator[Sequence[Granule]]], job_pk: int) -> None:
        self._pages = pages
        self._job_pk = job_pk

    def __iter__(self) -> Iterator[Granule]:
        for page in self._pages(self._job_pk):
            yield from page
