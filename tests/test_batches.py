"""Questions asked together: which go with which, and whose trouble is whose."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jobstatus_grpc.batches import Batches
from jobstatus_grpc.errors import JobNotFound, JobStatusError, StoreUnavailable

PATIENCE = 30.0


class Oracle:
    """Answers a question with itself and the number of its batch, when the test lets it.

    Attributes:
        batches: the questions of each batch that was begun.
        most: how many batches were under way at once, at most.
    """

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.most = 0
        self.begun = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._busy = 0

    def answer(self, questions: Sequence[str]) -> list[str | JobStatusError]:
        with self._lock:
            self.batches.append(list(questions))
            number = len(self.batches)
            self._busy += 1
            self.most = max(self.most, self._busy)
        self.begun.release()
        assert self.allowed.acquire(timeout=PATIENCE)
        with self._lock:
            self._busy -= 1
        if "poison" in questions:
            raise ValueError("poison")
        if "outage" in questions:
            raise StoreUnavailable
        return [
            JobNotFound("p", question) if question.startswith("no") else f"{question}{number}"
            for question in questions
        ]


class Room:
    """Batches answered by an oracle."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.oracle = Oracle()
        self._batches: Batches[str, str] = Batches(self.oracle.answer, pool)

    def ask(self, *questions: str) -> list[asyncio.Task[str]]:
        async def ask(question: str) -> str:
            return await self._batches.ask(question)

        return [asyncio.create_task(ask(question)) for question in questions]

    async def begun(self) -> None:
        """Return when the next batch has been begun."""
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, lambda: self.oracle.begun.acquire(timeout=PATIENCE))

    def allow(self, batches: int = 1000) -> None:
        """Let so many batches be answered."""
        self.oracle.allowed.release(batches)


@asynccontextmanager
async def opened() -> AsyncIterator[Room]:
    # More threads than one: that there is one batch at a time is not owed to the pool.
    with ThreadPoolExecutor(4) as pool:
        room = Room(pool)
        try:
            yield room
        finally:
            room.allow()


def play(scene: Callable[[Room], Coroutine[Any, Any, None]]) -> Oracle:
    """Play a scene; return the oracle that was asked."""

    async def run() -> Oracle:
        async with opened() as room:
            await asyncio.wait_for(scene(room), PATIENCE)
            return room.oracle

    return asyncio.run(run())


async def outcomes(tasks: Sequence[asyncio.Task[str]]) -> list[str]:
    """Return what came of each: the answer, or the name of the error."""
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [each if isinstance(each, str) else type(each).__name__ for each in found]


def test_what_comes_while_a_batch_is_under_way_goes_together_in_the_next() -> None:
    async def scene(room: Room) -> None:
        first = room.ask("a", "b")
        await room.begun()
        second = room.ask("c", "d")
        await asyncio.sleep(0)
        third = room.ask("e")
        room.allow()
        assert await outcomes([*first, *second, *third]) == ["a1", "b1", "c2", "d2", "e2"]

    oracle = play(scene)
    assert (oracle.batches, oracle.most) == ([["a", "b"], ["c", "d", "e"]], 1)


def test_nobody_joins_a_batch_under_way_though_it_asks_the_same() -> None:
    async def scene(room: Room) -> None:
        first = room.ask("a")
        await room.begun()
        second = room.ask("a", "a")
        room.allow()
        assert await outcomes([*first, *second]) == ["a1", "a2", "a2"]

    assert play(scene).batches == [["a"], ["a"]]


def test_those_who_ask_the_same_together_share_the_answer_and_the_error() -> None:
    async def scene(room: Room) -> None:
        room.allow()
        assert await outcomes(room.ask("a", "no", "a", "b", "no")) == [
            "a1",
            "JobNotFound",
            "a1",
            "b1",
            "JobNotFound",
        ]

    assert play(scene).batches == [["a", "no", "b"]]


@pytest.mark.parametrize("under_way", [True, False], ids=["under way", "still waiting"])
def test_who_leaves_takes_nobody_along(under_way: bool) -> None:
    async def scene(room: Room) -> None:
        if not under_way:
            room.ask("other")
            await room.begun()
        tasks = room.ask("a", "a", "b")
        if under_way:
            await room.begun()
        else:
            await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[2].cancel()
        room.allow()
        number = 1 if under_way else 2
        assert await outcomes(tasks) == ["CancelledError", f"a{number}", "CancelledError"]
        assert await outcomes(room.ask("c")) == [f"c{number + 1}"]

    # What nobody waits for any more is not asked.
    batches = play(scene).batches
    assert batches == ([["a", "b"], ["c"]] if under_way else [["other"], ["a"], ["c"]])


def test_when_all_have_left_nothing_is_asked() -> None:
    async def scene(room: Room) -> None:
        first = room.ask("a")
        await room.begun()
        waiting = room.ask(*[f"q{number}" for number in range(300)])
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        room.allow()
        assert await outcomes(first) == ["a1"]
        assert await outcomes(room.ask("b")) == ["b2"]

    assert play(scene).batches == [["a"], ["b"]]


def test_an_error_of_the_service_is_everybodys_and_the_next_batch_goes_on() -> None:
    async def scene(room: Room) -> None:
        room.allow()
        assert await outcomes(room.ask("a", "outage", "b")) == ["StoreUnavailable"] * 3
        assert await outcomes(room.ask("a")) == ["a2"]

    assert play(scene).batches == [["a", "outage", "b"], ["a"]]


def test_one_that_cannot_be_answered_fails_alone() -> None:
    async def scene(room: Room) -> None:
        tasks = room.ask("a", "poison", "b", "a")
        await room.begun()
        later = room.ask("c", "b")
        room.allow()
        assert await outcomes(tasks) == ["a2", "ValueError", "b4", "a2"]
        assert await outcomes(later) == ["c5", "b5"]

    oracle = play(scene)
    assert oracle.batches == [["a", "poison", "b"], ["a"], ["poison"], ["b"], ["c", "b"]]
    assert oracle.most == 1


def test_at_most_a_hundred_go_together_the_oldest_first() -> None:
    names = [f"q{number:03}" for number in range(250)]

    async def scene(room: Room) -> None:
        first = room.ask("a")
        await room.begun()
        tasks = room.ask(*names)
        await asyncio.sleep(0)
        room.allow()
        await outcomes([*first, *tasks])

    assert play(scene).batches == [["a"], names[:100], names[100:200], names[200:]]
