"""The commands that ask and delete."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, cast

from jobstatus import v1 as pb
from jobstatus_grpc.cli.connection import connected
from jobstatus_grpc.cli.terminal import (
    clean,
    error_words,
    granule_name,
    granule_state,
    job_state,
    named_json_line,
    say,
    table,
    time_words,
    totals_words,
)
from jobstatus_grpc.client import JobStatusClient

_SHOWN_FAILURES: Final = 20
_ROWS_ALIGNED: Final = 100


def show_job(
    server: str, project_id: str, job_id: str, states: Sequence[int], all_granules: bool, as_json: bool
) -> int:
    """Show a job, and granules of it: all in `states`, or the first that failed."""
    wanted = cast("Sequence[pb.GranuleState]", states)
    with connected(server, project_id) as client:
        if as_json:
            _show_job_as_json(client, job_id, wanted, all_granules)
        elif all_granules:
            _say_job(client.get(job_id, view=pb.JOB_VIEW_BASIC).job)
            _say_granules(client.granules(job_id, wanted))
        else:
            page = client.get(job_id, states=[pb.GRANULE_STATE_FAILED], page_size=_SHOWN_FAILURES)
            _say_job(page.job)
            _say_granules(iter(page.granules))
            more = page.job.totals.failed_count - len(page.granules)
            if more > 0:
                name = shlex.quote(clean(job_id))
                say(f"  and {more} more that failed: jobstatus get {name} --state failed")
    return 0


def _show_job_as_json(
    client: JobStatusClient, job_id: str, states: Sequence[pb.GranuleState], all_granules: bool
) -> None:
    say(named_json_line("job", client.get(job_id, view=pb.JOB_VIEW_BASIC).job))
    if all_granules:
        for granule in client.granules(job_id, states):
            say(named_json_line("granule", granule))


def _say_job(job: pb.Job) -> None:
    kind = " ".join(filter(None, (clean(job.system), clean(job.job_type))))
    state = f"{job_state(job)}, attempt {job.attempt}, revision {job.revision}"
    rows = [
        ("job", f"{clean(job.job_id)} in project {clean(job.project_id)}"),
        ("kind", kind),
        ("state", state),
        ("granules", totals_words(job.totals) + ("" if job.granules_complete else ", more to come")),
        ("description", clean(job.description)),
        ("message", clean(job.message)),
        ("error", error_words(job.error)),
        ("labels", ", ".join(f"{clean(key)}={clean(job.labels[key])}" for key in sorted(job.labels))),
    ]
    times = ("create_time", "begin_time", "end_time", "update_time")
    rows += [(name.replace("_", " "), time_words(getattr(job, name))) for name in times if job.HasField(name)]
    for line in table((name, words) for name, words in rows if words):
        say(line)


def _say_granules(granules: Iterator[pb.Granule]) -> None:
    while rows := [_granule_row(granule) for granule in islice(granules, _ROWS_ALIGNED)]:
        for line in table(rows, "  "):
            say(line)


def _granule_row(granule: pb.Granule) -> tuple[str, ...]:
    why = error_words(granule.error) or clean(granule.message)
    attempt = f"attempt {granule.attempt}" if granule.attempt > 1 else ""
    return granule_name(granule), granule_state(granule), " ".join(filter(None, (attempt, why)))


def show_jobs(
    server: str,
    project_id: str,
    as_json: bool,
    states: Sequence[int],
    *,
    system: str,
    job_type: str,
    labels: Mapping[str, str],
) -> int:
    """Show the jobs of a project that match, newest first."""
    wanted = cast("Sequence[pb.JobState]", states)
    with connected(server, project_id) as client:
        jobs = client.list(states=wanted, system=system, job_type=job_type, labels=labels)
        if as_json:
            for job in jobs:
                say(named_json_line("job", job))
            return 0
        while rows := [_job_row(job) for job in islice(jobs, _ROWS_ALIGNED)]:
            for line in table(rows):
                say(line)
    return 0


def _job_row(job: pb.Job) -> tuple[str, ...]:
    kind = "/".join(filter(None, (clean(job.system), clean(job.job_type))))
    return clean(job.job_id), kind, job_state(job), time_words(job.update_time), totals_words(job.totals)


def delete_job(server: str, project_id: str, job_id: str) -> int:
    """Delete a job."""
    with connected(server, project_id) as client:
        client.delete(job_id)
    say(f"deleted {clean(job_id)}")
    return 0
