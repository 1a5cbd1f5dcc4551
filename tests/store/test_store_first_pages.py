"""First pages of many jobs at once: that each is the page it would be alone, and by which way it is found."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from reports import JOB, STAGED, SUCCEEDED, granule, job, only
from stored import connected, run

from jobstatus_grpc.errors import DeadlineExceeded, StoreUnavailable
from jobstatus_grpc.model import Details, GranuleReport, ItemError, JobKey, JobState
from jobstatus_grpc.store import open_store, schema
from jobstatus_grpc.store.base import (
    FIRST_PAGE_GRANULES,
    FirstPage,
    GranuleQuery,
    JobPage,
    JobStore,
    NoPage,
)
from jobstatus_grpc.store.sql import SqlJobStore

ODD = [
    "a",
    "A ",
    "ä",
    "日本",
    "\U0001f680",
    "NULL",
    "'",
    '"',
    "\\",
    "{a,b}",
    "[1]",
    "%s",
    ":a",
    "$[0]",
    "x" * 512,
]


def alone(store: JobStore, wanted: Sequence[FirstPage]) -> list[JobPage]:
    """Return the pages as they are read one by one."""
    return [
        store.read_page(page.key, GranuleQuery(page.limit))
        if page.limit
        else store.read_page(page.key, GranuleQuery(0))
        for page in wanted
    ]


def details_of(text: str) -> Details:
    """Return details that tell a text."""
    return Details("sdrs", {"resource_id": text, "other_fields": {text: json.dumps(text), "n": str(2**64)}})


def read_one(store: JobStore, key: JobKey, limit: int) -> JobPage | NoPage:
    (page,) = store.read_first_pages([FirstPage(key, limit)])
    return page


def page_of(store: JobStore, key: JobKey = JOB, limit: int = 100) -> JobPage:
    page = read_one(store, key, limit)
    assert isinstance(page, JobPage)
    return page


def test_each_page_is_the_one_that_is_read_alone(store: JobStore) -> None:
    keys = [JobKey(f"p{number % 3}", f"j{number}") for number in range(20)]
    for number, key in enumerate(keys):
        names = [f"g{index:03}" for index in range(number * 7 % 31)]
        store.report(job(*[granule(name, STAGED) for name in names], key=key, labels={"k": key.job_id}))
    wanted = [FirstPage(key, limit) for key in keys for limit in (0, 1, 7, 30, 100, 1000)]
    random.Random(7).shuffle(wanted)
    assert store.read_first_pages(wanted) == alone(store, wanted)


def test_every_field_is_read_as_it_is_alone(store: JobStore) -> None:
    reports = [
        GranuleReport(name, name, SUCCEEDED, name, 2**31 - 1, ItemError(name, None), name, -(2**50), 2**50)
        for name in ODD
    ]
    reports += [GranuleReport("", f"empty-{index}", native_state="") for index in range(3)]
    for name in ODD:
        key = JobKey(name, name)
        fields: dict[str, Any] = {"description": name, "labels": {name: name}}
        store.report(job(*reports, key=key, state=JobState.FAILED, details=details_of(name), **fields))
    wanted = [FirstPage(JobKey(name, name), limit) for name in ODD for limit in (0, 100)]
    found = store.read_first_pages(wanted)
    assert found == alone(store, wanted)
    assert [page.details for page in found[::2] if isinstance(page, JobPage)] == [*map(details_of, ODD)]


@pytest.mark.parametrize(
    ("count", "limit", "expected"),
    [
        (0, 1, (0, False)),
        (1, 1, (1, False)),
        (2, 1, (1, True)),
        (FIRST_PAGE_GRANULES, FIRST_PAGE_GRANULES, (FIRST_PAGE_GRANULES, False)),
        (FIRST_PAGE_GRANULES, 10_000, (FIRST_PAGE_GRANULES, False)),
        (FIRST_PAGE_GRANULES + 1, FIRST_PAGE_GRANULES, (FIRST_PAGE_GRANULES, True)),
        (FIRST_PAGE_GRANULES + 1, FIRST_PAGE_GRANULES + 1, None),
        (FIRST_PAGE_GRANULES + 1, 10_000, None),
    ],
)
def test_only_pages_of_a_hundred_granules_are_read_with_others(
    store: JobStore, count: int, limit: int, expected: tuple[int, bool] | None
) -> None:
    store.report(job(*[granule(f"g{index:03}") for index in range(count)]))
    page = read_one(store, JOB, limit)
    if expected is None:
        assert page is NoPage.LARGE
        return
    assert isinstance(page, JobPage)
    assert (len(page.granules), page.more) == expected
    assert page == store.read_page(JOB, GranuleQuery(limit))


def test_a_page_of_large_granules_is_left_to_be_read_alone_and_its_neighbours_are_not(
    store: JobStore,
) -> None:
    heavy, light = JobKey("p", "heavy"), JobKey("p", "light")
    store.report(job(*[granule(f"g{index}", message="ü" * 8_000) for index in range(5)], key=heavy))
    store.report(job(*[granule(f"g{index}") for index in range(5)], key=light))
    found = store.read_first_pages([FirstPage(heavy, 100), FirstPage(light, 100), FirstPage(heavy, 1)])
    assert found == [NoPage.LARGE, store.read_page(light, GranuleQuery(100)), found[2]]
    # Where a limit holds for all pages of a statement, it is the others' too.
    assert found[2] in (NoPage.LARGE, store.read_page(heavy, GranuleQuery(1)))
    assert read_one(store, heavy, 1) == store.read_page(heavy, GranuleQuery(1))
    assert page_of(store, heavy, 0).granules == ()


def test_a_job_that_is_not_there_is_no_page_and_harms_no_other(store: JobStore) -> None:
    store.report(job(granule()))
    found = store.read_first_pages([FirstPage(JobKey("default", "typo"), 10), FirstPage(JOB, 10)])
    assert found == [NoPage.NO_JOB, store.read_page(JOB, GranuleQuery(10))]
    assert store.read_first_pages([]) == []


def test_a_page_that_is_held_is_not_read_again_until_the_job_has_changed(store: JobStore) -> None:
    store.report(job(granule("a"), granule("b")))
    held = page_of(store).stored.version
    wanted = [FirstPage(JOB, limit, held) for limit in (0, 1, 100, 1000)]
    assert store.read_first_pages(wanted) == [NoPage.HELD] * 4
    # What changes nothing makes no new version, though it is remembered when it came.
    store.report(only(granule("a")))
    assert store.read_first_pages(wanted) == [NoPage.HELD] * 4
    store.report(only(granule("a", STAGED)))
    wanted = [page._replace(limit=min(page.limit, 100)) for page in wanted]
    assert store.read_first_pages(wanted) == alone(store, wanted)


def test_a_page_held_of_another_history_is_read_again(store: JobStore) -> None:
    store.report(job(granule("a")))
    held = page_of(store).stored.version
    position = held.position
    for other in (
        held._replace(position=position._replace(commit_id=position.commit_id + 1)),
        held._replace(position=position._replace(revision=position.revision + 1)),
        held._replace(position=position._replace(revision=position.revision - 1)),
        held._replace(job_pk=held.job_pk + 1),
    ):
        assert store.read_first_pages([FirstPage(JOB, 10, other)]) == alone(store, [FirstPage(JOB, 10)])


def test_a_page_held_of_a_deleted_job_is_gone_or_that_of_the_job_after_it(store: JobStore) -> None:
    store.report(job(granule("a")))
    held = page_of(store).stored.version
    store.delete_job(JOB)
    assert store.read_first_pages([FirstPage(JOB, 10, held)]) == [NoPage.NO_JOB]
    store.report(job(granule("a")))
    page = store.read_first_pages([FirstPage(JOB, 10, held)])
    assert page == alone(store, [FirstPage(JOB, 10)])


def test_a_page_and_its_job_are_of_one_revision_while_the_job_changes(store: JobStore) -> None:
    keys = [JobKey("p", f"j{number}") for number in range(5)]
    for key in keys:
        store.report(job(*[granule(f"g{index}") for index in range(5)], key=key))

    def report_all() -> None:
        for attempt in range(1, 40):
            for key in keys:
                store.report(
                    only(*[granule(f"g{index}", STAGED, attempt=attempt) for index in range(5)], key=key)
                )

    with ThreadPoolExecutor(1) as pool:
        reporting = pool.submit(report_all)
        seen = set()
        while not reporting.done():
            for page in store.read_first_pages([FirstPage(key, 100) for key in keys]):
                assert isinstance(page, JobPage)
                # The five granules were set by one report, and it was the job's last.
                revisions = [each.revision for each in page.granules]
                assert revisions == list(range(revisions[0], revisions[0] + 5))
                assert page.stored.job.revision - revisions[-1] in (0, 1)
                assert page.stored.job.update_time == page.granules[0].update_time
                seen.add(page.stored.job.revision)
        reporting.result()
    assert len(seen) > 10


def plans(store: SqlJobStore, url: str, wanted: Sequence[FirstPage], held: Sequence[int]) -> list[str]:
    explain = "explain query plan" if url.startswith("sqlite") else "explain"
    found = []
    for query in (store.first_pages_query(wanted), store.heads_query(held)):
        statement = query.statement.rpartition(";")[2]
        with connected(url) as connection:
            rows = connection.exec_driver_sql(f"{explain} {statement}", query.parameters)
            found.append("\n".join(str(row) for row in rows))
    return found


def test_pages_are_found_by_their_indexes_whatever_the_database_knows_of_its_tables(
    store: JobStore, database_url: str
) -> None:
    """Nowhere is a table of jobs or granules read through, and granules come in the order of their key."""
    store.report(job(*[granule(f"g{index:03}", STAGED) for index in range(50)]))
    copied = ", ".join(column.name for column in schema.job.c if column.name not in ("job_pk", "job_id"))
    granules = ", ".join(column.name for column in schema.granule.c if column.name != "job_pk")
    numbers = "with recursive numbers as (select 1 as n union all select n + 1 from numbers where n < 2000)"
    run(
        database_url,
        f"insert into job (job_id, {copied}) {numbers} "
        f"select 'j' || n, {copied} from numbers cross join (select * from job) as job",
        f"insert into granule (job_pk, {granules}) select job.job_pk, {granules} "
        "from (select job_pk from job where job_id <> 'restore-1') as job "
        "cross join (select * from granule) as granule",
        "insert into job_document (job_pk, details) select job_pk, '{}' from job",
    )
    keys = [JobKey("default", f"j{number}") for number in range(100)]
    wanted = [FirstPage(key, 1000) for key in keys]
    assert isinstance(store, SqlJobStore)
    for statistics in ("unknown", "known"):
        if statistics == "known":
            run(database_url, "analyze")
        pages, heads = plans(store, database_url, wanted, range(1, 10))
        if database_url.startswith("sqlite"):
            assert "SCAN k" in pages
            assert "SEARCH job USING INDEX sqlite_autoindex_job_1 (project_id=? AND job_id=?)" in pages
            assert "SEARCH granule USING PRIMARY KEY (job_pk=?)" in pages
            assert "SEARCH job_document USING INTEGER PRIMARY KEY (rowid=?)" in pages
            assert "SEARCH job USING INTEGER PRIMARY KEY (rowid=?)" in heads
            assert "SCAN job" not in pages + heads
            assert "SCAN granule" not in pages
            assert "TEMP B-TREE" not in pages
        else:
            assert "Index Scan using job_project_id_job_id_key on job" in pages
            assert "Index Scan using granule_pkey on granule" in pages
            assert "Index Scan using job_document_pkey on job_document" in pages
            assert "job_pkey" in heads
            assert "Seq Scan" not in pages + heads
            assert "Sort" not in pages
    found = store.read_first_pages(wanted)
    assert sum(isinstance(page, JobPage) and len(page.granules) == 50 for page in found) == 99


def test_a_deadline_that_has_passed_is_answered_at_once(store: JobStore) -> None:
    with pytest.raises(DeadlineExceeded):
        store.read_first_pages([FirstPage(JOB, 1)], deadline=0.0)


def test_a_store_that_is_not_prepared_reads_nothing(database_url: str) -> None:
    opened = open_store(database_url)
    with pytest.raises(StoreUnavailable):
        opened.read_first_pages([FirstPage(JOB, 1)])
    opened.close()
