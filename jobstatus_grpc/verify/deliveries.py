"""What a `changes` frame must prove, by the delivery that was asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from jobstatus import v1 as pb
from jobstatus_grpc.verify.held import STATES, Entry, Held, counts_of, is_whole, key_of
from jobstatus_grpc.verify.minutes import Counts
from jobstatus_grpc.verify.record import Guarantee, Record

_ORDERED, _UNIQUE, _COMPLETE = Guarantee.ORDERED, Guarantee.UNIQUE, Guarantee.COMPLETE


class Delivery(ABC):
    """Folds `changes` frames into what is held, and checks them on the way.

    Args:
        record: what is found.
        held: what is folded into.
        held_now: called wherever `held` is that of one revision, with the token for it if there is one.
    """

    def __init__(self, record: Record, held: Held, held_now: Callable[[bytes], None]) -> None:
        self._record = record
        self._held = held
        self._held_now = held_now

    def take(self, frame: pb.WatchJobResponse, resumed: bool) -> None:
        """Fold a frame in; `resumed` says that it is the first after a resume."""
        self._fold(frame, resumed)
        held, record = self._held, self._record
        counts = counts_of(frame.totals)
        record.holds(_COMPLETE, is_whole(frame.totals), "totals with holes")
        if held.ahead:
            self._catch_up(counts)
        else:
            words = "the changes add up to {}, and the frame says {}"
            record.holds(_COMPLETE, held.counts == counts, words, held.counts, counts)
        # What the frame says counts from here on, so that one fault is not told again with every frame.
        held.revision, held.counts = frame.revision, counts
        due = bool(frame.resume_token) and frame.resume_token != held.token
        record.holds(Guarantee.RESUMABLE, due, "changes without a token of their own")
        held.arrive(frame.resume_token)
        self._held_now(frame.resume_token)

    @abstractmethod
    def _fold(self, frame: pb.WatchJobResponse, resumed: bool) -> None:
        """Fold the changes in, so that `held` is as the frame should say."""

    def _catch_up(self, counts: Counts) -> None:
        """Let go of the granules that were read ahead, as far as the frame has got to them."""
        held, record = self._held, self._record
        for key in [key for key, revision in held.ahead.items() if revision <= held.revision]:
            del held.ahead[key]
        if not held.ahead:
            words = "the pages and the changes after them add up to {}, and the frame says {}"
            record.holds(Guarantee.READ_THEN_WATCH, held.counted() == counts, words, held.counted(), counts)

    def _check_time(self, change: pb.Change) -> None:
        moment = change.change_time.ToMicroseconds()
        words = "revision {} was committed before the one before it"
        self._record.holds(_COMPLETE, moment >= self._held.moment, words, change.revision)
        self._held.moment = max(moment, self._held.moment)

    def _take_granule(self, change: pb.Change, *, last_of_many: bool) -> None:
        """Fold a granule in; `last_of_many` says that others of its changes are folded into this one."""
        held, record, granule = self._held, self._record, change.granule.granule
        same = granule.revision == change.revision and granule.update_time == change.change_time
        record.holds(_COMPLETE, same, "the granule of revision {} is of another change", change.revision)
        known = 0 <= granule.state < STATES
        record.holds(_COMPLETE, known, "revision {} has a state of no known number", change.revision)
        read_at = held.ahead.get(key_of(granule), 0)
        if change.revision <= read_at:
            if change.revision == read_at:
                before = held.put(granule)
                words = "the granule read at revision {} is not what its change says"
                alike = before == held.granules[key_of(granule)]
                record.holds(Guarantee.READ_THEN_WATCH, alike, words, read_at)
            return
        before = held.change(granule, change.revision)
        if not last_of_many:
            self._check_previous(change, before)
        elif before is None:
            told = change.granule.HasField("previous_state")
            record.holds(_COMPLETE, told, "a granule of many changes without its state before the last")
        counts = list(held.counts)
        if before is not None:
            counts[before.state] -= 1
        counts[granule.state if known else 0] += 1
        held.counts = tuple(counts)

    def _check_previous(self, change: pb.Change, before: Entry | None) -> None:
        told = change.granule.previous_state if change.granule.HasField("previous_state") else None
        due = None if before is None else before.state
        words = "revision {} says that the granule's state was {}, and it was {}"
        self._record.holds(_COMPLETE, told == due, words, change.revision, _name(told), _name(due))

    def _take_job(self, change: pb.Change, counts: Counts | None) -> None:
        """Take a change of the job itself; `counts` are the totals at its revision, where they are known."""
        job = change.job
        same = job.revision == change.revision and (counts is None or counts_of(job.totals) == counts)
        words = "the job of revision {} is at revision {} with totals {}, not {}"
        self._record.holds(
            _COMPLETE, same, words, change.revision, job.revision, counts_of(job.totals), counts
        )
        self._held.job_state = job.state

    def _take_sub_job(self, change: pb.Change) -> None:
        """Take a change of a job below this one: by itself, without what is below it."""
        job = change.sub_job
        alone = bool(job.job_id and job.parent_job_id) and job.revision > 0 and not job.sub_jobs
        words = "the sub-job of revision {} does not say which it is, or says more than itself"
        self._record.holds(_COMPLETE, alone, words, change.revision)


class EveryChange(Delivery):
    """Each change, with consecutive revisions."""

    def _fold(self, frame: pb.WatchJobResponse, resumed: bool) -> None:
        changes, held, record = frame.changes.changes, self._held, self._record
        self._check_revisions([change.revision for change in changes], resumed)
        for change in changes:
            self._check_time(change)
            same = held.same_as_ever(change)
            if same is not None:
                words = "revision {} is not what it was when it came before"
                record.holds(Guarantee.RESUMABLE, same, words, change.revision)
            held.revision = change.revision
            kind = change.WhichOneof("change")
            if kind == "granule":
                self._take_granule(change, last_of_many=False)
            elif kind == "job":
                self._take_job(change, None if held.ahead else held.counts)
            elif kind == "sub_job":
                self._take_sub_job(change)
            else:
                record.holds(_COMPLETE, kind is not None, "revision {} changes nothing", change.revision)
            if change.revision != frame.revision:
                self._held_now(b"")
        words = "changes up to revision {}, and the frame says {}"
        record.holds(_COMPLETE, frame.revision == held.revision, words, held.revision, frame.revision)

    def _check_revisions(self, revisions: Sequence[int], resumed: bool) -> None:
        record, first = self._record, self._held.revision + 1
        if not record.holds(_COMPLETE, bool(revisions), "`changes` without changes"):
            return
        if resumed:
            words = "resumed after revision {}, and the first to come is {}"
            record.holds(Guarantee.RESUMABLE, revisions[0] == first, words, first - 1, revisions[0])
        if list(revisions) == list(range(first, first + len(revisions))):
            for guarantee in (_ORDERED, _UNIQUE, _COMPLETE):
                record.counted(guarantee, len(revisions))
            return
        again = [one for one in revisions if one < first or revisions.count(one) > 1]
        if again and (not resumed or revisions[0] == first):
            record.holds(_UNIQUE, False, "revision {} comes again, where {} was due", again[0], first)
        elif list(revisions) != sorted(revisions):
            record.holds(_ORDERED, False, "revisions {} are not in order", list(revisions))
        elif not resumed or revisions[0] == first:
            missing = next(due for due, one in enumerate(revisions, first) if due != one)
            come = revisions[missing - first]
            record.holds(_COMPLETE, False, "revision {} where {} was due", come, missing)


class Latest(Delivery):
    """Each item that changed, once, over a contiguous range of revisions."""

    def _fold(self, frame: pb.WatchJobResponse, resumed: bool) -> None:
        changes, held, record = frame.changes.changes, self._held, self._record
        after = held.revision
        self._check_revisions([change.revision for change in changes], frame.revision, resumed)
        items = [_item_of(change) for change in changes]
        record.holds(_UNIQUE, len(set(items)) == len(items), "an item comes twice in a frame")
        folded = [change.change_count if change.HasField("change_count") else 1 for change in changes]
        words = "{} changes are told for the {} revisions after {}"
        complete = min(folded, default=1) >= 1 and sum(folded) == frame.revision - after
        record.holds(_COMPLETE, complete, words, sum(folded), frame.revision - after, after)
        for change, times in zip(changes, folded, strict=True):
            self._check_time(change)
            if change.HasField("granule"):
                self._take_granule(change, last_of_many=times > 1)
            elif change.HasField("job"):
                last = change.revision == frame.revision
                self._take_job(change, counts_of(frame.totals) if last else None)
            elif change.HasField("sub_job"):
                self._take_sub_job(change)
        held.revision = frame.revision

    def _check_revisions(self, revisions: Sequence[int], last: int, resumed: bool) -> None:
        record, after = self._record, self._held.revision
        guarantee = Guarantee.RESUMABLE if resumed else _UNIQUE
        if record.holds(_COMPLETE, bool(revisions), "`changes` without changes"):
            words = "revision {} comes, where everything up to {} had come"
            record.holds(guarantee, min(revisions) > after, words, min(revisions), after)
            ascending = all(one < other for one, other in pairwise(revisions))
            record.holds(_ORDERED, ascending, "revisions {} are not in order", list(revisions))
            words = "changes up to revision {}, and the frame says {}"
            record.holds(_COMPLETE, max(revisions) == last, words, max(revisions), last)


class JobOnly(Delivery):
    """The job's own changes and its sub-jobs', and totals."""

    def _fold(self, frame: pb.WatchJobResponse, resumed: bool) -> None:
        changes, held, record = frame.changes.changes, self._held, self._record
        revisions = [held.revision, *(change.revision for change in changes)]
        guarantee = Guarantee.RESUMABLE if resumed else _ORDERED
        ascending = all(one < other for one, other in pairwise(revisions))
        record.holds(guarantee, ascending, "revisions {} are not in order", revisions)
        onward = revisions[-1] <= frame.revision and held.revision < frame.revision
        words = "changes up to revision {} after {}, and the frame says {}"
        record.holds(_COMPLETE, onward, words, revisions[-1], held.revision, frame.revision)
        for change in changes:
            self._check_time(change)
            if change.HasField("sub_job"):
                self._take_sub_job(change)
                continue
            words = "revision {} is not the job's own, nor a sub-job's"
            record.holds(_COMPLETE, change.HasField("job"), words, change.revision)
            last = change.revision == frame.revision
            self._take_job(change, counts_of(frame.totals) if last else None)
        counts = counts_of(frame.totals)
        # A granule is never taken away.
        words = "there were {} granules, and now there are {}"
        fewer = sum(counts) < sum(held.counts)
        record.holds(_COMPLETE, not fewer, words, sum(held.counts), sum(counts))
        held.revision, held.counts = frame.revision, counts


DELIVERIES: Final[dict[int, type[Delivery]]] = {
    pb.DELIVERY_UNSPECIFIED: EveryChange,
    pb.DELIVERY_EVERY_CHANGE: EveryChange,
    pb.DELIVERY_LATEST: Latest,
    pb.DELIVERY_NONE: JobOnly,
}


def _item_of(change: pb.Change) -> tuple[str, str]:
    """Return what a change is of: its kind, and its name."""
    if change.HasField("granule"):
        return "granule", key_of(change.granule.granule)
    return ("sub_job", change.sub_job.job_id) if change.HasField("sub_job") else ("job", "")


def _name(state: int | None) -> str:
    return "absent" if state is None else str(state)
