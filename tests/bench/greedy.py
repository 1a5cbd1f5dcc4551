"""A worker that wants many more watches of one project than there may be, and keeps asking."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc
import grpc.aio
from streaming import details_of, reason_of
from workers import Handler, work

from jobstatus import v1 as pb


class Greedy:
    """Many watchers of one job, each asking again when it was told it might."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._channel: Any = None
        self._counts: Counter[str] = Counter()

    async def begin(self, address: str, project_id: str, job_id: str, number: int) -> None:
        """Have so many want a watch from now on."""
        self._channel = grpc.aio.insecure_channel(address)
        stub = pb.JobStatusServiceStub(self._channel)
        request = pb.WatchJobRequest(project_id=project_id, job_id=job_id)
        self._tasks = [asyncio.create_task(self._want(stub, request)) for _ in range(number)]

    async def end(self) -> dict[str, int]:
        """Have all of them leave; return how many got a watch, and how often one was refused."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()
        return dict(self._counts)

    async def _want(self, stub: Any, request: pb.WatchJobRequest) -> None:
        while True:
            call = stub.WatchJob(request)
            try:
                if await call.read() is not grpc.aio.EOF:
                    self._counts["open"] += 1
                while await call.read() is not grpc.aio.EOF:
                    pass
            except grpc.aio.AioRpcError as error:
                self._counts[reason_of(error)] += 1
                await asyncio.sleep(details_of(error)["RetryInfo"].retry_delay.ToTimedelta().total_seconds())


def _handlers() -> dict[str, Handler]:
    greedy = Greedy()
    return {"begin": greedy.begin, "end": greedy.end}


if __name__ == "__main__":
    work(_handlers)
