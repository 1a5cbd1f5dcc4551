"""Lines that fail: between clients and servers, and between servers and their database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from moments import wait_until

from faults.cables import Cable, Side
from faults.crowd import TIMEOUT
from faults.fleet import Fleet
from faults.proof import Allowed
from faults.recordings import Refused
from faults.trials import Trial

SILENT = Allowed(silence=True)
SIDES = ["clients", "database"]


def lines(fleet: Fleet, side: str) -> list[Cable]:
    """Return the cables of the servers on one side."""
    return fleet.inward if side == "clients" else fleet.onward


@contextmanager
def failing(cables: list[Cable]) -> Iterator[list[Cable]]:
    """Give the block cables to spoil, and mend them after it."""
    yield cables
    for cable in cables:
        cable.mend()


@pytest.mark.parametrize("side", SIDES)
def test_lines_that_are_cut_again_and_again_lose_nothing(
    wired_fleet: Fleet, trial: Callable[..., Trial], side: str
) -> None:
    with trial(f"lines to {side} cut, all, each second", wired_fleet) as run:
        run.flow()
        with run.fault(least=50):
            for _ in range(8):
                assert sum(cable.cut() for cable in lines(wired_fleet, side)) > 0
                time.sleep(1)
        run.flow()


@pytest.mark.parametrize("side", SIDES)
def test_a_line_on_which_nothing_moves_for_a_while_loses_nothing(
    wired_fleet: Fleet, trial: Callable[..., Trial], side: str
) -> None:
    allowed = Allowed(silence=side == "clients")
    with trial(f"line to {side} stalled, of one server, 8 s", wired_fleet, allowed=allowed) as run:
        run.flow()
        with run.fault(least=60), failing(lines(wired_fleet, side)[:1]) as (cable,):
            begun = time.monotonic()
            cable.stall()
            # A job that is being written to is free again when the database's patience is over, 10 s.
            run.flow(60)
            time.sleep(max(0.0, begun + 8 - time.monotonic()))
        run.flow()


@pytest.mark.parametrize("side", SIDES)
def test_lines_that_take_their_time_only_take_time(
    wired_fleet: Fleet, trial: Callable[..., Trial], side: str
) -> None:
    with trial(f"lines to {side} delay by 75 ms ± 50, 6 s", wired_fleet) as run:
        run.flow()
        with run.fault(least=10), failing(lines(wired_fleet, side)) as cables:
            for cable in cables:
                cable.delay(0.075, 0.05)
            time.sleep(6)
        run.flow()
    assert not any(back.open for back in run.backs)


@pytest.mark.parametrize("towards", ["client", "server"])
@pytest.mark.parametrize("side", SIDES)
def test_lines_of_which_one_side_hears_the_end_and_the_other_nothing_lose_nothing(
    wired_fleet: Fleet, trial: Callable[..., Trial], side: str, towards: Side
) -> None:
    ends = {"clients": ("clients", "servers"), "database": ("servers", "database")}[side]
    end = ends[0] if towards == "client" else ends[1]
    allowed = Allowed(silence=side == "clients")
    with trial(f"lines to {side} closed for {end} only", wired_fleet, allowed=allowed) as run:
        run.flow()
        with run.fault(least=50), failing(lines(wired_fleet, side)) as cables:
            for cable in cables:
                assert cable.half_close(towards) > 0
                time.sleep(2)
            run.flow(50)
        run.flow()


def test_a_database_whose_every_answer_takes_more_than_a_second_keeps_streams_alive_and_calls_short(
    wired_fleet: Fleet, trial: Callable[..., Trial]
) -> None:
    with trial("each answer of the database 1.2 s late, 8 s", wired_fleet) as run:
        run.flow()
        with run.fault(least=0), failing(wired_fleet.onward) as cables:
            for cable in cables:
                # A report takes four answers, and is given up after four seconds.
                cable.delay(0.6)
            time.sleep(8)
        run.flow()
    refused = [event for events in run.recording.values() for event in events if isinstance(event, Refused)]
    assert {event.failure.reason for event in refused} == {"STORE_UNAVAILABLE"}
    assert max(event.seconds for event in refused) < TIMEOUT
    assert not any(back.open for back in run.backs)


def test_ears_that_have_gone_deaf_are_noticed_and_polling_brings_everything(
    wired_fleet: Fleet, trial: Callable[..., Trial]
) -> None:
    with trial("listening connections lost without a word", wired_fleet) as run:
        run.flow()
        with run.fault(least=100), failing(wired_fleet.onward) as cables:
            assert sum(cable.deaden(b"listen jobstatus") for cable in cables) == 3
            # 5 s of silence, and 3 s for the proof. The database does not know that nobody hears the others:
            wait_until(lambda: wired_fleet.ears() == [2, 2, 2], "all listen anew", 15)
        run.flow()
    assert not any(back.open for back in run.backs)


def test_lines_that_fail_in_every_way_at_random_lose_nothing(
    wired_fleet: Fleet, trial: Callable[..., Trial]
) -> None:
    with trial("lines of both sides cut at random, and slow, 8 s", wired_fleet, allowed=SILENT) as run:
        run.flow()
        every = [*wired_fleet.inward, *wired_fleet.onward]
        with run.fault(least=10), failing(every) as cables:
            for cable in cables:
                cable.delay(0.02, 0.02)
            for _ in range(16):
                for cable in cables:
                    cable.cut(0.2)
                time.sleep(0.5)
        run.flow()
