"""Servers that die, stop, stand still and are replaced while they serve."""

from __future__ import annotations

import time
from collections.abc import Callable

from faults.clients import Load
from faults.findings import FIGURE
from faults.fleet import Fleet
from faults.proof import Allowed
from faults.recordings import now
from faults.trials import Trial
from faults.watchers import STEADY

KILLS = 20


def test_servers_killed_twenty_times_lose_nothing_and_watchers_are_back_in_three_seconds(
    fleet: Fleet, trial: Callable[..., Trial], record_property: Callable[[str, object], None]
) -> None:
    kills = []
    with trial(f"SIGKILL of one of three servers, {KILLS} times", fleet, load=Load(watchers=84)) as run:
        run.flow()
        with run.fault(least=20 * KILLS):
            for kill in range(KILLS):
                number = kill % len(fleet.servers)
                kills.append((now(), number))
                fleet.servers[number].kill()
                run.flow(20)
                fleet.start(fleet.servers[number])
                run.flow(20)
        run.flow()
    broken = [
        (moment, back)
        for moment, number in kills
        for back in run.backs
        if 0 <= back.broke - moment < 1 and back.was == number
    ]
    took = sorted(back.back - moment for moment, back in broken)
    record_property(
        FIGURE,
        f"{KILLS} SIGKILLs: {run.delivered:,} changes delivered (to be 100,000), none lost, doubled or out of"
        f" order; {len(took)} watchers back on another server, half of them {took[len(took) // 2]:.2f} s and"
        f" all {took[-1]:.2f} s after the kill (to be 3 s)",
    )
    assert run.delivered >= 100_000
    assert len(broken) >= 10 * KILLS
    assert took[-1] < 3
    assert all(back.now != back.was for _, back in broken)


def test_a_server_that_stands_still_is_left_and_tells_nothing_old_when_it_goes_on(
    fleet: Fleet, trial: Callable[..., Trial]
) -> None:
    server = fleet.servers[1]
    with trial("SIGSTOP of one of three servers, 12 s", fleet, allowed=Allowed(silence=True)) as run:
        run.flow()
        with run.fault(least=50):
            server.freeze()
            time.sleep(12)
            server.thaw()
        run.flow()


def test_a_rolling_restart_sends_a_thousand_watchers_from_server_to_server(
    fleet: Fleet, trial: Callable[..., Trial]
) -> None:
    load = Load(watchers=1000, pause=0.4, granules=2, roles=(STEADY,), heartbeat_interval=3.0)
    took = []
    with trial("rolling restart (SIGTERM), 1,000 watchers", fleet, load=load) as run:
        run.flow()
        with run.fault(least=50):
            for server in fleet.servers:
                begun = now()
                assert server.terminate() == 0
                took.append(now() - begun)
                fleet.start(server)
        run.flow()
    # The grace is 5 s, and what is left after that has 4 s to end.
    assert max(took) < 9
    assert max(back.seconds for back in run.backs) < 5
