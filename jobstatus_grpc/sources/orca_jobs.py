"""A job of ORCA's as the source follows it: until it is complete, and a while longer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from jobstatus_grpc.model import Job
from jobstatus_grpc.sources.orca_values import GranuleRow
from jobstatus_grpc.store.base import ReportResult

QUIET_AFTER: Final = 600.0
"""How long a job does not change before it is read more rarely, in seconds."""

QUIET_INTERVAL: Final = 10.0
"""How often it is read then at first, or when it is complete."""

QUIET_LONGEST: Final = 60.0
"""How often it is read at least."""

_QUIET_SHARE: Final = 60

KEPT_AFTER: Final = 3600.0
"""For how long after its latest granule a complete job is read so, in seconds: one may come yet."""


@dataclass
class FollowedJob:
    """A job that is followed. Times without a word are of `time.monotonic()`.

    Attributes:
        job_id: its name.
        newest: when its latest granule has come.
        changed: when something of it has changed last.
        since: from which transaction on it is to be read next; 0 for all of it.
        due: when that is.
        row: the store's, once something of it was reported.
        count: how many granules it has.
        open: how many of them have not ended.
        begun: when its first granule was requested, in microseconds since 1970.
        ended: when the last of them was completed, too.
        seen: whether ORCA has it.
        complete: whether it was said to be complete.
        renewed: whether it is to be read from its beginning next: it was deleted here, or opened again.
    """

    job_id: str
    newest: float
    changed: float
    since: int = 0
    due: float = 0.0
    row: int | None = None
    count: int = 0
    open: int = 1
    begun: int | None = None
    ended: int | None = None
    seen: bool = False
    complete: bool = False
    renewed: bool = False

    @classmethod
    def of(cls, job: Job, changed: float) -> FollowedJob:
        """Return a job that the store has: its latest granule came with its latest change at the latest."""
        count, complete = sum(job.totals), job.granules_complete
        return cls(job.job_id, changed, changed, count=count, begun=job.begin_time, complete=complete)

    def note_rows(self, rows: Iterable[GranuleRow]) -> None:
        """Take the times of granules that were read."""
        for row in rows:
            self.seen = True
            self.begun = min(self.begun or row.request_time, row.request_time)
            self.ended = max(self.ended or 0, row.completion_time or 0) or None

    def note_result(self, result: ReportResult, arrived: float, changed: float) -> None:
        """Take what has become of a report about it.

        Args:
            result: what the store says.
            arrived: when its granules came, if they are new.
            changed: when what is told happened, if it is new.
        """
        totals = result.totals
        count = sum(totals)
        if count > self.count:
            self.newest = max(self.newest, arrived)
        # Begun anew, it has only what was new.
        self.renewed |= self.row not in (None, result.job_pk)
        self.row = result.job_pk
        self.count, self.open = count, totals.pending + totals.staged + totals.unspecified
        if result.changed:
            self.changed = max(self.changed, changed)

    def note_complete(self, complete: bool | None) -> None:
        """Take that the job was said to be complete, or no more: then all of it is read again."""
        if complete is not None:
            self.complete = complete
            self.renewed |= not complete

    def is_settled(self, now: float, settle: float) -> bool:
        """Return whether all granules have ended, and none has come for so many seconds."""
        read = self.seen and self.since > 0
        return read and not self.complete and not self.open and now - self.newest >= settle

    def is_left(self, now: float) -> bool:
        """Return whether it need not be followed any more."""
        return self.complete and now - self.newest > KEPT_AFTER

    def schedule(self, horizon: int, now: float, interval: float) -> None:
        """Set what is to be read next, and when, after all was read since `since` at a horizon."""
        self.since, self.renewed = 0 if self.renewed else horizon, False
        idle, pause = now - self.changed, interval
        if self.complete:
            pause = max(interval, QUIET_INTERVAL)
        elif idle > QUIET_AFTER:
            pause = max(interval, QUIET_INTERVAL, min(idle / _QUIET_SHARE, QUIET_LONGEST))
        self.due = now + pause
