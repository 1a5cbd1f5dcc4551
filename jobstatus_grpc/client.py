"""A synchronous client of the service. Its calls are tried again, and its watches resume, by themselves."""

from __future__ import annotations

import datetime
import math
import random
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from types import TracebackType
from typing import Any, Final, Literal, Self, cast

import grpc
from google.protobuf import duration_pb2

from jobstatus import v1 as pb
from jobstatus_grpc.client_errors import JobStatusRpcError as JobStatusRpcError
from jobstatus_grpc.client_errors import reason_of as reason_of

DEFAULT_HEARTBEAT_INTERVAL: Final = 15.0

Until = Literal["terminal", "any_failure"] | float
"""What to wait for: the job's end, a failure, or a share of its granules, above 0 and up to 1."""

_BATCH_JOBS: Final = 500
# How long one call waits, in seconds: shorter than what stands between takes a silent call for dead.
_WAIT_ROUND: Final = 30.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0

_CHANNEL_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    # The one that works: grpc.keepalive_timeout_ms is read and never used.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # The channel's own back-off, up to two minutes, would hide a server that is back from our retries.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

_Frames = Generator[pb.WatchJobResponse, None, None]


def open_channel(target: str) -> grpc.Channel:
    """Return a channel to a server with the options that long watches need."""
    return grpc.insecure_channel(target, options=_CHANNEL_OPTIONS)


