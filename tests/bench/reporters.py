"""Reporters: a worker that reports changes of granules at a rate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any

import grpc.aio
from workers import Handler, work

from jobstatus import v1 as pb

Key = Sequence[str]

_REPORT_GRANULES = "/jobstatus.v1.JobReportService/ReportGranules"
_TIMEOUT = 60.0
# Beyond this the server is overrun, and it is the reporter's turn to wait.
_MOST_UNDER_WAY = 500


class Reporters:
    """Reports; every granule reported is a change, since its message is a new one."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._made: dict[tuple[str, ...], list[bytes]] = {}
        self._numbers = count(1)
        self._stopped = asyncio.Event()

    async def create(self, address: str, keys: Sequence[Key], granules: int) -> None:
        """Report jobs, each with so many granules that are on their way."""
        for project, job in keys:
            request = pb.ReportJobRequest(job=pb.Job(project_id=project, job_id=job))
            request.granules.extend(self._granule(number, "") for number in range(granules))
            await self._stub(address).ReportJob(request, timeout=_TIMEOUT)

    async def run(
        self,
        address: str,
        keys: Sequence[Key],
        rate: float,
        reports: int | None = None,
        changes: int = 1,
        granules: int = 10,
        message_bytes: int = 0,
    ) -> dict[str, Any]:
        """Report at a rate, to the jobs in turn, without waiting for answers; so many times, or until `stop`.

        Return the `revisions` of the jobs after it, and by how many seconds the last report was `late`.
        """
        loop = asyncio.get_running_loop()
        stub = self._stub(address)
        revisions: dict[int, int] = {}
        under_way: set[asyncio.Task[None]] = set()
        begun = loop.time()
        late = 0.0

        async def report(job: int, request: pb.ReportGranulesRequest) -> None:
            answer = await stub.ReportGranules(request, timeout=_TIMEOUT)
            assert answer.applied_count == changes, answer
            revisions[job] = max(revisions.get(job, 0), answer.revision)

        self._stopped.clear()
        for number in count() if reports is None else range(reports):
            job = number % len(keys)
            request = self._request(keys[job], number, changes, granules, message_bytes)
            await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
            if self._stopped.is_set():
                break
            late = loop.time() - begun - number / rate
            under_way.add(asyncio.create_task(report(job, request)))
            if len(under_way) > _MOST_UNDER_WAY:
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        await asyncio.gather(*under_way)
        return {"revisions": [[keys[job], revisions[job]] for job in sorted(revisions)], "late": late}

    async def start(self, **arguments: Any) -> None:
        """Begin to `run` until `stop`."""
        self._running = asyncio.create_task(self.run(**arguments))

    async def stop(self) -> dict[str, Any]:
        """End what `start` began, and return what `run` does."""
        self._stopped.set()
        return await self._running

    async def storm(
        self, address: str, keys: Sequence[Key], seconds: float, writers: int, granules: int = 10
    ) -> float:
        """Have writers report single changes, each after the other's answer; return how many a second."""
        loop = asyncio.get_running_loop()
        stub = self._stub(address)
        end = loop.time() + seconds
        done = 0

        async def write(writer: int) -> None:
            nonlocal done
            key = keys[writer % len(keys)]
            while loop.time() < end:
                request = self._request(key, next(self._numbers), 1, granules, 0)
                await stub.ReportGranules(request, timeout=_TIMEOUT)
                done += 1

        begun = loop.time()
        await asyncio.gather(*map(write, range(writers)))
        return done / (loop.time() - begun)

    async def ready(self, keys: Sequence[Key], reports: int, changes: int, states: Sequence[str]) -> None:
        """Make what `pour` sends: for each job and state so many reports, of other granules each."""
        self._made = {
            (state, *key): [
                self._reach(key, range(number * changes, (number + 1) * changes), state)
                for number in range(reports)
            ]
            for state in states
            for key in keys
        }

    async def pour(self, address: str, keys: Sequence[Key], state: str) -> None:
        """Send what is ready of some jobs and a state: each job's after the answer to the one before."""
        send: Any = self._channel(address).unary_unary(_REPORT_GRANULES)

        async def report(key: Key) -> None:
            for request in self._made[state, *key]:
                answer = pb.ReportGranulesResponse.FromString(await send(request, timeout=_TIMEOUT))
                assert not answer.unchanged_count + answer.stale_count, answer

        await asyncio.gather(*map(report, keys))

    @staticmethod
    def _reach(key: Key, granules: range, state: str) -> bytes:
        request = pb.ReportGranulesRequest(project_id=key[0], job_id=key[1])
        request.granules.extend(pb.Granule(granule_id=_name(number), state=state) for number in granules)
        return request.SerializeToString()

    def _request(
        self, key: Key, number: int, changes: int, granules: int, message_bytes: int
    ) -> pb.ReportGranulesRequest:
        request = pb.ReportGranulesRequest(project_id=key[0], job_id=key[1])
        message = str(next(self._numbers)).rjust(message_bytes, "-")
        first = number * changes
        request.granules.extend(
            self._granule((first + index) % granules, message) for index in range(changes)
        )
        return request

    @staticmethod
    def _granule(number: int, message: str) -> pb.Granule:
        return pb.Granule(granule_id=_name(number), state=pb.GRANULE_STATE_STAGED, message=message)

    def _stub(self, address: str) -> pb.JobReportServiceStub:
        return pb.JobReportServiceStub(self._channel(address))

    def _channel(self, address: str) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = grpc.aio.insecure_channel(address)
        return channel


def _name(number: int) -> str:
    return f"granule-{number:06}"


def _handlers() -> dict[str, Handler]:
    reporters = Reporters()
    return {
        "create": reporters.create,
        "run": reporters.run,
        "start": reporters.start,
        "stop": reporters.stop,
        "storm": reporters.storm,
        "ready": reporters.ready,
        "pour": reporters.pour,
    }


if __name__ == "__main__":
    work(_handlers)
