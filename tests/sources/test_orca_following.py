"""How far a source has come stands with its lease: the next owner goes on from there."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from bringing import JOB
from orca import STAGED, OrcaDatabase, orca_granules
from postgres import PostgresServer
from stored import first_position, history

from jobstatus_grpc.errors import LeaseLost
from jobstatus_grpc.model import Granule, JobKey, JobState
from jobstatus_grpc.sources import orca_database
from jobstatus_grpc.sources.orca_following import OrcaFollowing, Pace
from jobstatus_grpc.store.base import JobStore, Lease

_JOBS = 3
_GRANULES = 1_500


class Owners:
    """Takes the lease again and again, each time for a following of its own."""

    def __init__(self, store: JobStore, orca: OrcaDatabase, executor: ThreadPoolExecutor) -> None:
        self._store = store
        self._database = orca_database.OrcaDatabase(orca.url)
        self._executor = executor
        self._lease: Lease | None = None
        self.identity = self._database.identify()

    def next(self, settle: float = 0.0, interval: float = 0.0) -> OrcaFollowing:
        """Return the following of the next owner; the last one has lost its lease."""
        if self._lease is not None:
            self._store.renew_lease(self._lease, 0)
        lease = self._lease = self._store.take_lease("orca", 30)
        assert lease is not None
        pace = Pace(JOB.project_id, interval, settle)
        following = OrcaFollowing(self._store, self._database, self.identity, lease, pace, self._executor)
        following.begin()
        return following

    def close(self) -> None:
        self._database.close()


@pytest.fixture
def orca(postgres_server: PostgresServer) -> Iterator[OrcaDatabase]:
    database = OrcaDatabase(postgres_server)
    yield database
    database.close()


@pytest.fixture
def writers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
def owners(store: JobStore, orca: OrcaDatabase, writers: ThreadPoolExecutor) -> Iterator[Owners]:
    made = Owners(store, orca, writers)
    yield made
    made.close()


def totals(store: JobStore) -> list[tuple[int, JobState]]:
    keys = [JobKey(JOB.project_id, f"job-{number:08}") for number in range(1, _JOBS + 1)]
    return [(sum(each.job.totals), each.job.state) for each in store.read_jobs(keys).values()]


def test_a_back_fill_goes_on_where_it_was(store: JobStore, orca: OrcaDatabase, owners: Owners) -> None:
    orca.fill(_JOBS, _GRANULES, 1)
    first = owners.next()
    first.fill()
    first.note()
    assert (first.filling, first.filled) == (True, 2_000)
    assert sorted(totals(store))[0] == (500, JobState.RUNNING)
    second = owners.next()
    with pytest.raises(LeaseLost):
        first.fill()
    assert second.filled == 2_000
    while second.filling:
        second.fill()
    second.turn(time.monotonic())
    assert totals(store) == [(_GRANULES, JobState.SUCCEEDED)] * _JOBS
    third = owners.next()
    assert not third.filling
    owners.identity = owners.identity._replace(timeline="another")
    assert owners.next().filled == 0


def test_what_changed_while_nobody_looked_is_found_by_the_next_owner(
    store: JobStore, orca: OrcaDatabase, owners: Owners
) -> None:
    granules = orca_granules("job", 3, 1)
    with orca.writer() as writer:
        for granule in granules:
            writer.create(granule)
            writer.finish(granule)
        first = owners.next()
        first.turn(time.monotonic())
        first.fill()
        first.turn(time.monotonic())
        revision = store.read_job(JOB).job.revision
        assert store.read_job(JOB).job.granules_complete
        second = owners.next()
        for _ in range(3):
            second.turn(time.monotonic())
        assert store.read_job(JOB).job.revision == revision
        writer.update(granules[1], "f-0", STAGED)
        third = owners.next(60.0)
        third.turn(time.monotonic())
    job = store.read_job(JOB).job
    assert (job.state, job.totals.staged, job.granules_complete) == (JobState.RUNNING, 1, False)


def test_an_open_job_is_due_an_interval_after_the_turn_that_read_it_began(
    orca: OrcaDatabase, owners: Owners
) -> None:
    with orca.writer() as writer:
        for granule in orca_granules("job", 3, 1):
            writer.create(granule)
    following = owners.next(settle=60.0, interval=20.0)
    while following.filling:
        following.fill()
    following.turn(time.monotonic())
    following.ask("job")
    began = time.monotonic()
    following.turn(began)
    assert following.due == began + 20.0


def test_a_clock_that_is_wrong_here_makes_no_job_complete(
    store: JobStore, orca: OrcaDatabase, owners: Owners, monkeypatch: pytest.MonkeyPatch
) -> None:
    (granule,) = orca_granules("job", 1, 1)
    with orca.writer() as writer:
        writer.create(granule)
        writer.finish(granule)
    ours = time.time
    monkeypatch.setattr(time, "time", lambda: ours() + 3600)
    for _ in range(2):
        following = owners.next(settle=60.0)
        following.fill()
        following.turn(time.monotonic())
        assert not store.read_job(JOB).job.granules_complete


def test_a_job_that_was_deleted_here_comes_back_whole_however_much_of_it_has_changed(
    store: JobStore, orca: OrcaDatabase, owners: Owners
) -> None:
    first, second, third = orca_granules("job", 3, 1)
    with orca.writer() as writer:
        writer.create(first)
        writer.create(second)
        following = owners.next(settle=60.0)
        following.fill()
        following.turn(time.monotonic())
        store.delete_job(JOB)
        writer.update(second, "f-0", STAGED)
        writer.create(third)
    following.turn(time.monotonic())
    following.turn(time.monotonic())
    totals = store.read_job(JOB).job.totals
    assert (totals.pending, totals.staged) == (2, 1)


def test_a_large_job_is_reported_in_parts_each_of_which_the_store_takes_in_its_time(
    store: JobStore, database_url: str, orca: OrcaDatabase, owners: Owners
) -> None:
    orca.fill(1, 1_900, 10)
    following = owners.next()
    following.fill()
    (stored,) = store.read_jobs([JobKey(JOB.project_id, "job-00000001")]).values()
    assert stored.job.totals.succeeded == 1_900
    log = history(store, stored.job_pk, first_position(database_url, stored.job_pk))
    together = Counter(change.commit_id for change in log if isinstance(change.item, Granule))
    assert sorted(together.values()) == [84, 454, 454, 454, 454]
