"""The baseline of fan-out: streams of grpc.aio that are given ready-made bytes, without any logic.

Run as a worker. Its frames are made by the service's own encoder, so they are the same bytes but for their
numbers; they are made once, and whoever watches takes them from a list. What it costs to bring them to the
watchers is what grpc.aio costs.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
from workers import Handler, work

from bench.crowd import METHOD
from jobstatus_grpc.convert.frames import FrameEncoder
from jobstatus_grpc.model import Change, Granule, GranuleState, NewsMode, Totals

# As long as the service's.
_TOKEN = bytes(50)
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
)


class Topic:
    """What the streams of one request get: the frames from when they came."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self._waiters: set[asyncio.Future[None]] = set()

    async def wait(self) -> None:
        """Wait for the next frame."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def publish(self, frame: bytes) -> None:
        """Give a frame to all streams."""
        self.frames.append(frame)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()


class RawServer:
    """Serves the method of the service, and plays frames when told."""

    def __init__(self) -> None:
        self._topics: dict[bytes, Topic] = {}
        self._encoder = FrameEncoder()
        self._first = self._encoder.heartbeat(
            0, Totals(), _TOKEN, lag=0.0, last_report_time=None, news_mode=NewsMode.NOTIFY
        )
        self._server = grpc.aio.server(options=_OPTIONS)
        handler: Any = grpc.unary_stream_rpc_method_handler(self._watch, None, None)
        _, service, method = METHOD.split("/")
        self._server.add_registered_method_handlers(service, {method: handler})

    async def start(self) -> str:
        """Serve; return the address."""
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def play(
        self, rate: float, count: int, changes: int = 1, message_bytes: int = 0, revision: int = 0
    ) -> int:
        """Give `count` frames of so many changes, `rate` a second, to the topics in turn.

        Return the last frame's number; the first has the one after `revision`. They are given between the
        reports that are made meanwhile, as the service gives its own after each: beside one, its threads
        would not get a processor to themselves, and so wake each other less often, which is cheaper.
        """
        loop = asyncio.get_running_loop()
        topics = [self._topics[request] for request in sorted(self._topics)]

        def made(report: int) -> list[bytes]:
            # Numbered as a job's are that has had so many reports: the larger a number, the more bytes.
            message = str(report).rjust(message_bytes, "-")
            return [self._change(report * changes + index, message) for index in range(changes)]

        body = made(revision)
        begun = loop.time()
        for number in range(count):
            await asyncio.sleep(max(0.0, begun + (number + 0.5) / rate - loop.time()))
            if changes == 1:
                # For its time. It is one in a thousand writes; of larger frames it would be a cost.
                body = made(revision)
            revision += 1
            totals = Totals(0, 0, changes, 0, 0)
            topics[number % len(topics)].publish(self._encoder.changes(body, revision, totals, _TOKEN))
        return revision

    def _change(self, number: int, message: str) -> bytes:
        now, name = time.time_ns() // 1000, f"granule-{number % 1000:06}"
        granule = Granule("", name, GranuleState.STAGED, None, 1, None, message, None, None, now, number)
        change = Change(number + 1, 0, now, granule, GranuleState.STAGED, Totals())
        return self._encoder.change(change)

    async def _watch(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        topic = self._topics.setdefault(request, Topic())
        sent = len(topic.frames)
        await context.write(self._first)
        while True:
            while sent < len(topic.frames):
                sent += 1
                await context.write(topic.frames[sent - 1])
            await topic.wait()


def _handlers() -> dict[str, Handler]:
    server = RawServer()
    return {"start": server.start, "play": server.play}


if __name__ == "__main__":
    work(_handlers)
