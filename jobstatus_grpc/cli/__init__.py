"""The `jobstatus` command: what it understands.

A command only returns what is to be done, so that the rooms it needs are loaded after its words have been
understood, and every way it can end is told in one place.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from jobstatus_grpc.cli.given import Form, interval_of, labels_of, states_of, until_of

Task = Callable[[], int]
"""What a command does; returns its exit status."""

app = typer.Typer(
    name="jobstatus",
    help="Serves the states of long-running jobs, and asks, watches and reports them.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db = typer.Typer(help="Looks after the database.", rich_markup_mode=None)
app.add_typer(db, name="db")


Server = Annotated[
    str,
    typer.Option(
        "--server",
        envvar="JOBSTATUS_SERVER",
        metavar="HOST:PORT,…",
        help="Which server to ask; or several of one database, of which any may answer.",
    ),
]
Project = Annotated[
    str,
    typer.Option(
        "--project-id", envvar="JOBSTATUS_PROJECT_ID", metavar="ID", help="The project; empty means default."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, one value a line, in protobuf's form.")]
JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.")]
Source = Annotated[str, typer.Argument(metavar="FILE", help="The file; - is standard input.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database-url", metavar="URL", help="sqlite:///FILE or postgresql://…"),
]
States = Annotated[
    list[str] | None,
    typer.Option("--state", "--states", metavar="STATE,…", help="Only those in one of these states."),
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Only jobs with this label.")
]

AwaitedEnd = Annotated[
    str,
    typer.Option(
        "--until",
        metavar="terminal|any-failure|SHARE",
        help="Until the job's end, the first failed granule, or a share of the granules, as 0.9.",
    ),
]
AtMost = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", min=0, help="How long at most; without it for ever."),
]
Unreported = Annotated[
    bool, typer.Option("--wait-for-job", help="Wait also for a job that nobody has reported yet.")
]

_SERVER = "127.0.0.1:50051"
_GRANULE_STATES = ("unspecified", "pending", "staged", "succeeded", "failed")
_JOB_STATES = ("unspecified", "pending", "running", "succeeded", "failed")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    if version:
        typer.echo(f"jobstatus {installed_version('jobstatus-grpc')}")
        raise typer.Exit


@app.command()
def serve(
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where to listen.")] = None,
    database_url: DatabaseUrl = None,
    demo: Annotated[
        bool | None, typer.Option("--demo/--no-demo", help="Keep a demonstration job going, named demo.")
    ] = None,
    workers: Annotated[str | None, typer.Option(metavar="N", help="How many processes serve.")] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning, error.")
    ] = None,
    log_format: Annotated[str | None, typer.Option(metavar="FORMAT", help="json, console or auto.")] = None,
) -> Task:
    """Serve until SIGTERM. What is not given is read from JOBSTATUS_* in the environment."""

    def task() -> int:
        from jobstatus_grpc.config import ServerConfig

        config = ServerConfig.from_environment(
            os.environ,
            listen=listen,
            database_url=database_url,
            demo=demo,
            workers=workers,
            log_level=log_level,
            log_format=log_format,
        )
        if config.workers > 1:
            from jobstatus_grpc.supervisor import supervise

            supervise(config)
        else:
            from jobstatus_grpc.server import serve as run_server

            run_server(config)
        return 0

    return task


@db.command()
def upgrade(
    database_url: Annotated[
        str,
        typer.Option(envvar="JOBSTATUS_DATABASE_URL", metavar="URL", help="sqlite:///FILE or postgresql://…"),
    ],
) -> Task:
    """Bring the schema of a database to what this version needs."""

    def task() -> int:
        from jobstatus_grpc.cli.failures import Refused
        from jobstatus_grpc.store import upgrade as upgrade_store

        try:
            upgrade_store(database_url)
        except ValueError as error:
            raise Refused(str(error)) from error
        typer.echo("the schema is up to date")
        return 0

    return task


@db.command()
def prune(
    database_url: Annotated[
        str,
        typer.Option(envvar="JOBSTATUS_DATABASE_URL", metavar="URL", help="sqlite:///FILE or postgresql://…"),
    ],
    changes_older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Remove changes that are older: 90s, 15m, 36h, 7d.")
    ] = "",
    jobs_older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Delete jobs that ended, and were last reported, longer ago.")
    ] = "",
) -> Task:
    """Remove old changes and long ended jobs, once. Servers may go on meanwhile.

    A watch that is resumed from before what is left gets a new snapshot. A job's latest change stays.
    """

    def task() -> int:
        from jobstatus_grpc.cli.database import prune_database

        return prune_database(database_url, changes_older_than, jobs_older_than)

    return task


@app.command()
def get(
    job_id: JobId,
    granules: Annotated[bool, typer.Option("--granules", help="Show all granules.")] = False,
    states: States = None,
    form: Annotated[
        Form | None,
        typer.Option("--format", help="Write the job as a system's document; auto is the job's own form."),
    ] = None,
    as_json: AsJson = False,
    server: Server = _SERVER,
    project_id: Project = "",
) -> Task:
    """Show a job, and why granules failed; with --granules or --state, those granules, all of them."""
    wanted = states_of(states, _GRANULE_STATES)
    if form is not None and (granules or wanted or as_json):
        raise typer.BadParameter("a document is all of the job: give it alone", param_hint="--format")

    def task() -> int:
        if form is not None:
            from jobstatus_grpc.cli.documents import show_document

            return show_document(server, project_id, job_id, form.value)
        from jobstatus_grpc.cli.jobs import show_job

        return show_job(server, project_id, job_id, wanted, granules or bool(wanted), as_json)

    return task


@app.command(name="list")
def list_jobs(
    states: States = None,
    system: Annotated[str, typer.Option(help="Only jobs of this system.")] = "",
    job_type: Annotated[str, typer.Option(help="Only jobs of this type.")] = "",
    labels: Labels = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="How many at most. Without it: all; 100 on a terminal."),
    ] = None,
    page_token: Annotated[
        str, typer.Option(metavar="BASE64", help="Go on where a list with the same filters ended.")
    ] = "",
    as_json: AsJson = False,
    server: Server = _SERVER,
    project_id: Project = "",
) -> Task:
    """Show the jobs of a project, newest first."""
    wanted, having = states_of(states, _JOB_STATES), labels_of(labels)

    def task() -> int:
        from jobstatus_grpc.cli.jobs import Filters, show_jobs

        filters = Filters(wanted, system, job_type, having)
        return show_jobs(server, project_id, filters, limit, page_token, as_json)

    return task


@app.command()
def delete(job_id: JobId, server: Server = _SERVER, project_id: Project = "") -> Task:
    """Delete a job with its granules and its history."""

    def task() -> int:
        from jobstatus_grpc.cli.jobs import delete_job

        return delete_job(server, project_id, job_id)

    return task


@app.command()
def watch(
    job_ids: Annotated[list[str], typer.Argument(metavar="JOB_ID…", help="The job, or several.")],
    until: AwaitedEnd = "terminal",
    timeout: AtMost = None,
    wait_for_job: Unreported = False,
    snapshot_only: Annotated[bool, typer.Option("--snapshot-only", help="End after the snapshot.")] = False,
    resume_tokens: Annotated[
        list[str] | None,
        typer.Option(
            "--resume-token",
            metavar="BASE64",
            help="Go on after this update of an earlier watch; one for each job.",
        ),
    ] = None,
    as_json: AsJson = False,
    server: Server = _SERVER,
    project_id: Project = "",
) -> Task:
    """Watch jobs until they end, through anything that happens to the server.

    On a terminal a bar for each job moves, elsewhere each change is a line; with --json each update is one.
    Ctrl-C leaves the last view, and tells how to go on.

    The exit status is 0 if the jobs have succeeded, or all that was asked for has been shown; 1 if a job has
    failed, or with --until any-failure one of its granules; 5 if the time was over first; 130 after Ctrl-C.
    """
    awaited = until_of(until)

    def task() -> int:
        from jobstatus_grpc.cli.watching import Asked, watch_jobs

        asked = Asked(
            server, project_id, job_ids, resume_tokens or (), awaited, timeout, wait_for_job, snapshot_only
        )
        return watch_jobs(asked, as_json)

    return task


@app.command()
def wait(
    job_id: JobId,
    until: AwaitedEnd = "terminal",
    timeout: AtMost = None,
    wait_for_job: Unreported = False,
    as_json: AsJson = False,
    server: Server = _SERVER,
    project_id: Project = "",
) -> Task:
    """Wait until a job has ended, or something else holds, and show the job.

    The exit status is 1 if the job has failed, or with --until any-failure one of its granules, 5 if the time
    was over first, and otherwise 0.
    """
    awaited = until_of(until)

    def task() -> int:
        from jobstatus_grpc.cli.waiting import wait_for

        return wait_for(server, project_id, job_id, awaited, timeout, wait_for_job, as_json)

    return task


@app.command()
def verify(
    job_id: JobId,
    watchers: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="How many watch, beside one that reads by pages.")
    ] = 4,
    seconds: Annotated[
        float,
        typer.Option("--for", min=0.0, metavar="SECONDS", help="For how long, if the job does not end."),
    ] = 30.0,
    as_json: AsJson = False,
    server: Server = _SERVER,
    project_id: Project = "",
) -> Task:
    """Prove on a live job that no watcher misses anything: several watch it, drop their streams, and resume.

    The exit status is 0 if everything that was checked held, and 1 if something was broken.
    """

    def task() -> int:
        from jobstatus_grpc.cli.verifying import verify_job

        return verify_job(server, project_id, job_id, watchers, seconds, as_json)

    return task


@app.command()
def report(
    file: Source,
    as_json: AsJson = False,
    server: Server = _SERVER,
    project_id: Project = "",
) -> Task:
    """Send reports, each on a line of its own: {"report_job": {…}} or {"report_granules": {…}}.

    A line is sent when it is read. A bad one ends the command; those before it have been sent.
    """

    def task() -> int:
        from jobstatus_grpc.cli.reports import send_reports

        return send_reports(server, project_id, file, as_json)

    return task


@app.command(name="import")
def import_documents(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE…|COMMAND…",
            help="The files; - is standard input. With --every: a command, after --, that prints one.",
        ),
    ],
    form: Annotated[
        Form, typer.Option("--format", help="The documents' form; auto is the one that each job shows.")
    ] = Form.auto,
    every: Annotated[
        str, typer.Option(metavar="INTERVAL", help="Run a command this often: 500ms, 10s, 5m.")
    ] = "",
    until_done: Annotated[
        bool, typer.Option("--until-done", help="With --every: leave when the jobs have ended.")
    ] = False,
    as_json: AsJson = False,
    server: Server = _SERVER,
    project_id: Project = "",
) -> Task:
    """Report what documents of other systems say about jobs: one job, an array, or a system's own list.

    Each job is taken or refused for itself; the exit status is 0 if all were taken, and 2 if not.

    With --every a command is run again and again, and what it prints is imported; a line is written when
    something has changed. What fails is said, and tried again at the next turn. With --until-done the exit
    status is 0 if the jobs have succeeded, and 1 if one has failed; 130 after Ctrl-C.
    """
    seconds = interval_of(every) if every else None
    if until_done and seconds is None:
        raise typer.BadParameter("it takes --every, and a command", param_hint="--until-done")

    def task() -> int:
        if seconds is None:
            from jobstatus_grpc.cli.documents import import_files

            return import_files(server, project_id, sources, form.value, as_json)
        from jobstatus_grpc.cli.following import Followed, follow

        return follow(server, project_id, Followed(sources, seconds, until_done, form.value, as_json))

    return task


def main() -> None:
    """Do what the command line says, and leave with its exit status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Do what `arguments` say; return the exit status."""
    try:
        task = app(args=arguments or ["--help"], standalone_mode=False)
        status = task() if callable(task) else int(task or 0)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        from jobstatus_grpc.cli.failures import exit_status

        return exit_status(error)
    return status
