"""What a database says of a job: its log, folded revision by revision, and whether it proves itself."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from reports import count, fold
from stored import first_position, granules, history

from faults.recordings import Key
from jobstatus import v1 as pb
from jobstatus_grpc.convert.frames import FrameEncoder
from jobstatus_grpc.convert.resources import job_to_pb
from jobstatus_grpc.model import Change, Granule, Job, JobKey, Position
from jobstatus_grpc.store import open_store
from jobstatus_grpc.store.base import JobStore, StoredJob
from jobstatus_grpc.tokens import Tokens
from jobstatus_grpc.verify.held import Held


class State(NamedTuple):
    """A job as it was at one revision.

    Attributes:
        totals: by the numbers of the states.
        digest: of all its granules.
        job: the job itself; `None` before its first own change after its creation.
    """

    totals: Sequence[int]
    digest: int
    job: pb.Job | None


class Told(NamedTuple):
    """All that a database says of one job.

    Attributes:
        stored: the job.
        first: the position of its creation.
        changes: all changes after that.
        granules: its granules.
    """

    stored: StoredJob
    first: Position
    changes: Sequence[Change]
    granules: Sequence[Granule]


class History:
    """A job's history in one database, from its creation on.

    Args:
        told: what the database says.

    Attributes:
        told: the same.
        job: the job as it stands.
        head: where it stands.
        positions: where each revision is.
        states: the job as it was, by position.
        changes: each change as it has to come, by revision.
        by_message: the granules' changes, by the message of the report that made them.
        faults: where it does not prove itself.
    """

    def __init__(self, told: Told) -> None:
        self.told = told
        self.job = job_to_pb(told.stored.job)
        self.head = told.stored.position
        positions = [told.first, *(change.position for change in told.changes)]
        self.positions = {position.revision: position for position in positions}
        self.changes: dict[int, pb.Change] = {}
        self.states: dict[Position, State] = {told.first: State((0,) * 5, 0, None)}
        self.by_message: dict[str, list[Change]] = {}
        self._fold(told.changes)
        self.faults = [*_faults_of_log(told.first, told.changes), *_faults_of_rows(told)]

    def _fold(self, changes: Sequence[Change]) -> None:
        held, encoder, job = Held(), FrameEncoder(), None
        for change in changes:
            told = pb.Changes.FromString(encoder.change(change)).changes[0]
            self.changes[change.revision] = told
            if isinstance(change.item, Granule):
                held.put(told.granule.granule)
                self.by_message.setdefault(change.item.message or "", []).append(change)
            elif isinstance(change.item, Job):
                job = change.item
            self.states[change.position] = State(
                change.totals, held.digest, None if job is None else _job_at(job, change)
            )


def read_histories(url: str, keys: Iterable[Key]) -> tuple[Tokens, Mapping[Key, History]]:
    """Return what reads the database's tokens, and the histories of jobs. Nobody reports to them now."""
    store = open_store(url)
    try:
        store.prepare()
        return Tokens(*store.identity), {key: _read_history(url, store, JobKey(*key)) for key in keys}
    finally:
        store.close()


def _read_history(url: str, store: JobStore, key: JobKey) -> History:
    stored = store.read_job(key)
    first = first_position(url, stored.job_pk)
    return History(Told(stored, first, history(store, stored.job_pk, first), granules(store, key)))


def _job_at(job: Job, change: Change) -> pb.Job:
    """Return the job at a change, `job` being the last one told."""
    return job_to_pb(
        job._replace(revision=change.revision, update_time=change.change_time, totals=change.totals)
    )


def _faults_of_log(first: Position, changes: Sequence[Change]) -> list[str]:
    """Return where a log has gaps, does not add up, goes back in time, or mixes transactions."""
    faults = [] if first.revision == 1 else [f"the log begins at revision {first.revision}"]
    try:
        fold(changes, after=1)
    except AssertionError as error:
        # The assertion itself is what was broken.
        faults.append(str(traceback.extract_tb(error.__traceback__)[-1].line))
    ended: set[int] = set()
    last = first.commit_id
    for change in changes:
        if change.commit_id != last:
            ended.add(last)
            last = change.commit_id
        if change.commit_id in ended:
            faults.append(f"revision {change.revision} is of a transaction that had ended before")
    moved = [(item.key, item.attempt, item.state) for item in _granules_of(changes)]
    if len(set(moved)) < len(moved):
        faults.append("a granule has come to a state of one attempt twice")
    return faults


def _faults_of_rows(told: Told) -> list[str]:
    """Return where the rows of a job are not what its log adds up to."""
    faults = []
    stored, changes = told.stored, told.changes
    rows = {granule.key: granule for granule in told.granules}
    latest = {item.key: item for item in _granules_of(changes)}
    if rows != latest:
        faults.append(f"{len(rows.items() ^ latest.items())} granules are not as the log has them")
    if stored.job.totals != count(rows.values()):
        faults.append(f"the job says {stored.job.totals}, and its granules are {count(rows.values())}")
    if changes and stored.position != changes[-1].position:
        faults.append(f"the job stands at {stored.position}, and its log ends at {changes[-1].position}")
    jobs = [change.item for change in changes if isinstance(change.item, Job)]
    if jobs and jobs[-1].state != stored.job.state:
        faults.append(f"the job is {stored.job.state.name}, and its log says {jobs[-1].state.name}")
    return faults


def _granules_of(changes: Iterable[Change]) -> list[Granule]:
    return [change.item for change in changes if isinstance(change.item, Granule)]