class JobStatusClient:
    """Calls the service. Use it as a context manager, from any number of threads.

    A unary call that meets an error that may pass is tried again: all of them can be repeated. Every method
    raises `JobStatusRpcError` for what remains.

    Args:
        target: `host:port`, or any name gRPC resolves.
        project_id: of every call, unless a message names another. Empty means `default`.
        connect_timeout: for how many seconds a unary call, and the start of a watch, is tried again.
        timeout: how many seconds one try of a unary call may take.
    """

    def __init__(
        self, target: str, project_id: str = "", *, connect_timeout: float = 10.0, timeout: float = 30.0
    ) -> None:
        self.target = target
        self.project_id = project_id
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._closed = threading.Event()
        self._channel = open_channel(target)
        self._status = pb.JobStatusServiceStub(self._channel)
        self._reports = pb.JobReportServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every call under way; a watch that is waiting raises CANCELLED."""
        self._closed.set()
        self._channel.close()

    def get(
        self,
        job_id: str,
        *,
        states: Iterable[pb.GranuleState] = (),
        view: pb.JobView = pb.JOB_VIEW_UNSPECIFIED,
        page_size: int = 0,
        page_token: bytes = b"",
    ) -> pb.GetJobStatusResponse:
        """Return a job, and one page of its granules, those in one of `states` if there are any."""
        request = pb.GetJobStatusRequest(
            project_id=self.project_id,
            job_id=job_id,
            granule_states=states,
            view=view,
            page_size=page_size,
            page_token=page_token,
        )
        return cast(pb.GetJobStatusResponse, self._call(self._status.GetJobStatus, request))

    def get_many(self, job_ids: Iterable[str]) -> Iterator[tuple[str, pb.Job | JobStatusRpcError]]:
        """Yield any number of jobs with their totals, or why one is not there, in the order of their ids.

        The jobs of one call, 500 at most, are of one moment.
        """
        rest = iter(job_ids)
        waiting = [*islice(rest, _BATCH_JOBS)]
        while waiting:
            request = pb.BatchGetJobStatusRequest(project_id=self.project_id, job_ids=waiting)
            answer: pb.BatchGetJobStatusResponse = self._call(self._status.BatchGetJobStatus, request)
            taken = 0
            for job_id, result in zip(waiting, answer.results, strict=True):
                failure = JobStatusRpcError.of_status(result.status) if result.HasField("status") else None
                # What no longer fits is asked for again; the first always fits.
                if failure is not None and failure.reason == "RESPONSE_FULL" and taken:
                    break
                yield job_id, failure or result.job
                taken += 1
            waiting = [*waiting[taken:], *islice(rest, taken)]

    def granules(
        self, job_id: str, states: Iterable[pb.GranuleState] = (), *, page_size: int = 0
    ) -> Iterator[pb.Granule]:
        """Yield all granules of a job, or those in one of `states`, page after page.

        Each page is of one revision, but not all pages of the same.
        """
        states = tuple(states)
        token = b""
        while True:
            page = self.get(job_id, states=states, page_size=page_size, page_token=token)
            yield from page.granules
            token = page.next_page_token
            if not token:
                return

    def report(
        self, request: pb.ReportJobRequest | pb.ReportGranulesRequest
    ) -> pb.ReportJobResponse | pb.ReportGranulesResponse:
        """Send a report as it is, but for the project if it names none."""
        if isinstance(request, pb.ReportGranulesRequest):
            request.project_id = request.project_id or self.project_id
            return cast(pb.ReportGranulesResponse, self._call(self._reports.ReportGranules, request))
        # Touching the job of a request that has none would give it one.
        if request.HasField("job"):
            request.job.project_id = request.job.project_id or self.project_id
        return cast(pb.ReportJobResponse, self._call(self._reports.ReportJob, request))

    def report_job(
        self, job: pb.Job, granules: Iterable[pb.Granule] = (), authoritative: bool = False
    ) -> pb.ReportJobResponse:
        """Create or update a job, and in the same transaction granules of it."""
        request = pb.ReportJobRequest(job=job, granules=granules, authoritative=authoritative)
        return cast(pb.ReportJobResponse, self.report(request))

    def report_granules(
        self, job_id: str, granules: Iterable[pb.Granule], authoritative: bool = False
    ) -> pb.ReportGranulesResponse:
        """Create or update granules of a job that has been reported before."""
        request = pb.ReportGranulesRequest(job_id=job_id, granules=granules, authoritative=authoritative)
        return cast(pb.ReportGranulesResponse, self.report(request))

    def delete(self, job_id: str) -> None:
        """Delete a job with its granules and its history."""
        request = pb.DeleteJobRequest(project_id=self.project_id, job_id=job_id)
        self._call(self._reports.DeleteJob, request)

    def wait(
        self,
        job_id: str,
        until: Until = "terminal",
        *,
        timeout: float | None = None,
        wait_for_job: bool = False,
    ) -> pb.WaitJobResponse:
        """Return the job when it has ended, or what is waited for holds, or the time is over.

        The answer's `done` tells which. Outages are sat out once the service has answered.

        Args:
            job_id: the job.
            until: what to wait for; whatever it is, the job's end ends the waiting too.
            timeout: for how many seconds, over any number of calls; `None` for ever.
            wait_for_job: wait for a job that nobody has reported yet, instead of raising NOT_FOUND at once.
        """
        start = time.monotonic()
        end = math.inf if timeout is None else start + timeout
        request = pb.WaitJobRequest(project_id=self.project_id, job_id=job_id, wait_for_job=wait_for_job)
        if isinstance(until, str):
            setattr(request, until, True)
        else:
            request.done_share = until

        def ask() -> Any:
            left = min(max(0.0, end - time.monotonic()), _WAIT_ROUND)
            request.timeout.CopyFrom(_duration(left))
            return self._invoke(self._status.WaitJob, request, timeout=left + self._timeout)

        give_up = start + self._connect_timeout
        while True:
            try:
                answer = cast(pb.WaitJobResponse, self._retried(ask, give_up))
            except JobStatusRpcError as error:
                waits = request.wait_for_job and error.code is grpc.StatusCode.NOT_FOUND
                if not waits or time.monotonic() >= end:
                    raise
            else:
                if answer.done or time.monotonic() >= end:
                    return answer
                request.wait_for_job = False
            give_up = end + self._connect_timeout

    def watch(
        self,
        job_id: str,
        resume_token: bytes = b"",
        *,
        snapshot_only: bool = False,
        heartbeat_interval: float | None = None,
        patience: float | None = None,
        on_break: Callable[[JobStatusRpcError], None] | None = None,
    ) -> Generator[pb.WatchJobResponse, None, None]:
        """Yield the frames of a watch until its promised end, over any number of streams.

        A stream that breaks, or is silent for three heartbeat intervals, is followed by another that goes
        on after the last frame. Where that frame was in the middle of a snapshot the watch begins anew, and
        says so with a `reset` of reason `SNAPSHOT_INTERRUPTED`. `reconnect` frames are followed, not yielded.
        Closing the iterator ends the call.

        Args:
            job_id: the job.
            resume_token: where to go on; empty starts with a snapshot.
            snapshot_only: end after the snapshot, or after the changes up to now.
            heartbeat_interval: seconds, 1 to 60; `None` leaves it to the server, which takes 15.
            patience: for how many seconds a watch that has begun may find no server; `None` for ever.
            on_break: told of every break that another try follows.
        """
        request = pb.WatchJobRequest(project_id=self.project_id, job_id=job_id, snapshot_only=snapshot_only)
        if heartbeat_interval is not None:
            request.heartbeat_interval.CopyFrom(_duration(heartbeat_interval))
        silence = 3 * (heartbeat_interval or DEFAULT_HEARTBEAT_INTERVAL)

        def open_stream(token: bytes) -> _Frames:
            request.resume_token = token
            return _frames_of(self._invoke(self._status.WatchJob, request), silence)

        watch = _Watch(open_stream, self._closed, resume_token, snapshot_only)
        return watch.frames(self._connect_timeout, math.inf if patience is None else patience, on_break)

    def list(  # The verb of the rpc; last in the class, so that it hides the built-in from nobody.
        self,
        *,
        states: Iterable[pb.JobState] = (),
        system: str = "",
        job_type: str = "",
        labels: Mapping[str, str] | None = None,
        page_size: int = 0,
    ) -> Iterator[pb.Job]:
        """Yield the jobs of the project that match, newest first, page after page."""
        request = pb.ListJobsRequest(
            project_id=self.project_id,
            states=states,
            system=system,
            job_type=job_type,
            labels=labels,
            page_size=page_size,
        )
        while True:
            page: pb.ListJobsResponse = self._call(self._status.ListJobs, request)
            yield from page.jobs
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def _call(self, method: Callable[..., Any], request: object) -> Any:
        """Call until there is an answer, or an error that stays."""
        give_up = time.monotonic() + self._connect_timeout
        return self._retried(lambda: self._invoke(method, request, timeout=self._timeout), give_up)

    def _retried(self, call: Callable[[], Any], give_up: float) -> Any:
        failures = 0
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                failure = JobStatusRpcError.of(error)
            pause = _pause(failures, failure)
            failures += 1
            if not failure.retryable or self._closed.is_set() or time.monotonic() + pause > give_up:
                raise failure
            self._closed.wait(pause)

    def _invoke(self, method: Callable[..., Any], request: object, **options: float) -> Any:
        try:
            return method(request, **options)
        except ValueError as error:  # What gRPC raises for a channel that is closed.
            raise JobStatusRpcError(grpc.StatusCode.CANCELLED, "the client is closed") from error


class _Watch:
    """A watch over many streams: where it is, and how to go on."""

    def __init__(
        self,
        open_stream: Callable[[bytes], _Frames],
        closed: threading.Event,
        token: bytes,
        snapshot_only: bool,
    ) -> None:
        self._open_stream = open_stream
        self._closed = closed
        self._token = token
        self._snapshot_only = snapshot_only
        self._in_snapshot = False
        self._torn = False
        self._failures = 0
        self._give_up: float | None = None

    def frames(
        self, connect_timeout: float, patience: float, on_break: Callable[[JobStatusRpcError], None] | None
    ) -> _Frames:
        self._give_up = time.monotonic() + connect_timeout
        while True:
            try:
                if (yield from self._one_stream()):
                    return
            except JobStatusRpcError as failure:
                pause = _pause(self._failures, failure)
                self._failures += 1
                now = time.monotonic()
                self._give_up = now + patience if self._give_up is None else self._give_up
                if not failure.retryable or self._closed.is_set() or now + pause > self._give_up:
                    raise
                if on_break is not None:
                    on_break(failure)
                self._closed.wait(pause)

    def _one_stream(self) -> Generator[pb.WatchJobResponse, None, bool]:
        """Yield one stream's frames, and return whether the watch is over or goes on with another one."""
        self._torn, self._in_snapshot = self._torn or self._in_snapshot, False
        started, first = time.monotonic(), True
        with closing(self._open_stream(self._token)) as stream:
            for frame in stream:
                kind = frame.WhichOneof("frame")
                if self._torn and kind != "reset":
                    yield pb.WatchJobResponse(reset=pb.Reset(reason="SNAPSHOT_INTERRUPTED"))
                self._torn, self._give_up = False, None
                # A server that says one word and breaks is not well: only news, or a while, make it so.
                if self._take(kind, frame) or time.monotonic() - started > _LONGEST_PAUSE:
                    self._failures = 0
                if kind == "reconnect":
                    if first:
                        raise JobStatusRpcError(grpc.StatusCode.UNAVAILABLE, "the server sends watches away")
                    return False
                first = False
                yield frame
                if kind == "completed":
                    return True
        if self._snapshot_only and self._token:
            return True
        raise JobStatusRpcError(grpc.StatusCode.UNAVAILABLE, "the stream ended before what it promised")

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


