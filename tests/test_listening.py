from __future__ import annotations

import asyncio
import queue
import threading
import time

from jobstatus_grpc.listening import Listener
from jobstatus_grpc.model import NewsMode
from jobstatus_grpc.store.base import News, NewsSource


class Said(NewsSource):
    """Hears what the test says."""

    def __init__(self) -> None:
        self.said: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.taken = threading.Semaphore(0)
        self.closed = False

    @property
    def mode(self) -> NewsMode:
        return NewsMode.POLL

    def wait(self, timeout: float) -> News:
        self.taken.release()
        try:
            return self.said.get(timeout=timeout)
        except queue.Empty:
            return News()

    def close(self) -> None:
        self.closed = True
        self.said.put(News())


def of(*job_pks: int) -> News:
    return News(frozenset(job_pks))


def test_what_is_heard_while_the_loop_is_busy_is_passed_on_together() -> None:
    source = Said()

    async def main() -> None:
        passed_on: asyncio.Queue[News] = asyncio.Queue()
        listener = Listener(source, passed_on.put_nowait)
        for news in (of(1), of(1, 2), News(everything=True), of(3)):
            source.said.put(news)
        for _ in range(5):  # The fifth wait shows that what came before has been collected.
            assert source.taken.acquire(timeout=10)
        assert passed_on.empty()
        assert await asyncio.wait_for(passed_on.get(), 10) == News(frozenset({1, 2, 3}), everything=True)
        source.said.put(of(4))
        assert await asyncio.wait_for(passed_on.get(), 10) == of(4)
        listener.close()

    asyncio.run(main())
    assert source.closed


def test_the_thread_ends_with_the_listener_and_with_the_loop() -> None:
    def alive() -> bool:
        return any(thread.name == "jobstatus-news" for thread in threading.enumerate())

    def wait_for_the_end() -> None:
        end = time.monotonic() + 10
        while alive():
            assert time.monotonic() < end
            time.sleep(0.01)

    async def main(closes: bool) -> Said:
        source = Said()
        listener = Listener(source, lambda _: None)
        assert alive()
        if closes:
            listener.close()
        return source

    asyncio.run(main(closes=True))
    wait_for_the_end()
    source = asyncio.run(main(closes=False))
    source.said.put(of(1))
    wait_for_the_end()
