"""The command that waits."""

from __future__ import annotations

from typing import cast

from jobstatus import v1 as pb
from jobstatus_grpc.cli.connection import connected
from jobstatus_grpc.cli.failures import JOB_FAILED, TIMED_OUT
from jobstatus_grpc.cli.terminal import clean, error_words, job_state, json_line, say, totals_words
from jobstatus_grpc.client import Until


def wait_for(
    server: str,
    project_id: str,
    job_id: str,
    until: str | float,
    timeout: float | None,
    wait_for_job: bool,
    as_json: bool,
) -> int:
    """Wait, show the job as it is then, and return how it stands."""
    awaited = cast(Until, until)
    with connected(server, project_id) as client:
        answer = client.wait(job_id, awaited, timeout=timeout, wait_for_job=wait_for_job)
    say(json_line(answer) if as_json else _words(answer))
    job = answer.job
    failed = job.state == pb.JOB_STATE_FAILED or (until == "any_failure" and job.totals.failed_count > 0)
    if failed:
        return JOB_FAILED
    return 0 if answer.done else TIMED_OUT


def _words(answer: pb.WaitJobResponse) -> str:
    job = answer.job
    told = (totals_words(job.totals), error_words(job.error), "" if answer.done else "and the time is over")
    return f"job {clean(job.job_id)} is {job_state(job)}: " + ", ".join(filter(None, told))
