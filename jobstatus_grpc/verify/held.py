"""What a watcher holds: the granules its frames have added up to, and a way back to where it was."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from google.protobuf.message import Message

from jobstatus import v1 as pb
from jobstatus_grpc.verify.minutes import Counts

STATES: Final = len(pb.GranuleState.items())
NOTHING: Final[Counts] = (0,) * STATES

# How far back a watcher can resume: so many changes are kept to be undone.
_KEPT_STEPS: Final = 20_000


class Entry(NamedTuple):
    """What is kept of a granule: its state, the revision that set it, and a digest of all it says."""

    state: int
    revision: int
    mark: int


class Place(NamedTuple):
    """Where a watcher stood when it got a token."""

    revision: int
    counts: Counts
    moment: int
    job_state: int


class _Step(NamedTuple):
    """How to undo a granule's change: what was held under its key before."""

    revision: int
    key: str
    before: Entry | None


def counts_of(totals: pb.GranuleTotals) -> Counts:
    """Return totals by the numbers of the states."""
    return (
        totals.unspecified_count,
        totals.pending_count,
        totals.staged_count,
        totals.succeeded_count,
        totals.failed_count,
    )


def is_whole(totals: pb.GranuleTotals) -> bool:
    """Return whether all counts are present."""
    return len(totals.ListFields()) == STATES


def mark_of(message: Message) -> int:
    """Return a digest of all a message says, of 64 bits."""
    encoded = message.SerializeToString(deterministic=True)
    return int.from_bytes(blake2b(encoded, digest_size=8).digest(), "big")


def key_of(granule: pb.Granule) -> str:
    """Return a granule's name within its job."""
    return f"{granule.collection_id}\0{granule.granule_id}"  # Neither id has control characters.


class Held:
    """What a watcher holds after the frames it has got.

    Attributes:
        revision: up to where it has got everything; 0 before a job.
        counts: the totals there.
        moment: when the last change was committed, in microseconds.
        job_state: the state of the job as last told.
        token: of the last place that can be resumed; empty where nothing can.
        digest: of all granules, whatever their order.
        ahead: granules that were read at a later revision than `revision`, by key. What happened to them
            before is skipped, and until it is empty the granules are not those of one revision.
    """

    def __init__(self) -> None:
        self.granules: dict[str, Entry] = {}
        self.ahead: dict[str, int] = {}
        self._steps: deque[_Step] = deque()
        self._places: dict[bytes, Place] = {}
        self._marks: dict[int, int] = {}
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.revision = 0
        self.counts = NOTHING
        self.moment = 0
        self.job_state = int(pb.JOB_STATE_UNSPECIFIED)
        self.token = b""
        self.digest = 0
        self._floor = 0
        for kept in (self.granules, self.ahead, self._steps, self._places, self._marks):
            kept.clear()

    def begin(self, job: pb.Job) -> None:
        """Hold a job, so far without granules."""
        self.clear()
        self.revision, self.counts = job.revision, counts_of(job.totals)
        self.moment, self.job_state = job.update_time.ToMicroseconds(), job.state

    def put(self, granule: pb.Granule) -> Entry | None:
        """Hold a granule; return what was held in its place."""
        key, entry = key_of(granule), Entry(granule.state, granule.revision, mark_of(granule))
        before = self.granules.get(key)
        self.granules[key] = entry
        self.digest ^= entry.mark ^ (0 if before is None else before.mark)
        return before

    def change(self, granule: pb.Granule, revision: int) -> Entry | None:
        """Hold a granule as it is after a change at `revision`; return what was held before."""
        before = self.put(granule)
        if not self.ahead:
            self._steps.append(_Step(revision, key_of(granule), before))
            self._forget_oldest()
        return before

    def arrive(self, token: bytes) -> None:
        """Have got everything up to here, where `token` resumes."""
        self.token = token
        if token and not self.ahead:
            self._places[token] = Place(self.revision, self.counts, self.moment, self.job_state)
            if len(self._places) > _KEPT_STEPS:
                del self._places[next(iter(self._places))]

    def go_back(self, token: bytes) -> bool:
        """Hold again what was held at `token`; return whether that is still known."""
        if token == self.token:
            return bool(token)
        place = self._places.get(token)
        if place is None or place.revision < self._floor:
            return False
        while self._steps and self._steps[-1].revision > place.revision:
            step = self._steps.pop()
            self.digest ^= self.granules[step.key].mark ^ (0 if step.before is None else step.before.mark)
            if step.before is None:
                del self.granules[step.key]
            else:
                self.granules[step.key] = step.before
        self.revision, self.counts, self.moment, self.job_state = place
        self.token = token
        return True

    def tokens(self) -> Sequence[bytes]:
        """Return the tokens that `go_back` knows of places up to where it stands."""
        reach = range(self._floor, self.revision + 1)
        return [token for token, place in self._places.items() if place.revision in reach]

    def same_as_ever(self, change: pb.Change) -> bool | None:
        """Return whether a change is what it was when it came before; `None` if it came never before."""
        mark = mark_of(change)
        known = self._marks.get(change.revision)
        if known is not None:
            return known == mark
        self._marks[change.revision] = mark
        if len(self._marks) > _KEPT_STEPS:
            del self._marks[next(iter(self._marks))]
        return None

    def counted(self) -> Counts:
        """Return the totals of the granules, counted one by one."""
        return count(entry.state for entry in self.granules.values())

    def _forget_oldest(self) -> None:
        if len(self._steps) > _KEPT_STEPS:
            self._floor = self._steps.popleft().revision


def count(states: Iterable[int]) -> Counts:
    """Return totals of granules in these states; a state without a number of ours is not counted."""
    counts = [0] * STATES
    for state in states:
        if 0 <= state < STATES:
            counts[state] += 1
    return tuple(counts)
