"""Many jobs at once: which are found, that all are of one moment, and by which way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from reports import JOB, SUCCEEDED, granule, job
from sqlalchemy import text
from stored import connected, run

from jobstatus_grpc.errors import DeadlineExceeded, StoreUnavailable
from jobstatus_grpc.model import JobKey, JobState
from jobstatus_grpc.store import open_store, schema
from jobstatus_grpc.store.base import JobStore
from jobstatus_grpc.store.sql import SqlJobStore

ODD = [
    "a",
    "A",
    "a ",
    "ä",
    "日本",
    "\U0001f680",
    "NULL",
    "'",
    '"',
    "\\",
    "{a,b}",
    "[1]",
    "1",
    "%s",
    ":a",
    "x" * 512,
]


def test_the_jobs_that_exist_are_found_and_the_others_are_not(store: JobStore) -> None:
    keys = [JobKey("p", f"j{number}") for number in range(600)]
    for key in keys[::100]:
        store.report(job(granule("g", SUCCEEDED), key=key, system="orca", labels={"k": key.job_id}))
    found = store.read_jobs(keys)
    assert list(found.values()) == [store.read_job(key) for key in found]
    assert sorted(found) == sorted(keys[::100])


def test_a_job_named_twice_is_found_once(store: JobStore) -> None:
    store.report(job())
    assert store.read_jobs([JOB, JOB]) == {JOB: store.read_job(JOB)}


def test_nothing_is_found_for_no_keys(store: JobStore) -> None:
    assert store.read_jobs([]) == {}


def test_jobs_are_found_by_both_of_their_ids_whatever_they_are(store: JobStore) -> None:
    keys = [JobKey(project, name) for project in ("p", *ODD) for name in ODD]
    for key in keys[::2]:
        store.report(job(key=key))
    found = store.read_jobs(keys)
    assert set(found) == set(keys[::2])
    assert all(stored.job.key == key for key, stored in found.items())


def test_a_deleted_job_is_not_found_and_the_one_after_it_is(store: JobStore) -> None:
    first = store.report(job(state=JobState.FAILED)).job_pk
    store.delete_job(JOB)
    assert store.read_jobs([JOB]) == {}
    second = store.report(job()).job_pk
    assert (first != second, store.read_jobs([JOB])[JOB].job_pk) == (True, second)


def test_all_jobs_are_read_at_one_moment(store: JobStore) -> None:
    """Jobs that are always reported one after the other are never seen the other way round."""
    first, second = JobKey("p", "first"), JobKey("p", "second")
    rounds = 60
    # An order the query would not have by itself.
    store.report(job(key=second, description="0"))
    store.report(job(key=first, description="0"))

    def report_all() -> None:
        for number in range(1, rounds + 1):
            for key in (first, second):
                store.report(job(key=key, description=str(number)))

    with ThreadPoolExecutor(1) as pool:
        reporting = pool.submit(report_all)
        while not reporting.done():
            found = store.read_jobs([second, first])
            ahead, behind = (int(found[key].job.description or "") for key in (first, second))
            assert 0 <= ahead - behind <= 1
        reporting.result()


def test_jobs_are_found_by_their_index(store: JobStore, database_url: str) -> None:
    store.report(job())
    copied = ", ".join(column.name for column in schema.job.c if column.name not in ("job_pk", "job_id"))
    numbers = "select 1 as n union all select n + 1 from numbers where n < 3000"
    run(
        database_url,
        f"insert into job (job_id, {copied}) with recursive numbers as ({numbers}) "
        f"select 'j' || n, {copied} from numbers cross join (select * from job) as job",
    )
    keys = [JobKey("default", f"j{number}") for number in range(500)]
    assert len(store.read_jobs(keys)) == 499
    assert isinstance(store, SqlJobStore)
    query, parameters = store._jobs_query(keys)
    explain = "explain query plan" if database_url.startswith("sqlite") else "explain"
    with connected(database_url) as connection:
        plan = "\n".join(str(row) for row in connection.execute(text(f"{explain} {query}"), parameters))
    assert "sqlite_autoindex_job_1 (project_id=? AND job_id=?)" in plan or "job_project_id_job_id_key" in plan
    assert "SCAN job" not in plan
    assert "Seq Scan" not in plan


def test_a_deadline_that_has_passed_is_answered_at_once(store: JobStore) -> None:
    with pytest.raises(DeadlineExceeded):
        store.read_jobs([JOB], deadline=0.0)


def test_a_store_that_is_not_prepared_finds_nothing(database_url: str) -> None:
    opened = open_store(database_url)
    with pytest.raises(StoreUnavailable):
        opened.read_jobs([JOB])
    opened.close()
