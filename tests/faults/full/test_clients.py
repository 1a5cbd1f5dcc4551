"""Clients that die, or stand still, many at once."""

from __future__ import annotations

import time
from collections.abc import Callable

from moments import wait_until

from faults.clients import Load
from faults.fleet import Fleet
from faults.proof import Allowed
from faults.trials import Trial
from faults.watchers import STEADY

# Nobody but those that are to suffer holds a stream open that is not read.
OTHERS = Load(hung=0)
VICTIMS = Load(reporters=0, watchers=198, askers=0, hung=0, roles=(STEADY,))


def watches(fleet: Fleet) -> int:
    """Return how many watches all servers have."""
    return sum(footprint.watches for footprint in fleet.footprints())


def test_two_hundred_clients_that_are_killed_leave_nothing_behind(
    fleet: Fleet, trial: Callable[..., Trial]
) -> None:
    with trial("SIGKILL of 198 watching clients", fleet, load=OTHERS) as run:
        victims = run.join("victims", VICTIMS)
        run.flow()
        with run.fault(least=50):
            victims.kill()
            wait_until(lambda: watches(fleet) <= OTHERS.watchers, "the killed are forgotten", 3)
            run.flow(50)
        run.flow()


def test_clients_that_stand_still_are_let_go_hold_up_nobody_and_miss_nothing(
    fleet: Fleet, trial: Callable[..., Trial]
) -> None:
    with trial("SIGSTOP of 198 watching clients", fleet, load=OTHERS, allowed=Allowed(silence=True)) as run:
        victims = run.join("victims", VICTIMS)
        run.flow()
        with run.fault(least=100):
            begun = time.monotonic()
            victims.freeze()
            # Pinged after 5 s of silence, and with 3 s to answer.
            wait_until(lambda: watches(fleet) <= OTHERS.watchers, "the frozen are let go", 15)
            assert time.monotonic() - begun > 4
            run.flow()
            victims.thaw()
        run.flow()
