"""How a report stands to the item it is about: the merge rule. Pure.

An item's position is (attempt, rank). A report moves an item only to a greater position, so the outcome of
many reports does not depend on their order, with two exceptions: of two different ends of one attempt the
first stands, and between two states of rank 1 the last stands.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final, TypeVar

from jobstatus_grpc.model import MAX_ATTEMPT, FileReport, GranuleReport, ItemError, JobReport, JobState

T = TypeVar("T")

# By the number of the state, which jobs and granules share: UNSPECIFIED is open and under way.
RANK: Final = (1, 0, 1, 2, 2)
# A job whose state nobody reported stands below every reported state.
NEVER_REPORTED: Final = -1


class Outcome(IntEnum):
    """What became of one reported item."""

    APPLIED = 0  #: It changed something.
    UNCHANGED = 1  #: It said what was known.
    STALE = 2  #: The item had passed what it says.


class Step(Enum):
    """How a report stands to the item it is about."""

    FIELDS = "same position and state: its fields replace"
    MOVE = "greater position of the attempt: state and fields replace"
    RESTART = "later attempt: starts empty"
    FILL = "lower position of the attempt: only times still unset are filled"
    STALE = "passed"


def step_of(
    report: FileReport | GranuleReport | JobReport, attempt: int, state: int, rank: int, authoritative: bool
) -> tuple[Step, int, int]:
    """Return how `report` stands to an item at (`attempt`, `rank`), and the attempt and state it leads to.

    Without state and native state a report has the item's own position, unless it names another attempt.
    """
    if report.state is None and report.native_state is None:
        target, new = report.attempt or attempt, int(JobState.PENDING)
        if target == attempt:
            return Step.FIELDS, attempt, state
    else:
        target, new = report.attempt or (attempt if authoritative else 1), int(report.state or 0)
    if target > attempt:
        return Step.RESTART, target, new
    if target < attempt:
        return Step.STALE, attempt, state
    if rank != NEVER_REPORTED and new == state:
        return Step.FIELDS, attempt, state
    if RANK[new] > rank or RANK[new] == rank == 1:
        return Step.MOVE, attempt, new
    if authoritative and attempt < MAX_ATTEMPT:
        return Step.RESTART, attempt + 1, new
    return (Step.FILL if RANK[new] < rank else Step.STALE), attempt, state


def latest(new: T | None, old: T) -> T:
    """Return what is known of a field after a report, which may be silent about it."""
    return old if new is None else new


def merge_error(new: ItemError | None, old: ItemError | None) -> ItemError | None:
    """Return the error after a report; a present but empty one removes what was there."""
    if new is None:
        return old
    return None if new.code is None and new.reason is None else new
