"""The checker of a watch that is not told every change: the latest of each item, or the job's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from recorded import Began, Ended, Frame, Step, play
from spoiled import HEAD, HISTORY, Spoil, frames, stream

from jobstatus import v1 as pb
from jobstatus_grpc.verify import Asked, Checker, Guarantee


# LATEST: everything in three frames, so that most granules change more than once in one.
def latest() -> list[Step]:
    parts = [HISTORY.latest(7, 12), HISTORY.latest(12, 13), HISTORY.latest(13, HEAD)]
    return [Began(), *HISTORY.snapshot(7), *parts, HISTORY.completed(HEAD), Ended()]


def an_item_comes_twice(frame: Frame) -> None:
    double = frame.changes.changes.add()
    double.CopyFrom(frame.changes.changes[-2])
    double.revision = double.granule.granule.revision = frame.changes.changes[-2].revision


def a_count_is_wrong(frame: Frame) -> None:
    next(change for change in frame.changes.changes if change.change_count).change_count += 1


def they_are_out_of_order(frame: Frame) -> None:
    frame.changes.changes.sort(key=lambda change: -change.revision)


def an_item_is_missing(frame: Frame) -> None:
    del frame.changes.changes[0]


def the_frame_says_more_than_it_brings(frame: Frame) -> None:
    frame.revision += 1


def the_total_is_wrong(frame: Frame) -> None:
    frame.totals.pending_count += 1


def a_state_is_wrong(frame: Frame) -> None:
    frame.changes.changes[0].granule.granule.state = pb.GRANULE_STATE_UNSPECIFIED


@pytest.mark.parametrize(
    ("spoil", "guarantee"),
    [
        (an_item_comes_twice, Guarantee.ORDERED),
        (they_are_out_of_order, Guarantee.ORDERED),
        (a_count_is_wrong, Guarantee.COMPLETE),
        (an_item_is_missing, Guarantee.COMPLETE),
        (the_frame_says_more_than_it_brings, Guarantee.COMPLETE),
        (the_total_is_wrong, Guarantee.COMPLETE),
        (a_state_is_wrong, Guarantee.COMPLETE),
    ],
)
def test_frames_of_the_latest_are_checked(spoil: Callable[[Frame], None], guarantee: Guarantee) -> None:
    asked = Asked(pb.DELIVERY_LATEST)
    good = play(latest(), Checker(asked))
    assert good.digest == play(stream(), Checker()).digest
    steps = latest()
    spoil(frames(steps, "changes")[0])
    found = play(steps, Checker(asked, collect=True)).breaches
    assert found[0].guarantee is guarantee


def job_only() -> list[Step]:
    parts = [HISTORY.job_only(7, 9), HISTORY.job_only(9, 13), HISTORY.job_only(13, HEAD)]
    snapshot = HISTORY.snapshot(7, with_granules=False)
    return [Began(), *snapshot, *parts, HISTORY.completed(HEAD), Ended()]


def a_granule_is_delivered(steps: list[Step]) -> None:
    frames(steps, "changes")[-1].changes.changes.insert(0, HISTORY.every(13, 14).changes.changes[0])


def a_granule_is_taken_away(steps: list[Step]) -> None:
    frames(steps, "changes")[0].totals.pending_count -= 1


def the_job_ends_without_a_change(steps: list[Step]) -> None:
    del frames(steps, "changes")[-1].changes.changes[:]


def the_snapshot_has_granules(steps: list[Step]) -> None:
    steps[1:2] = HISTORY.snapshot(7)


def a_frame_stands_still(steps: list[Step]) -> None:
    steps.insert(3, frames(steps, "changes")[0])


@pytest.mark.parametrize(
    ("spoil", "guarantee"),
    [
        (a_granule_is_delivered, Guarantee.COMPLETE),
        (a_granule_is_taken_away, Guarantee.COMPLETE),
        (the_job_ends_without_a_change, Guarantee.ENDING),
        (the_snapshot_has_granules, Guarantee.SNAPSHOT),
        (a_frame_stands_still, Guarantee.ORDERED),
    ],
)
def test_frames_of_the_job_alone_are_checked(spoil: Spoil, guarantee: Guarantee) -> None:
    asked = Asked(pb.DELIVERY_NONE)
    assert play(job_only(), Checker(asked)).totals == HISTORY.totals(HEAD)
    steps = job_only()
    spoil(steps)
    found = play(steps, Checker(asked, collect=True)).breaches
    assert found[0].guarantee is guarantee
