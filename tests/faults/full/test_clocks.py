"""Clocks that jump, those of all hosts at once.

The clock that counts is the store's: PostgreSQL's own, or, for a file, the servers'. What servers tell of
their own jumps with it. The clocks that libraries wait by stay as they are, and so does the crowd's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from observed import CLOCK
from postgres import SHIFTING_CLOCK, PostgresServer
from stored import run as execute

from faults.fleet import Fleet
from faults.trials import Trial

HOUR, DAY = 3600, 86_400
JUMPS = (HOUR, -HOUR, DAY, -DAY, 0)


def test_clocks_that_jump_disturb_nothing(
    database_url: str, postgres_server: PostgresServer, tmp_path: Path, trial: Callable[..., Trial]
) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")
    file = database_url.startswith("sqlite")
    if not file:
        execute(database_url, SHIFTING_CLOCK)

    def set_clocks(seconds: int) -> None:
        # Whoever reads it meanwhile reads the one or the other.
        offset.with_suffix(".new").write_text(str(seconds))
        offset.with_suffix(".new").rename(offset)
        if not file:
            execute(database_url, f"update public.clock_shift set seconds = {seconds}")

    postgres = None if file else postgres_server
    fleet = Fleet(database_url, tmp_path, postgres=postgres, variables={CLOCK: str(offset)})
    hours = ", ".join(f"{seconds / HOUR:+.0f}" for seconds in JUMPS)
    with fleet, trial(f"wall clocks wrong by {hours} h, {'SQLite' if file else 'PostgreSQL'}", fleet) as run:
        run.flow()
        with run.fault(least=50 * len(JUMPS)):
            for seconds in JUMPS:
                set_clocks(seconds)
                run.flow(50)
        run.flow()
    assert not any(back.open for back in run.backs)
