"""The merge rule and the roll-up: what a report makes of a job. Pure.

An item's position is (attempt, rank). A report moves an item only to a greater position, so the outcome of
many reports does not depend on their order, with two exceptions: of two different ends of one attempt the
first stands, and between two states of rank 1 the last stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple, TypeVar

from jobstatus_grpc.errors import InvalidRequest, Violation
from jobstatus_grpc.model import (
    MAX_ATTEMPT,
    MAX_GRANULE_BYTES,
    MAX_JOB_BYTES,
    Change,
    Granule,
    GranuleKey,
    GranuleReport,
    GranuleState,
    ItemError,
    Job,
    JobReport,
    JobState,
    Report,
    Totals,
    granule_bytes,
    job_bytes,
)

T = TypeVar("T")

# By the number of the state, which jobs and granules share: UNSPECIFIED is open and under way.
_RANK: Final = (1, 0, 1, 2, 2)
# A job whose state nobody reported stands below every reported state.
_NEVER_REPORTED: Final = -1


class Outcome(Enum):
    """What became of one reported item."""

    APPLIED = "applied"  #: It changed something.
    UNCHANGED = "unchanged"  #: It said what was known.
    STALE = "stale"  #: The item had passed what it says.


class Merged(NamedTuple):
    """A report merged into a job.

    Attributes:
        job: the job after the report; its revision is the last change's.
        granules: the granules to be written, by key: only those that changed.
        changes: the new part of the job's history, oldest first; may be empty.
        applied: how many items changed something.
        unchanged: how many said what was known.
        stale: how many came too late.
    """

    job: Job
    granules: Mapping[GranuleKey, Granule]
    changes: Sequence[Change]
    applied: int
    unchanged: int
    stale: int


class _Step(Enum):
    """How a report stands to the item it is about."""

    FIELDS = "same position and state: its fields replace"
    MOVE = "greater position of the attempt: state and fields replace"
    RESTART = "later attempt: starts empty"
    FILL = "lower position of the attempt: only times still unset are filled"
    STALE = "passed"


def merge_report(
    job: Job | None, granules: Mapping[GranuleKey, Granule], report: Report, commit_id: int, now: int
) -> Merged:
    """Merge `report` into a job and those of its granules that it is about.

    Args:
        job: the job as it stands; `None` if it is first reported now, with a `report.job` then.
        granules: the granules among `report.granules` that exist, by key.
        report: what is reported, checked already.
        commit_id: of the transaction.
        now: the time of the changes.

    Raises:
        InvalidRequest: an item would grow beyond its limit.
    """
    merge = _Merge(job, granules, report, commit_id, now)
    merge.take_job()
    merge.take_granules()
    merge.roll_up()
    return merge.result()


class _Merge:
    """One report on its way into a job."""

    def __init__(
        self,
        job: Job | None,
        granules: Mapping[GranuleKey, Granule],
        report: Report,
        commit_id: int,
        now: int,
    ) -> None:
        self.created = job is None
        self.job = _new_job(report, now) if job is None else job
        self.before = self.job
        self.known = granules
        self.report = report
        self.commit_id = commit_id
        self.now = now
        self.revision = self.job.revision
        self.counts = list(self.job.totals)
        self.written: dict[GranuleKey, Granule] = {}
        self.changes: list[Change] = []
        self.moved = False
        self.outcomes = dict.fromkeys(Outcome, 0)
        self.violations: list[Violation] = []

    def take_job(self) -> None:
        if self.report.job is None:
            return
        outcome, self.job = _merge_job(self.job, self.report.job, self.report.authoritative)
        if self.created:
            outcome = Outcome.APPLIED
            self._log_job()
        self.outcomes[outcome] += 1
        if job_bytes(self.job) > MAX_JOB_BYTES:
            self.violations.append(Violation("job", f"its own fields take more than {MAX_JOB_BYTES} bytes"))

    def take_granules(self) -> None:
        known, written, outcomes = self.known, self.written, self.outcomes
        for index, report in enumerate(self.report.granules):
            key = report.key
            current = written.get(key) or known.get(key)
            outcome, granule = _merge_granule(
                current, report, self.report.authoritative, self.now, self.revision + 1
            )
            outcomes[outcome] += 1
            if outcome is not Outcome.APPLIED:
                continue
            if granule_bytes(granule) > MAX_GRANULE_BYTES:
                text = f"the granule takes more than {MAX_GRANULE_BYTES} bytes"
                self.violations.append(Violation(f"granules[{index}]", text))
            written[key] = granule
            previous = None if current is None else current.state
            if current is None or (current.state, current.attempt) != (granule.state, granule.attempt):
                self.moved = True
            if previous is not None:
                self.counts[previous] -= 1
            self.counts[granule.state] += 1
            self._log(granule, previous)

    def roll_up(self) -> None:
        self.job = self.job._replace(totals=Totals._make(self.counts))
        if not self.job.state_reported:
            self.job = _derive(self.job, self.now, self.moved)
        if _own_fields(self.job) != _own_fields(self.before):
            self._log_job()

    def result(self) -> Merged:
        if self.violations:
            raise InvalidRequest(self.violations)
        job = self.job
        if self.changes:
            job = job._replace(revision=self.revision, update_time=self.now)
        return Merged(job, self.written, self.changes, *self.outcomes.values())

    def _log_job(self) -> None:
        """Append the job as it is now. `before` is from here on what the last change row says."""
        self.job = self.job._replace(revision=self.revision + 1, update_time=self.now)
        self.before = self.job
        self._log(self.job, None)

    def _log(self, item: Granule | Job, previous: GranuleState | None) -> None:
        self.revision += 1
        totals = Totals._make(self.counts)
        self.changes.append(Change(self.revision, self.commit_id, self.now, item, previous, totals))


def _step(
    report: GranuleReport | JobReport, attempt: int, state: int, rank: int, authoritative: bool
) -> tuple[_Step, int, int]:
    """Return how `report` stands to an item at (`attempt`, `rank`), and the attempt and state it leads to.

    Without state and native state a report has the item's own position, unless it names another attempt.
    """
    if report.state is None and report.native_state is None:
        target, new = report.attempt or attempt, int(JobState.PENDING)
        if target == attempt:
            return _Step.FIELDS, attempt, state
    else:
        target, new = report.attempt or (attempt if authoritative else 1), int(report.state or 0)
    if target > attempt:
        return _Step.RESTART, target, new
    if target < attempt:
        return _Step.STALE, attempt, state
    if rank != _NEVER_REPORTED and new == state:
        return _Step.FIELDS, attempt, state
    if _RANK[new] > rank or _RANK[new] == rank == 1:
        return _Step.MOVE, attempt, new
    if authoritative and attempt < MAX_ATTEMPT:
        return _Step.RESTART, attempt + 1, new
    return (_Step.FILL if _RANK[new] < rank else _Step.STALE), attempt, state


def _merge_granule(
    current: Granule | None, report: GranuleReport, authoritative: bool, now: int, revision: int
) -> tuple[Outcome, Granule]:
    """Return the outcome, and the granule after it, at `revision` if it changed."""
    if current is None:
        worded = report.state is not None or report.native_state is not None
        first = GranuleState(report.state or 0) if worded else GranuleState.PENDING
        return Outcome.APPLIED, _start_granule(report, first, report.attempt or 1, now, revision)
    state = current.state
    step, attempt, new = _step(report, current.attempt, state, _RANK[state], authoritative)
    if step is _Step.STALE:
        return Outcome.STALE, current
    if step is _Step.RESTART:
        return Outcome.APPLIED, _start_granule(report, GranuleState(new), attempt, now, revision)
    if step is _Step.FILL:
        merged = current._replace(
            request_time=_set(current.request_time, report.request_time),
            end_time=_set(current.end_time, report.end_time),
        )
        same = Outcome.STALE
    else:
        moved = step is _Step.MOVE
        merged = Granule(
            current.collection_id,
            current.granule_id,
            GranuleState(new) if moved else state,
            report.native_state if moved else _set(report.native_state, current.native_state),
            attempt,
            _merge_error(report.error, current.error),
            _set(report.message, current.message),
            _set(report.request_time, current.request_time),
            _set(report.end_time, current.end_time),
            current.update_time,
            current.revision,
        )
        same = Outcome.UNCHANGED
    if merged == current:
        return same, current
    return Outcome.APPLIED, merged._replace(update_time=now, revision=revision)


def _start_granule(
    report: GranuleReport, state: GranuleState, attempt: int, now: int, revision: int
) -> Granule:
    return Granule(
        report.collection_id,
        report.granule_id,
        state,
        report.native_state,
        attempt,
        _merge_error(report.error, None),
        report.message,
        report.request_time,
        report.end_time,
        now,
        revision,
    )


def _merge_job(current: Job, report: JobReport, authoritative: bool) -> tuple[Outcome, Job]:
    """Return the outcome, and the job's own fields after it; a derived state is left to the roll-up."""
    rank = _RANK[current.state] if current.state_reported else _NEVER_REPORTED
    step, attempt, new = _step(report, current.attempt, current.state, rank, authoritative)
    if step is _Step.STALE:
        return Outcome.STALE, current
    if step is _Step.FILL:
        merged, same = _fill_job_times(current, report), Outcome.STALE
    else:
        worded = report.state is not None or report.native_state is not None
        base = current
        if step is _Step.RESTART:
            base = _restart_job(current, attempt)
        if worded and not base.state_reported:
            # Times that followed the granules end with the derived state they belonged to.
            base = base._replace(
                state_reported=True,
                begin_time=base.begin_time if base.begin_time_reported else None,
                end_time=base.end_time if base.end_time_reported else None,
            )
        if step is not _Step.FIELDS:
            base = base._replace(state=JobState(new), native_state=None)
        merged, same = _replace_job_fields(base, report), Outcome.UNCHANGED
    return (same, current) if merged == current else (Outcome.APPLIED, merged)


