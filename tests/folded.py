"""What a watcher makes of its frames, and what each of them must prove on the way."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Final, NamedTuple, Self

from jobstatus import v1 as pb

MAX_FRAME_BYTES: Final = 1024 * 1024

Frame = pb.WatchJobResponse
Counts = tuple[int, int, int, int, int]

_STATES: Final = (
    pb.GRANULE_STATE_PENDING,
    pb.GRANULE_STATE_STAGED,
    pb.GRANULE_STATE_SUCCEEDED,
    pb.GRANULE_STATE_FAILED,
    pb.GRANULE_STATE_UNSPECIFIED,
)
_COUNT_FIELDS: Final = (
    "pending_count",
    "staged_count",
    "succeeded_count",
    "failed_count",
    "unspecified_count",
)
_TERMINAL: Final = (pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED)
_NOTHING: Final[Counts] = (0, 0, 0, 0, 0)


class GranuleId(NamedTuple):
    """Which granule of a job."""

    collection_id: str
    granule_id: str


Table = dict[GranuleId, pb.Granule]


def id_of(granule: pb.Granule) -> GranuleId:
    """Return which granule it is."""
    return GranuleId(granule.collection_id, granule.granule_id)


def table_of(granules: Iterable[pb.Granule]) -> Table:
    """Return granules by their ids; each may come only once."""
    table: Table = {}
    for granule in granules:
        assert id_of(granule) not in table, f"twice: {id_of(granule)}"
        table[id_of(granule)] = granule
    return table


def counts_of(totals: pb.GranuleTotals) -> Counts:
    """Return totals as numbers."""
    pending, staged, succeeded, failed, unspecified = (getattr(totals, field) for field in _COUNT_FIELDS)
    return pending, staged, succeeded, failed, unspecified


def count(granules: Iterable[pb.Granule]) -> Counts:
    """Return the totals of granules, counted one by one."""
    counts = dict.fromkeys(_STATES, 0)
    for granule in granules:
        counts[granule.state] += 1
    pending, staged, succeeded, failed, unspecified = counts.values()
    return pending, staged, succeeded, failed, unspecified


class Folded:
    """A job as the frames of a watch make it. `take` asserts whatever a client can check of a frame.

    Attributes:
        job: the job as last told whole; `None` before.
        granules: what the frames have added up to.
        revision: up to where they have.
        token: the last one, empty where nothing can be resumed.
        revisions: of every change delivered, in the order they came.
        snapshots: the revision of every whole snapshot.
        resets: the reason of each.
        reconnects: the reason of each.
        heartbeats: all of them.
        frames: how many frames were taken.
        completed: the job's end, once it was told.
    """

    def __init__(self) -> None:
        self.job: pb.Job | None = None
        self.granules: Table = {}
        self.revision = 0
        self.token = b""
        self.revisions: list[int] = []
        self.snapshots: list[int] = []
        self.resets: list[str] = []
        self.reconnects: list[str] = []
        self.heartbeats: list[pb.Heartbeat] = []
        self.frames = 0
        self.completed: pb.Job | None = None
        self._counts: Counts = _NOTHING
        self._time = 0
        self._in_snapshot = False

    def copy(self) -> Self:
        """Return another one at the same point, from which another stream can go on."""
        return copy.deepcopy(self)

    @property
    def whole(self) -> bool:
        """Whether there is a job, and not a part of a snapshot."""
        return bool(self.token)

    @property
    def counts(self) -> Counts:
        """The totals of the folded granules."""
        return self._counts

    def succeeded(self) -> int:
        """Return how many granules have succeeded."""
        return self._counts[2]

    def take(self, frame: Frame) -> None:
        """Fold a frame in."""
        assert self.completed is None, "a frame after `completed`"
        assert frame.ByteSize() <= MAX_FRAME_BYTES
        self.frames += 1
        kind = frame.WhichOneof("frame")
        if kind == "reset":
            self._take_reset(frame)
            return
        assert all(frame.totals.HasField(field) for field in _COUNT_FIELDS), "totals with holes"
        if kind == "snapshot":
            self._take_snapshot(frame)
        elif kind == "changes":
            self._take_changes(frame)
        elif kind == "completed":
            self._take_completed(frame)
        elif kind == "heartbeat":
            self._take_standing(frame)
            self.heartbeats.append(frame.heartbeat)
        elif kind == "reconnect":
            self._take_standing(frame)
            assert frame.reconnect.reason
            self.reconnects.append(frame.reconnect.reason)
        else:
            raise AssertionError(f"a frame of no known kind: {frame}")

    def _take_snapshot(self, frame: Frame) -> None:
        chunk = frame.snapshot
        if not self._in_snapshot:
            assert self.revision == 0, "a snapshot without being asked for, or a reset"
            assert chunk.HasField("job"), "a snapshot whose first chunk has no job"
            assert (chunk.job.revision, chunk.job.totals) == (frame.revision, frame.totals)
            self._in_snapshot = True
            self.job, self.revision = chunk.job, frame.revision
            self._counts = counts_of(frame.totals)
            self._time = chunk.job.update_time.ToMicroseconds()
        else:
            assert not chunk.HasField("job"), "a job in a later chunk"
            assert (frame.revision, counts_of(frame.totals)) == (self.revision, self._counts)
        for granule in chunk.granules:
            assert id_of(granule) not in self.granules, "a granule in two chunks"
            assert 0 < granule.revision <= frame.revision
            self.granules[id_of(granule)] = granule
        assert bool(frame.resume_token) == chunk.last
        self.token = frame.resume_token
        if chunk.last:
            assert count(self.granules.values()) == self._counts, "a snapshot that does not add up"
            self._in_snapshot = False
            self.snapshots.append(frame.revision)

    def _take_changes(self, frame: Frame) -> None:
        assert self.whole, "changes of nothing"
        assert frame.changes.changes, "no changes in `changes`"
        for change in frame.changes.changes:
            assert change.revision == self.revision + 1, "not the next revision"
            moment = change.change_time.ToMicroseconds()
            assert moment >= self._time, "time goes back"
            self.revision, self._time = change.revision, moment
            self.revisions.append(change.revision)
            if change.WhichOneof("change") == "granule":
                self._take_granule(change)
            else:
                assert change.HasField("job")
                assert change.job.revision == change.revision
                assert counts_of(change.job.totals) == self._counts
                self.job = change.job
        assert frame.revision == self.revision
        assert counts_of(frame.totals) == self._counts, "changes that do not add up"
        assert frame.resume_token
        assert frame.resume_token != self.token
        self.token = frame.resume_token

    def _take_granule(self, change: pb.Change) -> None:
        granule = change.granule.granule
        assert granule.revision == change.revision
        assert granule.update_time == change.change_time
        before = self.granules.get(id_of(granule))
        counts = list(self._counts)
        if before is None:
            assert not change.granule.HasField("previous_state"), "a state before the first"
        else:
            assert change.granule.HasField("previous_state"), "known already"
            assert change.granule.previous_state == before.state
            counts[_STATES.index(before.state)] -= 1
        counts[_STATES.index(granule.state)] += 1
        self._counts = (counts[0], counts[1], counts[2], counts[3], counts[4])
        self.granules[id_of(granule)] = granule

    def _take_standing(self, frame: Frame) -> None:
        """Take a frame that brings nothing: it stands where the stream does."""
        assert frame.revision == self.revision
        assert counts_of(frame.totals) == self._counts
        assert frame.resume_token == self.token

    def _take_reset(self, frame: Frame) -> None:
        assert frame.reset.reason
        assert (frame.revision, counts_of(frame.totals), frame.resume_token) == (0, _NOTHING, b"")
        self.resets.append(frame.reset.reason)
        self.job, self.granules, self._counts = None, {}, _NOTHING
        self.revision, self.token, self._time, self._in_snapshot = 0, b"", 0, False

    def _take_completed(self, frame: Frame) -> None:
        assert self.whole, "the end of nothing"
        self._take_standing(frame)
        ended = frame.completed.job
        assert ended.state in _TERMINAL
        assert (ended.revision, ended.totals) == (frame.revision, frame.totals)
        assert self.job is not None
        assert self.job.state == ended.state, "an end that no change told"
        assert count(self.granules.values()) == self._counts
        self.completed = ended
