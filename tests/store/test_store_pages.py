"""Granules in pages: their order, their cuts, and that every text survives."""

from __future__ import annotations

import itertools

import pytest
from reports import FAILED, JOB, STAGED, SUCCEEDED, granule, job, only
from stored import granules, run, walk

from jobstatus_grpc.errors import JobNotFound
from jobstatus_grpc.model import MAX_FRAME_BYTES, GranuleReport, GranuleState, ItemError, JobKey, JobState
from jobstatus_grpc.sizes import granule_bytes
from jobstatus_grpc.store.base import GranuleQuery, JobStore

# Names that a list, a quote, a pattern or a collation could trip over.
NAMES = [
    "a",
    "A",
    "Z",
    "a b",
    " a",
    "a ",
    "ä",
    "a\u0308",
    "é",
    "ß",
    "日本",
    "\U0001f680",
    "\uffef",
    "NULL",
    "null",
    "'",
    '"',
    "''",
    '""',
    "\\",
    "\\\\",
    "\\N",
    "\\x41",
    '\\"',
    "{}",
    "{a,b}",
    "a,b",
    ",",
    "%s",
    "%(a)s",
    ":a",
    "?",
    "$1",
    "a_b",
    "a%",
    "[1]",
    "0",
    "10",
    "9",
    "1e3",
    "true",
    "--",
    "/*",
    "a;b",
    "\u2028",
    "x" * 512,
    "ü" * 256,
    '"' * 512,
]


def by_bytes(report: GranuleReport) -> tuple[bytes, bytes]:
    return report.collection_id.encode(), report.granule_id.encode()


def test_granules_come_in_the_order_of_their_bytes_whatever_their_names(store: JobStore) -> None:
    pairs = itertools.product(["", *NAMES[:8], *NAMES[-3:]], NAMES)
    reports = [GranuleReport(collection, name, STAGED) for collection, name in pairs]
    expected = [report.key for report in sorted(reports, key=by_bytes)]
    store.report(job(*reports))
    assert [one.key for one in granules(store, JOB)] == expected
    for limit in (1000, 7):
        found = [one.key for page in walk(store, JOB, limit) for one in page]
        assert found == expected


def test_a_granule_is_found_again_whatever_its_name(store: JobStore) -> None:
    reports = [GranuleReport(name, name, STAGED) for name in NAMES]
    reports += [GranuleReport("", name) for name in NAMES]
    first = store.report(job(*reports))
    again = store.report(only(*[report._replace(state=None) for report in reports]))
    assert (again.unchanged, again.position) == (len(reports), first.position)
    moved = store.report(only(*[report._replace(state=SUCCEEDED) for report in reports]))
    assert (moved.applied, moved.totals.succeeded) == (len(reports), len(reports))


def test_the_key_columns_are_ordered_by_bytes_whatever_the_locale(postgres_url: str) -> None:
    rows = run(
        postgres_url,
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE collation_name = 'C' AND table_schema = 'public' ORDER BY 1, 2",
    )
    assert [tuple(row) for row in rows] == [
        ("change", "collection_id"),
        ("change", "granule_id"),
        ("failed_granule", "collection_id"),
        ("failed_granule", "granule_id"),
        ("granule", "collection_id"),
        ("granule", "granule_id"),
        ("granule_file", "collection_id"),
        ("granule_file", "file_name"),
        ("granule_file", "granule_id"),
        ("job", "job_id"),
        ("job", "parent_job_id"),
        ("job", "project_id"),
        ("source_lease", "name"),
    ]


@pytest.mark.parametrize("text", [None, "", *NAMES, "two\nlines\tand \r more", "null\n"])
def test_every_text_is_told_from_every_other(store: JobStore, text: str | None) -> None:
    error = ItemError(text, None if text is None else "r")
    store.report(
        job(
            granule("a", FAILED, native_state=text, message=text, error=error),
            granule("b", FAILED, error=ItemError("c", text)),
            system=text,
            job_type=text,
            description=text,
            message=text,
            state=JobState.FAILED,
            native_state=text,
            error=error,
            labels={"k": text or ""},
        )
    )
    a, b = granules(store, JOB)
    expected = None if text is None else error
    assert (a.native_state, a.message, a.error, b.error) == (text, text, expected, ItemError("c", text))
    stored = store.read_job(JOB).job
    own = (stored.system, stored.job_type, stored.description, stored.message, stored.native_state)
    assert (own, stored.error, stored.labels) == ((text,) * 5, expected, {"k": text or ""})


