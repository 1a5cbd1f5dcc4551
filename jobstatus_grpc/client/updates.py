"""What a watch tells its caller, and the proof that nothing is missing from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from jobstatus import v1 as pb
from jobstatus_grpc.client.errors import BrokenPromise

# By the numbers of the states.
_COUNTS: Final = ("unspecified_count", "pending_count", "staged_count", "succeeded_count", "failed_count")

Counts = list[int]


class Kind(StrEnum):
    """What an update is."""

    SNAPSHOT = "snapshot"
    """The whole job at one revision, or a part of it."""
    CHANGES = "changes"
    """What has happened since the update before."""
    HEARTBEAT = "heartbeat"
    """Nothing has happened; the server is there."""
    COMPLETED = "completed"
    """The job has ended, and everything up to its end has been told. The last update of a watch."""


@dataclass(frozen=True, slots=True)
class Update:
    """What is new of a job, and how it stands then.

    To hold a job's granules: forget all of them where `begins` is set, put those in `granules`, and those in
    `changes`.

    Attributes:
        kind: what it is.
        job: the job as it is at `revision`, with `totals`. In a watch that began with a token only its ids,
            revision and totals are known until something tells the rest.
        revision: up to where everything has been told, this update included. 0 before the job is there.
        totals: how many granules are in each state at `revision`.
        resume_token: goes on after this update, in this or another process. Empty before the last part of a
            snapshot.
        changes: what has happened, oldest first; of kind CHANGES only.
        granules: of kind SNAPSHOT only: some of the job's granules; each is in one part.
        begins: whether this is the first part of a snapshot: what was told before no longer holds.
        reset: why a snapshot begins anew, for example `HISTORY_PRUNED`; empty if it does not.
        whole: whether the job has been told whole; not before the last part of a snapshot.
        heartbeat: the server's news of itself; of kind HEARTBEAT only.
        failures: why granules have failed, at a revision of its own; of kinds HEARTBEAT and COMPLETED only.
            `None` if none has, or it is not told.
        progress: how fast the job gets on; of kinds HEARTBEAT and COMPLETED only. `None` while that can't be
            told.
    """

    kind: Kind
    job: pb.Job
    revision: int
    totals: pb.GranuleTotals
    resume_token: bytes
    changes: Sequence[pb.Change] = ()
    granules: Sequence[pb.Granule] = ()
    begins: bool = False
    reset: str = ""
    whole: bool = True
    heartbeat: pb.Heartbeat | None = None
    failures: pb.FailureDigest | None = None
    progress: pb.Progress | None = None


class Proof:
    """Makes updates of frames, and proves from their numbers that none is missing, double or out of order.

    It holds no granules: every change of one says which state it left, so totals follow from totals.

    Args:
        job: what is known of the job: its ids.
        resumed: whether the watch begins with a token.
        delivery: how changes are delivered; but for every change only what still holds is checked.
    """

    def __init__(self, job: pb.Job, resumed: bool, delivery: pb.Delivery) -> None:
        self._job = job
        self._every = delivery in (pb.DELIVERY_UNSPECIFIED, pb.DELIVERY_EVERY_CHANGE)
        self._with_granules = delivery != pb.DELIVERY_NONE
        self._begun = resumed
        # Not known after a token until the first frame says so.
        self._revision: int | None = None if resumed else 0
        self._counts: Counts | None = None if resumed else [0] * len(_COUNTS)
        self._in_snapshot = False
        self._reset = ""

    def take(self, frame: pb.WatchJobResponse) -> Update | None:
        """Return what `frame` tells; `None` if that comes with the next one.

        Raises:
            BrokenPromise: it contradicts what came before.
        """
        kind = frame.WhichOneof("frame")
        if kind == "snapshot":
            return self._take_snapshot(frame)
        if kind == "changes":
            return self._take_changes(frame)
        if kind == "heartbeat":
            self._check_standing(frame)
            return self._update(frame, Kind.HEARTBEAT, told=frame.heartbeat)
        if kind == "completed":
            self._check_standing(frame)
            self._job = frame.completed.job
            return self._update(frame, Kind.COMPLETED, told=frame.completed)
        if kind == "reconnect":
            self._check_standing(frame)
        elif kind == "reset":
            self._begun, self._in_snapshot, self._reset = False, False, frame.reset.reason
            self._revision, self._counts = 0, [0] * len(_COUNTS)
            self._job = pb.Job(project_id=self._job.project_id, job_id=self._job.job_id)
        return None

    def _take_snapshot(self, frame: pb.WatchJobResponse) -> Update:
        chunk, begins, reset = frame.snapshot, not self._in_snapshot, self._reset
        if begins:
            self._hold("W2", not self._begun, "a snapshot came that nothing had announced")
            self._job, self._revision, self._reset = chunk.job, frame.revision, ""
            self._counts = [0] * len(_COUNTS)
        told = frame.revision == self._revision
        self._hold("W1", told, f"a part of a snapshot is at revision {frame.revision}")
        if self._counts is not None:
            for granule in chunk.granules:
                self._counts[granule.state] += 1
        self._begun, self._in_snapshot = chunk.last, not chunk.last
        if chunk.last and not self._with_granules:
            self._counts = _counts_of(frame.totals)
        if chunk.last:
            self._check_totals(frame)
        return self._update(
            frame, Kind.SNAPSHOT, granules=chunk.granules, begins=begins, reset=reset, whole=chunk.last
        )

    def _take_changes(self, frame: pb.WatchJobResponse) -> Update:
        changes = frame.changes.changes
        self._hold("W3", self._begun, "changes came before the whole of a snapshot")
        for change in changes:
            self._check_revision(change.revision)
            self._revision = change.revision
            if change.HasField("granule"):
                self._count(change.granule)
            elif change.HasField("job"):
                self._job = change.job
        if not self._every:
            before = self._revision
            self._hold("W1", before is None or frame.revision >= before, "a frame ends before its changes")
            self._revision, self._counts = frame.revision, _counts_of(frame.totals)
        self._check_standing(frame)
        return self._update(frame, Kind.CHANGES, changes=changes)

    def _check_revision(self, revision: int) -> None:
        before = self._revision
        if before is None:
            return
        self._hold("W1", revision >= before, f"revision {revision} came")
        self._hold("W2", revision != before, f"revision {revision} came again")
        nothing_between = revision == before + 1 or not self._every
        self._hold("W3", nothing_between, f"revision {revision} came next")

    def _count(self, change: pb.GranuleChange) -> None:
        if self._counts is not None and self._every:
            if change.HasField("previous_state"):
                self._counts[change.previous_state] -= 1
            self._counts[change.granule.state] += 1

    def _check_standing(self, frame: pb.WatchJobResponse) -> None:
        """Check a frame that must stand where everything before has led."""
        self._revision = frame.revision if self._revision is None else self._revision
        told = frame.revision == self._revision
        self._hold("W3", told, f"a frame says that everything up to {frame.revision} has been sent")
        if not self._in_snapshot:
            self._check_totals(frame)

    def _check_totals(self, frame: pb.WatchJobResponse) -> None:
        told = _counts_of(frame.totals)
        counted = self._counts = told if self._counts is None else self._counts
        self._hold("W3", counted == told, f"the granules add up to {counted}, and the totals say {told}")

    def _hold(self, promise: str, kept: bool, words: str) -> None:
        if not kept:
            raise BrokenPromise(promise, self._revision or 0, words)

    def _update(
        self,
        frame: pb.WatchJobResponse,
        kind: Kind,
        *,
        changes: Sequence[pb.Change] = (),
        granules: Sequence[pb.Granule] = (),
        begins: bool = False,
        reset: str = "",
        whole: bool = True,
        told: pb.Heartbeat | pb.Completed | None = None,
    ) -> Update:
        job = pb.Job()
        job.CopyFrom(self._job)
        job.revision = frame.revision
        job.totals.CopyFrom(frame.totals)
        if changes:
            job.update_time.CopyFrom(changes[-1].change_time)
        return Update(
            kind,
            job,
            frame.revision,
            frame.totals,
            frame.resume_token,
            changes,
            granules,
            begins,
            reset,
            whole and self._begun,
            told if isinstance(told, pb.Heartbeat) else None,
            told.failures if told is not None and told.HasField("failures") else None,
            told.progress if told is not None and told.HasField("progress") else None,
        )


def _counts_of(totals: pb.GranuleTotals) -> Counts:
    return [getattr(totals, name) for name in _COUNTS]
