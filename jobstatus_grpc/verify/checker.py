"""The checker of one watch: what its frames, and the ends of its streams, have to be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusRpcError
from jobstatus_grpc.verify.deliveries import DELIVERIES
from jobstatus_grpc.verify.held import NOTHING, Held, counts_of, is_whole, key_of
from jobstatus_grpc.verify.minutes import Counts, Minute, Minutes
from jobstatus_grpc.verify.record import Breach, Guarantee, Record
from jobstatus_grpc.verify.stream import Asked, Stream

MAX_FRAME_BYTES: Final = 1024 * 1024
HISTORY_CHANGES: Final = frozenset({"HISTORY_CHANGED", "JOB_REPLACED"})

_SEEN: Final = (
    *("streams", "resumes", "reads", "frames", "changes", "snapshots", "heartbeats"),
    *("resets", "reconnects", "completed"),
)
_TERMINAL: Final = (pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED)
_REASON: Final = re.compile(r"[A-Z][A-Z0-9_]*")


class Checker:
    """Checks the frames of one watch, over any number of streams.

    Call `stream_began`, then `frame` for each frame, then `stream_ended` or `stream_dropped`; and so on.
    Times are those of `time.monotonic()`. Not for more than one thread at a time.

    Args:
        asked: what the streams are asked.
        watcher: a name for the watch, for breaches and comparisons.
        minutes: where what is held is compared with other watchers of the job.
        collect: whether to keep breaches in `breaches`, instead of raising each where it is found.

    Attributes:
        seen: how many streams, resumes, frames, changes, snapshots, resets, … there were, by their names.
        completed: whether the last frame told the end of the job.
    """

    def __init__(
        self,
        asked: Asked | None = None,
        *,
        watcher: str = "",
        minutes: Minutes | None = None,
        collect: bool = False,
    ) -> None:
        self.seen = dict.fromkeys(_SEEN, 0)
        self.completed = False
        self._asked = asked or Asked()
        self._watcher = watcher
        self._minutes = minutes
        self._bit = 0 if minutes is None else minutes.number_of(watcher)
        self._record = Record(watcher, collect=collect)
        self._held = Held()
        self._delivery = DELIVERIES[self._asked.delivery](self._record, self._held, self._compare)
        self._stream: Stream | None = None
        self._after_reset = False
        self._after_read = False
        # Whether what is held may be wrong because of a breach that was told, or suspected, already.
        self._doubtful = False
        # Whether what is held was read in pages of several revisions, which may be of several histories.
        self._mixed = False
        self._suspected: list[Breach] = []
        self._told_of_change = False
        self._takers: Mapping[str | None, Callable[[pb.WatchJobResponse, Stream], None]] = {
            "snapshot": self._take_snapshot,
            "changes": self._take_changes,
            "heartbeat": self._take_heartbeat,
            "reset": self._take_reset,
            "reconnect": self._take_reconnect,
            "completed": self._take_completed,
        }

    @property
    def revision(self) -> int:
        """Up to where everything has come; 0 before a job."""
        return self._held.revision

    @property
    def totals(self) -> Counts:
        """The totals there, by the numbers of the states."""
        return self._held.counts

    @property
    def token(self) -> bytes:
        """Where a stream can go on; empty where only a new one can begin."""
        return self._held.token

    @property
    def digest(self) -> int:
        """A digest of all granules held, the same for all that hold the same."""
        return self._held.digest

    @property
    def settled(self) -> bool:
        """Whether what is held is a job at one revision: no part of a snapshot, and nothing read ahead."""
        return bool(self._held.token) and not self._held.ahead

    @property
    def checked(self) -> Mapping[Guarantee, int]:
        """How often each guarantee was found to hold."""
        return self._record.checked

    @property
    def breaches(self) -> Sequence[Breach]:
        """What was found broken, with what is suspected if no reset explains it."""
        return [*self._record.breaches, *(() if self._history_changed else self._suspected)]

    @property
    def _history_changed(self) -> bool:
        return self._told_of_change or (self._minutes is not None and self._minutes.history_changed)

    def tokens(self) -> Sequence[bytes]:
        """Return the tokens, of this history, from which a stream may be asked to go on."""
        return self._held.tokens()

    def read(self, pages: Iterable[pb.GetJobStatusResponse]) -> bytes:
        """Begin with what GetJobStatus answers, all pages of it; return the token to watch from.

        The history may change between two pages. No page tells that, but the stream from the token does: so
        what is wrong with pages of several revisions is suspected only.
        """
        held, record = self._held, self._record
        latest = 0
        self.seen["reads"] += 1
        self._after_reset, self._after_read, self._doubtful, self._mixed = False, True, False, False
        for page in pages:
            job = page.job
            record.note(f"page at revision {job.revision} of {len(page.granules)} granules")
            small = page.ByteSize() <= MAX_FRAME_BYTES
            record.holds(Guarantee.SIZE, small, "a page of {} bytes", page.ByteSize())
            if not latest:
                held.begin(job)
                held.token = page.resume_token
            self._mixed = self._mixed or job.revision != held.revision
            if job.revision < latest:
                words = f"a page at revision {job.revision} after one at {latest}"
                self._suspect(Guarantee.READ_THEN_WATCH, words)
            latest = max(latest, job.revision)
            for granule in page.granules:
                before = held.put(granule)
                words = "granule {!r} is on two pages"
                record.holds(Guarantee.READ_THEN_WATCH, before is None, words, granule.granule_id)
                if granule.revision > held.revision:
                    held.ahead[key_of(granule)] = granule.revision
        if not held.ahead:
            words = "the pages add up to {}, and the first says {}"
            counted = held.counted()
            self._doubtful = self._mixed and counted != held.counts
            if self._doubtful:
                self._suspect(Guarantee.READ_THEN_WATCH, words.format(counted, held.counts))
            else:
                record.holds(Guarantee.READ_THEN_WATCH, counted == held.counts, words, counted, held.counts)
            held.arrive(held.token)
            self._compare(held.token)
        return held.token

    def stream_began(self, resume_token: bytes = b"", at: float = 0.0) -> None:
        """Take that a stream was asked for, to go on at a token, or to begin anew.

        Raises:
            ValueError: the token is not one that this watch has got in the history it is in, or it is too old
                for the checker to know what was held there.
        """
        held = self._held
        if not resume_token:
            held.clear()
            self._after_read = self._doubtful = self._mixed = False
        elif not held.go_back(resume_token):
            raise ValueError("it is not known what was held at this token")
        self._after_reset = self.completed = False
        self._stream = Stream(self._record, self._asked, bool(resume_token), at)
        self.seen["streams"] += 1
        self.seen["resumes"] += bool(resume_token)
        self._record.note(f"stream {self.seen['streams']} begins after revision {held.revision}")

    def frame(self, frame: pb.WatchJobResponse, at: float = 0.0) -> None:
        """Take a frame that has come.

        Raises:
            Breach: it breaks a guarantee, and breaches are not collected.
        """
        stream, record = self._current(), self._record
        record.begin(frame)
        stream.take(at)
        size = frame.ByteSize()
        record.holds(Guarantee.SIZE, size <= MAX_FRAME_BYTES, "a frame of {} bytes", size)
        found = len(record.breaches)
        self.seen["frames"] += 1
        kind = frame.WhichOneof("frame")
        take = self._takers.get(kind)
        try:
            if record.holds(Guarantee.COMPLETE, take is not None, "a frame of no known kind") and take:
                take(frame, stream)
        finally:
            stream.frames += 1
            self._doubtful = self._doubtful or len(record.breaches) > found

    def silent(self, at: float) -> bool:
        """Take that until now nothing more has come; return whether that is too long."""
        return self._current().silent(at)

    def stream_dropped(self) -> None:
        """Take that the client itself has ended the stream."""
        self._current()
        self._stream = None
        self._record.note("the client drops the stream")

    def stream_ended(self, error: JobStatusRpcError | None = None) -> None:
        """Take that the stream has ended, with OK or an error.

        Raises:
            Breach: it should not have, or not so, and breaches are not collected.
        """
        stream, self._stream = self._current(), None
        stream.end(error, bool(self._held.token))

    def _current(self) -> Stream:
        if self._stream is None:
            raise RuntimeError("no stream has begun")
        return self._stream

    def _take_snapshot(self, frame: pb.WatchJobResponse, stream: Stream) -> None:
        held, record, chunk = self._held, self._record, frame.snapshot
        counts = counts_of(frame.totals)
        if not stream.in_snapshot:
            asked_for = not held.token and not held.revision
            record.holds(
                Guarantee.SNAPSHOT, asked_for, "a snapshot that neither began the stream nor a reset"
            )
            job = chunk.job
            told = job.revision == frame.revision > 0 and counts_of(job.totals) == counts
            record.holds(Guarantee.SNAPSHOT, told, "a first chunk without its job, or of another revision")
            held.begin(job)
            held.revision, held.counts, stream.in_snapshot = frame.revision, counts, True
            self._doubtful = self._mixed = False
        else:
            words = "a chunk at revision {} with totals {} in a snapshot at {} with {}"
            same = (frame.revision, counts) == (held.revision, held.counts) and not chunk.HasField("job")
            record.holds(Guarantee.SNAPSHOT, same, words, frame.revision, counts, held.revision, held.counts)
        record.holds(Guarantee.COMPLETE, is_whole(frame.totals), "totals with holes")
        for granule in chunk.granules:
            before = held.put(granule)
            words = "granule {!r} comes twice in a snapshot"
            record.holds(Guarantee.SNAPSHOT, before is None, words, granule.granule_id)
            words = "a granule of revision {} in a snapshot at {}"
            within = 0 < granule.revision <= frame.revision
            record.holds(Guarantee.SNAPSHOT, within, words, granule.revision, frame.revision)
        guarantee = Guarantee.RESET if self._after_reset else Guarantee.SNAPSHOT
        words = "a token {} the last chunk of a snapshot"
        where = "missing from" if chunk.last else "before"
        record.holds(guarantee, bool(frame.resume_token) == chunk.last, words, where)
        if chunk.last:
            self._end_snapshot(frame, stream)

    def _end_snapshot(self, frame: pb.WatchJobResponse, stream: Stream) -> None:
        held = self._held
        stream.in_snapshot, stream.whole_snapshot, self._after_reset = False, True, False
        self.seen["snapshots"] += 1
        counted = held.counted()
        due = NOTHING if self._asked.delivery == pb.DELIVERY_NONE else held.counts
        words = "the granules of a snapshot add up to {}, not {}"
        self._record.holds(Guarantee.SNAPSHOT, counted == due, words, counted, due)
        held.arrive(frame.resume_token)
        self._compare(frame.resume_token)

    def _take_changes(self, frame: pb.WatchJobResponse, stream: Stream) -> None:
        guarantee = Guarantee.RESET if self._after_reset else Guarantee.SNAPSHOT
        whole = bool(self._held.token)
        if self._record.holds(guarantee, whole, "changes before the whole of a snapshot"):
            self._delivery.take(frame, stream.just_resumed)
        self.seen["changes"] += len(frame.changes.changes)

    def _take_heartbeat(self, frame: pb.WatchJobResponse, stream: Stream) -> None:
        heartbeat = frame.heartbeat
        self.seen["heartbeats"] += 1
        self._check_place(frame, stream, Guarantee.COMPLETE)
        told = heartbeat.HasField("server_time") and heartbeat.HasField("lag")
        told = told and heartbeat.lag.ToNanoseconds() >= 0
        told = told and heartbeat.news_mode != pb.NEWS_MODE_UNSPECIFIED
        # Before there is a job nobody has reported.
        told = told and (heartbeat.HasField("last_report_time") or not frame.revision)
        self._record.holds(Guarantee.ALIVE, told, "a heartbeat that leaves something out")

    def _take_reset(self, frame: pb.WatchJobResponse, stream: Stream) -> None:
        record, reason = self._record, frame.reset.reason
        self.seen["resets"] += 1
        named = _REASON.fullmatch(reason) is not None
        record.holds(Guarantee.RESET, named, "a reset of reason {!r}", reason)
        cleared = not frame.revision and not frame.resume_token and counts_of(frame.totals) == NOTHING
        record.holds(Guarantee.RESET, cleared, "a reset that does not begin from nothing")
        self._held.clear()
        stream.in_snapshot = stream.whole_snapshot = False
        self._after_reset, self._after_read, self._doubtful, self._mixed = True, False, False, False
        if reason in HISTORY_CHANGES:
            self._told_of_change = True
            if self._minutes is not None:
                self._minutes.change_history()

    def _take_reconnect(self, frame: pb.WatchJobResponse, stream: Stream) -> None:
        stream.final, stream.reason = "reconnect", frame.reconnect.reason
        self.seen["reconnects"] += 1
        named = _REASON.fullmatch(stream.reason) is not None
        self._record.holds(Guarantee.ENDING, named, "a reconnect of reason {!r}", stream.reason)
        self._check_place(frame, stream, Guarantee.ENDING)

    def _take_completed(self, frame: pb.WatchJobResponse, stream: Stream) -> None:
        held, record, job = self._held, self._record, frame.completed.job
        stream.final, self.completed = "completed", True
        self.seen["completed"] += 1
        record.holds(Guarantee.ENDING, bool(held.token), "`completed` before the whole of a snapshot")
        ended = job.state in _TERMINAL and job.state == held.job_state
        words = "`completed` with the job in {}, and the last told was {}"
        state = pb.JobState.Name
        record.holds(
            Guarantee.ENDING,
            ended,
            words,
            state(job.state),
            state(held.job_state),
        )
        told = job.revision == frame.revision and counts_of(job.totals) == counts_of(frame.totals)
        record.holds(Guarantee.ENDING, told, "`completed` with a job of another revision")
        self._check_place(frame, stream, Guarantee.ENDING)

    def _check_place(self, frame: pb.WatchJobResponse, stream: Stream, guarantee: Guarantee) -> None:
        """Check that a frame that brings nothing stands where the stream does."""
        held, counts = self._held, counts_of(frame.totals)
        if stream.just_resumed:
            guarantee = Guarantee.RESUMABLE
        elif self._after_reset:
            guarantee = Guarantee.RESET
        words = "it stands at revision {} with totals {}, and the stream at {} with {}"
        stands = frame.revision == held.revision and counts == held.counts and is_whole(frame.totals)
        self._record.holds(guarantee, stands, words, frame.revision, counts, held.revision, held.counts)
        own = frame.resume_token == held.token
        self._record.holds(guarantee, own, "the token is not that of revision {}", held.revision)

    def _compare(self, token: bytes) -> None:
        """Hold what is held now, at one revision, against what others held there."""
        held, minutes = self._held, self._minutes
        if minutes is None or held.ahead or self._doubtful:
            return
        digest = None if self._asked.delivery == pb.DELIVERY_NONE else held.digest
        guarantee = Guarantee.READ_THEN_WATCH if self._after_read else Guarantee.COMPLETE
        minute = Minute(held.counts, digest, guarantee, self._watcher, self._bit)
        difference = minutes.held(self._watcher, self._bit, held.revision, token, minute)
        if difference is None:
            self._record.counted(guarantee, 1)
        elif difference.certain and not self._mixed:
            self._record.holds(difference.guarantee, False, "{}", difference.words)
        else:
            self._suspect(difference.guarantee, difference.words)

    def _suspect(self, guarantee: Guarantee, words: str) -> None:
        """Take what is a breach unless the history has changed; the first tells enough."""
        if not self._suspected:
            self._suspected.append(Breach(guarantee, words, None, self._watcher))
