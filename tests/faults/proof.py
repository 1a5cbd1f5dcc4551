"""The proof of a run: what clients have recorded, held against each other and against the database."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import accumulate
from typing import Final, NamedTuple

from faults.histories import History
from faults.recordings import (
    Acknowledged,
    Asked,
    Began,
    Came,
    Dropped,
    Ended,
    Event,
    Key,
    Read,
    Reports,
    Sent,
    Watches,
)
from jobstatus import v1 as pb
from jobstatus_grpc.errors import ResumeTokenInvalid
from jobstatus_grpc.model import JobKey, Position
from jobstatus_grpc.tokens import Tokens
from jobstatus_grpc.verify import Asked as AskedOfStream
from jobstatus_grpc.verify import Checker, Guarantee, Minutes
from jobstatus_grpc.verify.held import counts_of


class Promise(StrEnum):
    """What is proved beside the guarantees that `Guarantee` has."""

    ISOLATION = "W9"  #: Streams that nobody reads hold up no others.
    COMMITTED = "W11"  #: What was sent is in the log, and the log has nothing that nobody reported.
    TENANCY = "W12"  #: What belongs to one project does not come to another, nor do its tokens work there.
    KEPT = "kept"  #: What was acknowledged is in the log, once and whole, and seen from then on.
    LOG = "log"  #: The log has no gaps, and adds up to the rows.
    TRAFFIC = "traffic"  #: Enough was reported before, during and after the fault.
    LEAKS = "leaks"  #: The servers hold no more than before.
    CALM = "calm"  #: Their logs tell of no error.


PROMISES: Final = (
    *(Guarantee(f"W{number}") for number in range(1, 9)),
    *(Promise.ISOLATION, Guarantee.READ_THEN_WATCH, Promise.COMMITTED, Promise.TENANCY),
    *(Guarantee.SIZE, Promise.KEPT, Promise.LOG, Promise.TRAFFIC, Promise.LEAKS, Promise.CALM),
)
"""All that is proved, in the order of the report."""

_SHOWN: Final = 20


class Allowed(NamedTuple):
    """What a fault excuses.

    Attributes:
        resets: the history may change under a stream; in any case a snapshot may be interrupted.
        silence: a stream may fall silent, as where servers, clients or lines stand still.
        lost: between which moments what was acknowledged may have been lost again, by whoever set the
            database back.
    """

    resets: bool = False
    silence: bool = False
    lost: tuple[float, float] = (0.0, 0.0)


NOTHING_ALLOWED: Final = Allowed()


class Proof:
    """Takes what is known of a run, and tells what of it holds.

    Args:
        tokens: reads tokens.
        histories: of each job what the database says, and what databases said that are gone.
        allowed: what the fault excuses.

    Attributes:
        held: how often each promise was found to hold.
        broken: what was broken, the promise first.
        delivered: how many changes have come to watchers.
        streams: how many streams there were.
    """

    def __init__(self, tokens: Tokens, histories: Mapping[Key, Sequence[History]], allowed: Allowed) -> None:
        self.held: Counter[str] = Counter()
        self.broken: list[str] = []
        self.delivered = self.streams = 0
        self._tokens = tokens
        self._histories = histories
        self._allowed = allowed
        self._minutes = {key: Minutes() for key in histories}
        self._seen_by: dict[Key, _Floor] = {}
        for key, found in histories.items():
            for history in found:
                self.check(Promise.LOG, not history.faults, "{}: {}", key, history.faults)

    def check(self, promise: str, held: bool, words: str, *values: object) -> bool:
        """Count that a promise held, or note in `words`, formatted with `values`, how not; return `held`."""
        if held:
            self.held[promise] += 1
        elif len(self.broken) < _SHOWN:
            self.broken.append(f"{promise}: {words.format(*values)}")
        return held

    def check_recording(self, recording: Mapping[str, Sequence[Event]], gone: Collection[str] = ()) -> None:
        """Hold everything that was recorded against the logs, and watchers against each other.

        All watchers have to have come to their job's end, but for those of the names that are `gone`.
        """
        self._check_reports(recording)
        for who, events in recording.items():
            first = events[0]
            if isinstance(first, Watches):
                replay = _Replay(self, who, first, self._minutes[first.key])
                replay.take(events[1:], ends=who not in gone)
            for event in events:
                if isinstance(event, Asked):
                    self._check_answer(who, event)

    def _check_reports(self, recording: Mapping[str, Sequence[Event]]) -> None:
        """Hold what reporters were told against the logs, and learn what readers have to see from when on."""
        acknowledged: dict[Key, list[tuple[float, int]]] = {key: [] for key in self._histories}
        sent: set[str] = set()
        for events in recording.values():
            if not isinstance(events[0], Reports):
                continue
            key = events[0].key
            answers = {event.message: event for event in events if isinstance(event, Acknowledged)}
            acknowledged[key] += [(answer.at, answer.revision) for answer in answers.values()]
            for event in events:
                if isinstance(event, Sent):
                    sent.add(event.message)
                    self._check_report(key, event, answers.get(event.message))
        for key, found in self._histories.items():
            unsaid = {message for history in found for message in history.by_message} - sent - {""}
            self.check(Promise.COMMITTED, not unsaid, "{}: nobody has reported {}", key, sorted(unsaid)[:3])
            self._seen_by[key] = _Floor(acknowledged[key], self._allowed.lost)

    def _check_report(self, key: Key, sent: Sent, answer: Acknowledged | None) -> None:
        found = [history.by_message.get(sent.message, []) for history in self._histories[key]]
        whole = all(
            len(changes) in (0, sent.granules) and len({change.commit_id for change in changes}) < 2
            for changes in found
        )
        self.check(Promise.KEPT, whole, "{} is in the log in parts", sent.message)
        if answer is None:
            return
        begin, end = self._allowed.lost
        within = found if begin <= answer.at <= end else found[:1]
        held = [changes[-1].revision for changes in within if changes]
        if self.check(Promise.KEPT, bool(held), "{} was acknowledged, and is not in the log", sent.message):
            words = "{} was acknowledged at revision {}, and has {}"
            self.check(
                Promise.KEPT, min(held) <= answer.revision, words, sent.message, answer.revision, min(held)
            )

    def _check_answer(self, who: str, answer: Asked) -> None:
        self.check_seen(who, answer.key, answer.began, answer.at, answer.revision)
        position = self._position(who, answer.key, answer.token)
        history = self._history_with(answer.key, position)
        if history is None or position is None or position.revision != answer.revision:
            self.check(
                Promise.COMMITTED, False, "{}: {}, told as {}, is in no log", who, position, answer.revision
            )
            return
        self.held[Promise.COMMITTED] += 1
        words = "{}: totals {} at {}, and the log says {}"
        totals = history.states[position].totals
        same = tuple(answer.totals) == tuple(totals)
        self.check(Guarantee.COMPLETE, same, words, who, answer.totals, position, totals)

    def check_seen(self, who: str, key: Key, began: float, at: float, revision: int) -> None:
        """Check that what had been acknowledged before somebody asked is in what was answered."""
        floor = self._seen_by[key].at(began, at)
        words = "{}: revision {}, and {} had been acknowledged before"
        self.check(Promise.KEPT, revision >= floor, words, who, revision, floor)

    def check_silence(self, who: str) -> None:
        """Take that a stream has said nothing for long."""
        self.check(Guarantee.ALIVE, self._allowed.silence, "{}: a stream has fallen silent", who)

    def check_reset(self, who: str, reason: str) -> None:
        """Take that a stream was reset."""
        excused = self._allowed.resets or reason == "SNAPSHOT_INTERRUPTED"
        self.check(Guarantee.RESET, excused, "{}: a reset, {}, of a history that goes on", who, reason)

    def check_snapshot(self, who: str, key: Key, frame: pb.WatchJobResponse) -> None:
        """Take the first chunk of a snapshot, and hold its job against the logs."""
        told = frame.snapshot.job
        jobs = [
            history.states[history.positions[frame.revision]].job
            for history in self._histories[key]
            if frame.revision in history.positions
        ]
        words = "{}: the job of the snapshot at {} is in no log"
        # At its creation the log does not have it.
        self.check(Guarantee.SNAPSHOT, told in jobs or None in jobs, words, who, frame.revision)

    def check_frame(self, who: str, key: Key, frame: pb.WatchJobResponse, digest: int | None) -> None:
        """Hold a frame with a token against the logs, and the digest of the granules after it, if known."""
        position = self._position(who, key, frame.resume_token)
        history = self._history_with(key, position)
        if history is None or position is None:
            self.check(Promise.COMMITTED, False, "{}: {} is in no log", who, position)
            return
        same = frame.revision == position.revision
        self.check(Guarantee.RESUMABLE, same, "{}: {} in a frame of {}", who, position, frame.revision)
        self._check_granules(who, key, frame.snapshot.granules)
        self._check_changes(who, key, frame.changes.changes, history)
        state = history.states[position]
        words = "{}: totals {} at {}, and the log says {}"
        counts = counts_of(frame.totals)
        same = counts == tuple(state.totals)
        self.check(Guarantee.COMPLETE, same, words, who, counts, position, state.totals)
        words = "{}: other granules at {} than the log adds up to"
        self.check(Guarantee.COMPLETE, digest in (None, state.digest), words, who, position)

    def _check_changes(self, who: str, key: Key, changes: Sequence[pb.Change], history: History) -> None:
        self.delivered += len(changes)
        words = "{}: revision {} is not what the log says"
        for change in changes:
            change.ClearField("change_count")
            same = change == history.changes.get(change.revision)
            self.check(Promise.COMMITTED, same, words, who, change.revision)
            if change.HasField("granule"):
                self._check_granules(who, key, (change.granule.granule,))

    def _check_granules(self, who: str, key: Key, granules: Iterable[pb.Granule]) -> None:
        words = "{}: a granule of {} in a job of {}"
        for granule in granules:
            own = granule.collection_id == key[0]
            self.check(Promise.TENANCY, own, words, who, granule.collection_id, key)

    def check_end(self, who: str, key: Key, frame: pb.WatchJobResponse) -> None:
        """Hold the end of a job against what it is."""
        history = self._histories[key][0]
        words = "{}: the end at revision {} is not the job at {}"
        same = frame.completed.job == history.job
        self.check(Guarantee.ENDING, same, words, who, frame.revision, history.head)

    def _position(self, who: str, key: Key, token: bytes) -> Position | None:
        """Return what a token stands for; `None` if it is not this job's."""
        try:
            point = self._tokens.read_resume_token(JobKey(*key), token)
        except ResumeTokenInvalid as error:
            self.check(Promise.TENANCY, False, "{}: a token that is not the job's: {}", who, error)
            return None
        self.held[Promise.TENANCY] += 1
        return point.position

    def _history_with(self, key: Key, position: Position | None) -> History | None:
        return next((found for found in self._histories[key] if position in found.states), None)