def test_numbers_survive_at_their_ends(store: JobStore) -> None:
    first, last = -62_135_596_800_000_000, 253_402_300_799_999_999
    store.report(
        job(granule("a", STAGED, attempt=2**31 - 1, request_time=first, end_time=last), attempt=2**31 - 1)
    )
    found = granules(store, JOB)[0]
    assert (found.attempt, found.request_time, found.end_time) == (2**31 - 1, first, last)
    assert store.read_job(JOB).job.attempt == 2**31 - 1


@pytest.mark.parametrize(
    ("count", "limit"), [(0, 1), (1, 1), (1, 2), (4, 2), (5, 2), (2500, 1200), (2500, 10_000)]
)
def test_pages_are_cut_at_their_limit(store: JobStore, count: int, limit: int) -> None:
    store.report(job(*[granule(f"g{index:04}", STAGED) for index in range(count)]))
    pages = list(walk(store, JOB, limit))
    assert [one.granule_id for page in pages for one in page] == [f"g{index:04}" for index in range(count)]
    assert [len(page) for page in pages] == (
        [limit] * (count // limit) + [count % limit] * (count % limit > 0) or [0]
    )


def test_pages_are_cut_at_a_megabyte(store: JobStore) -> None:
    store.report(job())
    for part in range(3):
        names = [f"g{part}{index:03}" for index in range(100)]
        store.report(only(*[granule(name, message="ü" * 7_000) for name in names]))
    pages = list(walk(store, JOB, 1000))
    assert sum(map(len, pages)) == 300
    sizes = [sum(map(granule_bytes, page)) for page in pages]
    assert max(sizes) <= MAX_FRAME_BYTES
    assert min(sizes[:-1]) > MAX_FRAME_BYTES * 0.9


def test_a_large_job_leaves_room_for_some_of_its_granules(store: JobStore) -> None:
    store.report(job(description="x" * 500_000))
    for part in range(2):
        store.report(only(*[granule(f"g{part}{index:02}", message="m" * 16_000) for index in range(50)]))
    page = store.read_page(JOB, GranuleQuery(1000))
    size = 500_000 + sum(map(granule_bytes, page.granules))
    assert MAX_FRAME_BYTES * 0.9 < size <= MAX_FRAME_BYTES
    assert page.more


@pytest.mark.parametrize("state", list(GranuleState))
def test_a_page_may_hold_only_granules_in_one_state(store: JobStore, state: GranuleState) -> None:
    states = list(GranuleState)
    store.report(job(*[granule(f"g{index:02}", states[index % 5]) for index in range(23)]))
    expected = [f"g{index:02}" for index in range(23) if states[index % 5] == state]
    assert [one.granule_id for page in walk(store, JOB, 2, [state]) for one in page] == expected


def test_a_page_may_hold_granules_in_several_states(store: JobStore) -> None:
    store.report(job(granule("a", STAGED), granule("b", FAILED), granule("c"), granule("d", FAILED)))
    pages = list(walk(store, JOB, 2, {STAGED, FAILED}))
    assert [[one.granule_id for one in page] for page in pages] == [["a", "b"], ["d"]]


def test_a_page_says_nothing_follows_when_only_other_states_do(store: JobStore) -> None:
    store.report(job(granule("a", STAGED), granule("b"), granule("c")))
    page = store.read_page(JOB, GranuleQuery(1, None, [STAGED]))
    assert ([one.granule_id for one in page.granules], page.more) == (["a"], False)


def test_a_page_and_its_job_are_of_one_revision(store: JobStore) -> None:
    result = store.report(job(granule("a"), granule("b", STAGED)))
    page = store.read_page(JOB, GranuleQuery(10))
    assert (page.stored, page.stored.position) == (store.read_job(JOB), result.position)
    assert len(page.granules) == sum(page.stored.job.totals)


def test_a_page_after_a_granule_that_is_not_there_goes_on_behind_it(store: JobStore) -> None:
    report = job(granule("a"), granule("c"))
    store.report(report)
    page = store.read_page(JOB, GranuleQuery(10, granule("b").key))
    assert [one.granule_id for one in page.granules] == ["c"]
    assert store.read_page(JOB, GranuleQuery(10, granule("c").key)).granules == []


def test_a_page_of_a_job_nobody_reported_is_refused(store: JobStore) -> None:
    with pytest.raises(JobNotFound):
        store.read_page(JobKey("default", "typo"), GranuleQuery(1))


def test_job_names_that_differ_in_case_or_form_are_different_jobs(store: JobStore) -> None:
    keys = [JobKey(project, name) for project in ("default", "Default") for name in NAMES]
    pks = {store.report(job(granule("a"), key=key)).job_pk for key in keys}
    assert len(pks) == len(keys)
    assert [store.read_job(key).job.key for key in keys] == keys