def _fill_job_times(current: Job, report: JobReport) -> Job:
    begin = report.begin_time if not current.begin_time_reported else None
    end = report.end_time if not current.end_time_reported else None
    return _replace_job_fields(current, JobReport(*report.key, begin_time=begin, end_time=end))


def _replace_job_fields(job: Job, report: JobReport) -> Job:
    return job._replace(
        system=_set(report.system, job.system),
        job_type=_set(report.job_type, job.job_type),
        native_state=_set(report.native_state, job.native_state),
        description=_set(report.description, job.description),
        message=_set(report.message, job.message),
        error=_merge_error(report.error, job.error),
        begin_time=_set(report.begin_time, job.begin_time),
        end_time=_set(report.end_time, job.end_time),
        begin_time_reported=job.begin_time_reported or report.begin_time is not None,
        end_time_reported=job.end_time_reported or report.end_time is not None,
        granules_complete=_set(report.granules_complete, job.granules_complete),
        labels=report.labels or job.labels,
    )


def _new_job(report: Report, now: int) -> Job:
    """Return the job before its first report: PENDING, with nothing known."""
    told = report.job
    if told is None:
        raise AssertionError("granules alone do not make a job")
    return _restart_job(
        Job(
            *report.key,
            system=None,
            job_type=None,
            state=JobState.PENDING,
            native_state=None,
            attempt=1,
            description=None,
            message=None,
            error=None,
            create_time=now,
            begin_time=None,
            end_time=None,
            update_time=now,
            totals=Totals(),
            granules_complete=False,
            labels={},
            revision=0,
            state_reported=False,
            begin_time_reported=False,
            end_time_reported=False,
        ),
        told.attempt or 1,
    )


