"""The commands that bring documents of other systems in, and show a job as one."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import grpc
from google.protobuf.json_format import MessageToDict

from jobstatus import v1 as pb
from jobstatus_grpc.cli.connection import connected
from jobstatus_grpc.cli.failures import Refused, exit_status, named
from jobstatus_grpc.cli.reports import opened, response_words
from jobstatus_grpc.cli.terminal import say
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError

AUTO = "auto"


def import_files(server: str, project_id: str, files: Sequence[str], form: str, as_json: bool) -> int:
    """Report what the documents in files say, and return the status of what was refused first."""
    statuses = []
    with connected(server, project_id) as client:
        for file in files:
            place = file if len(files) > 1 else ""
            try:
                results = _imported(client, file, place, form)
            except (OSError, Refused, JobStatusRpcError) as error:
                if (
                    isinstance(error, JobStatusRpcError)
                    and error.code is not grpc.StatusCode.INVALID_ARGUMENT
                ):
                    raise
                statuses.append(exit_status(error))
            else:
                statuses += [say_result(result, place, as_json) for result in results]
    return next(filter(None, statuses), 0)


def _imported(client: JobStatusClient, file: str, place: str, form: str) -> list[pb.ImportedJob]:
    with opened(file) as source:
        text = source.read()
    with named(place):
        results = list(client.import_jobs(text, form_asked(form)))
    if not results:
        raise Refused(f"{place or file}: there is no job in it")
    return results


def say_result(result: pb.ImportedJob, place: str, as_json: bool) -> int:
    """Say what became of a job, on standard error if it was refused; return the exit status for that."""
    if as_json:
        say(json.dumps({"import": MessageToDict(result, preserving_proto_field_name=True)}))
    elif not result.HasField("status"):
        say(response_words(result.job_id, result))
    if not result.HasField("status"):
        return 0
    error = JobStatusRpcError.of_status(result.status)
    error.__dict__["place"] = place
    return exit_status(error)


def form_asked(form: str) -> str:
    """Return a form as the service takes it."""
    return "" if form == AUTO else form


def show_document(server: str, project_id: str, job_id: str, form: str) -> int:
    """Write a job as a document."""
    with connected(server, project_id) as client:
        text = client.export_job(job_id, form_asked(form))
    sys.stdout.flush()
    sys.stdout.buffer.write(text + b"\n")
    sys.stdout.buffer.flush()
    return 0
