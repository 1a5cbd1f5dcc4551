"""What a report makes of a granule's files, and what they make of the granule: the roll-up. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from jobstatus_grpc.merge.steps import RANK, Outcome, Step, latest, merge_error, step_of
from jobstatus_grpc.model import (
    FileReport,
    FileTally,
    Granule,
    GranuleFile,
    GranuleReport,
    GranuleState,
    ItemError,
)
from jobstatus_grpc.sizes import file_bytes

_STATES: Final = tuple(GranuleState)
_NO_FILES: Final = FileTally()
# Which of the tally's counts a state is in, by its number: a word that is not ours is under way.
_PLACE: Final = (1, 0, 1, 3, 2)
# How many fields come before the time: those that readers see a change in.
_SHOWN: Final = Granule._fields.index("update_time")


def merge_with_files(
    current: Granule | None, report: GranuleReport, authoritative: bool, now: int, revision: int
) -> tuple[Outcome, Granule]:
    """Return the outcome, and the granule after a report that tells files, or is about a granule with some.

    Its state and attempt are what its files say. Its times and its error follow theirs, until others are told
    of itself: the earliest request, the latest end once all have ended, and why the last one failed.

    Args:
        current: the granule as it stands, if it does, those of its files that are reported in its tally.
        report: what is reported.
        authoritative: as `Report` has it.
        now: the time of the change.
        revision: of the change.
    """
    before = (current and current.files) or _NO_FILES
    files, outcomes, errors = _merge_files(before, report.files, authoritative, now)
    granule = _follow(current, report, before, files, errors)
    if report.attempt in (None, files.attempt):
        granule = _replace_fields(granule, report)
    else:
        outcomes.append(Outcome.STALE)
    if current is None or Outcome.APPLIED in outcomes or granule[:_SHOWN] != current[:_SHOWN]:
        return Outcome.APPLIED, granule._replace(update_time=now, revision=revision, files=files)
    same = Outcome.STALE if Outcome.STALE in outcomes else Outcome.UNCHANGED
    told = granule.document
    return same, current if told == current.document else current._replace(document=told)


def _merge_files(
    tally: FileTally, reports: Iterable[FileReport], authoritative: bool, now: int
) -> tuple[FileTally, list[Outcome], list[ItemError]]:
    """Return the tally after reports of files, their outcomes, and why those that failed now have."""
    named = dict(tally.named)
    counts = list(tally[:4])
    attempt, size, request_time, end_time = tally[4:8]
    outcomes, errors = [], []
    for report in reports:
        current = named.get(report.file_name)
        outcome, file = _merge_file(current, report, authoritative, now)
        outcomes.append(outcome)
        if outcome is not Outcome.APPLIED:
            continue
        named[file.file_name] = file
        counts[_PLACE[file.state]] += 1
        size += file_bytes(file)
        if current is not None:
            counts[_PLACE[current.state]] -= 1
            size -= file_bytes(current)
        attempt = max(attempt, file.attempt)
        request_time = _first_of(min, request_time, file.request_time)
        end_time = _first_of(max, end_time, file.end_time)
        if file.state is GranuleState.FAILED and file.error is not None:
            errors.append(file.error)
    pending, staged, failed, succeeded = counts
    merged = FileTally(pending, staged, failed, succeeded, attempt, size, request_time, end_time, named)
    return merged, outcomes, errors


def _merge_file(
    current: GranuleFile | None, report: FileReport, authoritative: bool, now: int
) -> tuple[Outcome, GranuleFile]:
    """Return the outcome, and the file after it, by the rule for granules."""
    if current is None:
        worded = report.state is not None or report.native_state is not None
        first = _STATES[report.state or 0] if worded else GranuleState.PENDING
        return Outcome.APPLIED, _start_file(report, first, report.attempt or 1, now)
    state = current.state
    step, attempt, new = step_of(report, current.attempt, state, RANK[state], authoritative)
    if step is Step.STALE:
        return Outcome.STALE, current
    if step is Step.RESTART:
        return Outcome.APPLIED, _start_file(report, _STATES[new], attempt, now)
    if step is Step.FILL:
        same = Outcome.STALE
        merged = current._replace(
            request_time=latest(current.request_time, report.request_time),
            end_time=latest(current.end_time, report.end_time),
        )
    else:
        same = Outcome.UNCHANGED
        base = current._replace(state=_STATES[new], native_state=None) if step is Step.MOVE else current
        merged = _replace_file_fields(base, report)
    return (same, current) if merged == current else (Outcome.APPLIED, merged._replace(update_time=now))


def _start_file(report: FileReport, state: GranuleState, attempt: int, now: int) -> GranuleFile:
    empty = GranuleFile(report.file_name, state, None, None, None, attempt, None, None, now)
    return _replace_file_fields(empty, report)


def _replace_file_fields(file: GranuleFile, report: FileReport) -> GranuleFile:
    return file._replace(
        native_state=latest(report.native_state, file.native_state),
        restore_destination=latest(report.restore_destination, file.restore_destination),
        error=merge_error(report.error, file.error),
        request_time=latest(report.request_time, file.request_time),
        end_time=latest(report.end_time, file.end_time),
    )


def _follow(
    current: Granule | None,
    report: GranuleReport,
    before: FileTally,
    files: FileTally,
    errors: Sequence[ItemError],
) -> Granule:
    """Return the granule as its files make it; of another attempt nothing stays but why files have failed."""
    error = errors[-1] if errors else current and current.error
    end_time = files.end_time if files.state >= GranuleState.SUCCEEDED else None
    if current is None or current.attempt != files.attempt:
        error = error if files.failed else None
        began = files.request_time
        return Granule(*report.key, files.state, None, files.attempt, error, None, began, end_time, 0, 0)
    if not files.failed and (before.failed or not before.total):
        error = None
    request_time = current.request_time
    if files.request_time != before.request_time:
        request_time = files.request_time
    if (files.state, files.end_time) == (current.state, before.end_time):
        end_time = current.end_time
    return current._replace(
        state=files.state, native_state=None, error=error, request_time=request_time, end_time=end_time
    )


def _replace_fields(granule: Granule, report: GranuleReport) -> Granule:
    return granule._replace(
        error=merge_error(report.error, granule.error),
        message=latest(report.message, granule.message),
        request_time=latest(report.request_time, granule.request_time),
        end_time=latest(report.end_time, granule.end_time),
        document=latest(report.document, granule.document) or None,
    )


def _first_of(choose: Callable[[int, int], int], known: int | None, told: int | None) -> int | None:
    return known if told is None else told if known is None else choose(known, told)
