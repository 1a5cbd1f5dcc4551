"""The history of a job: the log, the snapshot it starts from, and the head it has reached."""

from __future__ import annotations

import threading

import pytest
from reports import FAILED, JOB, STAGED, SUCCEEDED, Ledger, fold, granule, job, only
from stored import first_position, granules, history, log_rows

from jobstatus_grpc.errors import HistoryChanged, JobNotFound
from jobstatus_grpc.model import MAX_FRAME_BYTES, Change, Job, JobKey, JobState, Position, SubJob, Totals
from jobstatus_grpc.sizes import change_bytes
from jobstatus_grpc.store.base import JobStore


def positions(url: str, job_pk: int) -> list[Position]:
    return [Position(row.revision, row.commit_id) for row in log_rows(url, job_pk)]


def revisions(changes: object) -> list[int]:
    assert isinstance(changes, list | tuple)
    return [change.revision for change in changes]


def test_after_the_head_there_are_no_changes(store: JobStore) -> None:
    result = store.report(job(granule("a", STAGED)))
    batch = store.read_changes(result.job_pk, result.position, 10)
    assert batch is not None
    assert (list(batch.changes), batch.stored) == ([], store.read_job(JOB))


def test_the_changes_after_any_position_are_all_that_follow(store: JobStore, database_url: str) -> None:
    job_pk = store.report(job(granule("a"), granule("b"))).job_pk
    store.report(only(granule("a", STAGED), granule("b", FAILED)))
    known = positions(database_url, job_pk)
    assert len(known) == 6
    for position in known:
        batch = store.read_changes(job_pk, position, 100)
        assert batch is not None
        assert [change.position for change in batch.changes] == known[position.revision :]
        assert batch.stored.position == known[-1]


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 6])
def test_changes_are_cut_at_their_limit(store: JobStore, database_url: str, limit: int) -> None:
    job_pk = store.report(job(*[granule(f"g{index}") for index in range(5)])).job_pk
    start = first_position(database_url, job_pk)
    batch = store.read_changes(job_pk, start, limit)
    assert batch is not None
    assert revisions(batch.changes) == list(range(2, 7))[:limit]
    assert batch.stored.job.revision == 6
    assert revisions(history(store, job_pk, start, limit)) == [2, 3, 4, 5, 6]


def test_changes_are_read_in_parts_of_thousands(store: JobStore, database_url: str) -> None:
    reports = [granule(f"g{index:04}", STAGED) for index in range(2500)]
    job_pk = store.report(job(*reports, state=JobState.RUNNING)).job_pk
    start = first_position(database_url, job_pk)
    for limit in (999, 1000, 1001, 10_000):
        assert revisions(history(store, job_pk, start, limit)) == list(range(2, 2502))


def test_changes_are_cut_at_about_a_megabyte(store: JobStore, database_url: str) -> None:
    job_pk = store.report(job(state=JobState.RUNNING)).job_pk
    for part in range(4):
        store.report(only(*[granule(f"g{part}{index:03}", message="m" * 15_000) for index in range(250)]))
    after, sizes, count = first_position(database_url, job_pk), [], 0
    while (batch := store.read_changes(job_pk, after, 1000)) is not None and batch.changes:
        sizes.append(sum(map(change_bytes, batch.changes)))
        after, count = batch.changes[-1].position, count + len(batch.changes)
    assert count == 1000
    assert max(sizes) <= MAX_FRAME_BYTES + 16_384
    assert min(sizes[:-1]) > MAX_FRAME_BYTES * 0.9


def test_large_changes_are_read_a_few_at_a_time(store: JobStore, database_url: str) -> None:
    job_pk = store.report(job(state=JobState.RUNNING)).job_pk
    for turn in range(6):
        store.report(job(description=f"{turn}" + "x" * 500_000))
    start = first_position(database_url, job_pk)
    batch = store.read_changes(job_pk, start, 1000)
    assert batch is not None
    assert 1 <= len(batch.changes) <= 3
    assert revisions(history(store, job_pk, start)) == list(range(2, 8))


def test_a_change_tells_the_item_as_it_was_after_it(store: JobStore, database_url: str) -> None:
    steps = [
        job(granule("a", message="one"), labels={"k": "v"}, description="d"),
        only(granule("a", STAGED, native_state="staged", message="")),
        job(granule("a", FAILED), message="m", state=JobState.FAILED, labels={"k": "w"}),
    ]
    ledger = Ledger(*steps)
    job_pk = max(store.report(step).job_pk for step in steps)

    def timeless(change: Change) -> Change:
        item = change.item
        assert not isinstance(item, SubJob)
        if isinstance(item, Job):
            item = item._replace(
                create_time=0, begin_time=item.begin_time and 1, end_time=item.end_time and 1
            )
        return change._replace(commit_id=0, change_time=0, item=item._replace(update_time=0))

    found = history(store, job_pk, first_position(database_url, job_pk))
    assert list(map(timeless, found)) == list(map(timeless, ledger.changes[1:]))
    items = [change.item for change in found if not isinstance(change.item, SubJob)]
    assert [item.update_time for item in items] == [change.change_time for change in found]


