"""The command that shows one granule and its files."""

from __future__ import annotations

from jobstatus import v1 as pb
from jobstatus_grpc.cli.connection import connected
from jobstatus_grpc.cli.tables import say_table
from jobstatus_grpc.cli.terminal import (
    clean,
    error_words,
    granule_name,
    granule_state,
    json_line,
    say,
    time_words,
)


def show_granule(
    server: str, project_id: str, collection_id: str, granule_id: str, job_id: str | None, as_json: bool
) -> int:
    """Show a granule of a job, or of the job that requested it last."""
    with connected(server, project_id) as client:
        answer = client.granule(collection_id, granule_id, job_id=job_id)
    if as_json:
        say(json_line(answer))
        return 0
    _say_granule(answer)
    if answer.granule.files:
        say("")
        say("files")
        say_table(map(_file_row, answer.granule.files), ("FILE", "STATE", "DESTINATION", "WHY"), 2)
    return 0


def _say_granule(answer: pb.GetGranuleStatusResponse) -> None:
    granule = answer.granule
    told = [
        ("granule", granule_name(granule)),
        ("job", f"{clean(answer.job_id)} in project {clean(answer.project_id)}"),
        ("state", f"{granule_state(granule)}, attempt {granule.attempt}, revision {granule.revision}"),
        ("message", clean(granule.message)),
        ("error", error_words(granule.error)),
    ]
    times = ("request_time", "end_time", "update_time")
    told += [
        (name.replace("_", " "), time_words(getattr(granule, name)))
        for name in times
        if granule.HasField(name)
    ]
    say_table((name, words) for name, words in told if words)


def _file_row(file: pb.GranuleFile) -> tuple[str, ...]:
    attempt = f"attempt {file.attempt}" if file.attempt > 1 else ""
    why = " ".join(filter(None, (attempt, error_words(file.error))))
    return clean(file.file_name), granule_state(file), clean(file.restore_destination), why
