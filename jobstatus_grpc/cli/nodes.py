"""What a watch has seen of a job, as much of it as a person is shown."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
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
        pace: how fast it gets on, as far as it has been seen.
        progress: how fast it gets on, as the server has told last.
        reasons: why granules have failed, as the server has told last.
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
        self.progress = pb.Progress()
        self.reasons = pb.FailureDigest()
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

    def rate(self, now: float) -> float | None:
        """Return how many granules end in a second; `None` while that can't be told.

        The server knows it of slow jobs, and before much has been seen.
        """
        told = self.progress.ended_per_second if self.progress.HasField("ended_per_second") else None
        return self.pace.rate(now) or told

    def left(self, now: float) -> float | None:
        """Return in how many seconds it will have ended; `None` while that can't be told."""
        rate = self.rate(now)
        return (self.total - self.done) / rate if rate and self.job.granules_complete else None

    @property
    def lacks_reasons(self) -> bool:
        """Whether granules have failed, and the server has not told why since the job has changed."""
        return self.job.totals.failed_count > 0 and self.reasons.revision < self.job.revision

    def below(self, depth: int = 0) -> Iterator[tuple[int, Node]]:
        """Yield the nodes below this one with their depths, each before those below itself."""
        for child in self.children.values():
            yield depth, child
            yield from child.below(depth + 1)

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
            self.progress, self.reasons = pb.Progress(), pb.FailureDigest()
            self._take_sub_jobs(update.job)
        self._take_granules(update.granules)
        self._take_granules(change.granule.granule for change in update.changes if change.HasField("granule"))
        self._move_sub_jobs([change.sub_job for change in update.changes if change.HasField("sub_job")], now)
        self.pace.note(now, self.done)
        self.take_standing(update.failures, update.progress)
        self.ended = update.kind is Kind.COMPLETED
        if update.kind is Kind.CHANGES:
            self.lag, self._reported = 0.0, now
        elif update.heartbeat is not None:
            self._take_heartbeat(update.heartbeat, now)

    def know(self, job: pb.Job) -> None:
        """Take how the job stands from elsewhere: a watch from a token does not begin with it."""
        self.job = job
        self._take_sub_jobs(job)

    def take_standing(self, failures: pb.FailureDigest | None, progress: pb.Progress | None) -> None:
        """Take why granules have failed, and how fast the job gets on, as far as it is told."""
        if failures is not None and failures.revision >= self.reasons.revision:
            self.reasons = failures
        if progress is not None:
            self.progress = progress

    def broken(self, error: JobStatusRpcError) -> None:
        """Take that the connection is not well."""
        self.trouble = error.reason or error.code.name

    def _take_job(self, job: pb.Job) -> None:
        if job.HasField("state") or job.native_state:
            self.job = job
        else:  # Nothing but its numbers has been told since the token.
            self.job.totals.CopyFrom(job.totals)
            self.job.revision = job.revision

    def _take_sub_jobs(self, job: pb.Job) -> None:
        """Take a job's parts, and what is below them, in place of those there were."""
        self.children = {}
        for part in job.sub_jobs:
            child = self.children[part.job_id] = Node(part.job_id)
            child.know(part)

    def _move_sub_jobs(self, jobs: Sequence[pb.Job], now: float) -> None:
        """Take jobs below this one as they are now; one may be new, and comes after what it is a part of."""
        nodes = {node.job_id: node for _, node in self.below()} if jobs else {}
        for job in jobs:
            if job.job_id not in nodes:
                above = nodes.get(job.parent_job_id, self)
                nodes[job.job_id] = above.children[job.job_id] = Node(job.job_id)
            node = nodes[job.job_id]
            node.job = job
            node.pace.note(now, node.done)

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
