"""One stream of a watch: what it was asked, what has come on it, and how it may end."""

from __future__ import annotations

from typing import Final, NamedTuple

import grpc

from jobstatus import v1 as pb
from jobstatus_grpc.client import DEFAULT_HEARTBEAT_INTERVAL, JobStatusRpcError
from jobstatus_grpc.verify.record import Guarantee, Record

# How much the server may move a heartbeat.
_JITTER: Final = 1.1
# Codes that a client's own side of gRPC gives, without the service having said a word.
_CLIENTS_OWN: Final = (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


class Asked(NamedTuple):
    """What the streams of a watch are asked, beside where to go on; as in WatchJobRequest.

    Attributes:
        delivery: how changes are delivered.
        snapshot_only: whether to end after the snapshot, or after the changes up to now.
        max_frames: after how many frames to end; 0 for never.
        heartbeat_interval: how long a stream may be silent, in seconds.
        first_frame_within: when the first frame is late, in seconds.
        tolerance: by how many seconds every other frame may be late: a busy machine is no finding.
    """

    delivery: pb.Delivery = pb.DELIVERY_EVERY_CHANGE
    snapshot_only: bool = False
    max_frames: int = 0
    heartbeat_interval: float = DEFAULT_HEARTBEAT_INTERVAL
    first_frame_within: float = 10.0
    tolerance: float = 3.0

    @property
    def longest_silence(self) -> float:
        """After how many seconds without a frame a stream is too silent."""
        return self.heartbeat_interval * _JITTER + self.tolerance


class Stream:
    """What has come on one stream.

    Args:
        record: what is found.
        asked: what was asked.
        resumed: whether it was to go on at a token.
        began: when it was asked for.

    Attributes:
        frames: how many frames have come, without the one that is being checked.
        in_snapshot: whether the next chunk is not the first of a snapshot.
        whole_snapshot: whether one has come whole since the beginning or the last reset.
        final: the kind of the frame after which none may come; empty before.
        reason: that of a `reconnect`.
    """

    def __init__(self, record: Record, asked: Asked, resumed: bool, began: float) -> None:
        self.resumed = resumed
        self.frames = 0
        self.in_snapshot = False
        self.whole_snapshot = False
        self.final = ""
        self.reason = ""
        self._record = record
        self._asked = asked
        self._last = began

    @property
    def just_resumed(self) -> bool:
        """Whether the frame that is being checked is the first after a resume."""
        return self.resumed and not self.frames

    def take(self, at: float) -> None:
        """Check that a frame may come at all, now."""
        record = self._record
        self._check_silence(at)
        self._last = at
        record.holds(Guarantee.ENDING, not self.final, "a frame after `{}`", self.final)
        wanted = self._asked.max_frames or self.frames + 1
        record.holds(Guarantee.ENDING, self.frames < wanted, "more than {} frames", wanted)

    def silent(self, at: float) -> bool:
        """Check that the silence until now is not too long; return whether it is."""
        late = at - self._last > self._limit
        if late:
            self._record.note("nothing comes")
            self._check_silence(at)
        return late

    def end(self, error: JobStatusRpcError | None, resumable: bool) -> None:
        """Check that the stream may end, and so; `resumable` says that its last frame had a token."""
        record = self._record
        record.note("the stream ends with OK" if error is None else f"the stream ends: {error}")
        if self.final == "reconnect":
            self._check_sent_away(error)
        elif error is None:
            kept = self.final == "completed" or self._has_what_was_asked(resumable)
            record.holds(Guarantee.ENDING, kept, "OK, without what was promised")
        else:
            self._check_error(error)

    @property
    def _limit(self) -> float:
        return self._asked.longest_silence if self.frames else self._asked.first_frame_within

    def _check_silence(self, at: float) -> None:
        silence, limit = at - self._last, self._limit
        words = "{:.1f} s of silence, where {:.1f} s was the longest due"
        self._record.holds(Guarantee.ALIVE, silence <= limit, words, silence, limit)

    def _check_sent_away(self, error: JobStatusRpcError | None) -> None:
        kept = (
            error is not None
            and error.code is grpc.StatusCode.UNAVAILABLE
            and error.reason == self.reason
            and error.retry_delay is not None
        )
        words = "`reconnect` because of {}, and then {}, not UNAVAILABLE with that reason and RetryInfo"
        self._record.holds(Guarantee.ENDING, kept, words, self.reason, error or "OK")

    def _check_error(self, error: JobStatusRpcError) -> None:
        record = self._record
        kept = self.final != "completed" or not error.reason
        record.holds(Guarantee.ENDING, kept, "an error after `completed`: {}", error)
        named = bool(error.reason) or error.retryable or error.code in _CLIENTS_OWN
        record.holds(Guarantee.ENDING, named, "an error without a reason: {}", error)
        if error.code is grpc.StatusCode.UNAVAILABLE and error.reason:
            words = "an error that does not say when to try again: {}"
            record.holds(Guarantee.ENDING, error.retry_delay is not None, words, error)

    def _has_what_was_asked(self, resumable: bool) -> bool:
        if self._asked.max_frames and self.frames == self._asked.max_frames:
            return True
        if not self._asked.snapshot_only or not resumable:
            return False
        return self.whole_snapshot or (self.resumed and self.frames > 0)