class _Replay:
    """Shows a checker what a watcher was told, and holds each frame against the logs too."""

    def __init__(self, proof: Proof, who: str, watches: Watches, minutes: Minutes) -> None:
        # What was silent for too long the watcher itself has dropped; the rest is for its clock.
        asked = AskedOfStream(
            delivery=watches.delivery,  # type: ignore[arg-type]
            heartbeat_interval=watches.heartbeat_interval,
            first_frame_within=float("inf"),
            tolerance=float("inf"),
        )
        self._proof = proof
        self._who = who
        self._key = watches.key
        self._checker = Checker(asked, watcher=who, minutes=minutes, collect=True)
        self._granular = watches.delivery != pb.DELIVERY_NONE
        self._asked_at = 0.0

    def take(self, events: Sequence[Event], *, ends: bool) -> None:
        """Take everything that has happened."""
        for event in events:
            match event:
                case Began():
                    self._asked_at = event.at
                    self._checker.stream_began(event.token, event.at)
                case Came():
                    self._take_frame(pb.WatchJobResponse.FromString(event.frame), event.at)
                case Ended():
                    failure = event.failure
                    self._checker.stream_ended(None if failure is None else failure.error)
                case Dropped():
                    self._checker.stream_dropped()
                    if event.silent:
                        self._proof.check_silence(self._who)
                case Read():
                    self._checker.read(map(pb.GetJobStatusResponse.FromString, event.pages))
        self._conclude(ends)

    def _take_frame(self, frame: pb.WatchJobResponse, at: float) -> None:
        proof, checker, who, kind = self._proof, self._checker, self._who, frame.WhichOneof("frame")
        checker.frame(frame, at)
        if kind == "reset":
            proof.check_reset(who, frame.reset.reason)
        elif kind == "snapshot" and frame.snapshot.HasField("job"):
            proof.check_snapshot(who, self._key, frame)
            proof.check_seen(who, self._key, self._asked_at, at, frame.revision)
        elif kind == "completed":
            proof.check_end(who, self._key, frame)
        if frame.resume_token:
            whole = self._granular and checker.settled and checker.revision == frame.revision
            proof.check_frame(who, self._key, frame, checker.digest if whole else None)

    def _conclude(self, ends: bool) -> None:
        proof, checker = self._proof, self._checker
        proof.held.update({guarantee.value: times for guarantee, times in checker.checked.items()})
        for breach in checker.breaches:
            around = "".join(f"\n    {line}" for line in breach.around)
            proof.check(breach.guarantee, False, "{}: {}{}", self._who, breach.words, around)
        proof.streams += checker.seen["streams"]
        if ends:
            words = "{}: has not come to the job's end, but to {}"
            proof.check(Guarantee.ENDING, checker.completed, words, self._who, checker.revision)