@pytest.mark.parametrize("revision", [1, 2, 3])
def test_another_commit_at_a_revision_is_another_history(
    store: JobStore, database_url: str, revision: int
) -> None:
    job_pk = store.report(job(granule("a", STAGED))).job_pk
    known = positions(database_url, job_pk)[revision - 1]
    for commit_id in (known.commit_id + 1, -known.commit_id, 0):
        with pytest.raises(HistoryChanged):
            store.read_changes(job_pk, Position(revision, commit_id), 10)


@pytest.mark.parametrize("revision", [0, -1, 4, 1000])
def test_a_revision_the_history_does_not_have_is_another_history(store: JobStore, revision: int) -> None:
    result = store.report(job(granule("a", STAGED)))
    assert result.position.revision == 3
    with pytest.raises(HistoryChanged):
        store.read_changes(result.job_pk, Position(revision, result.position.commit_id), 10)


def test_the_changes_of_a_deleted_job_are_none(store: JobStore) -> None:
    result = store.report(job(granule("a")))
    store.delete_job(JOB)
    assert store.read_changes(result.job_pk, result.position, 10) is None
    while store.purge():
        pass
    assert store.read_changes(result.job_pk, result.position, 10) is None


def test_the_changes_of_a_job_that_never_was_are_none(store: JobStore) -> None:
    assert store.read_changes(12345, Position(1, 1), 10) is None


def test_a_snapshot_is_the_whole_job_in_pages(store: JobStore) -> None:
    reports = [granule(f"g{index:04}", STAGED) for index in range(750)]
    store.report(job(*reports))
    with store.open_snapshot(JOB) as snapshot:
        assert snapshot.stored == store.read_job(JOB)
        pages = list(snapshot.pages)
    assert all(0 < len(page) <= 300 for page in pages)
    assert [one.granule_id for page in pages for one in page] == [report.granule_id for report in reports]


def test_a_snapshot_of_a_job_without_granules_has_no_pages(store: JobStore) -> None:
    store.report(job())
    with store.open_snapshot(JOB) as snapshot:
        assert list(snapshot.pages) == []


def test_a_snapshot_of_a_job_nobody_reported_is_refused(store: JobStore) -> None:
    with pytest.raises(JobNotFound), store.open_snapshot(JOB):
        pass


def test_a_snapshot_is_of_one_revision_while_the_job_changes(store: JobStore) -> None:
    names = [f"g{index:04}" for index in range(900)]
    store.report(job(*[granule(name, STAGED) for name in names]))
    with store.open_snapshot(JOB) as snapshot:
        first = next(snapshot.pages)
        writer = threading.Thread(
            target=lambda: [
                store.report(only(*[granule(name, SUCCEEDED) for name in part], granule(f"new{turn}")))
                for turn, part in enumerate((names[:300], names[300:600], names[600:]))
            ],
        )
        writer.start()
        writer.join(timeout=30)
        assert not writer.is_alive()
        read = [*first, *(one for page in snapshot.pages for one in page)]
    assert snapshot.stored.job.totals == Totals(staged=900)
    assert [one.granule_id for one in read] == names
    assert {one.state for one in read} == {STAGED}
    changes = history(store, snapshot.stored.job_pk, snapshot.stored.position)
    assert sorted(fold(changes, read, snapshot.stored.job.revision).values()) == granules(store, JOB)
    assert store.read_job(JOB).job.totals == Totals(pending=3, succeeded=900)


def test_a_snapshot_may_be_left_before_its_end(store: JobStore) -> None:
    store.report(job(*[granule(f"g{index:04}") for index in range(900)]))
    for _ in range(20):
        with store.open_snapshot(JOB) as snapshot:
            next(snapshot.pages)
    with pytest.raises(ZeroDivisionError), store.open_snapshot(JOB):
        raise ZeroDivisionError
    assert len(granules(store, JOB)) == 900


def test_the_heads_are_those_of_the_jobs_that_exist(store: JobStore) -> None:
    results = [store.report(job(granule("a"), key=JobKey("p", f"j{index}"))) for index in range(3)]
    store.delete_job(JobKey("p", "j1"))
    heads = store.read_heads([*(result.job_pk for result in results), 12345])
    assert set(heads) == {results[0].job_pk, results[2].job_pk}
    for result in (results[0], results[2]):
        assert heads[result.job_pk].position == result.position
    stored = store.read_job(JobKey("p", "j2"))
    assert heads[stored.job_pk].last_report_time == stored.last_report_time
    assert dict(store.read_heads([])) == {}


def test_the_heads_of_a_thousand_jobs_are_read_at_once(store: JobStore) -> None:
    result = store.report(job())
    assert set(store.read_heads(range(result.job_pk, result.job_pk + 1000))) == {result.job_pk}
