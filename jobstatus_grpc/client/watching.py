"""A watch over any number of streams: where it is, and how it goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypedDict

import grpc

from jobstatus import v1 as pb
from jobstatus_grpc.client.core import Core
from jobstatus_grpc.client.durations import duration_of
from jobstatus_grpc.client.errors import JobStatusRpcError, ServerSilent
from jobstatus_grpc.client.servers import LONGEST_PAUSE, Turns
from jobstatus_grpc.client.steps import Credentials, Give, Leave, Open, Pause, Read, Steps
from jobstatus_grpc.client.updates import Kind, Proof, Update

DEFAULT_HEARTBEAT_INTERVAL: Final = 15.0
SILENT_INTERVALS: Final = 3


class WatchOptions(TypedDict, total=False):
    """How to watch. Whatever is left out is as if it were absent from the request, or `None`.

    Attributes:
        delivery: how changes are delivered; absent: every change.
        min_interval: seconds between two frames of changes, with LATEST and NONE.
        wait_for_job: wait for a job that nobody has reported yet, instead of raising NOT_FOUND at once.
        snapshot_only: end after the snapshot, or with a token after the changes up to now.
        heartbeat_interval: seconds, 1 to 60; absent: the server's 15. A server that is silent for three of
            them is taken for dead.
        patience: for how many seconds a watch that has begun may find no server; `None` for ever.
        timeout: after how many seconds the watch ends with DEADLINE_EXCEEDED; `None` for never.
        on_break: told of every break that another try follows.
    """

    delivery: pb.Delivery
    min_interval: float | None
    wait_for_job: bool
    snapshot_only: bool
    heartbeat_interval: float | None
    patience: float | None
    timeout: float | None
    on_break: Callable[[JobStatusRpcError], None] | None


class Watch:
    """A watch on its way from stream to stream.

    Args:
        core: what the client's calls share.
        job_id: the job.
        resume_token: where to go on; empty begins with a snapshot.
        options: how to watch.
        tell: makes of each frame what the caller is given; none of it for `reconnect`, which is followed.
    """

    def __init__(
        self,
        core: Core,
        job_id: str,
        resume_token: bytes,
        options: WatchOptions,
        tell: Callable[[pb.WatchJobResponse], Sequence[Any]],
    ) -> None:
        now = time.monotonic()
        self._tell = tell
        self._token = resume_token
        self._request = _request_of(core.project_id, job_id, options)
        self._silence = SILENT_INTERVALS * (options.get("heartbeat_interval") or DEFAULT_HEARTBEAT_INTERVAL)
        self._patience = _or_for_ever(options.get("patience"))
        self._end = now + _or_for_ever(options.get("timeout"))
        self._on_break = options.get("on_break")
        self._turns = Turns(core.servers)
        self._give_up: float | None = now + core.connect_timeout
        self._in_snapshot = False
        self._torn = False
        self._credentials = ""
        self._refused = False

    def steps(self) -> Steps[None]:
        """Give what the frames tell until the watch's promised end.

        Where a stream breaks in the middle of a snapshot the watch begins anew, and says so with a `reset` of
        reason `SNAPSHOT_INTERRUPTED`.
        """
        while True:
            try:
                if (yield from self._one_stream()):
                    return
            except JobStatusRpcError as failure:
                yield from self._recover(failure)

    def _one_stream(self) -> Steps[bool]:
        """Give one stream's frames, and return whether the watch is over or goes on with another one."""
        self._torn, self._in_snapshot = self._torn or self._in_snapshot, False
        self._request.resume_token = self._token
        self._credentials = yield Credentials()
        stream: Any = yield Open(self._turns.server, self._request, self._credentials)
        try:
            return (yield from self._read(stream))
        finally:
            stream.cancel()

    def _read(self, stream: Any) -> Steps[bool]:
        started, first = time.monotonic(), True
        while (frame := (yield Read(stream, self._longest_wait()))) is not None:
            kind = frame.WhichOneof("frame")
            if self._torn and kind != "reset":
                yield Give(self._tell(pb.WatchJobResponse(reset=pb.Reset(reason="SNAPSHOT_INTERRUPTED"))))
            self._torn, self._give_up, self._refused = False, None, False
            # A server that says one word and breaks is not well: only news, or a while, make it so.
            if self._take(kind, frame) or time.monotonic() - started > LONGEST_PAUSE:
                self._turns.well()
            told = self._tell(frame)
            if kind == "reconnect":
                self._follow(frame.reconnect, first)
                return False
            first = False
            yield Give(told)
            if kind == "completed":
                return True
        if self._request.snapshot_only and self._token:
            return True
        raise JobStatusRpcError(grpc.StatusCode.UNAVAILABLE, "the stream ended before what it promised")

    def _longest_wait(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise JobStatusRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, "the watch's time is over")
        return min(self._silence, left)

    def _take(self, kind: str | None, frame: pb.WatchJobResponse) -> bool:
        """Note where `frame` leads; return whether that is any further."""
        if kind == "reset" or (kind == "snapshot" and not frame.snapshot.last):
            self._token = b""
            self._in_snapshot = kind == "snapshot"
        elif kind == "snapshot":
            self._in_snapshot = False
        before = self._token
        self._token = frame.resume_token or before
        return self._token != before

    def _follow(self, reconnect: pb.Reconnect, first: bool) -> None:
        if first:
            raise JobStatusRpcError(grpc.StatusCode.UNAVAILABLE, "the server sends watches away")
        if reconnect.reason != "STREAM_EXPIRED":
            self._turns.move()

    def _recover(self, failure: JobStatusRpcError) -> Steps[None]:
        """Wait until it is time for another stream.

        Raises:
            JobStatusRpcError: there is no point in another one, or no time.
        """
        if failure.code is grpc.StatusCode.UNAUTHENTICATED and not self._refused:
            self._refused = True  # Until a frame comes: credentials are renewed once, not for ever.
            if (yield Credentials()) != self._credentials:
                return
        if not failure.retryable:
            raise failure
        if isinstance(failure, ServerSilent) and time.monotonic() < self._end:
            # On the same connection the next stream would be as silent.
            yield Leave(self._turns.server)
        pause = min(self._turns.failed(failure), max(0.0, self._end - time.monotonic()))
        now = time.monotonic()
        self._give_up = now + self._patience if self._give_up is None else self._give_up
        if now + pause > self._give_up:
            raise failure
        if self._on_break is not None:
            self._on_break(failure)
        yield Pause(pause)


