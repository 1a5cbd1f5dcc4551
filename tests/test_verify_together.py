"""Watchers of one job held against each other, and against the job as it is read by pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from recorded import Began, Ended, Frame, Step, play, reset
from spoiled import HEAD, HISTORY, restored, stream
from test_verify_deliveries import job_only, latest

from jobstatus import v1 as pb
from jobstatus_grpc.verify import Asked, Checker, Guarantee, Minutes
from jobstatus_grpc.verify.minutes import Difference, Minute


def read(pages: list[pb.GetJobStatusResponse], rest: list[Step], **options: object) -> Checker:
    """Read pages, and watch from there."""
    checker = Checker(collect=True, **options)  # type: ignore[arg-type]
    return play([Began(checker.read(pages)), *rest], checker)


# Two of the granules on the second page were read after they had changed, which the watch tells again.
READ_AT: Final = [7, 14, 18]


def test_pages_and_a_watch_from_the_first_have_no_gap() -> None:
    rest: list[Step] = [HISTORY.heartbeat(7), HISTORY.every(7, 9), HISTORY.every(9, HEAD)]
    checker = read(HISTORY.pages(READ_AT, 2), rest)
    assert not checker.breaches
    assert checker.checked[Guarantee.READ_THEN_WATCH] > 3
    assert checker.digest == play(stream(), Checker()).digest


def a_granule_is_missing(pages: list[pb.GetJobStatusResponse]) -> None:
    del pages[1].granules[0]


def a_granule_is_on_two_pages(pages: list[pb.GetJobStatusResponse]) -> None:
    pages[1].granules.append(pages[0].granules[0])


def a_granule_is_not_what_its_change_says(pages: list[pb.GetJobStatusResponse]) -> None:
    pages[1].granules[0].message = "never said"


def the_token_is_another_pages(pages: list[pb.GetJobStatusResponse]) -> None:
    pages[0].job.revision = 6


def a_page_is_too_large(pages: list[pb.GetJobStatusResponse]) -> None:
    pages[0].job.description = "d" * 1024 * 1024


@pytest.mark.parametrize(
    ("spoil", "guarantee"),
    [
        (a_granule_is_missing, Guarantee.COMPLETE),
        (a_granule_is_on_two_pages, Guarantee.READ_THEN_WATCH),
        (a_granule_is_not_what_its_change_says, Guarantee.READ_THEN_WATCH),
        (the_token_is_another_pages, Guarantee.RESUMABLE),
        (a_page_is_too_large, Guarantee.SIZE),
    ],
)
def test_a_gap_between_pages_and_watch_is_found(
    spoil: Callable[[list[pb.GetJobStatusResponse]], None], guarantee: Guarantee
) -> None:
    pages = HISTORY.pages(READ_AT, 2)
    spoil(pages)
    assert read(pages, [HISTORY.every(7, HEAD)]).breaches[0].guarantee is guarantee


# The history changes before the last of them.
READ_IN_TWO_HISTORIES: Final = [18, 18, 7]


def test_pages_of_two_histories_break_nothing_where_the_stream_tells_of_the_change() -> None:
    minutes = Minutes()
    lost = play([Began(), *HISTORY.snapshot(18)], Checker(minutes=minutes, watcher="one"))
    rest: list[Step] = [reset("HISTORY_CHANGED"), *HISTORY.snapshot(7), HISTORY.every(7, HEAD)]
    pages = HISTORY.pages(READ_IN_TWO_HISTORIES, 2)
    reader = read(pages, rest, minutes=minutes, watcher="two")
    assert not (*lost.breaches, *reader.breaches)
    assert not read(pages, rest).breaches


@pytest.mark.parametrize("read_at", [[18, 18, 14], [7, 18, 14]])
def test_a_page_older_than_one_before_it_is_found_where_the_history_goes_on(read_at: list[int]) -> None:
    found = read(HISTORY.pages(read_at, 2), [HISTORY.heartbeat(read_at[0]), Ended()]).breaches
    assert found[-1].guarantee is Guarantee.READ_THEN_WATCH
    assert found[-1].words == "a page at revision 14 after one at 18"


def test_a_page_that_differs_from_what_others_hold_is_found() -> None:
    minutes = Minutes()
    play(stream(), Checker(minutes=minutes, watcher="one"))
    pages = HISTORY.pages([HEAD], 10)
    pages[0].granules[0].message = "never said"
    found = read(pages, [HISTORY.completed(HEAD), Ended()], minutes=minutes, watcher="two").breaches
    assert [breach.guarantee for breach in found] == [Guarantee.READ_THEN_WATCH]


def test_watchers_that_held_the_same_agree_however_they_came_there() -> None:
    minutes = Minutes()
    play(stream(), Checker(minutes=minutes, watcher="one"))
    play(latest(), Checker(Asked(pb.DELIVERY_LATEST), minutes=minutes, watcher="two"))
    play(job_only(), Checker(Asked(pb.DELIVERY_NONE), minutes=minutes, watcher="three"))
    reader = read(HISTORY.pages(READ_AT, 2), [HISTORY.every(7, HEAD)], minutes=minutes, watcher="four")
    assert not reader.breaches
    assert minutes.compared > 5
    last = minutes.at(HEAD)
    assert last is not None
    assert (last.counts, last.witnesses) == (HISTORY.totals(HEAD), 0b1111)


def doubled(reason: str = "") -> list[Checker]:
    """Return two watchers of two histories, each good in itself, the second told of a reset or not."""
    minutes, other = Minutes(), restored(failing="d")
    one = play(stream(), Checker(minutes=minutes, watcher="one", collect=True))
    begin = [Began(), *HISTORY.snapshot(7), reset(reason)] if reason else [Began()]
    steps = [*begin, *other.snapshot(7), other.every(7, other.head)]
    for frame in steps:
        if isinstance(frame, Frame) and frame.resume_token and not reason:
            frame.resume_token += b" of another history"
    return [one, play(steps, Checker(minutes=minutes, watcher="two", collect=True))]


def test_watchers_of_two_histories_differ() -> None:
    one, two = doubled()
    assert not one.breaches
    assert [breach.guarantee for breach in two.breaches] == [Guarantee.COMPLETE]
    assert "and one held totals" in two.breaches[0].words


def test_one_token_means_one_history_whatever_was_reset() -> None:
    _, two = doubled("HISTORY_CHANGED")
    assert [breach.guarantee for breach in two.breaches][:1] == [Guarantee.COMPLETE]


def test_watchers_may_differ_once_the_history_has_changed() -> None:
    minutes = Minutes()
    other = restored(failing="d")
    steps: list[Step] = [Began(), *other.snapshot(7), other.every(7, other.head), reset("HISTORY_CHANGED")]
    for frame in steps:
        if isinstance(frame, Frame) and frame.resume_token:
            frame.resume_token += b" of the history that was lost"
    play(stream(), Checker(minutes=minutes, watcher="one"))
    lost = play(steps, Checker(minutes=minutes, watcher="two", collect=True))
    assert not lost.breaches


def test_who_holds_no_granules_is_no_witness_of_them_in_another_history() -> None:
    minutes = Minutes()

    def held(watcher: str, token: bytes, digest: int | None) -> Difference | None:
        minute = Minute((0, 15, 0, 9, 0), digest, Guarantee.COMPLETE, "", 0)
        return minutes.held(watcher, minutes.number_of(watcher), 89, token, minute)

    assert held("one", b"as it was restored", 1) is None
    minutes.change_history()
    assert held("two", b"as it was lost", 2) is None
    # The counts are the same in both, and the granules are not.
    assert held("three", b"as it was restored", None) is None
    assert held("four", b"as it was restored", 1) is None
    found = held("five", b"as it was restored", 3)
    assert found is not None
    assert found.certain