def _restart_job(job: Job, attempt: int) -> Job:
    """Return `job` at the start of an attempt: empty but for what a job keeps over its attempts."""
    return job._replace(
        attempt=attempt,
        state=JobState.PENDING,
        native_state=None,
        description=None,
        message=None,
        error=None,
        begin_time=None,
        end_time=None,
        granules_complete=False,
        state_reported=False,
        begin_time_reported=False,
        end_time_reported=False,
    )


def _derive(job: Job, now: int, moved: bool) -> Job:
    """Return `job` with the state its granules give it, and the times that follow from it.

    `moved` tells whether a granule has moved now: a job that has ended, and still has, then ended now.
    """
    state = _roll_up_state(job.totals, job.granules_complete)
    begin, end = job.begin_time, job.end_time
    if not job.begin_time_reported:
        begin = None if state is JobState.PENDING else _set(begin, now)
    if not job.end_time_reported:
        end = (now if moved else _set(end, now)) if state.terminal else None
    return job._replace(state=state, begin_time=begin, end_time=end)


def _roll_up_state(totals: Totals, complete: bool) -> JobState:
    count = sum(totals)
    if count == 0 and complete:
        return JobState.SUCCEEDED
    if count == totals.pending:
        return JobState.PENDING
    if not complete or totals.pending or totals.staged or totals.unspecified:
        return JobState.RUNNING
    return JobState.FAILED if totals.failed else JobState.SUCCEEDED


def _own_fields(job: Job) -> Job:
    """Return `job` less what changes with every granule."""
    return job._replace(totals=Totals(), revision=0, update_time=0)


def _set(new: T | None, old: T) -> T:
    return old if new is None else new


def _merge_error(new: ItemError | None, old: ItemError | None) -> ItemError | None:
    """Return the error after a report; a present but empty one removes what was there."""
    if new is None:
        return old
    return None if new.code is None and new.reason is None else new