class _Floor:
    """Which revision has to be seen by whoever asks at a moment: the greatest acknowledged before it.

    Args:
        acknowledged: when, and which.
        lost: between which moments what was acknowledged may have been lost again.
    """

    def __init__(self, acknowledged: Iterable[tuple[float, int]], lost: tuple[float, float]) -> None:
        begin, end = lost
        kept = sorted(one for one in acknowledged if not begin <= one[0] <= end)
        self._times = [at for at, _ in kept]
        self._greatest = list(accumulate((revision for _, revision in kept), max))
        # Who asked before the database was set back may be answered after it.
        self._set_back = end

    def at(self, began: float, answered: float) -> int:
        """Return the revision, for a question asked at one moment and answered at another."""
        if began <= self._set_back <= answered:
            return 0
        index = bisect_right(self._times, began)
        return self._greatest[index - 1] if index else 0


class Back(NamedTuple):
    """How a watcher came back to a stream.

    Attributes:
        broke: when its stream broke, or could not be opened; of one that fell silent, when it was last heard.
        was: the server then.
        open: whether something had come on that stream.
        back: when the first frame came on another.
        now: the server then.
    """

    broke: float
    was: int
    open: bool
    back: float = 0.0
    now: int = 0

    @property
    def seconds(self) -> float:
        """How long it was away."""
        return self.back - self.broke


def ways_back(events: Sequence[Event]) -> Iterator[Back]:
    """Yield how a watcher has come back, each time that a stream broke, fell silent or did not open."""
    heard, server, came = 0.0, 0, False
    broken: Back | None = None
    for event in events:
        match event:
            case Began():
                server, came = event.server, False
                heard = heard or event.at
            case Came():
                heard, came = event.at, True
                if broken is not None:
                    yield broken._replace(back=event.at, now=server)
                    broken = None
            case Ended() if event.failure is not None:
                broken = broken or Back(event.at, server, came)
            case Dropped() if event.silent:
                broken = broken or Back(heard, server, came)
