"""The `jobstatus` command: what it understands.

A command only returns what is to be done, so that the rooms it needs are loaded after its words have been
understood, and every way it can end is told in one place.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from jobstatus_grpc.cli import options
from jobstatus_grpc.cli.calling import Task, calling
from jobstatus_grpc.cli.given import Form, interval_of, labels_of, states_of, until_of
from jobstatus_grpc.cli.sources import source

app = typer.Typer(
    name="jobstatus",
    help="Serves the states of long-running jobs, and asks, watches and reports them.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db = typer.Typer(help="Looks after the database.", rich_markup_mode=None)
app.add_typer(db, name="db")
app.add_typer(source, name="source")


_WITHOUT_SERVER = ("serve", "config")
_GRANULE_STATES = ("unspecified", "pending", "staged", "succeeded", "failed")
_JOB_STATES = ("unspecified", "pending", "running", "succeeded", "failed")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    if version:
        typer.echo(f"jobstatus {installed_version('jobstatus-grpc')}")
        raise typer.Exit
    # What neither an option nor a variable says.
    command = context.invoked_subcommand
    if command not in (None, *_WITHOUT_SERVER):
        from jobstatus_grpc.cli.filed import filed_options

        context.default_map = {command: filed_options(command, os.environ)}


@app.command()
def serve(
    listen: options.Listen = None,
    insecure: options.Insecure = None,
    database_url: options.DatabaseUrl = None,
    demo: options.Demo = None,
    workers: options.Workers = None,
    tls_cert_file: options.TlsCertFile = None,
    tls_key_file: options.TlsKeyFile = None,
    source_orca_url: options.SourceOrcaUrl = None,
    source_orca_secret_file: options.SourceOrcaSecretFile = None,
    config: options.ConfigFile = None,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
) -> Task:
    """Serve until SIGTERM. What is not given is read from JOBSTATUS_*, then from the file of settings."""

    def task() -> int:
        from jobstatus_grpc.config import ServerConfig

        settings = ServerConfig.from_environment(
            os.environ,
            config=config,
            listen=listen,
            insecure=insecure,
            database_url=database_url,
            demo=demo,
            workers=workers,
            tls_cert_file=tls_cert_file,
            tls_key_file=tls_key_file,
            source_orca_url=source_orca_url,
            source_orca_secret_file=source_orca_secret_file,
            log_level=log_level,
            log_format=log_format,
        )
        if settings.workers > 1:
            from jobstatus_grpc.supervisor import supervise

            supervise(settings)
        else:
            from jobstatus_grpc.server import serve as run_server

            run_server(settings)
        return 0

    return task


@app.command(name="config")
def show_config(config: options.ConfigFile = None) -> Task:
    """Show the settings that serve would take, as the file of settings has them, without secrets."""

    def task() -> int:
        from jobstatus_grpc.cli.settings import show_settings

        return show_settings(os.environ, config)

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
        from jobstatus_grpc.telemetry import configure_logging

        # The error tells what the log would warn of.
        configure_logging("error", "auto")
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
@calling
def get(
    job_id: options.JobId,
    granules: Annotated[bool, typer.Option("--granules", help="Show all granules.")] = False,
    states: options.States = None,
    form: Annotated[
        Form | None,
        typer.Option("--format", help="Write the job as a system's document; auto is the job's own form."),
    ] = None,
    as_json: options.AsJson = False,
    server: options.Server = options.SERVER,
    project_id: options.Project = "",
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
@calling
def list_jobs(
    states: options.States = None,
    system: Annotated[str, typer.Option(help="Only jobs of this system.")] = "",
    job_type: Annotated[str, typer.Option(help="Only jobs of this type.")] = "",
    labels: options.Labels = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="How many at most. Without it: all; 100 on a terminal."),
    ] = None,
    page_token: Annotated[
        str, typer.Option(metavar="BASE64", help="Go on where a list with the same filters ended.")
    ] = "",
    as_json: options.AsJson = False,
    server: options.Server = options.SERVER,
    project_id: options.Project = "",
) -> Task:
    """Show the jobs of a project, newest first."""
    wanted, having = states_of(states, _JOB_STATES), labels_of(labels)

    def task() -> int:
        from jobstatus_grpc.cli.jobs import Filters, show_jobs

        filters = Filters(wanted, system, job_type, having)
        return show_jobs(server, project_id, filters, limit, page_token, as_json)

    return task


@app.command()
@calling
def delete(
    job_id: options.JobId, server: options.Server = options.SERVER, project_id: options.Project = ""
) -> Task:
    """Delete a job with its granules and its history."""

    def task() -> int:
        from jobstatus_grpc.cli.jobs import delete_job

        return delete_job(server, project_id, job_id)

    return task


@app.command()
@calling
def granule(
    collection_id: Annotated[
        str, typer.Argument(metavar="COLLECTION", help="The granule's collection; '' if it has none.")
    ],
    granule_id: Annotated[str, typer.Argument(metavar="GRANULE", help="The granule.")],
    job_id: Annotated[
        str | None,
        typer.Option("--job-id", metavar="ID", help="Its job; without it the one that requested it last."),
    ] = None,
    as_json: options.AsJson = False,
    server: options.Server = options.SERVER,
    project_id: options.Project = "",
) -> Task:
    """Show a granule and its files."""

    def task() -> int:
        from jobstatus_grpc.cli.granules import show_granule

        return show_granule(server, project_id, collection_id, granule_id, job_id, as_json)

    return task


@app.command()
@calling
def watch(
    job_ids: Annotated[list[str], typer.Argument(metavar="JOB_ID…", help="The job, or several.")],
    until: options.AwaitedEnd = "terminal",
    timeout: options.AtMost = None,
    wait_for_job: options.Unreported = False,
    snapshot_only: Annotated[bool, typer.Option("--snapshot-only", help="End after the snapshot.")] = False,
    resume_tokens: Annotated[
        list[str] | None,
        typer.Option(
            "--resume-token",
            metavar="BASE64",
            help="Go on after this update of an earlier watch; one for each job.",
        ),
    ] = None,
    as_json: options.AsJson = False,
    server: options.Server = options.SERVER,
    project_id: options.Project = "",
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
@calling
def wait(
    job_id: options.JobId,
    until: options.AwaitedEnd = "terminal",
    timeout: options.AtMost = None,
    wait_for_job: options.Unreported = False,
    as_json: options.AsJson = False,
    server: options.Server = options.SERVER,
    project_id: options.Project = "",
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
@calling
def verify(
    job_id: options.JobId,
    watchers: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="How many watch, beside one that reads by pages.")
    ] = 4,
    seconds: Annotated[
        float,
        typer.Option("--for", min=0.0, metavar="SECONDS", help="For how long, if the job does not end."),
    ] = 30.0,
    as_json: options.AsJson = False,
    server: options.Server = options.SERVER,
    project_id: options.Project = "",
) -> Task:
    """Prove on a live job that no watcher misses anything: several watch it, drop their streams, and resume.

    The exit status is 0 if everything that was checked held, and 1 if something was broken.
    """

    def task() -> int:
        from jobstatus_grpc.cli.verifying import verify_job

        return verify_job(server, project_id, job_id, watchers, seconds, as_json)

    return task


@app.command()
@calling
def report(
    file: options.Source,
    as_json: options.AsJson = False,
    server: options.Server = options.SERVER,
    project_id: options.Project = "",
) -> Task:
    """Send reports, each on a line of its own: {"report_job": {…}} or {"report_granules": {…}}.

    A line is sent when it is read. A bad one ends the command; those before it have been sent.
    """

    def task() -> int:
        from jobstatus_grpc.cli.reports import send_reports

        return send_reports(server, project_id, file, as_json)

    return task


@app.command(name="import")
@calling
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
    as_json: options.AsJson = False,
    server: options.Server = options.SERVER,
    project_id: options.Project = "",
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
