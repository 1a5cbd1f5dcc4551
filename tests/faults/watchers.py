"""One watcher of a crowd: opens streams and goes on from where the last one broke, on the next server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final

import grpc
import grpc.aio

from faults.recordings import Began, Came, Dropped, Ended, Failure, Key, Read, Recorder, Watches, now
from jobstatus import v1 as pb

_METHOD: Final = "/jobstatus.v1.JobStatusService/WatchJob"
# What of a good client's rules: when to try again, in seconds, and after how many heartbeats that did not
# come a stream is taken for broken.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_MISSED: Final = 5
# How long the first frame may take, and a page, in seconds.
_FIRST_FRAME: Final = 10.0
_READ_TIMEOUT: Final = 8.0
# How long a stream lasts that is dropped on purpose, in seconds.
_RESTLESS: Final = (0.3, 1.5)
# From how far back a restless watcher goes on, in frames.
_BACK: Final = 50
_PAGE_SIZE: Final = 10

STEADY, RESTLESS, READER, LATEST, TOTALS = "steady", "restless", "reader", "latest", "totals"
ROLES: Final = {
    STEADY: pb.DELIVERY_EVERY_CHANGE,
    RESTLESS: pb.DELIVERY_EVERY_CHANGE,
    LATEST: pb.DELIVERY_LATEST,
    READER: pb.DELIVERY_EVERY_CHANGE,
    TOTALS: pb.DELIVERY_NONE,
}
"""What watchers do, and the delivery they ask for.

Most follow a stream until it breaks. Restless ones drop it again and again, and go on from an earlier frame;
readers drop it too, read the job by pages, and watch from there.
"""


class Watcher:
    """Watches a job until its end.

    Args:
        name: for the recording.
        key: the job.
        role: which of `ROLES`.
        heartbeat_interval: what it asks for, in seconds.
        recorder: takes down what happens.
        servers: gives a connection to a server, by its number.
        number: how many servers there are.

    Attributes:
        delivered: how many changes have come.
        live: whether a stream is open, and something has come on it.
        completed: whether the job's end has come.
    """

    def __init__(
        self,
        name: str,
        key: Key,
        role: str,
        heartbeat_interval: float,
        recorder: Recorder,
        servers: Callable[[int], grpc.aio.Channel],
        number: int,
    ) -> None:
        self.delivered = 0
        self.live = self.completed = False
        self._name = name
        self._role, delivery = role, ROLES[role]
        self._recorder = recorder
        self._servers = servers
        self._number = number
        self._server = random.randrange(number)
        self._silence = _MISSED * heartbeat_interval
        self._request = pb.WatchJobRequest(project_id=key[0], job_id=key[1], delivery=delivery)
        self._request.heartbeat_interval.FromMilliseconds(int(heartbeat_interval * 1000))
        if delivery != pb.DELIVERY_EVERY_CHANGE:
            self._request.min_interval.FromMilliseconds(200)
        self._tokens: list[bytes] = []
        self._failures = 0
        self._on_purpose = False
        self._last = ""
        recorder.record(name, Watches(now(), key, delivery, heartbeat_interval))

    @property
    def shown(self) -> str:
        """Where it is, for people."""
        return f"{self._name} ({self._role}, {self._request.project_id}/{self._request.job_id}): {self._last}"

    async def run(self) -> None:
        """Watch."""
        self._on_purpose = self._role == READER
        while not self.completed:
            try:
                self._request.resume_token = await self._token()
                await self._follow()
            except grpc.aio.AioRpcError as error:
                await self._rest(Failure.of(error))
            else:
                self._failures = 0

    async def _token(self) -> bytes:
        """Return where to go on; empty to begin anew."""
        on_purpose, self._on_purpose = self._on_purpose, False
        if on_purpose and self._role == READER:
            self._tokens = [await self._read()]
        elif on_purpose and self._tokens:
            del self._tokens[random.randrange(len(self._tokens)) + 1 :]
        return self._tokens[-1] if self._tokens else b""

    async def _read(self) -> bytes:
        """Read the job by pages, and return the first one's token."""
        stub = pb.JobStatusServiceStub(self._servers(self._server))
        request = pb.GetJobStatusRequest(
            project_id=self._request.project_id, job_id=self._request.job_id, page_size=_PAGE_SIZE
        )
        pages: list[pb.GetJobStatusResponse] = []
        while not pages or request.page_token:
            pages.append(await stub.GetJobStatus(request, timeout=_READ_TIMEOUT))
            request.page_token = pages[-1].next_page_token
        self._recorder.record(self._name, Read(now(), [page.SerializeToString() for page in pages]))
        return pages[0].resume_token

    async def _follow(self) -> None:
        """Follow one stream until it ends, or is dropped.

        Raises:
            grpc.aio.AioRpcError: it has ended with an error.
        """
        open_stream: Any = self._servers(self._server).unary_stream(
            _METHOD, request_serializer=pb.WatchJobRequest.SerializeToString
        )
        self._recorder.record(self._name, Began(now(), self._server, self._request.resume_token))
        call = open_stream(self._request)
        lasts = now() + random.uniform(*_RESTLESS) if self._role in (RESTLESS, READER) else float("inf")
        try:
            await self._take_all(call, lasts)
        except TimeoutError:
            self._drop(silent=True)
            self._turn()
        except grpc.aio.AioRpcError as error:
            self._recorder.record(self._name, Ended(now(), Failure.of(error)))
            self._last = f"ended: {error.code().name} {error.details()}"
            raise
        finally:
            self.live = False
            call.cancel()

    async def _take_all(self, call: Any, lasts: float) -> None:
        limit = _FIRST_FRAME
        while True:
            async with asyncio.timeout(limit):
                data = await call.read()
            limit = self._silence
            moment = now()
            if data is grpc.aio.EOF:
                self._recorder.record(self._name, Ended(moment, None))
                return
            self._recorder.record(self._name, Came(moment, data))
            self._take(pb.WatchJobResponse.FromString(data))
            if moment > lasts and not self.completed:
                self._on_purpose = True
                self._drop(silent=False)
                return

    def _turn(self) -> None:
        """Go on at the next server."""
        self._server = (self._server + 1) % self._number

    def _drop(self, *, silent: bool) -> None:
        self._recorder.record(self._name, Dropped(now(), silent))

    def _take(self, frame: pb.WatchJobResponse) -> None:
        kind = frame.WhichOneof("frame")
        self.live = True
        self.delivered += len(frame.changes.changes)
        self.completed = kind == "completed"
        self._last = f"{kind} at revision {frame.revision}"
        if kind in ("reset", "snapshot"):
            self._tokens.clear()
        if frame.resume_token and kind in ("snapshot", "changes"):
            self._tokens.append(frame.resume_token)
            del self._tokens[:-_BACK]

    async def _rest(self, failure: Failure) -> None:
        """Wait before the next try, which is at another server."""
        self._turn()
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**self._failures) * random.uniform(0.5, 1.0)
        self._failures = min(self._failures + 1, 10)
        await asyncio.sleep(max(pause, (failure.retry_delay or 0.0) * random.uniform(1.0, 1.25)))
