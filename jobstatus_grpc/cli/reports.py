"""The commands that report: lines of reports, and documents of other systems."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from jobstatus import v1 as pb
from jobstatus_grpc.cli.connection import connected
from jobstatus_grpc.cli.failures import Refused, line_of
from jobstatus_grpc.cli.progress import is_watched, progress_of
from jobstatus_grpc.cli.tables import on_terminal
from jobstatus_grpc.cli.terminal import clean, say, totals_words
from jobstatus_grpc.client import JobStatusClient
from jobstatus_grpc.convert.resources import granule_report_to_pb, job_report_to_pb
from jobstatus_grpc.formats import Parsed, documents

Request = pb.ReportJobRequest | pb.ReportGranulesRequest
Response = pb.ReportJobResponse | pb.ReportGranulesResponse

MAX_BATCH_GRANULES: Final = 1_000
MAX_BATCH_BYTES: Final = 2 * 1024 * 1024


def send_reports(server: str, project_id: str, file: str, as_json: bool) -> int:
    """Send the reports in `file`, each when its line is read, and answer each with a line.

    Who is shown a bar instead needs no line for each; what has come of all of them is told in the end.
    """
    counted: Counter[str] = Counter()
    with connected(server, project_id) as client, _opened(file) as source:
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
    with line_of(number):
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
    return f"line {number}: {_response_words(job_id, response)}"


def _opened(file: str) -> BinaryIO:
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
        raise Refused(f"{name}: {str(error).splitlines()[0]}") from error
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
    except ValueError as error:
        raise Refused(f"it cannot be read: {error}") from error


def send_document(server: str, project_id: str, file: str, form: str, as_json: bool) -> int:
    """Report what each document in `file` says, as its system's truth."""
    with _opened(file) as source:
        parsed = [document.parse(project_id) for document in documents(source.read(), form)]
    with connected(server, project_id) as client:
        for one in parsed:
            _send_parsed(client, one, as_json)
    return 0


def _send_parsed(client: JobStatusClient, parsed: Parsed, as_json: bool) -> None:
    job = job_report_to_pb(parsed.job)
    batches = list(_batches(granule_report_to_pb(report) for report in parsed.granules))
    counted = dict.fromkeys(("applied_count", "unchanged_count", "stale_count"), 0)
    for request in _document_requests(job, batches):
        response = client.report(request)
        for name in counted:
            counted[name] += getattr(response, name)
    if as_json:
        totals = MessageToDict(response.totals, preserving_proto_field_name=True)
        answer = {"job_id": job.job_id, "state": pb.JobState.Name(response.state), "totals": totals}
        say(json.dumps({"import": answer | {"revision": str(response.revision)} | counted}))
    else:
        response = type(response)(
            revision=response.revision, state=response.state, totals=response.totals, **counted
        )
        say(_response_words(job.job_id, response))


def _document_requests(job: pb.Job, batches: Sequence[list[pb.Granule]]) -> Iterator[Request]:
    """Yield the reports of a document, which says nothing of the job's end before the last of them."""
    last = batches[-1] if batches else []
    if len(batches) > 1:
        begun = pb.Job()
        begun.CopyFrom(job)
        begun.granules_complete = False
        yield pb.ReportJobRequest(job=begun, granules=batches[0], authoritative=True)
    for batch in batches[1:-1]:
        yield pb.ReportGranulesRequest(
            project_id=job.project_id, job_id=job.job_id, granules=batch, authoritative=True
        )
    yield pb.ReportJobRequest(job=job, granules=last, authoritative=True)


def _batches(granules: Iterable[pb.Granule]) -> Iterator[list[pb.Granule]]:
    """Yield `granules` in batches well under what a report may hold."""
    batch: list[pb.Granule] = []
    size = 0
    for granule in granules:
        weight = granule.ByteSize()
        if batch and (len(batch) == MAX_BATCH_GRANULES or size + weight > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(granule)
        size += weight
    if batch:
        yield batch


def _response_words(job_id: str, response: Response) -> str:
    state = pb.JobState.Name(response.state).removeprefix("JOB_STATE_")
    counted = f"{response.applied_count} applied, {response.unchanged_count} unchanged"
    return (
        f"job {clean(job_id)} is {state} at revision {response.revision}, {totals_words(response.totals)}"
        f" ({counted}, {response.stale_count} stale)"
    )
