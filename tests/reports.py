"""Reports as tests write them, and what a reader makes of the history they leave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jobstatus_grpc.merge import Merged, merge_report
from jobstatus_grpc.model import (
    Change,
    Granule,
    GranuleKey,
    GranuleReport,
    GranuleState,
    Job,
    JobDocument,
    JobKey,
    JobReport,
    JobState,
    Report,
    SubJob,
    Totals,
)

JOB = JobKey("default", "restore-1")

PENDING, STAGED = GranuleState.PENDING, GranuleState.STAGED
SUCCEEDED, FAILED = GranuleState.SUCCEEDED, GranuleState.FAILED
UNWORDED = GranuleState.UNSPECIFIED


def granule(name: str = "g", state: GranuleState | None = None, **fields: Any) -> GranuleReport:
    """Return the report of a granule of the collection `c`, unless `fields` name another."""
    return GranuleReport(**{"collection_id": "c", "granule_id": name, "state": state, **fields})


def job(*granules: GranuleReport, key: JobKey = JOB, authoritative: bool = False, **fields: Any) -> Report:
    """Return the report of a job, its own `fields`, and granules."""
    return Report(key, JobReport(*key, **fields), granules, authoritative)


def only(*granules: GranuleReport, key: JobKey = JOB, authoritative: bool = False) -> Report:
    """Return the report of nothing but granules."""
    return Report(key, None, granules, authoritative)


def count(granules: Iterable[Granule]) -> Totals:
    """Return how many granules there are in each state, counted one by one."""
    counts = [0] * len(GranuleState)
    for each in granules:
        counts[each.state] += 1
    return Totals._make(counts)


def fold(
    changes: Sequence[Change], start: Iterable[Granule] = (), after: int = 0
) -> dict[GranuleKey, Granule]:
    """Return the granules after `changes`, having checked that the changes prove themselves.

    Args:
        changes: a part of a history.
        start: the granules before it.
        after: the revision before it.
    """
    granules = {each.key: each for each in start}
    for revision, change in enumerate(changes, after + 1):
        assert change.revision == revision
        if isinstance(change.item, Granule):
            before = granules.get(change.item.key)
            assert change.previous_state == (None if before is None else before.state)
            assert change.item.update_time == change.change_time
            granules[change.item.key] = change.item
        else:
            assert change.previous_state is None
        if isinstance(change.item, Job):
            assert change.item.totals == change.totals
        if not isinstance(change.item, SubJob):
            assert change.item.revision == revision
        assert change.totals == count(granules.values())
    times = [change.change_time for change in changes]
    assert times == sorted(times)
    return granules


class Ledger:
    """A job as reports make it by the merge rule alone, and its history."""

    def __init__(self, *reports: Report) -> None:
        self.job: Job | None = None
        self.kept = JobDocument()
        self.granules: dict[GranuleKey, Granule] = {}
        self.changes: list[Change] = []
        self.clock = 1_000
        for report in reports:
            self.take(report)

    def take(self, report: Report) -> Merged:
        """Merge a report, a thousand microseconds after the one before."""
        self.clock += 1_000
        touched = {each.key: self.granules[each.key] for each in report.granules if each.key in self.granules}
        jobs = {} if self.job is None else {self.job.key: self.job}
        merged = merge_report(jobs, touched, report, self.clock, self.clock, {report.key: self.kept})
        self.job = merged.job
        self.kept = merged.documents.get(report.key, self.kept)
        self.granules.update(merged.granules)
        self.changes += merged.changes
        return merged

    @property
    def stands(self) -> Job:
        """The job; there is one."""
        assert self.job is not None
        return self.job

    def of(self, name: str = "g") -> Granule:
        """Return a granule of the collection `c`."""
        return self.granules[GranuleKey("c", name)]

    @property
    def state(self) -> JobState:
        """The job's state."""
        return self.stands.state


def outcome(merged: Merged) -> Mapping[str, int]:
    """Return how the items of a report fared: what is not named is 0."""
    counts = {"applied": merged.applied, "unchanged": merged.unchanged, "stale": merged.stale}
    return {name: number for name, number in counts.items() if number}