def frames(core: Core, job_id: str, resume_token: bytes, options: WatchOptions) -> Steps[None]:
    """Give the frames as they come."""
    return Watch(core, job_id, resume_token, options, lambda frame: (frame,)).steps()


def updates(
    core: Core, job_id: str, resume_token: bytes, heartbeats: bool, options: WatchOptions
) -> Steps[None]:
    """Give what the frames prove."""
    known = pb.Job(project_id=core.project_id, job_id=job_id)
    proof = Proof(known, bool(resume_token), options.get("delivery", pb.DELIVERY_UNSPECIFIED))

    def tell(frame: pb.WatchJobResponse) -> Sequence[Update]:
        update = proof.take(frame)
        return () if update is None or (update.kind is Kind.HEARTBEAT and not heartbeats) else (update,)

    return Watch(core, job_id, resume_token, options, tell).steps()


def _request_of(project_id: str, job_id: str, options: WatchOptions) -> pb.WatchJobRequest:
    request = pb.WatchJobRequest(
        project_id=project_id,
        job_id=job_id,
        delivery=options.get("delivery", pb.DELIVERY_UNSPECIFIED),
        wait_for_job=options.get("wait_for_job", False),
        snapshot_only=options.get("snapshot_only", False),
    )
    for name in ("min_interval", "heartbeat_interval"):
        seconds = options.get(name)
        if isinstance(seconds, int | float):
            getattr(request, name).CopyFrom(duration_of(seconds))
    return request


def _or_for_ever(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds
