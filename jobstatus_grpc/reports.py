"""Reports on their way to the store: one write at a time for each tree, the others wait without a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Final, NamedTuple

from jobstatus_grpc.errors import DeadlineExceeded, TooManyReports
from jobstatus_grpc.model import MAX_REPORT_BYTES, MAX_REPORT_GRANULES, JobKey, Report
from jobstatus_grpc.store.base import JobStore, ReportResult

# What is committed together is at most as large as one report may be, so nobody waits longer for neighbours
# than for a large report.
_MAX_TOGETHER: Final = 250
_KNOWN_ROOTS: Final = 100_000
# What takes no longer to check than handing it to a thread.
_SMALL_BYTES: Final = 4096


class _Write(NamedTuple):
    """A write that waits for its turn: a report, or the deletion of the job where there is none.

    Attributes:
        key: the job.
        report: what is reported.
        size: how many bytes that takes.
        deadline: the caller's.
        answer: what the caller waits for; done before the write only if the caller has left.
    """

    key: JobKey
    report: Report | None
    size: int
    deadline: float | None
    answer: asyncio.Future[Any]


class _Tree:
    """The writes of one tree, in the order of their arrival.

    Attributes:
        waiting: those that wait for their turn.
        writing: those whose turn it is.
    """

    def __init__(self) -> None:
        self.waiting: dict[asyncio.Future[Any], _Write] = {}
        self.writing: list[_Write] = []

    def next_turn(self) -> list[_Write]:
        """Give the turn to those that can be committed together next, and return them."""
        self.writing = []
        granules = size = 0
        for write in list(self.waiting.values()):
            if write.answer.done() or _expire(write):
                del self.waiting[write.answer]
                continue
            granules += len(write.report.granules) if write.report else 0
            size += write.size
            if self.writing and (
                write.report is None
                or granules > MAX_REPORT_GRANULES
                or size > MAX_REPORT_BYTES
                or len(self.writing) == _MAX_TOGETHER
            ):
                break
            self.writing.append(self.waiting.pop(write.answer))
            if write.report is None:
                break
        return self.writing


def _expire(write: _Write) -> bool:
    """Return whether a write comes too late for its caller, having said so."""
    if write.deadline is None or time.monotonic() < write.deadline:
        return False
    write.answer.set_exception(DeadlineExceeded())
    return True


class ReportWriter:
    """Writes reports, without blocking the event loop.

    Reports of one tree would wait for each other's lock in the database, each with a thread and a connection
    in its hands; here they wait with nothing, and whatever waits is committed together.

    Args:
        store: where reports go.
        executor: the threads that write.
        max_waiting: how many reports of one tree may wait.
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
        self._trees: dict[JobKey, _Tree] = {}
        # Of jobs that are parts of others, as far as known: what is wrong here costs a transaction more.
        self._roots: dict[JobKey, JobKey] = {}
        self._turns: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many reports wait for their turn."""
        return sum(len(tree.waiting) for tree in self._trees.values())

    async def report(self, checked: Callable[[], Report], size: int, deadline: float | None) -> ReportResult:
        """Commit a report. Raises what `JobStore.report` raises, and TooManyReports.

        A caller that leaves while the report is being written takes nothing back.

        Args:
            checked: returns the report, or raises InvalidRequest. Called in a thread if it is large: with
                thousands of granules it takes longer than the event loop may stand still.
            size: how many bytes the report takes.
            deadline: the caller's.
        """
        if size <= _SMALL_BYTES:
            report = checked()
        else:
            report = await asyncio.get_running_loop().run_in_executor(self._executor, checked)
        result: ReportResult = await self._in_turn(report.key, report, size, deadline)
        return result

    async def delete_job(self, key: JobKey, deadline: float | None) -> int:
        """Delete a job. Raises what `JobStore.delete_job` raises, and TooManyReports."""
        job_pk: int = await self._in_turn(key, None, 0, deadline)
        return job_pk

    async def _in_turn(self, key: JobKey, report: Report | None, size: int, deadline: float | None) -> Any:
        """Return what the store answers to a report, or to a deletion if there is none."""
        root = self._root_of(key, report)
        tree = self._trees.get(root)
        if tree is None:
            tree = self._trees[root] = _Tree()
            turns = asyncio.create_task(self._take_turns(root, tree))
            self._turns.add(turns)
            turns.add_done_callback(self._turns.discard)
        elif tree.writing and len(tree.waiting) >= self._max_waiting:
            raise TooManyReports(self._max_waiting)
        answer = asyncio.get_running_loop().create_future()
        tree.waiting[answer] = _Write(key, report, size, deadline, answer)
        try:
            return await answer
        finally:
            tree.waiting.pop(answer, None)

    def _root_of(self, key: JobKey, report: Report | None) -> JobKey:
        """Return in whose turn a write goes: of the job's tree, or of that of the parent it is told."""
        told = report and report.job and report.job.parent_job_id
        parent = JobKey(key.project_id, told) if told else key
        return self._roots.get(key) or self._roots.get(parent) or parent

    def _learn_root(self, key: JobKey, root: JobKey) -> None:
        self._roots.pop(key, None)
        if key != root:
            self._roots[key] = root
            if len(self._roots) > _KNOWN_ROOTS:
                del self._roots[next(iter(self._roots))]

    async def _take_turns(self, root: JobKey, tree: _Tree) -> None:
        """Write until nothing waits."""
        try:
            while writes := tree.next_turn():
                await self._write(writes)
        finally:
            del self._trees[root]
            for write in (*tree.writing, *tree.waiting.values()):
                write.answer.cancel()

    async def _write(self, writes: Sequence[_Write]) -> None:
        loop = asyncio.get_running_loop()
        try:
            outcomes = await loop.run_in_executor(self._executor, self._call_store, writes)
        except Exception as error:
            outcomes = [error] * len(writes)
        changed: dict[JobKey, int] = {}
        for write, outcome in zip(writes, outcomes, strict=True):
            if isinstance(outcome, int):
                changed[write.key] = outcome
            elif isinstance(outcome, ReportResult):
                changed.update(outcome.grown)
                self._learn_root(write.key, outcome.root)
        for key, job_pk in changed.items():
            self._committed(job_pk, key)
        for write, outcome in zip(writes, outcomes, strict=True):
            if write.answer.done():
                continue
            if isinstance(outcome, Exception):
                write.answer.set_exception(outcome)
            else:
                write.answer.set_result(outcome)

    def _call_store(self, writes: Sequence[_Write]) -> Sequence[ReportResult | int | Exception]:
        reports = [write.report for write in writes if write.report]
        if not reports:
            return [self._store.delete_job(writes[0].key, writes[0].deadline)]
        # The least patient caller hurries nobody.
        deadlines = [write.deadline for write in writes if write.deadline is not None]
        return self._store.report_all(reports, max(deadlines) if len(deadlines) == len(writes) else None)
