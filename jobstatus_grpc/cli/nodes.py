"""What a watch has seen of a job, as much of it as a person is shown."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final, NamedTuple

from jobstatus import v1 as pb
from jobstatus_grpc.cli.pace import Pace
from jobstatus_grpc.cli.terminal import clock_words, granule_name, job_state, why_words
from jobstatus_grpc.client import JobStatusRpcError, Kind, Update

_HELD_FAILURES: Final = 200


class Failure(NamedTuple):
    """A granule that has failed."""

    moment: int
    when: str
    name: str
    why: str


class Node:
    """A job, or the root above all that are watched.

    Attributes:
        job_id: the job's id.
        job: the job as last told; its totals and revision are always the latest.
        token: where a watch goes on; empty where only a new one can begin.
        trouble: why nothing comes at the moment; empty while all is well.
        failure: what ended the watch of it.
        heard: whether anything has come of it.
        ended: whether its end has been told.
        lag: how long ago the server had read its database, in seconds.
        pace: how fast it gets on.
        children: the nodes below it, by their ids.
    """

    def __init__(self, job_id: str = "", token: bytes = b"") -> None:
        self.job_id = job_id
        self.job = pb.Job(job_id=job_id)
        self.token = token
        self.trouble = ""
        self.failure: Exception | None = None
        self.heard = False
        self.ended = False
        self.lag = 0.0
        self.pace = Pace()
        self.children: dict[str, Node] = {}
        self._reported: float | None = None
        self._failures: dict[str, Failure] = {}

    @property
    def state(self) -> str:
        """The job's state as a word; empty before it is known."""
        return job_state(self.job) if self.job.HasField("state") or self.job.native_state else ""

    @property
    def total(self) -> int:
        """How many granules the job has."""
        totals = self.job.totals
        return self.done + totals.pending_count + totals.staged_count + totals.unspecified_count

    @property
    def done(self) -> int:
        """How many of them have ended."""
        return self.job.totals.succeeded_count + self.job.totals.failed_count

    def since_report(self, now: float) -> float | None:
        """Return how many seconds ago the last report came; `None` while that is not known."""
        return None if self._reported is None else max(0.0, now - self._reported)

    def left(self, now: float) -> float | None:
        """Return in how many seconds it will have ended; `None` while that can't be told."""
        return self.pace.left(now, self.total - self.done) if self.job.granules_complete else None

    def failures(self) -> list[Failure]:
        """Return the latest failures, oldest first."""
        return sorted(self._failures.values())

    def take(self, update: Update) -> None:
        """Take what is new."""
        now = time.monotonic()
        self.trouble, self.heard = "", True
        self.token = update.resume_token or (b"" if update.begins else self.token)
        self._take_job(update.job)
        if update.begins:
            self._failures.clear()
            self.pace = Pace()
        self._take_granules(update.granules)
        self._take_granules(change.granule.granule for change in update.changes if change.HasField("granule"))
        self.pace.note(now, self.done)
        self.ended = update.kind is Kind.COMPLETED
        if update.kind is Kind.CHANGES:
            self.lag, self._reported = 0.0, now
        elif update.heartbeat is not None:
            self._take_heartbeat(update.heartbeat, now)

    def know(self, job: pb.Job) -> None:
        """Take how the job stands from elsewhere: a watch from a token does not begin with it."""
        self.job = job

    def broken(self, error: JobStatusRpcError) -> None:
        """Take that the connection is not well."""
        self.trouble = error.reason or error.code.name

    def _take_job(self, job: pb.Job) -> None:
        if job.HasField("state") or job.native_state:
            self.job = job
        else:  # Nothing but its numbers has been told since the token.
            self.job.totals.CopyFrom(job.totals)
            self.job.revision = job.revision

    def _take_granules(self, granules: Iterable[pb.Granule]) -> None:
        for granule in granules:
            name = granule_name(granule)
            self._failures.pop(name, None)
            if granule.state == pb.GRANULE_STATE_FAILED:
                moment = granule.update_time
                self._failures[name] = Failure(
                    moment.ToMicroseconds(), clock_words(moment), name, why_words(granule)
                )
        if len(self._failures) > 2 * _HELD_FAILURES:
            latest = self.failures()[-_HELD_FAILURES:]
            self._failures = {failure.name: failure for failure in latest}

    def _take_heartbeat(self, heartbeat: pb.Heartbeat, now: float) -> None:
        self.lag = heartbeat.lag.ToTimedelta().total_seconds()
        if heartbeat.HasField("last_report_time"):
            # Both by the server's clock: ours may be another.
            silence = heartbeat.server_time.ToMicroseconds() - heartbeat.last_report_time.ToMicroseconds()
            self._reported = now - max(0.0, silence / 1_000_000)
