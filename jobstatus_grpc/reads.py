"""Reads of jobs, on threads of their own: most of them together, and no more of each than has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Final, NamedTuple, Protocol, TypeVar

from jobstatus_grpc.batches import Batches
from jobstatus_grpc.cache import AnswerCache, KeptAnswer
from jobstatus_grpc.coalescing import Coalescing
from jobstatus_grpc.digest import Failures
from jobstatus_grpc.errors import JobNotFound, JobStatusError, PageTokenInvalid, Violation
from jobstatus_grpc.model import Details, Granule, GranuleKey, GranuleState, Job, JobKey, WholeJob
from jobstatus_grpc.pace import Progress, outlook_of, progress_at
from jobstatus_grpc.store.base import (
    FirstPage,
    GranuleQuery,
    JobList,
    JobPage,
    JobQuery,
    JobStore,
    NoPage,
    StoredGranule,
    StoredJob,
)
from jobstatus_grpc.tokens import GranulePagePoint, ResumePoint, Tokens

T = TypeVar("T")

# What all answers that are kept may take.
_KEPT_BYTES: Final = 32 * 1024 * 1024


class AnswerEncoder(Protocol):
    """Makes answers."""

    def job_status(
        self,
        job: Job,
        sub_jobs: Sequence[WholeJob],
        details: Details | None,
        granules: Sequence[Granule],
        next_page_token: bytes,
        resume_token: bytes,
        failures: Failures | None,
    ) -> bytes:
        """Return the answer of `GetJobStatus`, but for its progress."""

    def progress(self, progress: Progress) -> bytes:
        """Return what makes an answer tell the progress as well, when it is put behind it."""


class StatusQuery(NamedTuple):
    """What `GetJobStatus` is asked.

    Attributes:
        key: the job.
        limit: how many granules at most; 0 for the job alone.
        states: only granules in one of these; empty for all.
        page_token: of the page before; empty for the first page.
    """

    key: JobKey
    limit: int
    states: tuple[GranuleState, ...] = ()
    page_token: bytes = b""


class StatusReader:
    """Answers what a store knows, without blocking the event loop it lives on.

    Every read begins after it was asked for, whatever it is shared with: an answer is never older than its
    request, on any server.

    Args:
        store: what is read.
        encoder: makes the answers of `GetJobStatus`.
        tokens: returns what signs tokens; raises StoreUnavailable before the store has been prepared.
        together: the thread that reads for many at once.
        alone: the threads that read for one.

    Every method raises what the store's method of the same meaning raises. Where it takes a deadline, that is
    the store's too.
    """

    def __init__(
        self,
        store: JobStore,
        encoder: AnswerEncoder,
        tokens: Callable[[], Tokens],
        *,
        together: Executor,
        alone: Executor,
    ) -> None:
        self._store = store
        self._encoder = encoder
        self._tokens = tokens
        self._executor = alone
        self.cache: AnswerCache[StatusQuery] = AnswerCache(_KEPT_BYTES)
        self._batches = Batches(self._answer_together, together)
        self._large = Coalescing(self._answer_large)

    async def answer(self, query: StatusQuery, deadline: float | None) -> bytes:
        """Return the encoded answer of `GetJobStatus`.

        A first page without a filter is read for whoever has asked, and waits for it without a deadline:
        the store's own limit is two seconds, and a caller whose deadline is shorter is ended by gRPC while
        the others go on. Any other page is read for its caller alone, within its deadline.

        Raises:
            PageTokenInvalid: the page token is not one of this query, or the job was replaced since.
        """
        if query.states or query.page_token:
            return await self._answer_page(query, deadline)
        answer = await self._batches.ask(query)
        return await self._large(query) if answer is None else answer

    async def read_job(self, key: JobKey, deadline: float | None) -> StoredJob:
        """Return a job."""
        return await self._run(lambda: self._store.read_job(key, deadline))

    async def read_granule(
        self, key: JobKey, granule: GranuleKey, deadline: float | None, answer: Callable[[StoredGranule], T]
    ) -> T:
        """Answer a granule with its files; `answer` is called on the thread that has read them."""
        return await self._run(lambda: answer(self._store.read_granule(key, granule, deadline)))

    async def read_jobs(
        self,
        keys: Sequence[JobKey],
        deadline: float | None,
        answer: Callable[[Mapping[JobKey, StoredJob]], T],
    ) -> T:
        """Answer those of the jobs that exist; `answer` is called on the thread that has read them."""
        return await self._run(lambda: answer(self._store.read_jobs(keys, deadline)))

    async def list_jobs(self, query: JobQuery, deadline: float | None, answer: Callable[[JobList], T]) -> T:
        """Answer a page of a project's jobs; `answer` is called on the thread that has read it."""
        return await self._run(lambda: answer(self._store.list_jobs(query, deadline)))

    def _answer_together(self, queries: Sequence[StatusQuery]) -> list[bytes | JobStatusError | None]:
        """Answer first pages; `None` for those that have to be read alone."""
        kept = [self.cache.find(query) for query in queries]
        pages = self._store.read_first_pages(
            [
                FirstPage(query.key, query.limit, None if held is None else held.version)
                for query, held in zip(queries, kept, strict=True)
            ]
        )
        return [self._conclude(*each) for each in zip(queries, kept, pages, strict=True)]

    def _conclude(
        self, query: StatusQuery, kept: KeptAnswer | None, page: JobPage | NoPage
    ) -> bytes | JobStatusError | None:
        if kept is not None and page is NoPage.HELD:
            return self._progressing(kept)
        if isinstance(page, JobPage):
            return self._keep(query, page)
        return None if page is NoPage.LARGE else JobNotFound(*query.key)

    async def _answer_large(self, query: StatusQuery) -> bytes:
        """Answer a first page that is too large to be read with others; shared by who waits for it."""

        def read() -> bytes:
            return self._keep(query, self._store.read_page(query.key, GranuleQuery(query.limit)))

        return await self._run(read)

    async def _answer_page(self, query: StatusQuery, deadline: float | None) -> bytes:
        point = None
        if query.page_token:
            point = self._tokens().read_granule_page_token(query.key, query.states, query.page_token)
        wanted = GranuleQuery(query.limit, point and point.after, query.states)

        def read() -> bytes:
            page = self._store.read_page(query.key, wanted, deadline)
            if point is not None and point.job_pk != page.stored.job_pk:
                raise PageTokenInvalid([Violation("page_token", "the job was deleted and reported anew")])
            answer = self._encode(query, page)
            return answer.answer if point is not None else self._progressing(answer)

        return await self._run(read)

    def _keep(self, query: StatusQuery, page: JobPage) -> bytes:
        answer = self._encode(query, page)
        # A sub-job's own revision moves where the job's does not.
        if not page.sub_jobs:
            self.cache.keep(query, answer)
        return self._progressing(answer)

    def _progressing(self, kept: KeptAnswer) -> bytes:
        """Return an answer as it is to be given now: what goes on by itself is never kept."""
        if kept.outlook.pace is None:
            return kept.answer
        progress = progress_at(kept.outlook, time.time_ns() // 1000)
        return kept.answer if progress.rate is None else kept.answer + self._encoder.progress(progress)

    def _encode(self, query: StatusQuery, page: JobPage) -> KeptAnswer:
        stored, granules, more, sub_jobs, details, failures = page
        tokens = self._tokens()
        next_page = b""
        if more:
            end = GranulePagePoint(stored.job_pk, granules[-1].key)
            next_page = tokens.granule_page_token(query.key, query.states, end)
        resume = tokens.resume_token(query.key, ResumePoint(stored.job_pk, stored.position))
        answer = self._encoder.job_status(
            stored.job, sub_jobs, details, granules, next_page, resume, failures
        )
        return KeptAnswer(stored.version, answer, outlook_of(stored.job, stored.pace))

    async def _run(self, read: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, read)
