"""Pruning: what is too old goes, bit by bit, and nobody who holds the rest is disturbed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from reports import FAILED, JOB, STAGED, SUCCEEDED, fold, granule, job, only
from stored import connected, count_rows, granules, history, log_rows, run

from jobstatus_grpc.errors import HistoryChanged, HistoryPruned, JobNotFound
from jobstatus_grpc.model import Granule, GranuleKey, JobKey, JobState, Position
from jobstatus_grpc.store import open_store, removal
from jobstatus_grpc.store.base import JobStore

LATER = 60_000_000
"""A minute, in microseconds."""


def prune_all_changes(store: JobStore, before: int, limit: int = 1000) -> list[int]:
    """Walk over all jobs; return how much each step removed."""
    steps, after = [], 0
    while True:
        pruned = store.prune_changes(before, after, limit)
        steps.append(pruned.removed)
        if pruned.next_after is None:
            return steps
        after = pruned.next_after


def prune_all_jobs(store: JobStore, before: int, limit: int = 100) -> int:
    """Walk over all jobs; return how many were deleted."""
    removed, after = 0, 0
    while True:
        pruned = store.prune_jobs(before, after, limit)
        removed += pruned.removed
        if pruned.next_after is None:
            return removed
        after = pruned.next_after


def floor_of(url: str, job_pk: int) -> int:
    return int(run(url, f"SELECT change_floor FROM job WHERE job_pk = {job_pk}")[0][0])


def revisions(url: str, job_pk: int) -> list[int]:
    return [row.revision for row in log_rows(url, job_pk)]


def exists(store: JobStore, key: JobKey) -> bool:
    try:
        store.read_job(key)
    except JobNotFound:
        return False
    return True


def make_old(url: str, job_pk: int) -> None:
    """Let all that happened to a job have happened two minutes earlier."""
    moved = 2 * LATER
    run(
        url,
        f"UPDATE job SET update_time = update_time - {moved}, last_report_time = last_report_time - {moved} "
        f"WHERE job_pk = {job_pk}",
        f"UPDATE change SET change_time = change_time - {moved} WHERE job_pk = {job_pk}",
    )


def test_the_clock_is_the_one_that_times_changes(store: JobStore, database_url: str) -> None:
    before = store.read_clock()
    job_pk = store.report(job(granule("a"))).job_pk
    after = store.read_clock()
    assert all(before <= row.change_time <= after for row in log_rows(database_url, job_pk))


def test_changes_before_a_moment_go_and_the_rest_stays(store: JobStore, database_url: str) -> None:
    job_pk = store.report(job(*[granule(f"g{index}") for index in range(5)])).job_pk
    make_old(database_url, job_pk)
    moment = store.read_clock()
    store.report(only(granule("g0", STAGED), granule("g1", STAGED)))
    kept = log_rows(database_url, job_pk)[6:]
    assert sum(prune_all_changes(store, moment)) == 6
    assert log_rows(database_url, job_pk) == kept
    assert floor_of(database_url, job_pk) == kept[0].revision == 7
    assert len(granules(store, JOB)) == 5


def test_a_change_made_at_the_very_moment_stays(store: JobStore, database_url: str) -> None:
    job_pk = store.report(job(granule("a"))).job_pk
    store.report(only(granule("a", STAGED)))
    moment = log_rows(database_url, job_pk)[-1].change_time
    first = log_rows(database_url, job_pk)[0].change_time
    assert first < moment
    assert sum(prune_all_changes(store, first)) == 0
    prune_all_changes(store, moment)
    assert [row.change_time for row in log_rows(database_url, job_pk)] == [moment, moment]


def test_the_latest_change_of_a_job_stays_whatever_its_age(store: JobStore, database_url: str) -> None:
    result = store.report(job(granule("a"), granule("b")))
    moment = store.read_clock() + LATER
    assert sum(prune_all_changes(store, moment)) == 2
    assert revisions(database_url, result.job_pk) == [3]
    assert prune_all_changes(store, moment) == [0]
    assert store.read_job(JOB).position == result.position
    batch = store.read_changes(result.job_pk, result.position, 10)
    assert batch is not None
    assert (list(batch.changes), batch.totals) == ([], result.totals)
    store.report(only(granule("a", STAGED)))
    assert [change.revision for change in history(store, result.job_pk, result.position)] == [4, 5]


def test_a_job_of_one_change_has_nothing_to_lose(store: JobStore, database_url: str) -> None:
    job_pk = store.report(job()).job_pk
    assert prune_all_changes(store, store.read_clock() + LATER) == [0]
    assert revisions(database_url, job_pk) == [1]


def test_changes_go_in_batches_the_oldest_first(store: JobStore, database_url: str) -> None:
    job_pk = store.report(job(*[granule(f"g{index}") for index in range(9)])).job_pk
    moment, after = store.read_clock() + LATER, 0
    for floor in (5, 9):
        pruned = store.prune_changes(moment, after, 4)
        assert pruned.removed == 4
        assert pruned.next_after is not None
        after = pruned.next_after
        assert floor_of(database_url, job_pk) == floor
        assert revisions(database_url, job_pk) == list(range(floor, 11))
    assert store.prune_changes(moment, after, 4).removed == 1
    assert revisions(database_url, job_pk) == [10]


def test_a_walk_comes_to_every_job_a_few_at_a_time(
    store: JobStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_EXAMINED_JOBS", 3)
    keys = [JobKey("p", f"j{index}") for index in range(10)]
    job_pks = [store.report(job(granule("a"), granule("b"), key=key)).job_pk for key in keys]
    for old in job_pks[1::4]:
        make_old(database_url, old)
    steps = prune_all_changes(store, store.read_clock() - LATER)
    assert steps == [2, 0, 2, 0, 2, 0]
    for job_pk in job_pks:
        assert floor_of(database_url, job_pk) == (3 if job_pk in job_pks[1::4] else 1)
    assert prune_all_changes(store, store.read_clock() - LATER) == [0] * 4


def test_a_position_from_the_floor_on_is_read_and_one_below_is_pruned(
    store: JobStore, database_url: str
) -> None:
    job_pk = store.report(job(*[granule(f"g{index}") for index in range(5)])).job_pk
    known = [Position(row.revision, row.commit_id) for row in log_rows(database_url, job_pk)]
    assert store.prune_changes(store.read_clock() + LATER, 0, 3).removed == 3
    for position in known[:3]:
        with pytest.raises(HistoryPruned):
            store.read_changes(job_pk, position, 10)
    for position in known[3:]:
        batch = store.read_changes(job_pk, position, 10)
        assert batch is not None
        assert [change.position for change in batch.changes] == known[position.revision :]


@pytest.mark.parametrize(("revision", "pruned"), [(-1, False), (0, False), (3, True), (4, False), (7, False)])
def test_only_what_lies_below_the_floor_is_called_pruned(
    store: JobStore, revision: int, pruned: bool
) -> None:
    result = store.report(job(*[granule(f"g{index}") for index in range(5)]))
    assert store.prune_changes(store.read_clock() + LATER, 0, 3).removed == 3
    with pytest.raises(HistoryChanged) as caught:
        store.read_changes(result.job_pk, Position(revision, result.position.commit_id + 1), 10)
    assert isinstance(caught.value, HistoryPruned) == pruned
    assert caught.value.reason == ("HISTORY_PRUNED" if pruned else "HISTORY_CHANGED")


def test_the_history_of_a_deleted_job_is_left_to_the_purge(store: JobStore, database_url: str) -> None:
    job_pk = store.report(job(granule("a"))).job_pk
    store.delete_job(JOB)
    assert prune_all_changes(store, store.read_clock() + LATER) == [0]
    assert count_rows(database_url, job_pk)["change"] == 2


@pytest.fixture
def other(database_url: str) -> Iterator[JobStore]:
    """The store of another process, as good as."""
    opened = open_store(database_url)
    opened.prepare()
    yield opened
    opened.close()


def test_reports_go_on_and_a_reader_at_the_head_misses_nothing_while_two_prune(
    store: JobStore, other: JobStore, database_url: str
) -> None:
    start = store.report(job(*[granule(f"g{index}") for index in range(20)]))
    stop = threading.Event()
    removed: list[int] = []

    def prune(by: JobStore) -> None:
        while not stop.is_set():
            removed.extend(prune_all_changes(by, by.read_clock() + LATER, 7))

    pruning = [threading.Thread(target=prune, args=(by,)) for by in (store, other)]
    for thread in pruning:
        thread.start()
    known = {one.key: one for one in granules(store, JOB)}
    assert set(known) == {GranuleKey("c", f"g{index}") for index in range(20)}
    position, seen = start.position, start.position.revision
    try:
        for turn in range(1, 41):
            result = store.report(
                only(*[granule(f"g{index}", STAGED, attempt=turn) for index in range(turn % 20 + 1)])
            )
            assert result.applied == turn % 20 + 1
            try:
                changes = history(other, start.job_pk, position, 1000)
            except HistoryPruned:
                # Faster than any server may be: everything but the head is old at once.
                known = {one.key: one for one in granules(store, JOB)}
            else:
                known = fold(changes, known.values(), position.revision)
            seen = max(seen, result.position.revision)
            position = store.read_job(JOB).position
            assert position == result.position
    finally:
        stop.set()
        for thread in pruning:
            thread.join(30)
    assert not any(thread.is_alive() for thread in pruning)
    assert sorted(known.values()) == granules(store, JOB)
    log = revisions(database_url, start.job_pk)
    assert log == list(range(floor_of(database_url, start.job_pk), seen + 1))
    assert sum(removed) == seen - len(log)


def test_two_that_prune_young_history_beside_reports_leave_a_whole_log(
    store: JobStore, other: JobStore, database_url: str
) -> None:
    job_pk = store.report(job(*[granule(f"g{index}") for index in range(60)])).job_pk
    make_old(database_url, job_pk)
    moment = store.read_clock()
    first = store.report(only(granule("g0", STAGED)))

    def report(part: int) -> None:
        for attempt in (2, 3, 4):
            store.report(only(granule(f"g{part}", FAILED, attempt=attempt)))

    threads = [
        *(threading.Thread(target=prune_all_changes, args=(by, moment, 5)) for by in (store, other)),
        *(threading.Thread(target=report, args=(part,)) for part in range(1, 9)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    log = log_rows(database_url, job_pk)
    head = store.read_job(JOB).position
    assert [row.revision for row in log] == list(range(62, head.revision + 1))
    assert floor_of(database_url, job_pk) == 62
    assert (log[-1].revision, log[-1].commit_id) == head
    changes = history(store, job_pk, Position(log[0].revision, log[0].commit_id))
    assert len({change.item.key for change in changes if isinstance(change.item, Granule)}) == 8
    assert first.position.revision >= 62


def test_only_roots_that_have_ended_and_are_left_alone_are_deleted(
    store: JobStore, database_url: str
) -> None:
    def reported(name: str, old: bool = True, **fields: Any) -> int:
        job_pk = store.report(job(granule("a", STAGED), key=JobKey("p", name), **fields)).job_pk
        if old:
            make_old(database_url, job_pk)
        return job_pk

    succeeded = reported("succeeded", state=JobState.SUCCEEDED)
    failed = reported("failed", state=JobState.FAILED)
    reported("running", state=JobState.RUNNING)
    reported("young", old=False, state=JobState.SUCCEEDED)
    sub_job = reported("sub-job", state=JobState.SUCCEEDED)
    run(database_url, f"UPDATE job SET parent_pk = {succeeded} WHERE job_pk = {sub_job}")
    reported("derived", granules_complete=True)
    # Nothing changes, but somebody still says so.
    confirmed = reported("confirmed", state=JobState.SUCCEEDED)
    result = store.report(job(granule("a", STAGED), key=JobKey("p", "confirmed"), state=JobState.SUCCEEDED))
    assert (result.job_pk, result.changed) == (confirmed, False)

    assert prune_all_jobs(store, store.read_clock() - LATER) == 2
    left = ["running", "young", "sub-job", "derived", "confirmed", "succeeded", "failed"]
    assert [name for name in left if exists(store, JobKey("p", name))] == left[:5]
    assert set(store.read_heads([succeeded, failed])) == set()
    while store.purge():
        pass
    assert count_rows(database_url, failed) == {"job": 0, "granule": 0, "change": 0}
    assert prune_all_jobs(store, store.read_clock() - LATER) == 0


def test_ended_jobs_are_deleted_in_batches_and_their_names_are_free(
    store: JobStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_EXAMINED_JOBS", 4)
    keys = [JobKey("p", f"j{index}") for index in range(11)]
    job_pks = [store.report(job(key=key, state=JobState.SUCCEEDED)).job_pk for key in keys]
    moment = store.read_clock() + LATER
    first = store.prune_jobs(moment, 0, 2)
    assert first == (2, job_pks[1])
    assert prune_all_jobs(store, moment, 3) == 9
    again = store.report(job(key=keys[0]))
    assert again.job_pk not in job_pks
    assert again.position.revision == 1


def test_a_job_that_is_opened_again_before_its_turn_is_spared(store: JobStore, database_url: str) -> None:
    job_pk = store.report(job(granule("a", SUCCEEDED), granules_complete=True)).job_pk
    assert store.read_job(JOB).job.state is JobState.SUCCEEDED
    make_old(database_url, job_pk)
    moment = store.read_clock() - LATER
    with connected(database_url) as connection:
        found, _ = removal.find_jobs(connection, 0, removal.ended_before(moment), 10)
    assert found == [job_pk]
    # Found; and only then opened again.
    store.report(only(granule("b", STAGED)))
    with connected(database_url) as connection, connection.begin():
        assert removal.prune_jobs(connection, found, moment) == 0
    assert store.read_job(JOB).job.state is JobState.RUNNING


def test_a_job_that_is_being_reported_is_left_for_another_time(postgres_url: str) -> None:
    store = open_store(postgres_url)
    try:
        store.prepare()
        keys = [JobKey("p", "busy"), JobKey("p", "idle")]
        job_pks = [store.report(job(key=key, state=JobState.SUCCEEDED)).job_pk for key in keys]
        moment = store.read_clock() + LATER
        with connected(postgres_url) as holder:
            holder.exec_driver_sql("BEGIN")
            holder.exec_driver_sql(f"SELECT 1 FROM job WHERE job_pk = {job_pks[0]} FOR UPDATE")
            assert prune_all_jobs(store, moment) == 1
            holder.exec_driver_sql("ROLLBACK")
        assert [exists(store, key) for key in keys] == [True, False]
        assert prune_all_jobs(store, moment) == 1
    finally:
        store.close()


def test_a_job_reported_while_jobs_are_deleted_is_kept_or_begun_anew(
    store: JobStore, other: JobStore, database_url: str
) -> None:
    for turn in range(1, 11):
        old = store.report(job(state=JobState.SUCCEEDED, attempt=turn)).job_pk
        make_old(database_url, old)
        moment = store.read_clock() - LATER
        deleting = threading.Thread(target=prune_all_jobs, args=(other, moment))
        deleting.start()
        reported = store.report(job(granule("a", STAGED), state=JobState.SUCCEEDED, attempt=turn + 1))
        deleting.join(30)
        assert not deleting.is_alive()
        # Committed first, it has saved the job; else it has begun another. Either way it is there.
        stored = store.read_job(JOB)
        assert stored.job_pk == reported.job_pk
        assert stored.job.totals.staged == 1
        assert (reported.job_pk == old) == (stored.job.revision > 2)
        store.delete_job(JOB)
