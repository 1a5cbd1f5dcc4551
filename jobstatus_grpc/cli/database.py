"""Commands that work on the database itself, with or without a server."""

from __future__ import annotations

from pathlib import Path

import typer

from jobstatus_grpc.cli.failures import Refused
from jobstatus_grpc.config import age
from jobstatus_grpc.retention import prune
from jobstatus_grpc.store import open_store
from jobstatus_grpc.telemetry import configure_logging

_SQLITE = "sqlite:///"


def prune_database(database_url: str, changes_older_than: str, jobs_older_than: str) -> int:
    """Remove once what is older, and tell how much that was; an empty age is none.

    Raises:
        Refused: nothing was asked for, or not in a way that can be understood.
        SchemaMismatch: the database's schema is not one this program works with.
        StoreUnavailable: the database does not answer.
    """
    # The error tells what the log would warn of.
    configure_logging("error", "auto")
    changes = _age("--changes-older-than", changes_older_than)
    jobs = _age("--jobs-older-than", jobs_older_than)
    if not changes and not jobs:
        raise Refused("say what to remove: --changes-older-than AGE, --jobs-older-than AGE, or both")
    file = database_url.removeprefix(_SQLITE).partition("?")[0]
    if database_url.startswith(_SQLITE) and not Path(file).exists():
        # Opened, it would be made.
        raise Refused(f"there is no database at {file}")
    try:
        store = open_store(database_url)
    except ValueError as error:
        raise Refused(str(error)) from error
    try:
        store.prepare()
        removed = prune(store, changes=changes, jobs=jobs)
    finally:
        store.close()
    typer.echo(f"changes removed: {removed.changes}\njobs deleted: {removed.jobs}")
    return 0


def _age(option: str, text: str) -> float:
    """Return an age in seconds; 0 if none is given."""
    if not text:
        return 0.0
    try:
        return age(text)
    except ValueError as error:
        raise Refused(f"{option}: {error}") from error
