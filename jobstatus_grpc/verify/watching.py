"""One watcher of a probe: opens streams, drops them, goes on from where it was before, reads and watches."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final

import grpc

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError, open_channel
from jobstatus_grpc.client.channels import metadata_of
from jobstatus_grpc.verify.checker import Checker
from jobstatus_grpc.verify.minutes import Minutes
from jobstatus_grpc.verify.stream import Asked

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_REST: Final = 0.05
# For how long a watcher may find no server.
_PATIENCE: Final = 30.0
# How often a restless watcher begins anew, instead of going on from a token.
_ANEW: Final = 0.1
_PAGES: Final = 4
_LARGEST_PAGE: Final = 10_000


class Role(Enum):
    """What a watcher does with its streams."""

    STEADY = "follows one stream, and goes on only where the stream ends"
    RESTLESS = "drops its stream again and again, and goes on from an earlier frame"
    READER = "reads the job by pages and watches from there, again and again"


class Goal:
    """Up to where all watchers of a probe go before they end.

    Attributes:
        near: set once no watcher is to drop its stream on purpose any more.
        revision: where to end; `None` until the reader has read for the last time.
    """

    def __init__(self) -> None:
        self.near = threading.Event()
        self.revision: int | None = None


class Watcher:
    """Watches in a thread of its own.

    Args:
        server: where.
        project_id: whose job.
        job_id: which.
        name: for breaches.
        role: what it does with its streams.
        asked: what it asks of the server.
        minutes: where it meets the other watchers.
        goal: when it ends.
        restlessness: how long a stream lasts that is dropped on purpose, in seconds, on average.
        tls: as of a `JobStatusClient`.
        credentials: as of a `JobStatusClient`.

    Attributes:
        checker: what it has found.
        failure: why it could not go on.
        resting: whether it has seen the job's end, and has nothing left to do.
        last_read: the revision of the last page of what it read last, once `goal.near` was set; else `None`.
    """

    def __init__(
        self,
        server: str,
        project_id: str,
        job_id: str,
        *,
        name: str,
        role: Role,
        asked: Asked,
        minutes: Minutes,
        goal: Goal,
        restlessness: float,
        tls: grpc.ChannelCredentials | None = None,
        credentials: Callable[[], str] | None = None,
    ) -> None:
        self.checker = Checker(asked, watcher=name, minutes=minutes, collect=True)
        self.failure: Exception | None = None
        self.resting = False
        self.last_read: int | None = None
        self._job_id = job_id
        self._role = role
        self._asked = asked
        self._goal = goal
        self._restlessness = restlessness
        self._client = JobStatusClient(server, project_id, tls=tls, credentials=credentials)
        self._channel = open_channel(server, tls)
        self._credentials = credentials or str
        self._stub = pb.JobStatusServiceStub(self._channel)
        self._request = pb.WatchJobRequest(
            project_id=project_id, job_id=job_id, delivery=asked.delivery, max_frames=asked.max_frames
        )
        self._request.heartbeat_interval.FromMilliseconds(int(asked.heartbeat_interval * 1000))
        self._call: Any = None
        self._dropped: Any = None
        self._silent: Any = None
        self._waiting_since: float | None = None
        self._heard = time.monotonic()
        self._failures = 0
        self._cuts = 0
        self._cut = True  # Whether the last stream was dropped on purpose; the first begins as one after it.
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"jobstatus-verify-{name}", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """End, wherever it is."""
        self._closed.set()
        self._channel.close()
        self._client.close()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    @property
    def running(self) -> bool:
        """Whether it still watches."""
        return self._thread.is_alive()

    def look(self) -> None:
        """Break a stream off that is too silent, or that has nothing left to bring. Called now and then."""
        call, since = self._call, self._waiting_since
        if call is None:
            return
        limit = max(self._asked.longest_silence, self._asked.first_frame_within)
        if since is not None and time.monotonic() - since > limit + 0.5:
            self._silent = call
            call.cancel()
        elif self._arrived() or (self._goal.near.is_set() and self._must_read()):
            self._dropped = call
            call.cancel()

    def _must_read(self) -> bool:
        return self._role is Role.READER and self.last_read is None

    def _arrived(self) -> bool:
        goal, checker = self._goal.revision, self.checker
        return goal is not None and not self._must_read() and checker.settled and checker.revision >= goal

    def _run(self) -> None:
        try:
            while not self._closed.is_set() and not self._arrived():
                self.resting = self._has_nothing_to_do()
                if self.resting:
                    self._closed.wait(_REST)
                else:
                    self._watch(self._begin())
        except Exception as error:
            if not self._closed.is_set():
                self.failure = error

    def _has_nothing_to_do(self) -> bool:
        """Return whether the job has ended, and nothing is left to be tried before all come together."""
        if not self.checker.completed or self._wants_more():
            return False
        # Who has ended before the others' goal goes on: the job has been taken up again.
        return self._goal.revision is None and not (self._goal.near.is_set() and self._must_read())

    def _wants_more(self) -> bool:
        """Return whether there is something left to do though the job has ended."""
        return self._role is not Role.STEADY and not self._cuts and not self._goal.near.is_set()

    def _begin(self) -> bytes:
        """Return the token to go on from; empty to begin anew."""
        checker = self.checker
        on_purpose = self._cut or (checker.completed and self._wants_more())
        if checker.completed:
            self._cuts += 1
        self._cut = False
        if self._role is Role.READER and (on_purpose or (self._goal.near.is_set() and self._must_read())):
            near = self._goal.near.is_set()
            token = checker.read(self._pages())
            if near:
                self.last_read = self._page_revision
            return token
        if on_purpose and self._role is Role.RESTLESS and not self._goal.near.is_set():
            earlier = checker.tokens()
            # Whatever is drawn, each has gone on from a token once.
            anew = checker.seen["resumes"] and random.random() < _ANEW
            return random.choice(earlier) if earlier and not anew else b""
        return checker.token

    def _pages(self) -> Iterator[pb.GetJobStatusResponse]:
        """Yield the job page by page, once all have been read."""
        size, token = 0, b""
        pages: list[pb.GetJobStatusResponse] = []
        while not pages or token:
            page = self._client.get(self._job_id, page_size=size or 1, page_token=token)
            pages.append(page)
            self._page_revision = page.job.revision
            token = page.next_page_token
            granules = sum(value for _, value in page.job.totals.ListFields())
            size = min(granules // _PAGES + 1, _LARGEST_PAGE)
        yield from pages

    def _watch(self, token: bytes) -> None:
        """Watch on one stream until it ends, or is dropped."""
        self._request.resume_token = token
        self._waiting_since = time.monotonic()
        self.checker.stream_began(token, self._waiting_since)
        call = self._call = self._stub.WatchJob(self._request, metadata=metadata_of(self._credentials()))
        lasts = random.uniform(0.2, 1.8) * self._restlessness
        until = time.monotonic() + lasts if self._role is not Role.STEADY else float("inf")
        try:
            for frame in call:
                now = time.monotonic()
                self._waiting_since = None
                self._heard, self._failures = now, 0
                self.checker.frame(frame, now)
                if self._closed.is_set() or self._arrived() or (now > until and self._may_drop()):
                    self.checker.stream_dropped()
                    return
                self._waiting_since = time.monotonic()
            self.checker.stream_ended()
        except grpc.RpcError as error:
            self._end(call, JobStatusRpcError.of(error))
        finally:
            self._call = self._waiting_since = None
            call.cancel()

    def _may_drop(self) -> bool:
        """Return whether the stream is dropped now, on purpose."""
        self._cut = not self._goal.near.is_set() and not self.checker.completed
        self._cuts += self._cut
        return self._cut

    def _end(self, call: Any, error: JobStatusRpcError) -> None:
        """Take the end of a stream that is not OK, and rest before the next one.

        Raises:
            JobStatusRpcError: trying again does not help, or has not helped for long.
        """
        if self._dropped is call or self._closed.is_set():
            self.checker.stream_dropped()
            return
        if self._silent is call:
            self.checker.silent(time.monotonic())
            self.checker.stream_dropped()
        else:
            self.checker.stream_ended(error)
            if not error.retryable or time.monotonic() - self._heard > _PATIENCE:
                raise error
        pause: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._failures, 10))
        self._failures += 1
        self._closed.wait(max(pause, error.retry_delay or 0.0))
