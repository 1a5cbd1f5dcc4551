"""Reads of jobs, on threads of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from jobstatus_grpc.model import JobKey
from jobstatus_grpc.store.base import GranuleQuery, JobList, JobPage, JobQuery, JobStore, StoredJob

T = TypeVar("T")


class StatusReader:
    """Answers what a store knows, without blocking the event loop.

    Args:
        store: what is read.
        executor: the threads that read.

    Every method raises what the store's method of the same meaning raises, and takes its deadline. What is
    read is handed to `answer` on the thread that read it, since making an answer can take longer than
    reading it.
    """

    def __init__(self, store: JobStore, executor: Executor) -> None:
        self._store = store
        self._executor = executor

    async def read_job(self, key: JobKey, deadline: float | None, answer: Callable[[JobPage], T]) -> T:
        """Answer a job, as a page without granules."""

        def read() -> T:
            stored, sub_jobs = self._store.read_tree(key, deadline)
            return answer(JobPage(stored, (), False, sub_jobs))

        return await self._run(read)

    async def read_jobs(
        self,
        keys: Sequence[JobKey],
        deadline: float | None,
        answer: Callable[[Mapping[JobKey, StoredJob]], T],
    ) -> T:
        """Answer those of the jobs that exist."""
        return await self._run(lambda: answer(self._store.read_jobs(keys, deadline)))

    async def read_page(
        self, key: JobKey, query: GranuleQuery, deadline: float | None, answer: Callable[[JobPage], T]
    ) -> T:
        """Answer a job and a page of its granules."""
        return await self._run(lambda: answer(self._store.read_page(key, query, deadline)))

    async def list_jobs(self, query: JobQuery, deadline: float | None, answer: Callable[[JobList], T]) -> T:
        """Answer a page of a project's jobs."""
        return await self._run(lambda: answer(self._store.list_jobs(query, deadline)))

    async def _run(self, read: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, read)
