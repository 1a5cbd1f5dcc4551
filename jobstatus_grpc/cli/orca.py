"""The command that brings jobs in from an ORCA database."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jobstatus_grpc.cli.failures import Refused
from jobstatus_grpc.cli.terminal import clean, say
from jobstatus_grpc.sources.orca import WRITE_THREADS, OrcaSource, Standing
from jobstatus_grpc.sources.orca_comparison import OrcaComparison
from jobstatus_grpc.sources.orca_database import OrcaDatabase
from jobstatus_grpc.sources.orca_following import Pace
from jobstatus_grpc.sources.orca_secret import read_secret
from jobstatus_grpc.store import open_store
from jobstatus_grpc.store.base import JobStore
from jobstatus_grpc.telemetry import configure_logging

DIFFERENT: Final = 1

_SHOWN_DIFFERENCES: Final = 100
_LOGGED_INTERVAL: Final = 10.0

_log = logging.getLogger(__name__)


class Orca(NamedTuple):
    """What is given of an ORCA database, and where its jobs go.

    Attributes:
        database_url: the store's.
        orca_url: ORCA's; empty where the secret tells it.
        secret_file: ORCA's secret.
        project_id: of which project the jobs are.
        interval: how often open jobs are read, in seconds.
        settle: for how long no granule comes before a job is complete, in seconds.
    """

    database_url: str
    orca_url: str
    secret_file: str
    project_id: str
    interval: float
    settle: float


def follow_orca(given: Orca) -> int:
    """Bring jobs in until SIGTERM or Ctrl-C.

    Raises:
        Refused: what is given names no databases.
        SchemaMismatch: the store's schema is not one this program works with.
        SourceRefused: ORCA's database does not let itself be read.
    """
    configure_logging("info", "auto")
    with _opened(given) as (store, database), _shown() as show:
        source = OrcaSource(store, database, Pace(given.project_id, given.interval, given.settle), show)

        def leave(number: int, _: object) -> None:
            # The next one does not wait for a database.
            signal.signal(number, signal.SIG_DFL)
            # Not here: it may have interrupted the wait for the very event that is to be set.
            threading.Thread(target=source.stop).start()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, leave)
        source.run(patient=False)
    return 0


def compare_orca(given: Orca) -> int:
    """Say what differs between ORCA's database and the store.

    Raises:
        Refused: what is given names no databases.
        SchemaMismatch: the store's schema is not one this program works with.
        SourceFailed: ORCA's database does not answer, or does not let itself be read.
        StoreUnavailable: the store does not answer.
    """
    configure_logging("error", "auto")
    jobs = 0

    def count(compared: int) -> None:
        nonlocal jobs
        jobs = compared

    with _opened(given) as (store, database):
        store.prepare()
        database.identify()
        differences = OrcaComparison(store, database, given.project_id, count).run()
        shown = list(islice(differences, _SHOWN_DIFFERENCES))
        for job_id, granule, words in shown:
            place = "/".join(filter(None, (job_id, *(granule or ()))))
            say(f"{clean(place)}: {clean(words)}")
        more = sum(1 for _ in differences)
    if more:
        say(f"and {more} more")
    found = len(shown) + more
    differ = f"{found} difference{'' if found == 1 else 's'}" if found else "no difference"
    say(f"{jobs} job{'' if jobs == 1 else 's'} compared: {differ}")
    return DIFFERENT if shown else 0


@contextmanager
def _opened(given: Orca) -> Iterator[tuple[JobStore, OrcaDatabase]]:
    if bool(given.orca_url) == bool(given.secret_file):
        raise Refused("say where ORCA's database is: --orca-url URL or --orca-secret-file FILE, one of them")
    told = partial(read_secret, given.secret_file) if given.secret_file else None
    orca_url = _told("--orca-secret-file", told) if told else given.orca_url
    database = _told("--orca-url", OrcaDatabase, orca_url, "orca", told)
    store = _told("--database-url", open_store, given.database_url, 2, WRITE_THREADS + 1)
    try:
        yield store, database
    finally:
        store.close()
        database.close()


def _told(option: str, read: Callable[..., Any], *given: object) -> Any:
    """Return what `read` makes of an option, whose name stands before whatever is wrong with it."""
    try:
        return read(*given)
    except ValueError as error:
        raise Refused(f"{option}: {error}") from error


@contextmanager
def _shown() -> Iterator[Callable[[Standing], None]]:
    """Show how far the back-fill is: a bar on a terminal, else a line of the log now and then."""
    if not sys.stderr.isatty():
        yield _logged()
        return
    words = TextColumn("{task.description}")
    columns = words, BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), expand=True) as progress:
        task = progress.add_task("waiting", total=None)

        def show(standing: Standing) -> None:
            if not standing.active:
                progress.update(task, description="another is at work")
            elif standing.filling:
                total = max(standing.granules, standing.filled)
                progress.update(task, description="filling in", completed=standing.filled, total=total)
            else:
                live = f"live: {standing.followed} jobs followed"
                progress.update(task, description=live, completed=standing.filled, total=standing.filled)

        yield show


def _logged() -> Callable[[Standing], None]:
    due = time.monotonic() + _LOGGED_INTERVAL

    def show(standing: Standing) -> None:
        nonlocal due
        if standing.active and standing.filling and time.monotonic() >= due:
            due = time.monotonic() + _LOGGED_INTERVAL
            _log.info("filled in %d of about %d granules", standing.filled, standing.granules)

    return show
