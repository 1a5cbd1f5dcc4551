"""Watchers: one that follows a job by itself, and one stream as gRPC gives it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import grpc
from folded import Folded, Frame

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError

SECOND: Final[dict[str, Any]] = {"heartbeat_interval": {"seconds": 1}}
"""What a request for a heartbeat every second has."""

_PATIENCE: Final = 60.0


class Watcher:
    """Follows a job with the client, over any number of streams, in a thread. Use it as a context manager.

    What the frames do not prove is raised in the test, by `wait_for` or at the end of the block.

    Args:
        address: the server's.
        job_id: the job.
        resume_token: where to go on; the frames are folded into what `folded` holds.
        folded: as it stands at the token.
    """

    def __init__(
        self, address: str, job_id: str, resume_token: bytes = b"", folded: Folded | None = None
    ) -> None:
        self.folded = Folded() if folded is None else folded
        self.breaks: list[JobStatusRpcError] = []
        self._client = JobStatusClient(address)
        self._frames = self._client.frames(
            job_id, resume_token, heartbeat_interval=1, on_break=self.breaks.append
        )
        self._news = threading.Condition()
        self._ended = False
        self._failure: JobStatusRpcError | AssertionError | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"watcher of {job_id}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._client.close()
        self._thread.join(timeout=_PATIENCE)
        if kind is None:
            self._raise_failure()
            assert not self._thread.is_alive()

    def wait_for(self, happened: Callable[[Folded], bool], moment: str, seconds: float = _PATIENCE) -> None:
        """Return once `happened` says so of what has been folded.

        Raises:
            AssertionError: the moment did not come in time, or a frame proved something wrong.
            JobStatusRpcError: the watch failed.
        """
        end = time.monotonic() + seconds
        with self._news:
            while not happened(self.folded):
                self._raise_failure()
                assert not self._ended, f"the watch ended before: {moment}"
                left = end - time.monotonic()
                assert left > 0, f"not within {seconds} s: {moment}; at {self._shown()}"
                self._news.wait(left)
            self._raise_failure()

    def wait_for_revision(self, revision: int, seconds: float = _PATIENCE) -> None:
        """Return once everything up to `revision` has been delivered."""
        self.wait_for(lambda folded: folded.revision >= revision, f"revision {revision}", seconds)

    def wait_for_heartbeat(self, wanted: Callable[[pb.Heartbeat], bool] = lambda _: True) -> pb.Heartbeat:
        """Return the next heartbeat that is wanted."""
        with self._news:
            seen = len(self.folded.heartbeats)
        self.wait_for(lambda folded: any(map(wanted, folded.heartbeats[seen:])), "the heartbeat")
        with self._news:
            return next(filter(wanted, self.folded.heartbeats[seen:]))

    def wait_for_failure(self, seconds: float = _PATIENCE) -> JobStatusRpcError:
        """Return what the watch fails with, which then is no failure of the test."""
        self._thread.join(timeout=seconds)
        failure, self._failure = self._failure, None
        assert isinstance(failure, JobStatusRpcError), f"not within {seconds} s: a failure; but {failure!r}"
        return failure

    def _run(self) -> None:
        try:
            for frame in self._frames:
                with self._news:
                    self.folded.take(frame)
                    self._news.notify_all()
        except (JobStatusRpcError, AssertionError) as failure:
            if not self._closing or isinstance(failure, AssertionError):
                self._failure = failure
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _shown(self) -> str:
        folded = self.folded
        return f"revision {folded.revision}, {folded.counts}, resets {folded.resets}, breaks {self.breaks}"


class Ending(NamedTuple):
    """How a stream ended: the status, the service's reason, and after how long to try again."""

    code: grpc.StatusCode
    reason: str = ""
    retry_delay: float | None = None


class RawStream:
    """One stream of gRPC's own stub, its frames folded as they are read. Use it as a context manager.

    Args:
        address: the server's.
        job_id: the job.
        folded: what the frames go into.
        **fields: of the request.
    """

    def __init__(self, address: str, job_id: str, folded: Folded | None = None, **fields: Any) -> None:
        self.folded = Folded() if folded is None else folded
        self.frames: list[Frame] = []
        self._channel = grpc.insecure_channel(address)
        request = pb.WatchJobRequest(job_id=job_id, **fields)
        self.call = pb.JobStatusServiceStub(self._channel).WatchJob(request, timeout=2 * _PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.call.cancel()
        self._channel.close()

    def next(self) -> Frame | None:
        """Return the next frame; `None` at the end, whichever it is."""
        try:
            frame: Frame | None = next(self.call, None)
        except grpc.RpcError:
            return None
        if frame is not None:
            self.folded.take(frame)
            self.frames.append(frame)
        return frame

    def read_until(self, wanted: Callable[[Frame], bool], seconds: float = _PATIENCE) -> Frame:
        """Return the next frame that is wanted."""
        end = time.monotonic() + seconds
        while (frame := self.next()) is not None:
            if wanted(frame):
                return frame
            assert time.monotonic() < end, f"not within {seconds} s"
        raise AssertionError(f"the stream ended: {self.ending()}")

    def read_kind(self, kind: str, seconds: float = _PATIENCE) -> Frame:
        """Return the next frame of a kind, whatever comes before it."""
        return self.read_until(lambda frame: frame.WhichOneof("frame") == kind, seconds)

    def rest(self) -> list[str]:
        """Read to the end, and return the kinds of the frames that came."""
        kinds = []
        while (frame := self.next()) is not None:
            kinds.append(str(frame.WhichOneof("frame")))
        return kinds

    def ending(self) -> Ending:
        """Return how the stream has ended."""
        code = self.call.code()
        if code is grpc.StatusCode.OK:
            return Ending(code)
        error = JobStatusRpcError.of(self.call)
        return Ending(code, error.reason, error.retry_delay)


def watch_kinds(address: str, job_id: str, **fields: Any) -> tuple[list[str], Ending]:
    """Watch to the end, and return the kinds of the frames and the ending.

    With a token what the frames bring is not folded: there is nothing to fold it into.
    """
    with RawStream(address, job_id, Unfolded() if "resume_token" in fields else None, **fields) as stream:
        return stream.rest(), stream.ending()


class Unfolded(Folded):
    """Takes frames as they are."""

    def take(self, frame: Frame) -> None:
        self.frames += 1
