"""Questions answered many at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Executor
from itertools import islice
from typing import Final, Generic, NamedTuple, TypeVar

from jobstatus_grpc.errors import JobStatusError

Q = TypeVar("Q", bound=Hashable)
A = TypeVar("A")

# How many questions go together at most: their answers are in memory together.
_MOST: Final = 100
# A batch begins when for so many turns of the loop nobody has asked: on a busy loop, whoever has just been
# answered asks again meanwhile. Without that the loop and the batch's thread fight for the interpreter over
# batches of two or three: half as much again of the processor for a read, and a third fewer of them.
_QUIET_TURNS: Final = 40
# The same for who has asked alone so many times. A turn in which there is nothing to do takes microseconds.
_QUIET_TURNS_ALONE: Final = 4
_TIMES_ALONE: Final = 10
# But after so many seconds it begins.
_LONGEST_REST: Final = 0.004


class _Asked(NamedTuple, Generic[Q, A]):
    """A question, and those who wait for its answer."""

    question: Q
    waiters: list[asyncio.Future[A]]


class Batches(Generic[Q, A]):
    """Answers questions together, one batch at a time: what comes while one is under way waits for the next.

    Nobody joins a batch under way, so an answer is never older than its question. Those who ask the same
    share the answer and nothing else: each waits on a future of its own, which its cancellation ends, and no
    other. What nobody waits for any more is not asked.

    Lives on one event loop. Args:
        answer: answers questions, all different, in their order; an error is for those who asked that one.
            An error of the service's own that it raises is for all of them. After any other exception each
            question is asked by itself, so that only those fail that cannot be answered.
        executor: the threads that `answer` is called on, one at a time.
    """

    def __init__(
        self, answer: Callable[[Sequence[Q]], Sequence[A | JobStatusError]], executor: Executor
    ) -> None:
        self._answer = answer
        self._executor = executor
        self._waiting: dict[Q, list[asyncio.Future[A]]] = {}
        self._singles: deque[_Asked[Q, A]] = deque()
        self._running: asyncio.Task[None] | None = None
        self._asked = 0
        self._times_alone = 0

    def ask(self, question: Q) -> asyncio.Future[A]:
        """Return the answer to come, of the caller's own."""
        waiter: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        waiters = self._waiting.get(question)
        if waiters is None:
            waiters = self._waiting[question] = []
        waiters.append(waiter)
        self._asked += 1
        if self._running is None:
            # It begins in the loop's next turn: what has arrived with this question comes along.
            self._running = asyncio.create_task(self._run())
        return waiter

    async def _run(self) -> None:
        """Ask until nobody waits."""
        loop = asyncio.get_running_loop()
        while batch := await self._gather():
            questions = [asked.question for asked in batch]
            answers: Sequence[A | Exception]
            try:
                answers = await loop.run_in_executor(self._executor, self._answer, questions)
            except JobStatusError as error:
                answers = [error] * len(batch)
            except Exception as error:
                if len(batch) > 1:
                    self._singles.extend(batch)
                    continue
                answers = [error]
            for asked, answer in zip(batch, answers, strict=True):
                _tell(asked.waiters, answer)
        self._running = None

    async def _gather(self) -> list[_Asked[Q, A]]:
        """Return the next batch; empty if nobody waits."""
        if self._singles:
            return list(islice(self._next(), 1))
        time, asked, quiet = asyncio.get_running_loop().time, self._asked, 0
        end = time() + _LONGEST_REST
        turns = _QUIET_TURNS if self._times_alone < _TIMES_ALONE else _QUIET_TURNS_ALONE
        while self._waiting and quiet < turns and len(self._waiting) < _MOST and time() < end:
            await asyncio.sleep(0)
            quiet, asked = (quiet + 1, asked) if asked == self._asked else (0, self._asked)
        batch = list(islice(self._next(), _MOST))
        if batch:
            alone = sum(len(each.waiters) for each in batch) == 1
            self._times_alone = self._times_alone + 1 if alone else 0
        return batch

    def _next(self) -> Iterator[_Asked[Q, A]]:
        """Take what somebody waits for, the oldest first."""
        while self._singles or self._waiting:
            if self._singles:
                asked = self._singles.popleft()
            else:
                question = next(iter(self._waiting))
                asked = _Asked(question, self._waiting.pop(question))
            if not all(waiter.done() for waiter in asked.waiters):
                yield asked


def _tell(waiters: Sequence[asyncio.Future[A]], answer: A | Exception) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if isinstance(answer, Exception):
            waiter.set_exception(answer)
        else:
            waiter.set_result(answer)
