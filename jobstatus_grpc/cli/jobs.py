"""The commands that ask and delete."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple, cast

from jobstatus import v1 as pb
from jobstatus_grpc.cli.bars import StateBar
from jobstatus_grpc.cli.connection import connected
from jobstatus_grpc.cli.digest import rows
from jobstatus_grpc.cli.tables import console, on_terminal, say_table
from jobstatus_grpc.cli.terminal import (
    clean,
    error_words,
    granule_name,
    granule_state,
    job_state,
    json_line,
    named_json_line,
    say,
    time_words,
    totals_words,
    why_words,
)
from jobstatus_grpc.cli.tokens import token_of, token_words
from jobstatus_grpc.client import JobStatusClient, ListOptions

_SHOWN_REASONS: Final = 10
_ROWS_ALIGNED: Final = 100
_BAR_WIDTH: Final = 60
_TERMINAL_JOBS: Final = 100


def show_job(
    server: str, project_id: str, job_id: str, states: Sequence[int], all_granules: bool, as_json: bool
) -> int:
    """Show a job, and granules of it: all in `states`, or why some have failed."""
    wanted = cast("Sequence[pb.GranuleState]", states)
    with connected(server, project_id) as client:
        if as_json:
            _show_job_as_json(client, job_id, wanted, all_granules)
            return 0
        answer = client.get(job_id, view=pb.JOB_VIEW_BASIC)
        _say_job(answer)
        if all_granules:
            _say_granules(client.granules(job_id, wanted))
        elif answer.HasField("failures"):
            _say_failures(answer)
    return 0


def _say_failures(answer: pb.GetJobStatusResponse) -> None:
    """Say why granules have failed."""
    say("")
    say("why granules failed")
    say_table(rows(answer.failures, _SHOWN_REASONS), ("COUNT", "REASON", "GRANULES"), 2)
    name = shlex.quote(clean(answer.job.job_id))
    say(f"each of them: jobstatus get {name} --state failed")


def _show_job_as_json(
    client: JobStatusClient, job_id: str, states: Sequence[pb.GranuleState], all_granules: bool
) -> None:
    answer = client.get(job_id, view=pb.JOB_VIEW_BASIC)
    answer.ClearField("resume_token")
    say(json_line(answer))
    if all_granules:
        for granule in client.granules(job_id, states):
            say(named_json_line("granule", granule))


def _say_job(answer: pb.GetJobStatusResponse) -> None:
    job = answer.job
    kind = " ".join(filter(None, (clean(job.system), clean(job.job_type))))
    state = f"{job_state(job)}, attempt {job.attempt}, revision {job.revision}"
    told = [
        ("job", f"{clean(job.job_id)} in project {clean(job.project_id)}"),
        ("kind", kind),
        ("state", state),
        ("granules", totals_words(job.totals) + ("" if job.granules_complete else ", more to come")),
        ("pace", _pace_words(answer.progress)),
        ("description", clean(job.description)),
        ("message", clean(job.message)),
        ("error", error_words(job.error)),
        ("labels", ", ".join(f"{clean(key)}={clean(job.labels[key])}" for key in sorted(job.labels))),
    ]
    times = ("create_time", "begin_time", "end_time", "update_time")
    told += [(name.replace("_", " "), time_words(getattr(job, name))) for name in times if job.HasField(name)]
    say_table((name, words) for name, words in told if words)
    if on_terminal():
        console().print(StateBar(job.totals), width=_BAR_WIDTH)


def _pace_words(progress: pb.Progress) -> str:
    """Return how fast a job gets on, if it does; in words."""
    if not progress.HasField("estimated_end_time"):
        return ""
    end = time_words(progress.estimated_end_time)
    return f"{progress.ended_per_second:.3g} granules a second, to end at {end}"


def _say_granules(granules: Iterator[pb.Granule]) -> None:
    head: tuple[str, ...] = ("GRANULE", "STATE", "WHY")
    while found := [_granule_row(granule) for granule in islice(granules, _ROWS_ALIGNED)]:
        say_table(found, head, 2)
        head = ()


def _granule_row(granule: pb.Granule) -> tuple[str, ...]:
    attempt = f"attempt {granule.attempt}" if granule.attempt > 1 else ""
    return (
        granule_name(granule),
        granule_state(granule),
        " ".join(filter(None, (attempt, why_words(granule)))),
    )


class Filters(NamedTuple):
    """Which jobs to show: of these states, this system and type, with these labels; empty is any."""

    states: Sequence[int]
    system: str
    job_type: str
    labels: Mapping[str, str]


def show_jobs(
    server: str, project_id: str, filters: Filters, limit: int | None, page_token: str, as_json: bool
) -> int:
    """Show the jobs of a project that match, newest first: as many as `limit`, from where a list ended."""
    page: ListOptions = {
        "states": cast("Sequence[pb.JobState]", filters.states),
        "system": filters.system,
        "job_type": filters.job_type,
        "labels": filters.labels,
        "page_token": token_of(page_token, "--page-token"),
    }
    left = limit or (_TERMINAL_JOBS if on_terminal() and not as_json else math.inf)
    head: tuple[str, ...] = ("JOB", "KIND", "STATE", "UPDATED", "GRANULES")
    with connected(server, project_id) as client:
        while left:
            page["page_size"] = int(min(left, _ROWS_ALIGNED))
            answer = client.list_page(**page)
            _say_jobs(answer.jobs, head, as_json)
            left -= len(answer.jobs)
            head = () if answer.jobs else head
            page["page_token"] = answer.next_page_token
            if not answer.next_page_token:
                return 0
    sys.stderr.write(f"there are more: --page-token {token_words(page['page_token'])}\n")
    return 0


def _say_jobs(jobs: Sequence[pb.Job], head: Sequence[str], as_json: bool) -> None:
    if not as_json:
        say_table([_job_row(job) for job in jobs], head)
        return
    for job in jobs:
        say(named_json_line("job", job))


def _job_row(job: pb.Job) -> tuple[str, ...]:
    kind = "/".join(filter(None, (clean(job.system), clean(job.job_type))))
    return clean(job.job_id), kind, job_state(job), time_words(job.update_time), totals_words(job.totals)


def delete_job(server: str, project_id: str, job_id: str) -> int:
    """Delete a job."""
    with connected(server, project_id) as client:
        client.delete(job_id)
    say(f"deleted {clean(job_id)}")
    return 0
