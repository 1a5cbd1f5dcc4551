"""A crowd of clients: a worker that reports, watches and asks, and records everything it is told."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
from workers import Handler, work

from faults.recordings import (
    Acknowledged,
    Asked,
    Failure,
    Key,
    Recorder,
    Refused,
    Reports,
    Sent,
    now,
)
from faults.watchers import Watcher
from jobstatus import v1 as pb
from jobstatus_grpc.verify.held import counts_of

# What one reporter has of its job's granules.
GRANULES: Final = 24
# How long a report or a question may take, in seconds: both end by themselves much sooner.
TIMEOUT: Final = 8.0

# Several connections to each server: what befalls one befalls not all.
_CONNECTIONS: Final = 3
_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 12_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # A server that is back is found at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
)
_STATES: Final = (pb.GRANULE_STATE_PENDING, pb.GRANULE_STATE_STAGED, pb.GRANULE_STATE_SUCCEEDED)
_POLL_PAUSE: Final = 0.1


def names_of(reporter: int) -> list[str]:
    """Return the ids of a reporter's granules."""
    return [f"{reporter}-{index:03d}" for index in range(GRANULES)]


class Crowd:
    """Clients of some servers. Watchers go from server to server when a stream breaks; reporters and
    questioners when a call fails.
    """

    def __init__(self) -> None:
        self._channels: list[list[grpc.aio.Channel]] = []
        self._turns: list[Iterator[grpc.aio.Channel]] = []
        self._watchers: list[Watcher] = []
        self._tasks: dict[str, list[asyncio.Task[None]]] = {"watch": [], "report": [], "ask": [], "hang": []}
        self._quiet = asyncio.Event()
        self._counts: Counter[str] = Counter()

    async def open(self, name: str, file: str, addresses: Sequence[str]) -> None:
        """Record into a file, under this name, and get ready to call these servers."""
        self._name = name
        self._recorder = Recorder(Path(file))
        for address in addresses:
            made = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(_CONNECTIONS)]
            self._channels.append(made)
            self._turns.append(cycle(made))

    async def watch(
        self, keys: Sequence[Key], watchers: int, heartbeat_interval: float, roles: Sequence[str]
    ) -> None:
        """Begin so many watches of the jobs in turn: those of the first role, then those of the next."""
        for number, (project, job) in enumerate(islice(cycle(keys), watchers)):
            watcher = Watcher(
                f"{self._name}, watcher {len(self._watchers)}",
                (project, job),
                roles[number // len(keys) % len(roles)],
                heartbeat_interval,
                self._recorder,
                self.servers,
                len(self._turns),
            )
            self._watchers.append(watcher)
            self._start("watch", watcher.run())

    async def report(self, keys: Sequence[Key], reporters: int, pause: float, granules: int) -> None:
        """Begin to report to the jobs in turn: each reporter sends one report after the other."""
        for number, (project, job) in enumerate(islice(cycle(keys), reporters)):
            self._start("report", self._report(number, (project, job), pause, granules))

    async def hang(self, keys: Sequence[Key], streams: int) -> None:
        """Open streams that are not read."""
        for number, (project, job) in enumerate(islice(cycle(keys), streams)):
            self._start("hang", self._hang(number, pb.WatchJobRequest(project_id=project, job_id=job)))

    async def ask(self, keys: Sequence[Key], askers: int) -> None:
        """Begin to ask how the jobs stand."""
        for number in range(askers):
            self._start("ask", self._ask(f"{self._name}, asker {number}", [(k[0], k[1]) for k in keys]))

    async def status(self) -> dict[str, int]:
        """Return how many reports were `acknowledged`, watches are `live` and have `completed`, and so on."""
        self._raise_failures()
        return {
            **self._counts,
            "acknowledged": self._counts["acknowledged"],
            "delivered": sum(watcher.delivered for watcher in self._watchers),
            "live": sum(watcher.live for watcher in self._watchers),
            "completed": sum(watcher.completed for watcher in self._watchers),
        }

    async def quiet(self, seconds: float) -> None:
        """Have every reporter end with its last report acknowledged."""
        self._quiet.set()
        async with asyncio.timeout(seconds):
            await asyncio.gather(*self._tasks["report"])

    async def finish(self, seconds: float) -> list[str]:
        """Wait until every watch has ended as its job has; return those that have not, and where they are."""
        left = set(self._tasks["watch"])
        if left:
            _, left = await asyncio.wait(left, timeout=seconds)
        self._raise_failures()
        return [watcher.shown for watcher in self._watchers if not watcher.completed]

    async def close(self) -> None:
        """Leave, whatever is under way."""
        tasks = [task for kind in self._tasks.values() for task in kind]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in [channel for made in self._channels for channel in made]:
            await channel.close()
        self._recorder.close()

    def servers(self, number: int) -> grpc.aio.Channel:
        """Return a connection to a server, one after the other."""
        return next(self._turns[number % len(self._turns)])

    def _start(self, kind: str, work: Any) -> None:
        self._tasks[kind].append(asyncio.create_task(work))

    def _raise_failures(self) -> None:
        for task in (task for kind in self._tasks.values() for task in kind):
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _report(self, number: int, key: Key, pause: float, granules: int) -> None:
        """Report until it has to be quiet. Every granule goes through its states, attempt by attempt."""
        who = f"{self._name}, reporter {number}"
        self._recorder.record(who, Reports(now(), key))
        steps = _lives(names_of(number), granules)
        loop = asyncio.get_running_loop()
        server = number
        for index in count():
            due = loop.time() + pause
            request = pb.ReportGranulesRequest(project_id=key[0], job_id=key[1])
            message = f"{who}, report {index}"
            for name, attempt, state in next(steps):
                request.granules.add(
                    collection_id=key[0], granule_id=name, state=state, attempt=attempt, message=message
                )
            self._recorder.record(who, Sent(now(), message, granules))
            answer, server = await self._until_taken(who, request, server)
            self._counts["acknowledged"] += 1
            self._recorder.record(who, Acknowledged(now(), message, answer.revision))
            if self._quiet.is_set():
                return
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _until_taken(
        self, who: str, request: pb.ReportGranulesRequest, server: int
    ) -> tuple[pb.ReportGranulesResponse, int]:
        """Send a report until it is acknowledged, to one server after the other; return which did."""
        for number in count(server):
            stub = pb.JobReportServiceStub(self.servers(number))
            begun = now()
            try:
                return await stub.ReportGranules(request, timeout=TIMEOUT), number
            except grpc.aio.AioRpcError as error:
                failure = Failure.of(error)
            self._counts["refused"] += 1
            self._recorder.record(who, Refused(now(), now() - begun, failure))
            await asyncio.sleep(failure.retry_delay or 0.1 * random.uniform(0.5, 1.5))
        raise AssertionError("nothing ends the trying")

    async def _ask(self, who: str, keys: Sequence[Key]) -> None:
        """Ask, of one server after the other, how one job after the other stands."""
        for number in count(random.randrange(100)):
            project, job = random.choice(keys)
            stub = pb.JobStatusServiceStub(self.servers(number))
            request = pb.GetJobStatusRequest(project_id=project, job_id=job, view=pb.JOB_VIEW_BASIC)
            begun = now()
            try:
                answer: pb.GetJobStatusResponse = await stub.GetJobStatus(request, timeout=TIMEOUT)
            except grpc.aio.AioRpcError as error:
                self._recorder.record(who, Refused(now(), now() - begun, Failure.of(error)))
            else:
                told = answer.job
                self._counts["answered"] += 1
                counts = counts_of(told.totals)
                asked = (begun, number % len(self._turns), (project, job), told.revision, counts)
                self._recorder.record(who, Asked(now(), *asked, answer.resume_token))
            await asyncio.sleep(_POLL_PAUSE)

    async def _hang(self, server: int, request: pb.WatchJobRequest) -> None:
        """Open a stream, read its first frame and nothing more; open another one when it has ended."""
        for number in count(server):
            call: Any = pb.JobStatusServiceStub(self.servers(number)).WatchJob(request)
            ended = asyncio.Event()
            call.add_done_callback(lambda _, ended=ended: ended.set())
            with suppress(grpc.aio.AioRpcError):
                await call.read()
                await ended.wait()
            await asyncio.sleep(_POLL_PAUSE)


def _lives(names: Sequence[str], step: int) -> Iterator[list[tuple[str, int, pb.GranuleState]]]:
    """Yield without end what to report next: each time other granules, and each always a step further."""
    for attempt in count(1):
        for state in _STATES:
            for start in range(0, len(names), step):
                yield [(name, attempt, state) for name in names[start : start + step]]


def _handlers() -> dict[str, Handler]:
    crowd = Crowd()
    return {
        name: getattr(crowd, name)
        for name in ("open", "watch", "report", "hang", "ask", "status", "quiet", "finish", "close")
    }


if __name__ == "__main__":
    work(_handlers)
