"""Deleting a job: its name is free at once, its rows go in batches."""

from __future__ import annotations

import pytest
from reports import FAILED, JOB, STAGED, granule, job, only
from stored import count_rows, granules, run

from jobstatus_grpc.errors import HistoryChanged, JobNotFound
from jobstatus_grpc.model import JobKey, Totals
from jobstatus_grpc.store.base import GranuleQuery, JobStore


def test_a_deleted_job_is_gone_for_every_reader(store: JobStore) -> None:
    result = store.report(job(granule("a", STAGED)))
    assert store.delete_job(JOB) == result.job_pk
    with pytest.raises(JobNotFound):
        store.read_job(JOB)
    with pytest.raises(JobNotFound):
        store.read_page(JOB, GranuleQuery(1))
    with pytest.raises(JobNotFound), store.open_snapshot(JOB):
        pass
    with pytest.raises(JobNotFound):
        store.report(only(granule("a")))
    with pytest.raises(JobNotFound):
        store.delete_job(JOB)
    assert store.read_heads([result.job_pk]) == {}


def test_a_job_nobody_reported_cannot_be_deleted(store: JobStore) -> None:
    with pytest.raises(JobNotFound):
        store.delete_job(JOB)


def test_the_name_of_a_deleted_job_is_free_at_once_for_another_job(store: JobStore) -> None:
    old = store.report(job(granule("a", FAILED), granule("b"), description="old", labels={"k": "v"}))
    store.delete_job(JOB)
    new = store.report(job(granule("a", STAGED)))
    assert new.job_pk != old.job_pk
    assert (new.position.revision, new.totals) == (3, Totals(staged=1))
    stored = store.read_job(JOB)
    assert (stored.job.description, stored.job.labels) == (None, {})
    assert [one.granule_id for one in granules(store, JOB)] == ["a"]
    assert store.read_changes(old.job_pk, old.position, 10) is None
    with pytest.raises(HistoryChanged):
        store.read_changes(new.job_pk, old.position._replace(revision=3), 10)


def test_no_two_jobs_ever_have_one_key(store: JobStore) -> None:
    seen = []
    for _ in range(4):
        seen.append(store.report(job(granule("a"))).job_pk)
        store.delete_job(JOB)
        while store.purge():
            pass
    assert len(set(seen)) == 4


def test_there_is_nothing_to_purge_where_nothing_was_deleted(store: JobStore) -> None:
    result = store.report(job(granule("a")))
    assert store.purge() is False
    assert len(granules(store, JOB)) == sum(result.totals)


def test_purging_removes_all_rows_of_deleted_jobs_and_no_others(store: JobStore, database_url: str) -> None:
    stays = JobKey("default", "stays")
    kept = store.report(job(granule("a", STAGED), key=stays))
    gone = [store.report(job(granule("a"), granule("b"), key=JobKey("p", name))) for name in ("x", "y")]
    for name in ("x", "y"):
        store.delete_job(JobKey("p", name))
    again = store.report(job(granule("a"), key=JobKey("p", "x")))
    before = {pk: count_rows(database_url, pk) for pk in (kept.job_pk, again.job_pk)}
    while store.purge():
        pass
    for result in gone:
        assert count_rows(database_url, result.job_pk) == {"job": 0, "granule": 0, "change": 0}
    assert {pk: count_rows(database_url, pk) for pk in before} == before
    assert store.read_job(stays).position == kept.position
    assert store.purge() is False


def test_a_large_job_is_purged_in_batches_and_its_row_last(store: JobStore, database_url: str) -> None:
    job_pk = store.report(job()).job_pk
    for part in range(2):
        store.report(
            only(*[granule(f"g{part}{index:04}", collection_id=f"c{index % 3}") for index in range(8_000)])
        )
    store.delete_job(JOB)
    left = count_rows(database_url, job_pk)
    batches = 0
    while store.purge():
        batches += 1
        now = count_rows(database_url, job_pk)
        assert sum(left.values()) - sum(now.values()) <= 20_000
        if now["granule"] or now["change"]:
            assert now["job"] == 1
        left = now
    assert batches > 2
    assert left == {"job": 0, "granule": 0, "change": 0}


def test_rows_of_a_deleted_job_wait_for_the_purge(store: JobStore, database_url: str) -> None:
    job_pk = store.report(job(granule("a"))).job_pk
    store.delete_job(JOB)
    assert count_rows(database_url, job_pk) == {"job": 1, "granule": 1, "change": 2}
    assert run(database_url, f"SELECT job_id, delete_time IS NULL FROM job WHERE job_pk = {job_pk}") == [
        (None, False)
    ]
