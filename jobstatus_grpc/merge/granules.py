"""What a report makes of a granule. Pure."""

from __future__ import annotations

from typing import Final

from jobstatus_grpc.merge.files import merge_with_files
from jobstatus_grpc.merge.steps import RANK, Outcome, Step, latest, merge_error, step_of
from jobstatus_grpc.model import Granule, GranuleReport, GranuleState

_STATES: Final = tuple(GranuleState)
# How many fields come before the time and the revision: those that readers see a change in.
_SHOWN: Final = Granule._fields.index("update_time")


def merge_granule(
    current: Granule | None, report: GranuleReport, authoritative: bool, now: int, revision: int
) -> tuple[Outcome, Granule]:
    """Return the outcome, and the granule after it, at `revision` if it changed.

    Of a granule that only has another document nobody can see that it changed: it keeps its revision.
    """
    if report.files or (current is not None and current.files is not None):
        return merge_with_files(current, report, authoritative, now, revision)
    if current is None:
        worded = report.state is not None or report.native_state is not None
        first = _STATES[report.state or 0] if worded else GranuleState.PENDING
        return Outcome.APPLIED, _start_granule(report, first, report.attempt or 1, now, revision)
    state = current.state
    step, attempt, new = step_of(report, current.attempt, state, RANK[state], authoritative)
    if step is Step.STALE:
        return Outcome.STALE, current
    if step is Step.RESTART:
        return Outcome.APPLIED, _start_granule(report, _STATES[new], attempt, now, revision)
    if step is Step.FILL:
        same = Outcome.STALE
        merged = _fill_granule(current, report, now, revision)
    else:
        same = Outcome.UNCHANGED
        merged = _replace_granule(current, report, new if step is Step.MOVE else None, now, revision)
    if merged[:_SHOWN] != current[:_SHOWN]:
        return Outcome.APPLIED, merged
    told = merged.document
    return same, current if told == current.document else current._replace(document=told)


def _fill_granule(current: Granule, report: GranuleReport, now: int, revision: int) -> Granule:
    return current._replace(
        request_time=latest(current.request_time, report.request_time),
        end_time=latest(current.end_time, report.end_time),
        update_time=now,
        revision=revision,
    )


def _replace_granule(
    current: Granule, report: GranuleReport, moved_to: int | None, now: int, revision: int
) -> Granule:
    moved = moved_to is not None
    return Granule(
        current.collection_id,
        current.granule_id,
        current.state if moved_to is None else _STATES[moved_to],
        report.native_state if moved else latest(report.native_state, current.native_state),
        current.attempt,
        merge_error(report.error, current.error),
        latest(report.message, current.message),
        latest(report.request_time, current.request_time),
        latest(report.end_time, current.end_time),
        now,
        revision,
        latest(report.document, current.document) or None,
    )


def _start_granule(
    report: GranuleReport, state: GranuleState, attempt: int, now: int, revision: int
) -> Granule:
    return Granule(
        report.collection_id,
        report.granule_id,
        state,
        report.native_state,
        attempt,
        merge_error(report.error, None),
        report.message,
        report.request_time,
        report.end_time,
        now,
        revision,
        report.document or None,
    )
