"""Streams as a good server sends them, made of the history of a ledger: to be played, or spoiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import grpc
from reports import Ledger, count

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusRpcError
from jobstatus_grpc.convert.frames import FrameEncoder
from jobstatus_grpc.convert.resources import granule_to_pb, job_to_pb
from jobstatus_grpc.model import Change, Granule, Job, NewsMode, Totals
from jobstatus_grpc.verify import Checker

Frame = pb.WatchJobResponse


class Began(NamedTuple):
    """A stream is asked for."""

    token: bytes = b""


class Ended(NamedTuple):
    """A stream ends."""

    error: JobStatusRpcError | None = None


class Silence(NamedTuple):
    """Nothing comes for so many seconds."""

    seconds: float


Step = Frame | Began | Ended | Silence

DRAINING = JobStatusRpcError(grpc.StatusCode.UNAVAILABLE, "stops", "SERVER_DRAINING", retry_delay=1.0)
BROKEN = JobStatusRpcError(grpc.StatusCode.UNAVAILABLE, "connection reset")

_ENCODER = FrameEncoder()


def play(steps: Sequence[Step], checker: Checker) -> Checker:
    """Show a checker what happens, a tenth of a second for each frame."""
    now = 1000.0
    for step in steps:
        now += 0.1
        if isinstance(step, Began):
            checker.stream_began(step.token, now)
        elif isinstance(step, Ended):
            checker.stream_ended(step.error)
        elif isinstance(step, Silence):
            now += step.seconds
        else:
            checker.frame(step, now)
    return checker


def token(revision: int) -> bytes:
    """Return the token of a place."""
    return b"token %d" % revision


class Recording:
    """The frames of a job's history."""

    def __init__(self, ledger: Ledger) -> None:
        self.changes: list[Change] = ledger.changes
        self.head = len(ledger.changes)

    def granules(self, revision: int) -> list[Granule]:
        """Return the granules as they were, in order."""
        items = [change.item for change in self.changes[:revision]]
        latest = {item.key: item for item in items if isinstance(item, Granule)}
        return [latest[key] for key in sorted(latest)]

    def job(self, revision: int) -> Job:
        """Return the job as it was."""
        told = [change.item for change in self.changes[:revision] if isinstance(change.item, Job)][-1]
        moment = self.changes[revision - 1].change_time
        return told._replace(revision=revision, update_time=moment, totals=self.totals(revision))

    def totals(self, revision: int) -> Totals:
        """Return the totals as they were."""
        return count(self.granules(revision)) if revision else Totals()

    def snapshot(self, revision: int, chunk: int = 2, *, with_granules: bool = True) -> list[Frame]:
        """Return the chunks of a snapshot."""
        granules = self.granules(revision) if with_granules else []
        parts = [granules[at : at + chunk] for at in range(0, len(granules), chunk)] or [[]]
        frames = []
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            data = _ENCODER.snapshot(
                self.job(revision), None if index else (), part, last, token(revision) if last else b""
            )
            frames.append(Frame.FromString(data))
        return frames

    def every(self, after: int, until: int) -> Frame:
        """Return a frame of every change."""
        encoded = [_ENCODER.change(change) for change in self.changes[after:until]]
        return Frame.FromString(_ENCODER.changes(encoded, until, self.totals(until), token(until)))

    def latest(self, after: int, until: int) -> Frame:
        """Return a frame of the last change of each item."""
        frame = self.every(after, until)
        last: dict[tuple[str, str], pb.Change] = {}
        for change in frame.changes.changes:
            granule = change.granule.granule
            folded = last.pop((granule.collection_id, granule.granule_id), None)
            if folded is not None:
                change.change_count = (folded.change_count or 1) + 1
            last[granule.collection_id, granule.granule_id] = change
        kept = list(last.values())
        del frame.changes.changes[:]
        frame.changes.changes.extend(kept)
        return frame

    def job_only(self, after: int, until: int) -> Frame:
        """Return a frame of the job's own changes."""
        frame = self.every(after, until)
        kept = [change for change in frame.changes.changes if change.HasField("job")]
        del frame.changes.changes[:]
        frame.changes.changes.extend(kept)
        frame.changes.SetInParent()
        return frame

    def heartbeat(self, revision: int, *, resumable: bool = True) -> Frame:
        """Return a heartbeat."""
        data = _ENCODER.heartbeat(
            revision,
            self.totals(revision),
            token(revision) if revision and resumable else b"",
            lag=0.25,
            last_report_time=5_000_000,
            news_mode=NewsMode.POLL,
        )
        return Frame.FromString(data)

    def completed(self, revision: int) -> Frame:
        """Return the end of the job."""
        return Frame.FromString(_ENCODER.completed(self.job(revision), token(revision)))

    def reconnect(self, revision: int, reason: str = "SERVER_DRAINING") -> Frame:
        """Return the end of a stream."""
        data = _ENCODER.reconnect(revision, self.totals(revision), token(revision), reason)
        return Frame.FromString(data)

    def pages(self, revisions: Sequence[int], size: int) -> list[pb.GetJobStatusResponse]:
        """Return the job by pages, each read at the revision given; the last one given goes on."""
        pages: list[pb.GetJobStatusResponse] = []
        after: tuple[str, ...] = ()
        while True:
            revision = revisions[min(len(pages), len(revisions) - 1)]
            rest = [granule for granule in self.granules(revision) if granule.key > after]
            page = pb.GetJobStatusResponse(
                job=job_to_pb(self.job(revision)),
                granules=[granule_to_pb(granule) for granule in rest[:size]],
                next_page_token=b"more" if len(rest) > size else b"",
                resume_token=token(revision),
            )
            pages.append(page)
            if not page.next_page_token:
                return pages
            after = rest[size - 1].key


def reset(reason: str = "HISTORY_PRUNED") -> Frame:
    """Return the end of what a stream could promise."""
    return Frame.FromString(_ENCODER.reset(reason))
