"""Watchers: a worker that holds any number of streams, and says what has come on them, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

from workers import Handler, work

from bench.wire import LARGEST_WINDOW, WireConnection, WireStream
from jobstatus import v1 as pb

METHOD = "/jobstatus.v1.JobStatusService/WatchJob"

_PATIENCE = 120.0
# In seconds, for a thousand streams or more; fewer are looked at more often.
_LOOK_INTERVAL = 0.02
_CHANGES_TAG = bytes((pb.WatchJobResponse.CHANGES_FIELD_NUMBER << 3 | 2,))

Key = tuple[str, str]


class Crowd:
    """Streams over connections of their own, those of one job next to each other on different ones."""

    def __init__(self) -> None:
        self._connections: list[WireConnection] = []
        self._streams: list[WireStream] = []
        self._keys: list[Key] = []
        # Of changes: when they were made, and how long after that they came.
        self._latencies: list[tuple[float, float]] = []
        self._frozen: list[WireStream] = []

    async def connect(self, address: str, connections: int, window: int = LARGEST_WINDOW) -> None:
        """Open connections."""
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            made = await loop.create_connection(
                lambda: WireConnection(address, METHOD, window), host, int(port)
            )
            self._connections.append(made[1])

    async def open(
        self, keys: Sequence[Key], watchers: int, samples: int = 0, snapshot_only: bool = False
    ) -> dict[str, float]:
        """Open so many streams at once, over all connections and jobs in turn; wait for their first frames.

        `samples` of them, evenly spread, are read for the times of their changes. Return how many are lost,
        and the `seconds` from before the first request to the last first frame.
        """
        requests = [
            pb.WatchJobRequest(
                project_id=project, job_id=job, snapshot_only=snapshot_only
            ).SerializeToString()
            for project, job in keys
        ]
        sampled = {number * watchers // samples for number in range(samples)} if samples else set()
        begun = time.time()
        opened = [
            self._connections[number % len(self._connections)].open(
                requests[number % len(keys)], self._take_latency if number in sampled else None
            )
            for number in range(watchers)
        ]
        self._keys += [(project, job) for project, job in islice(cycle(keys), watchers)]
        self._streams += opened
        interval = _LOOK_INTERVAL * min(1.0, watchers / 1000)
        await self._until(lambda: all(stream.frames or stream.ended for stream in opened), interval)
        lost = sum(not stream.frames for stream in opened)
        last = max((stream.first_time for stream in opened), default=begun)
        return {"seconds": last - begun, "lost": lost}

    async def mark(self) -> None:
        """Begin to count anew."""
        for stream in self._streams:
            stream.frames = stream.received = 0
        self._latencies.clear()

    async def reach(self, revisions: Sequence[tuple[Sequence[str], int]]) -> dict[str, float]:
        """Wait until every stream has its job's revision.

        Return how many `frames` and `bytes` have come on all of them since `mark`, and the moment of the
        `last`.
        """
        wanted = {tuple(key): revision for key, revision in revisions}
        left = [(stream, wanted.get(key, 0)) for stream, key in zip(self._streams, self._keys, strict=True)]

        def reached() -> bool:
            left[:] = [(stream, revision) for stream, revision in left if revision_of(stream.last) < revision]
            return not left

        await self._until(reached)
        return self._counts()

    async def ended(self) -> dict[str, float]:
        """Wait until every stream has been ended by the server."""
        await self._until(lambda: all(stream.ended for stream in self._streams))
        return self._counts()

    async def latencies(self, after: float = 0.0, before: float = float("inf")) -> dict[str, float]:
        """Return the percentiles of how long changes took, in seconds.

        It is about those that have come since `mark`, and were made between two moments.
        """
        return percentiles([taken for made, taken in self._latencies if after <= made < before])

    async def freeze(self, count: int) -> None:
        """Stop to read the last `count` streams, none of which should be sampled."""
        self._frozen = self._streams[-count:]
        for stream in self._frozen:
            stream.reading = False

    async def thaw(self) -> int:
        """Read them all again; return how many bytes the last of them was sent since `mark`."""
        sent = self._frozen[-1].received
        for stream in self._frozen:
            stream.resume()
        return sent

    async def leave(self) -> None:
        """Cancel all streams; the connections stay."""
        for stream in self._streams:
            stream.cancel()
        self._streams, self._keys = [], []

    async def close(self) -> None:
        """Close all connections."""
        await self.leave()
        for connection in self._connections:
            connection.close()
        self._connections = []

    async def churn(self, keys: Sequence[Key], count: int, together: int) -> None:
        """Open and cancel so many streams, so many of them at a time."""
        for _ in range(0, count, together):
            opened = await self.open(keys, together)
            assert not opened["lost"]
            await self.leave()

    def _counts(self) -> dict[str, float]:
        return {
            "frames": sum(stream.frames for stream in self._streams),
            "bytes": sum(stream.received for stream in self._streams),
            "last": max(stream.last_time for stream in self._streams),
        }

    def _take_latency(self, stream: WireStream, message: bytes, now: float) -> None:
        for change in pb.WatchJobResponse.FromString(message).changes.changes:
            made = change.change_time.ToMicroseconds() / 1e6
            self._latencies.append((made, now - made))

    @staticmethod
    async def _until(happened: Callable[[], bool], interval: float = _LOOK_INTERVAL) -> None:
        end = time.monotonic() + _PATIENCE
        while not happened():
            assert time.monotonic() < end, f"not within {_PATIENCE} s"
            await asyncio.sleep(interval)


def revision_of(frame: bytes) -> int:
    """Return a frame's revision, without decoding its changes, which come first."""
    start = 0
    if frame[:1] == _CHANGES_TAG:
        length = shift = 0
        start = 1
        while True:
            byte = frame[start]
            start += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        start += length
    return pb.WatchJobResponse.FromString(frame[start:]).revision


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p99, the greatest, and how many there are."""
    ordered = sorted(values)
    assert ordered, "nothing has been measured"
    return {
        "p50": ordered[len(ordered) // 2],
        "p99": ordered[len(ordered) * 99 // 100],
        "max": ordered[-1],
        "count": len(ordered),
    }


def _handlers() -> dict[str, Handler]:
    crowd = Crowd()
    names = "connect open mark reach ended latencies freeze thaw leave close churn"
    return {name: _handler(crowd, name) for name in names.split()}


def _handler(crowd: Crowd, name: str) -> Handler:
    handler: Any = getattr(crowd, name)
    return handler  # type: ignore[no-any-return]


if __name__ == "__main__":
    work(_handlers)
