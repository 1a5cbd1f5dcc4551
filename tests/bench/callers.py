"""Callers of unary methods: a worker in which each asks again as soon as it has been answered.

A caller asks for a job drawn at random every time. The load generators of others send one and the same
request again and again, and what that measures is one job that is never out of any cache.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

from workers import Handler, work

from bench.crowd import percentiles
from bench.wire import WireConnection, WireStream
from jobstatus import v1 as pb

METHOD = "/jobstatus.v1.JobStatusService/GetJobStatus"

# How long an answer may take before the measurement is given up.
_PATIENCE = 60.0


class Callers:
    """Callers over connections of their own, as many on each."""

    def __init__(self) -> None:
        self._connections: list[WireConnection] = []
        self._requests: list[bytes] = []
        self._taken: list[float] = []
        self._failed = 0
        self._left = 0
        self._end = 0.0
        self._gone = asyncio.Event()

    async def connect(self, address: str, connections: int) -> None:
        """Open connections, instead of those there were."""
        for connection in self._connections:
            connection.close()
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        self._connections = [
            (await loop.create_connection(lambda: WireConnection(address, METHOD), host, int(port)))[1]
            for _ in range(connections)
        ]

    async def ask_for(self, keys: Sequence[str], page_size: int = 0, basic: bool = False) -> None:
        """Have the callers ask for one of these jobs each time."""
        view = pb.JOB_VIEW_BASIC if basic else pb.JOB_VIEW_UNSPECIFIED
        self._requests = [
            pb.GetJobStatusRequest(job_id=key, page_size=page_size, view=view).SerializeToString()
            for key in keys
        ]

    async def run(self, callers: int, seconds: float) -> dict[str, float]:
        """Have so many callers ask for some time, and wait for their last answers.

        Return how many `calls` were answered and how many `failed`, the `seconds` and the processor time
        (`cpu`, of this process) they took, and the percentiles of the calls, in seconds.
        """
        self._taken, self._failed, self._left = [], 0, callers
        self._gone.clear()
        begun, cpu = time.perf_counter(), time.process_time()
        self._end = begun + seconds
        for number in range(callers):
            self._ask(self._connections[number % len(self._connections)])
        await asyncio.wait_for(self._gone.wait(), seconds + _PATIENCE)
        return {
            **percentiles(self._taken),
            "calls": len(self._taken),
            "failed": self._failed,
            "seconds": time.perf_counter() - begun,
            "cpu": time.process_time() - cpu,
        }

    def _ask(self, connection: WireConnection) -> None:
        begun = time.perf_counter()

        def ended(stream: WireStream) -> None:
            now = time.perf_counter()
            # An error has no message.
            if stream.frames == 1:
                self._taken.append(now - begun)
            else:
                self._failed += 1
            if now < self._end:
                self._ask(connection)
                return
            self._left -= 1
            if not self._left:
                self._gone.set()

        connection.open(random.choice(self._requests), None, ended)


def _handlers() -> dict[str, Handler]:
    callers = Callers()
    return {"connect": callers.connect, "ask_for": callers.ask_for, "run": callers.run}


if __name__ == "__main__":
    work(_handlers)
