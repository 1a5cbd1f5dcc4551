"""The commands that bring jobs in from other systems: what they understand."""

from __future__ import annotations

from typing import Annotated

import typer

from jobstatus_grpc.cli import options
from jobstatus_grpc.cli.calling import Task

source = typer.Typer(help="Brings jobs in from other systems.", rich_markup_mode=None)


@source.callback()
def _source() -> None:
    """Bring jobs in from other systems."""


@source.command()
def orca(
    database_url: Annotated[
        str,
        typer.Option(
            envvar="JOBSTATUS_DATABASE_URL",
            metavar="URL",
            help="The service's: sqlite:///FILE or postgresql://…",
        ),
    ],
    orca_url: options.OrcaUrl = "",
    orca_secret_file: options.OrcaSecretFile = "",
    project_id: options.OrcaProject = "",
    interval: options.OrcaInterval = 1.0,
    settle: options.OrcaSettle = 60.0,
    compare: Annotated[
        bool, typer.Option("--compare", help="Only say what differs; exit with 0 if nothing does.")
    ] = False,
) -> Task:
    """Bring in the jobs of an ORCA database, live, by a role that may only read it.

    However many run, one of them works, and another takes over when it ends. With --compare the exit status
    is 1 if something differs; what does is looked at again for a quarter of a minute first.
    """

    def task() -> int:
        from jobstatus_grpc.cli.orca import Orca, compare_orca, follow_orca
        from jobstatus_grpc.model import DEFAULT_PROJECT

        given = Orca(
            database_url, orca_url, orca_secret_file, project_id or DEFAULT_PROJECT, interval, settle
        )
        return compare_orca(given) if compare else follow_orca(given)

    return task
