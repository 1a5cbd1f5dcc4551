"""What commands write: plain lines for people, JSON lines for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from google.protobuf.json_format import MessageToDict, MessageToJson
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from jobstatus import v1 as pb


def say(line: str) -> None:
    """Write a line, at once: somebody may be waiting for it at the other end of a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def clean(text: str) -> str:
    """Return `text` without power over the terminal: what is not printable is written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def json_line(message: Message) -> str:
    """Return a message as protobuf's JSON, on one line."""
    return MessageToJson(message, preserving_proto_field_name=True, indent=None)


def named_json_line(name: str, message: Message) -> str:
    """Return a message as protobuf's JSON under a name, on one line."""
    value: dict[str, Any] = {name: MessageToDict(message, preserving_proto_field_name=True)}
    return json.dumps(value)


def job_state(job: pb.Job) -> str:
    """Return a job's state, in its system's word where there is no other."""
    return _state(pb.JobState.Name(job.state).removeprefix("JOB_STATE_"), job.native_state)


def granule_state(granule: pb.Granule | pb.GranuleFile) -> str:
    """Return the state of a granule or a file, in its system's word where there is no other."""
    return _state(state_word(granule.state), granule.native_state)


def state_word(state: pb.GranuleState) -> str:
    """Return a granule's state as a word."""
    return pb.GranuleState.Name(state).removeprefix("GRANULE_STATE_")


def _state(word: str, native_state: str) -> str:
    return f"{word} ({clean(native_state)})" if word == "UNSPECIFIED" and native_state else word


def granule_name(granule: pb.Granule) -> str:
    """Return a granule's name within its job."""
    return clean("/".join(filter(None, (granule.collection_id, granule.granule_id))))


def counts(totals: pb.GranuleTotals) -> dict[str, int]:
    """Return how many granules are in each state, by its word; those without a word only if there are any."""
    found = {
        "pending": totals.pending_count,
        "staged": totals.staged_count,
        "succeeded": totals.succeeded_count,
        "failed": totals.failed_count,
    }
    return found | ({"unspecified": totals.unspecified_count} if totals.unspecified_count else {})


def totals_words(totals: pb.GranuleTotals) -> str:
    """Return totals in words."""
    found = counts(totals)
    told = ", ".join(f"{count} {word}" for word, count in found.items() if count)
    total = sum(found.values())
    return f"{total} granule{'' if total == 1 else 's'}{': ' if told else ''}{told}"


def error_words(error: pb.ItemError) -> str:
    """Return why an item failed, in words; empty if nobody said."""
    return clean(": ".join(filter(None, (error.code, error.reason))))


def why_words(granule: pb.Granule) -> str:
    """Return why a granule is as it is, in words; empty if nobody said."""
    return error_words(granule.error) or clean(granule.message)


def clock_words(moment: Timestamp) -> str:
    """Return a time of day, to the second."""
    return f"{moment.ToDatetime():%H:%M:%S}Z"


def time_words(moment: Timestamp) -> str:
    """Return a time, to the second."""
    return f"{moment.ToDatetime():%Y-%m-%d %H:%M:%S}Z"


def table(rows: Iterable[tuple[str, ...]], indent: str = "") -> Iterable[str]:
    """Return `rows` as lines with aligned columns."""
    held = list(rows)
    widths = [max(map(len, column)) for column in zip(*held, strict=True)]
    for row in held:
        yield indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
