"""Databases set back to an older backup, under watchers who know what came after it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from postgres import PostgresServer
from sqlalchemy import make_url

from faults.clients import Load
from faults.fleet import Fleet
from faults.histories import read_histories
from faults.proof import Allowed
from faults.recordings import now
from faults.trials import Trial
from faults.watchers import LATEST, READER, STEADY, TOTALS
from jobstatus_grpc.verify import Guarantee

# Nobody who goes back to an earlier frame: from one before the backup other changes follow, and no reset.
LOAD = Load(roles=(STEADY, LATEST, READER, TOTALS))


def test_a_restored_file_resets_every_watch_and_mixes_no_histories(
    tmp_path: Path, trial: Callable[..., Trial]
) -> None:
    file, backup, lost = (tmp_path / name for name in ("jobstatus.db", "backup.db", "lost.db"))

    def copy(fleet: Fleet, *copies: tuple[Path, Path]) -> None:
        """Copy files while nobody has them open: everything is in them then."""
        assert [server.terminate() for server in fleet.servers] == [0, 0, 0]
        for source, to in copies:
            shutil.copy(source, to)
        fleet.start(*fleet.servers)

    with (
        Fleet(f"sqlite:///{file}", tmp_path) as fleet,
        trial("restore of an older backup, SQLite", fleet, load=LOAD) as run,
    ):
        run.flow()
        with run.fault(least=100):
            begun = now()
            copy(fleet, (file, backup))
            run.flow()
            copy(fleet, (file, lost), (backup, file))
            run.allowed = Allowed(resets=True, lost=(begun, now()))
        run.flow()
        _, run.lost = read_histories(f"sqlite:///{lost}", run.keys)
    assert run.held[Guarantee.RESET] > 36


def test_a_restored_postgresql_resets_every_watch_and_mixes_no_histories(
    fleet: Fleet, postgres_server: PostgresServer, tmp_path: Path, trial: Callable[..., Trial]
) -> None:
    backup, lost = tmp_path / "backup", tmp_path / "lost"
    with trial("restore of an older backup, PostgreSQL", fleet, load=LOAD) as run:
        run.flow()
        with run.fault(least=100):
            begun = now()
            postgres_server.stop("immediate")
            postgres_server.copy_data(backup)
            postgres_server.start()
            run.flow()
            postgres_server.stop("immediate")
            postgres_server.copy_data(lost)
            postgres_server.restore_data(backup)
            postgres_server.start()
            run.allowed = Allowed(resets=True, lost=(begun, now()))
        run.flow()
        other = PostgresServer(copy=lost)
        try:
            other.start()
            database = make_url(fleet.database_url).database or ""
            _, run.lost = read_histories(other.url(database), run.keys)
        finally:
            other.close()
    assert run.held[Guarantee.RESET] > 36
