"""The ways to show a watch where no live view can be: lines for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from jobstatus import v1 as pb
from jobstatus_grpc.cli.nodes import Node
from jobstatus_grpc.cli.terminal import (
    clean,
    clock_words,
    error_words,
    granule_name,
    granule_state,
    job_state,
    say,
    state_word,
    totals_words,
    why_words,
)
from jobstatus_grpc.cli.tokens import token_words
from jobstatus_grpc.client import JobStatusRpcError, Kind, Update


class View(ABC):
    """Shows what watches bring.

    Args:
        root: what is above all jobs that are watched.

    Attributes:
        delivery: how much of it the view needs.
        heartbeats: whether it shows that nothing has happened.
    """

    delivery: ClassVar[pb.Delivery] = pb.DELIVERY_EVERY_CHANGE
    heartbeats: ClassVar[bool] = False

    def __init__(self, root: Node) -> None:
        self.root = root

    # What is written once has nothing to begin, to end, or to show again.
    def start(self) -> None:  # noqa: B027
        """Begin to show."""

    def stop(self) -> None:  # noqa: B027
        """Show no more; what is shown stays."""

    def refresh(self) -> None:  # noqa: B027
        """Show how things stand now. Called some times a second."""

    @abstractmethod
    def tell(self, node: Node, update: Update) -> None:
        """Show what is new of a job; its node has taken it."""

    def broken(self, node: Node, error: JobStatusRpcError) -> None:
        """Show that the connection is not well, once until something comes again."""
        if not node.trouble:
            words = f"the watch of {clean(node.job_id)} broke off and is tried again: {clean(str(error))}"
            sys.stderr.write(f"warning: {words}\n")


class JsonView(View):
    """One update a line."""

    heartbeats = True

    def tell(self, node: Node, update: Update) -> None:
        say(json.dumps(_value(node.job_id, update)))


class LinesView(View):
    """One change a line."""

    def tell(self, node: Node, update: Update) -> None:
        begin = f"{clean(node.job_id)}  " if len(self.root.children) > 1 else ""
        for line in _lines(update):
            say(begin + line)


def _value(job_id: str, update: Update) -> dict[str, Any]:
    """Return an update as JSON, what is inside in protobuf's form."""
    value: dict[str, Any] = {
        "job_id": job_id,
        "kind": str(update.kind),
        "revision": str(update.revision),
        "totals": _dict(update.totals),
        "resume_token": token_words(update.resume_token),
    }
    if update.kind is Kind.SNAPSHOT:
        value |= {"begins": update.begins, "whole": update.whole}
        value |= {"reset": update.reset} if update.reset else {}
        value["granules"] = [_dict(granule) for granule in update.granules]
    if update.kind is Kind.CHANGES:
        value["changes"] = [_dict(change) for change in update.changes]
    if update.begins or update.kind is Kind.COMPLETED:
        value["job"] = _dict(update.job)
    if update.heartbeat is not None:
        value["heartbeat"] = _dict(update.heartbeat)
    elif update.kind is Kind.COMPLETED:
        value |= {"failures": _dict(update.failures)} if update.failures else {}
        value |= {"progress": _dict(update.progress)} if update.progress else {}
    return value


def _dict(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def _lines(update: Update) -> Iterator[str]:
    """Yield what an update tells a person."""
    if update.reset:
        yield f"what was told before no longer holds ({clean(update.reset)}): it begins anew"
    if update.begins:
        job = update.job
        words = f"attempt {job.attempt}, revision {update.revision}, {totals_words(update.totals)}"
        yield f"job {clean(job.job_id)} is {job_state(job)}: {words}"
    for granule in update.granules:
        if granule.state == pb.GRANULE_STATE_FAILED:
            yield f"{clock_words(granule.update_time)}  {_granule_words(granule)}"
    for change in update.changes:
        yield _change_words(change)
    if update.kind is Kind.COMPLETED:
        yield ending_words(update.job)


def ending_words(job: pb.Job) -> str:
    """Return how a job has ended, in words."""
    words = ", ".join(filter(None, (totals_words(job.totals), error_words(job.error))))
    return f"job {clean(job.job_id)} has ended: {job_state(job)}, {words}"


def _change_words(change: pb.Change) -> str:
    when = f"{clock_words(change.change_time)}  #{change.revision}"
    if change.HasField("job"):
        return f"{when}  job is {job_state(change.job)}, attempt {change.job.attempt}"
    if change.HasField("sub_job"):
        job = change.sub_job
        words = f"{job_state(job)}, attempt {job.attempt}, {totals_words(job.totals)}"
        return f"{when}  sub-job {clean(job.job_id)} is {words}"
    granule = change.granule.granule
    moved = change.granule.HasField("previous_state") and change.granule.previous_state != granule.state
    before = f"{state_word(change.granule.previous_state)} -> " if moved else ""
    return f"{when}  {_granule_words(granule, before)}"


def _granule_words(granule: pb.Granule, before: str = "") -> str:
    why = why_words(granule)
    return f"{granule_name(granule)}  {before}{granule_state(granule)}" + (f"  {why}" if why else "")
