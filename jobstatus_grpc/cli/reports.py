"""The command that sends reports, each a line."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from jobstatus import v1 as pb
from jobstatus_grpc.cli.connection import connected
from jobstatus_grpc.cli.failures import Refused, named
from jobstatus_grpc.cli.progress import is_watched, progress_of
from jobstatus_grpc.cli.tables import on_terminal
from jobstatus_grpc.cli.terminal import clean, say, totals_words
from jobstatus_grpc.client import JobStatusClient

Request = pb.ReportJobRequest | pb.ReportGranulesRequest
Response = pb.ReportJobResponse | pb.ReportGranulesResponse


def send_reports(server: str, project_id: str, file: str, as_json: bool) -> int:
    """Send the reports in `file`, each when its line is read, and answer each with a line.

    Who is shown a bar instead needs no line for each; what has come of all of them is told in the end.
    """
    counted: Counter[str] = Counter()
    with connected(server, project_id) as client, opened(file) as source:
        watched = is_watched(source)
        with progress_of(source) if watched else nullcontext(lambda _: None) as advance:
            for number, line in enumerate(source, 1):
                if line.strip():
                    words = _send(client, number, line, as_json, counted)
                    if not (watched and on_terminal()):
                        say(words)
                advance(len(line))
    if counted["reports"] > 1 and not as_json:
        told = ", ".join(f"{counted[name]} {name}" for name in ("applied", "unchanged", "stale"))
        say(f"{counted['reports']} reports: {told}")
    return 0


def _send(client: JobStatusClient, number: int, line: bytes, as_json: bool, counted: Counter[str]) -> str:
    """Send the report in a line, count what has come of it, and return the answer."""
    with named(f"line {number}"):
        name, request = _request(line)
        response = client.report(request)
    counted.update(
        reports=1,
        applied=response.applied_count,
        unchanged=response.unchanged_count,
        stale=response.stale_count,
    )
    if as_json:
        return json.dumps({name: MessageToDict(response, preserving_proto_field_name=True)})
    job_id = request.job.job_id if isinstance(request, pb.ReportJobRequest) else request.job_id
    return f"line {number}: {response_words(job_id, response)}"


def opened(file: str) -> BinaryIO:
    """Return a file to be read; `-` is standard input."""
    return sys.stdin.buffer if file == "-" else Path(file).open("rb")


def _request(line: bytes) -> tuple[str, Request]:
    """Return what a line reports, and under which name."""
    value = _json(line)
    if not isinstance(value, dict) or len(value) != 1:
        raise Refused('a line must be {"report_job": {…}} or {"report_granules": {…}}')
    ((name, body),) = value.items()
    request: Request
    if name in ("report_job", "reportJob"):
        name, request = "report_job", pb.ReportJobRequest()
    elif name in ("report_granules", "reportGranules"):
        name, request = "report_granules", pb.ReportGranulesRequest()
    else:
        raise Refused(f"there is no report '{name}': it must be report_job or report_granules")
    if not isinstance(body, dict):
        raise Refused(f"{name} must be an object")
    try:
        ParseDict(body, request)
    except ParseError as error:
        # Below its first line it lists every field there is.
        raise Refused(f"{name}: {str(error).splitlines()[0].rstrip('.')}") from error
    return name, request


def _json(line: bytes) -> Any:
    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key is there more than once")
        return found

    try:
        return json.loads(line.decode(), object_pairs_hook=unique, parse_constant=refuse)
    except RecursionError as error:
        raise Refused("it is nested too deep") from error
    except json.JSONDecodeError as error:
        raise Refused(
            f"it cannot be read: {error.msg} at column {error.pos + 1}; a line is a report"
        ) from error
    except ValueError as error:
        raise Refused(f"it cannot be read: {error}") from error


def response_words(job_id: str, response: Response | pb.ImportedJob) -> str:
    """Return in words what has come of a report."""
    state = pb.JobState.Name(response.state).removeprefix("JOB_STATE_")
    counted = f"{response.applied_count} applied, {response.unchanged_count} unchanged"
    return (
        f"job {clean(job_id)} is {state} at revision {response.revision}, {totals_words(response.totals)}"
        f" ({counted}, {response.stale_count} stale)"
    )
