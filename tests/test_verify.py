"""The checker: it finds nothing in good streams, and in a spoiled one what was spoiled."""

from __future__ import annotations

import pytest
from recorded import BROKEN, Began, Ended, Frame, Step, play, reset, token
from spoiled import HEAD, HISTORY, SPOILED, Spoil, a_change_is_left_out, frames, stream

from jobstatus_grpc.verify import Asked, Breach, Checker, Guarantee


def test_a_good_stream_breaks_nothing_and_every_guarantee_is_checked_on_it() -> None:
    checker = play(stream(), Checker())
    assert not checker.breaches
    assert all(checker.checked[one] for one in Guarantee if one is not Guarantee.READ_THEN_WATCH)
    assert checker.revision == HEAD
    assert checker.totals == HISTORY.totals(HEAD)
    assert checker.completed
    assert checker.seen == {
        "streams": 3,
        "resumes": 2,
        "reads": 0,
        "frames": len([step for step in stream() if isinstance(step, Frame)]),
        "changes": 7 + 3 + HEAD - 14,
        "snapshots": 2,
        "heartbeats": 4,
        "resets": 1,
        "reconnects": 1,
        "completed": 1,
    }


@pytest.mark.parametrize(("guarantee", "spoil"), SPOILED, ids=[spoil.__name__ for _, spoil in SPOILED])
def test_what_is_spoiled_is_found_and_named(guarantee: Guarantee, spoil: Spoil) -> None:
    steps = stream()
    spoil(steps)
    collecting = play(steps, Checker(collect=True, watcher="w"))
    assert collecting.breaches[0].guarantee is guarantee
    assert collecting.breaches[0].watcher == "w"
    with pytest.raises(Breach) as raised:
        play(steps, Checker())
    assert str(raised.value) == str(collecting.breaches[0])
    assert sum(line.startswith("> ") for line in collecting.breaches[0].around) == 1


def test_a_breach_shows_the_frames_around_it() -> None:
    steps = stream()
    a_change_is_left_out(steps)
    breach = play(steps, Checker(collect=True)).breaches[0]
    assert breach.frame is frames(steps, "changes")[0]
    assert breach.words == "revision 10 where 9 was due"
    assert [line[:2] for line in breach.around] == ["  ", "  ", "  ", "> ", "  ", "  ", "  "]
    assert "changes 8 to 10 (2): revision 10" in breach.around[3]
    assert "heartbeat: revision 10" in breach.around[4]


def test_silence_that_never_ends_is_found() -> None:
    checker = Checker(Asked(heartbeat_interval=1.0), collect=True)
    play(stream()[:6], checker)
    assert not checker.silent(1001.0)
    assert checker.silent(1100.0)
    assert [breach.guarantee for breach in checker.breaches] == [Guarantee.ALIVE]


@pytest.mark.parametrize(
    ("asked", "steps", "kept"),
    [
        (Asked(snapshot_only=True), [Began(), *HISTORY.snapshot(7), Ended()], True),
        (Asked(snapshot_only=True), [Began(), *HISTORY.snapshot(7)[:2], Ended()], False),
        (Asked(snapshot_only=True), [Began(), Ended()], False),
        (Asked(), [Began(), *HISTORY.snapshot(7), Ended()], False),
        (Asked(max_frames=2), [Began(), *HISTORY.snapshot(7)[:2], Ended()], True),
        (Asked(max_frames=3), [Began(), *HISTORY.snapshot(7)[:2], Ended()], False),
        (Asked(max_frames=1), [Began(), *HISTORY.snapshot(7)[:2], Ended()], False),
    ],
)  # fmt: skip
def test_a_stream_may_end_with_what_was_asked_for(asked: Asked, steps: list[Step], kept: bool) -> None:
    found = play(steps, Checker(asked, collect=True)).breaches
    assert {breach.guarantee for breach in found} == (set() if kept else {Guarantee.ENDING})


@pytest.mark.parametrize(
    ("rest", "kept"),
    [
        ([HISTORY.every(7, 9)], True),
        ([HISTORY.heartbeat(7)], True),
        ([reset(), *HISTORY.snapshot(9)], True),
        ([reset(), *HISTORY.snapshot(9)[:1]], False),
        ([], False),
    ],
)
def test_a_resumed_stream_may_end_with_the_changes_up_to_now(rest: list[Step], kept: bool) -> None:
    checker = play([Began(), *HISTORY.snapshot(7), Ended()], Checker(Asked(snapshot_only=True), collect=True))
    play([Began(token(7)), *rest, Ended()], checker)
    assert [breach.guarantee for breach in checker.breaches] == ([] if kept else [Guarantee.ENDING])


def test_a_watch_goes_on_only_from_what_it_holds() -> None:
    checker = play([Began(), *HISTORY.snapshot(7), HISTORY.every(7, 9), Ended(BROKEN)], Checker())
    assert list(checker.tokens()) == [token(7), token(9)]
    with pytest.raises(ValueError, match="not known what was held"):
        checker.stream_began(token(8))
    play([Began(token(7)), reset(), *HISTORY.snapshot(8), Ended(BROKEN)], checker)
    assert list(checker.tokens()) == [token(8)]
