"""Lists of jobs: their order, their filters, and their pages while jobs come and go."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from filled import fill_jobs, name_of
from reports import FAILED, STAGED, SUCCEEDED, granule, job
from stored import run, walk_jobs

from jobstatus_grpc.model import MAX_FRAME_BYTES, JobKey, JobState, Totals
from jobstatus_grpc.sizes import job_bytes
from jobstatus_grpc.store.base import JobQuery, JobStore

ODD = [
    "",
    "'",
    '"',
    "\\",
    "{}",
    "a,b",
    "NULL",
    "null",
    "ä",
    "\U0001f680",
    "a.b",
    "$",
    "$.a",
    "[0]",
    "0",
    "%",
    "1",
]


def key(name: str, project: str = "p") -> JobKey:
    return JobKey(project, name)


def report(store: JobStore, *names: str, project: str = "p", **fields: Any) -> None:
    for name in names:
        store.report(job(key=key(name, project), **fields))


def names(store: JobStore, query: JobQuery) -> list[str]:
    return [one.job_id for page in walk_jobs(store, query) for one in page]


def test_a_list_of_nothing_is_empty_and_ends(store: JobStore) -> None:
    page = store.list_jobs(JobQuery("p", 10))
    assert (list(page.jobs), page.next_before) == ([], None)


def test_jobs_come_newest_first_in_the_order_they_were_first_reported(store: JobStore) -> None:
    report(store, "b", "z", "a")
    report(store, "b", "z", message="later")
    assert names(store, JobQuery("p", 10)) == ["a", "z", "b"]


def test_a_list_is_of_one_project(store: JobStore) -> None:
    report(store, "a", project="p")
    report(store, "b", project="P")
    report(store, "c", project="q")
    assert names(store, JobQuery("p", 10)) == ["a"]


def test_a_list_tells_each_job_as_reading_it_does(store: JobStore) -> None:
    store.report(job(granule("a", STAGED), key=key("a"), labels={"k": "v"}, description="d"))
    store.report(job(granule("a", FAILED), key=key("b"), state=JobState.FAILED))
    page = store.list_jobs(JobQuery("p", 10))
    assert list(page.jobs) == [store.read_job(key("b")).job, store.read_job(key("a")).job]
    assert page.jobs[0].totals == Totals(failed=1)


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
def test_every_job_is_on_exactly_one_page(store: JobStore, limit: int) -> None:
    report(store, *[f"j{index}" for index in range(7)])
    pages = list(walk_jobs(store, JobQuery("p", limit)))
    assert [one.job_id for page in pages for one in page] == [f"j{index}" for index in reversed(range(7))]
    assert all(len(page) == limit for page in pages[:-1])


def test_pages_stay_as_they_are_while_jobs_come_and_go(store: JobStore) -> None:
    report(store, *[f"j{index}" for index in range(6)])
    first = store.list_jobs(JobQuery("p", 2))
    assert [one.job_id for one in first.jobs] == ["j5", "j4"]
    report(store, "new")
    store.delete_job(key("j4"))
    store.delete_job(key("j2"))
    report(store, "j4", "j2")
    report(store, "j1", message="changed")
    rest = names(store, JobQuery("p", 2, first.next_before))
    assert rest == ["j3", "j1", "j0"]


def test_a_list_is_cut_at_a_megabyte(store: JobStore) -> None:
    report(store, *[f"j{index}" for index in range(7)], description="x" * 400_000)
    pages = list(walk_jobs(store, JobQuery("p", 100)))
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    assert max(sum(map(job_bytes, page)) for page in pages) <= MAX_FRAME_BYTES


@pytest.mark.parametrize("limit", [124, 125, 300, 500, 1000])
def test_a_long_page_is_whole(store: JobStore, database_url: str, limit: int) -> None:
    fill_jobs(database_url, "p", 500)
    report(store, "last")
    expected = ["last", *(name_of(number, "job") for number in range(500, 0, -1))]
    assert names(store, JobQuery("p", limit)) == expected
    assert names(store, JobQuery("p", limit, states=[JobState.PENDING])) == expected
    assert len(store.list_jobs(JobQuery("p", limit)).jobs) == min(limit, 501)


def test_jobs_that_do_not_fit_are_not_all_fetched(store: JobStore, database_url: str) -> None:
    fill_jobs(database_url, "p", 500)
    run(database_url, f"update job set description = '{'x' * 100_000}'")
    tracemalloc.start()
    try:
        page = store.list_jobs(JobQuery("p", 1000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(page.jobs) == 10
    assert peak < 25_000_000


@pytest.mark.parametrize("state", list(JobState))
def test_a_list_may_hold_only_jobs_in_one_state(store: JobStore, state: JobState) -> None:
    for each in JobState:
        report(store, f"{each.name}-1", f"{each.name}-2", state=each)
    assert names(store, JobQuery("p", 1, states=[state])) == [f"{state.name}-2", f"{state.name}-1"]


def test_a_list_may_hold_jobs_in_several_states(store: JobStore) -> None:
    for each in JobState:
        report(store, each.name, state=each)
    query = JobQuery("p", 10, states={JobState.FAILED, JobState.RUNNING})
    assert names(store, query) == ["FAILED", "RUNNING"]


def test_a_list_knows_derived_states(store: JobStore) -> None:
    store.report(job(granule("a", SUCCEEDED), key=key("done"), granules_complete=True))
    store.report(job(granule("a", SUCCEEDED), key=key("open")))
    assert names(store, JobQuery("p", 10, states=[JobState.SUCCEEDED])) == ["done"]


def test_a_list_may_hold_only_jobs_of_a_system_or_a_type(store: JobStore) -> None:
    report(store, "a", system="orca", job_type="copy")
    report(store, "b", system="orca")
    report(store, "c", system="Orca", job_type="copy")
    report(store, "d")
    assert names(store, JobQuery("p", 10, system="orca")) == ["b", "a"]
    assert names(store, JobQuery("p", 10, job_type="copy")) == ["c", "a"]
    assert names(store, JobQuery("p", 10, system="orca", job_type="copy")) == ["a"]
    assert names(store, JobQuery("p", 10, system="sdrs")) == []


def test_a_list_may_hold_only_jobs_with_all_of_some_labels(store: JobStore) -> None:
    report(store, "a", labels={"x": "1", "y": "2"})
    report(store, "b", labels={"x": "1"})
    report(store, "c", labels={"x": "2", "y": "2"})
    report(store, "d")
    assert names(store, JobQuery("p", 10, labels={"x": "1"})) == ["b", "a"]
    assert names(store, JobQuery("p", 10, labels={"x": "1", "y": "2"})) == ["a"]
    assert names(store, JobQuery("p", 10, labels={"z": "1"})) == []
    assert names(store, JobQuery("p", 10, labels={"y": "2"}, states=[JobState.RUNNING])) == []


@pytest.mark.parametrize("odd", ODD)
def test_labels_are_compared_as_they_are(store: JobStore, odd: str) -> None:
    name = odd or "k"
    report(store, "same", labels={name: odd, "other": "x"})
    report(store, "swapped", labels={"other": odd, name: "x" if odd != "x" else "y"})
    report(store, "longer", labels={name + "'": odd, name: odd + " "})
    assert names(store, JobQuery("p", 10, labels={name: odd})) == ["same"]


def test_labels_that_look_like_numbers_and_words_are_texts(store: JobStore) -> None:
    values = ["1", "1.0", "true", "null", "[]", "{}", '"1"', "01"]
    for value in values:
        report(store, value, labels={"k": value})
    for value in values:
        assert names(store, JobQuery("p", 10, labels={"k": value})) == [value]


def test_a_list_whose_filter_matches_nothing_ends(store: JobStore) -> None:
    report(store, *[f"j{index}" for index in range(5)])
    assert list(walk_jobs(store, JobQuery("p", 2, system="none"))) == [[]]


def test_a_deleted_job_is_in_no_list(store: JobStore) -> None:
    report(store, "a", "b", labels={"k": "v"}, system="orca")
    store.delete_job(key("a"))
    assert names(store, JobQuery("p", 10)) == ["b"]
    assert names(store, JobQuery("p", 10, labels={"k": "v"}, system="orca")) == ["b"]
