"""Callers: a worker in which each asks again as soon as it has been answered.

A caller asks for a job drawn at random every time. Load generators like h2load send one and the same request
again and again, and what that measures is one job that nobody ever has to look for.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from functools import partial

from workers import Handler, work

from bench.crowd import METHOD as WATCH
from bench.crowd import percentiles
from bench.wire import WireConnection, WireStream
from jobstatus import v1 as pb

GET = "/jobstatus.v1.JobStatusService/GetJobStatus"

# How long an answer may take before the measurement is given up.
_PATIENCE = 60.0

# Returns the next request; `None` if there is none.
Draw = Callable[[], bytes | None]


class Callers:
    """Callers over connections of their own, as many on each."""

    def __init__(self) -> None:
        self._connections: list[WireConnection] = []
        self._requests: list[bytes] = []
        self._taken: list[float] = []
        self._failed = 0
        self._left = 0
        self._gone = asyncio.Event()

    async def get(
        self, address: str, job_ids: Sequence[str], connections: int = 1, basic: bool = False, token: str = ""
    ) -> None:
        """Be about to ask a server for jobs, each with a page of granules, or alone."""
        view = pb.JOB_VIEW_BASIC if basic else pb.JOB_VIEW_FULL
        self._requests = [
            pb.GetJobStatusRequest(job_id=job_id, view=view).SerializeToString() for job_id in job_ids
        ]
        await self._connect(address, GET, connections, token)

    async def watch(self, address: str, job_ids: Sequence[str]) -> None:
        """Be about to ask a server for snapshots of jobs."""
        self._requests = [
            pb.WatchJobRequest(job_id=job_id, snapshot_only=True).SerializeToString() for job_id in job_ids
        ]
        await self._connect(address, WATCH, 1)

    async def run(self, callers: int, seconds: float) -> dict[str, float]:
        """Have so many callers ask for some time, for a job at random each time.

        Return how many `calls` were answered and how many `failed`, the `seconds` and the processor time of
        this process (`cpu`) that it took, and the percentiles of the calls, in seconds.
        """
        end = time.perf_counter() + seconds
        return await self._run(
            callers, lambda: random.choice(self._requests) if time.perf_counter() < end else None
        )

    async def once(self) -> dict[str, float]:
        """Have one caller ask for each job once; return what `run` does."""
        requests = iter(self._requests)
        return await self._run(1, lambda: next(requests, None))

    async def _connect(self, address: str, path: str, connections: int, token: str = "") -> None:
        for connection in self._connections:
            connection.close()
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        self._connections = [
            (
                await loop.create_connection(
                    partial(WireConnection, address, path, token=token), host, int(port)
                )
            )[1]
            for _ in range(connections)
        ]

    async def _run(self, callers: int, draw: Draw) -> dict[str, float]:
        self._taken, self._failed, self._left = [], 0, callers
        self._gone.clear()
        begun, cpu = time.perf_counter(), time.process_time()
        for number in range(callers):
            self._ask(self._connections[number % len(self._connections)], draw)
        await asyncio.wait_for(self._gone.wait(), _PATIENCE)
        return {
            **percentiles(self._taken),
            "calls": len(self._taken),
            "failed": self._failed,
            "seconds": time.perf_counter() - begun,
            "cpu": time.process_time() - cpu,
        }

    def _ask(self, connection: WireConnection, draw: Draw) -> None:
        request = draw()
        if request is None:
            self._left -= 1
            if not self._left:
                self._gone.set()
            return
        begun = time.perf_counter()

        def ended(stream: WireStream) -> None:
            # An error has no message.
            if stream.frames:
                self._taken.append(time.perf_counter() - begun)
            else:
                self._failed += 1
            self._ask(connection, draw)

        connection.open(request, None, ended)


def _handlers() -> dict[str, Handler]:
    callers = Callers()
    return {"get": callers.get, "watch": callers.watch, "run": callers.run, "once": callers.once}


if __name__ == "__main__":
    work(_handlers)