def _frames_of(call: Any, silence: float) -> _Frames:
    """Yield the frames of `call`, and cancel it at the end, or when none comes for `silence` seconds."""
    waiting_since: float | None = None
    over = threading.Event()

    def guard() -> None:
        while not over.wait(silence / 8):
            # Only a wait counts: a consumer that takes its time is not a server that is silent.
            since = waiting_since
            if since is not None and time.monotonic() - since > silence:
                call.cancel()
                return

    threading.Thread(target=guard, name="jobstatus-watch-guard", daemon=True).start()
    try:
        while True:
            waiting_since = time.monotonic()
            frame = next(call, None)
            waiting_since = None
            if frame is None:
                return
            yield frame
    except grpc.RpcError as error:
        raise JobStatusRpcError.of(error) from error
    finally:
        over.set()
        call.cancel()


def _pause(failures: int, failure: JobStatusRpcError) -> float:
    """Return for how many seconds to wait after `failure`, which `failures` others came before."""
    pause: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0)
    if failure.retry_delay is not None:
        # Never sooner than told; a little later, so that all who were told the same do not come at once.
        pause = max(pause, failure.retry_delay * random.uniform(1.0, 1.25))
    return pause


def _duration(seconds: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromTimedelta(datetime.timedelta(seconds=seconds))
    return duration
