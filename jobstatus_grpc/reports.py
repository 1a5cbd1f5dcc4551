"""Reports on their way to the store: one at a time for each job, the others waiting without a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from jobstatus_grpc.errors import TooManyReports
from jobstatus_grpc.model import JobKey, Report
from jobstatus_grpc.store.base import JobStore, ReportResult

T = TypeVar("T")


class _Turn:
    """Whose turn it is to write a job."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0


class ReportWriter:
    """Writes reports, without blocking the event loop.

    Reports of one job would wait for each other's row lock in the database, each with a thread and a
    connection in its hands; here they wait with nothing.

    Args:
        store: where reports go.
        executor: the threads that write.
        max_waiting: how many reports of one job may wait.
        committed: called on the event loop with the job's `job_pk` and ids after each commit that changed
            something.
    """

    def __init__(
        self, store: JobStore, executor: Executor, max_waiting: int, committed: Callable[[int, JobKey], None]
    ) -> None:
        self._store = store
        self._executor = executor
        self._max_waiting = max_waiting
        self._committed = committed
        self._turns: dict[JobKey, _Turn] = {}

    async def report(self, checked: Callable[[], Report], deadline: float | None) -> ReportResult:
        """Commit a report. Raises what `JobStore.report` raises, and TooManyReports.

        Args:
            checked: returns the report, or raises InvalidRequest. Called in a thread: with thousands of
                granules it takes longer than the event loop may stand still.
            deadline: the caller's.
        """
        report = await asyncio.get_running_loop().run_in_executor(self._executor, checked)

        def write() -> ReportResult:
            return self._store.report(report, deadline)

        def announce(result: ReportResult) -> None:
            if result.changed:
                self._committed(result.job_pk, report.key)

        return await self._in_turn(report.key, write, announce)

    async def delete_job(self, key: JobKey, deadline: float | None) -> int:
        """Delete a job. Raises what `JobStore.delete_job` raises, and TooManyReports."""
        return await self._in_turn(
            key, lambda: self._store.delete_job(key, deadline), lambda job_pk: self._committed(job_pk, key)
        )

    async def _in_turn(self, key: JobKey, write: Callable[[], T], done: Callable[[T], None]) -> T:
        turn = self._turns.setdefault(key, _Turn())
        if turn.waiting > self._max_waiting:
            raise TooManyReports(self._max_waiting)
        turn.waiting += 1
        try:
            async with turn.lock:
                # A caller that leaves now takes nothing back: the turn lasts until the database has answered,
                # and what it committed is announced.
                work = asyncio.ensure_future(self._write(write, done))
                try:
                    return await asyncio.shield(work)
                except asyncio.CancelledError:
                    await asyncio.wait({work})
                    work.exception()  # Seen; nobody is left to hear it.
                    raise
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[key]

    async def _write(self, write: Callable[[], T], done: Callable[[T], None]) -> T:
        result = await asyncio.get_running_loop().run_in_executor(self._executor, write)
        done(result)
        return result
