"""The first pages of many jobs, read together: what most readers ask for, at a fraction of its cost alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Protocol

from jobstatus_grpc.digest import Failures
from jobstatus_grpc.model import Position
from jobstatus_grpc.store import rows
from jobstatus_grpc.store.base import FIRST_PAGE_GRANULES, FirstPage, JobPage, NoPage, Version
from jobstatus_grpc.store.documents import details_from_text
from jobstatus_grpc.store.failures import failures_from_row
from jobstatus_grpc.store.queries import Ask, Query

# Pages whose granules take more bytes than this, as JSON, are read alone: a hundred pages are in memory at
# once. With the largest job a page is still far from a frame's limit, so it is never cut.
MAX_DOCUMENT_BYTES: Final = 64 * 1024


class Dialect(Protocol):
    """The queries as a database wants them."""

    def heads_query(self, job_pks: Collection[int]) -> Query:
        """Return the query for job_pk, revision and commit_id of those that are there."""

    def first_pages_query(self, wanted: Sequence[FirstPage]) -> Query:
        """Return the query for the number in `wanted`, and the job, the granules and the details as JSON."""

    def failures_query(self, job_pks: Collection[int]) -> Query:
        """Return the query for the failures of jobs, as `FailureTables.query` does."""


def read(ask: Ask, dialect: Dialect, wanted: Sequence[FirstPage]) -> list[JobPage | NoPage]:
    """Return the pages, or why they are not there; each is of the moment of one statement.

    The failures of those that have any are read by another one, and are of the same moment if the job has not
    changed between the two. If it has, its page is not for reading together with others'.
    """
    held = {page.held.job_pk for page in wanted if page.held is not None}
    heads = ask(dialect.heads_query(held)) if held else ()
    current = {Version(row[0], Position(row[1], row[2])) for row in heads}
    found: list[JobPage | NoPage] = [
        NoPage.HELD if page.held in current else NoPage.NO_JOB for page in wanted
    ]
    missing = [number for number, page in enumerate(found) if page is NoPage.NO_JOB]
    if missing:
        for index, *texts in ask(dialect.first_pages_query([wanted[number] for number in missing])):
            number = missing[index]
            found[number] = _page(wanted[number].limit, *texts)
    return _with_failures(ask, dialect, found)


def _with_failures(ask: Ask, dialect: Dialect, pages: list[JobPage | NoPage]) -> list[JobPage | NoPage]:
    failing = {page.stored.job_pk for page in pages if isinstance(page, JobPage) and page.stored.has_failures}
    rows = ask(dialect.failures_query(failing)) if failing else ()
    known = {row[0]: failures_from_row(row) for row in rows}
    return [
        _with(page, known.get(page.stored.job_pk))
        if isinstance(page, JobPage) and page.stored.job_pk in failing
        else page
        for page in pages
    ]


def _with(page: JobPage, failures: Failures | None) -> JobPage | NoPage:
    if failures is None or failures.position != page.stored.position:
        return NoPage.LARGE
    return page._replace(failures=failures)


def _page(limit: int, document: str, granules: str | None, details: str | None) -> JobPage | NoPage:
    stored = rows.stored_job_from_json(document)
    if stored.job.sub_jobs.direct or (limit and granules is None):
        return NoPage.LARGE
    told = details_from_text(details)
    if granules is None:
        return JobPage(stored, (), False, details=told)
    found = rows.granules_from_json(granules)
    # Of a job that has no more than this a longer page has all, too.
    count = min(limit, FIRST_PAGE_GRANULES)
    return JobPage(stored, found[:count], len(found) > count, details=told)
