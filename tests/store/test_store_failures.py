"""Why granules have failed: kept with every report, bounded, and read at one revision with the job."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from reports import FAILED, JOB, PENDING, STAGED, SUCCEEDED, granule, job, only
from sqlalchemy import event
from stored import connected, granules, run, walk
from trees import key, told, tree

from jobstatus_grpc.convert.answers import AnswerEncoder
from jobstatus_grpc.digest import MAX_REASONS, MAX_SAMPLES, Failures, Reason, reason_of
from jobstatus_grpc.model import (
    MAX_FRAME_BYTES,
    Granule,
    GranuleKey,
    GranuleReport,
    ItemError,
    JobKey,
    JobState,
    Report,
)
from jobstatus_grpc.store import first_pages, migrations, schema
from jobstatus_grpc.store.base import FirstPage, GranuleQuery, JobPage, JobStore, NoPage
from jobstatus_grpc.store.queries import Query
from jobstatus_grpc.store.rows import Row
from jobstatus_grpc.store.sql import SqlJobStore

NO_DISK = ItemError("E.1", "no disk")
NO_WAY = ItemError("E.2", "no way")


def failed(name: str, error: ItemError | None = NO_DISK, attempt: int = 1, **fields: object) -> GranuleReport:
    return granule(name, FAILED, error=error, attempt=attempt, **fields)


def failures(store: JobStore, job_key: JobKey = JOB) -> Failures | None:
    """Return a job's failures, read each way there is, having checked that all are the same."""
    stored = store.read_job(job_key)
    page = store.read_page(job_key, GranuleQuery(1))
    (first,) = store.read_first_pages([FirstPage(job_key, 0)])
    read = store.read_failures([stored.job_pk])[stored.job_pk]
    if page.failures is None:
        assert read.reasons == []
        assert read.other_count == stored.job.totals.failed == 0
    else:
        assert page.failures == read
    assert store.read_page(job_key, GranuleQuery(0)).failures == page.failures
    if isinstance(first, JobPage):
        assert first.failures == page.failures
    else:
        assert first is NoPage.LARGE
        assert stored.job.sub_jobs.direct
    return page.failures


def shape(found: Failures | None) -> list[tuple[str, int, str]]:
    """Return the reasons' codes, their counts, and the names of the samples; others at the end."""
    if found is None:
        return []
    shown = [
        (each.reason.code, each.granule_count, "".join(one.granule_id for one in each.samples))
        for each in found.reasons
    ]
    return [*shown, *([("other", found.other_count, "")] if found.other_count else [])]


def check_kept(store: JobStore, job_key: JobKey = JOB) -> None:
    """Check a job's failures against all of its granules."""
    found = failures(store, job_key)
    really: dict[Reason, list[Granule]] = {}
    for one in granules(store, job_key):
        if one.state is FAILED:
            really.setdefault(reason_of(one), []).append(one)
    if found is None:
        assert really == {}
        return
    assert found.position == store.read_job(job_key).position
    assert len({each.reason for each in found.reasons}) == len(found.reasons) <= MAX_REASONS
    counted = 0
    for each in found.reasons:
        of_reason = really[each.reason]
        counted += each.granule_count
        if found.other_count == 0:
            assert each.granule_count == len(of_reason)
            assert each.samples == [one.key for one in of_reason][:MAX_SAMPLES]
        assert 0 < each.granule_count <= len(of_reason)
        assert len(each.samples) == min(MAX_SAMPLES, each.granule_count)
        assert set(each.samples) <= {one.key for one in of_reason}
        assert each.first_time <= each.last_time <= store.read_job(job_key).job.update_time
    assert counted + found.other_count == sum(map(len, really.values()))
    paged = [one for page in walk(store, job_key, 7, [FAILED]) for one in page]
    assert paged == [one for one in granules(store, job_key) if one.state is FAILED]


def test_granules_that_fail_are_told_by_their_reasons_those_of_the_most_first(store: JobStore) -> None:
    store.report(job(failed("a"), failed("b", NO_WAY), failed("c", NO_WAY), granule("d", STAGED)))
    assert shape(failures(store)) == [("E.2", 2, "bc"), ("E.1", 1, "a")]
    store.report(only(failed("d"), failed("e"), failed("f")))
    assert shape(failures(store)) == [("E.1", 4, "ade"), ("E.2", 2, "bc")]
    check_kept(store)


def test_a_granule_that_is_tried_again_leaves_its_reason_and_may_come_to_another(store: JobStore) -> None:
    store.report(job(failed("a"), failed("b"), failed("c")))
    store.report(only(granule("a", PENDING, attempt=2)))
    assert shape(failures(store)) == [("E.1", 2, "bc")]
    store.report(only(failed("b", NO_WAY, attempt=2)))
    assert shape(failures(store)) == [("E.1", 1, "c"), ("E.2", 1, "b")]
    store.report(only(granule("b", SUCCEEDED, attempt=3), granule("c", SUCCEEDED, attempt=2)))
    assert failures(store) is None
    check_kept(store)


def test_a_reason_that_is_told_later_is_the_granules_reason(store: JobStore) -> None:
    store.report(job(failed("a", None)))
    assert shape(failures(store)) == [("", 1, "a")]
    store.report(only(granule("a", message="the tape is torn")))
    (reason,) = failures(store).reasons  # type: ignore[union-attr]
    assert reason.reason == ("", "the tape is torn")
    store.report(only(granule("a", error=NO_WAY)))
    assert shape(failures(store)) == [("E.2", 1, "a")]
    check_kept(store)


def test_times_tell_when_a_reason_first_and_last_struck(store: JobStore) -> None:
    store.report(job(failed("a")))
    first = store.read_job(JOB).job.update_time
    store.report(only(failed("b")))
    store.report(only(granule("b", end_time=7)))
    last = store.read_job(JOB).job.update_time
    (reason,) = failures(store).reasons  # type: ignore[union-attr]
    # That more is told of a granule that has failed is no new failure.
    assert reason.first_time == first <= reason.last_time < last
    store.report(only(failed("a", attempt=2)))
    (reason,) = failures(store).reasons  # type: ignore[union-attr]
    assert reason.first_time == first
    assert reason.last_time == store.read_job(JOB).job.update_time > last


def test_what_happens_within_one_transaction_counts_once(store: JobStore) -> None:
    store.report(job(failed("a"), granule("z")))
    for reports in (
        # Fails and is tried again; is tried again and fails; fails twice, for different reasons.
        [only(failed("b")), only(granule("b", PENDING, attempt=2))],
        [only(granule("a", PENDING, attempt=2)), only(failed("a", attempt=2))],
        [only(failed("c")), only(failed("c", NO_WAY, attempt=2))],
        [only(failed("c", NO_DISK, attempt=3)), only(failed("c", NO_WAY, attempt=4)), only(failed("d"))],
        [only(granule("c", SUCCEEDED, attempt=5)), only(failed("c", attempt=6)), only(failed("e", NO_WAY))],
    ):
        store.report_all(reports)
        check_kept(store)
    assert shape(failures(store)) == [("E.1", 3, "acd"), ("E.2", 1, "e")]


def test_long_reasons_are_told_apart_by_their_beginning_and_any_text_is_taken(store: JobStore) -> None:
    odd = ["ä", "日本", "\U0001f680", "'", '"', "\\", "{a,b}", "NULL", "%s", ":a", "$1", "", " "]
    long = ["\U0001f680" * 1000 + "x", "\U0001f680" * 1000 + "y"]
    reports = [failed(f"{n:03}", ItemError(text, None)) for n, text in enumerate([*odd, *long])]
    reports += [failed(f"r{n:03}", ItemError(None, text)) for n, text in enumerate([*odd, *long])]
    store.report(job(*reports))
    check_kept(store)
    found = failures(store)
    assert found is not None
    assert {each.reason.text for each in found.reasons} == {*odd, "\U0001f680" * 256}
    assert {each.reason.code for each in found.reasons} == {*odd, "\U0001f680" * 64}


def test_the_first_fifty_reasons_have_a_place_and_one_that_falls_away_leaves_it(store: JobStore) -> None:
    names = [f"{number:02}" for number in range(MAX_REASONS + 5)]
    store.report(job(*[failed(name, ItemError(name)) for name in names]))
    found = shape(failures(store))
    assert [code for code, _, _ in found] == [*names[:MAX_REASONS], "other"]
    assert found[-1] == ("other", 5, "")
    store.report(only(failed("more", ItemError(names[-1])), failed("less", ItemError(names[0]))))
    assert shape(failures(store))[0] == ("00", 2, "00less")
    assert shape(failures(store))[-1] == ("other", 6, "")
    # The granules that found no place stay without one; who comes after has it.
    store.report(only(granule("07", PENDING, attempt=2)))
    store.report(only(failed("later", ItemError(names[-1]))))
    found = shape(failures(store))
    assert (names[-1], 1, "later") in found
    assert found[-1] == ("other", 6, "")
    assert "07" not in [code for code, _, _ in found]
    check_kept(store)
    # A place that is left is taken in the same transaction.
    store.report(only(granule("08", PENDING, attempt=2), failed("new", ItemError("new"))))
    assert ("new", 1, "new") in shape(failures(store))
    check_kept(store)
    store.report(only(*[granule(name, PENDING, attempt=2) for name in names]))
    check_kept(store)
    assert len(shape(failures(store))) == 4


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_reported_the_failures_are_those_of_the_granules(store: JobStore, seed: int) -> None:
    chance = random.Random(seed)
    reasons = [ItemError(None, f"r{number}") for number in range(chance.choice([2, MAX_REASONS + 20]))]
    attempts = dict.fromkeys([f"g{number:02}" for number in range(40)], 1)
    store.report(job())
    for _ in range(25):
        reports = []
        for _ in range(chance.randint(1, 3)):
            reported = []
            for name in chance.sample(sorted(attempts), chance.randint(1, 30)):
                attempts[name] += chance.random() < 0.5
                state = chance.choice([None, PENDING, STAGED, SUCCEEDED, FAILED, FAILED, FAILED])
                error = chance.choice([None, *reasons]) if state in (None, FAILED) else None
                reported.append(granule(name, state, attempt=attempts[name], error=error))
            reports.append(only(*reported))
        store.report_all(reports)
        check_kept(store)


def test_each_job_of_a_tree_has_the_failures_of_its_own_granules(store: JobStore) -> None:
    store.report(tree("a", told("b"), told("c")))
    reports = [
        Report(key(name), None, [failed(f"{name}{number}") for number in range(count)])
        for name, count in (("a", 1), ("b", 2), ("c", 0))
    ]
    store.report_all([each for each in reports if each.granules])
    for name, count in (("a", 1), ("b", 2), ("c", 0)):
        check_kept(store, key(name))
        found = failures(store, key(name))
        assert (found.reasons[0].granule_count if found else 0) == count


def test_only_first_pages_tell_the_failures_and_only_failed_granules_have_pages_of_their_own(
    store: JobStore,
) -> None:
    names = [f"{number:03}" for number in range(60)]
    store.report(job(*[failed(name) if int(name) % 3 == 0 else granule(name, STAGED) for name in names]))
    page = store.read_page(JOB, GranuleQuery(8, None, [FAILED]))
    assert [one.granule_id for one in page.granules] == names[:24:3]
    assert (page.more, page.failures is None) == (True, False)
    page = store.read_page(JOB, GranuleQuery(100, GranuleKey("c", "021"), [FAILED]))
    assert [one.granule_id for one in page.granules] == names[24::3]
    assert (page.more, page.failures) == (False, None)
    assert len(store.read_page(JOB, GranuleQuery(100, None, [FAILED, STAGED])).granules) == 60


def test_a_first_page_never_has_the_failures_of_another_revision(store: JobStore, database_url: str) -> None:
    assert isinstance(store, SqlJobStore)
    store.report(job(failed("a"), granule("b")))
    with store.glance(time.monotonic() + 10) as ask:
        asked = 0

        def interrupted(query: Query) -> Sequence[Row]:
            nonlocal asked
            asked += 1
            if asked == 2:
                store.report(only(failed("b")))
            return ask(query)

        (page,) = first_pages.read(interrupted, store, [FirstPage(JOB, 10)])
    assert asked == 2
    if database_url.startswith("postgresql"):
        assert page is NoPage.LARGE
    else:
        assert isinstance(page, JobPage)
        assert page.failures is not None
        assert page.failures.position == page.stored.position != store.read_job(JOB).position


def test_a_page_has_room_for_the_failures_beside_its_granules(store: JobStore) -> None:
    wide = "\U0001f680"
    for number in range(MAX_REASONS):
        error = ItemError(f"{number:02}{wide * 62}", wide * 3500)
        store.report(
            job(
                *[
                    GranuleReport("c" * 512, f"{number:02}{index}" + "n" * 509, FAILED, error=error)
                    for index in range(3)
                ]
            )
        )
    page = store.read_page(JOB, GranuleQuery(10_000))
    answer = AnswerEncoder().job_status(
        page.stored.job, (), None, page.granules, b"t" * 2000, b"t" * 2000, page.failures
    )
    assert page.more
    assert len(page.granules) > 10
    assert len(answer) <= MAX_FRAME_BYTES


@contextmanager
def statements(store: JobStore) -> Iterator[list[str]]:
    """Collect what a store sends for its writes."""
    assert isinstance(store, SqlJobStore)
    sent: list[str] = []

    def take(_: object, cursor: object, statement: str, *rest: object) -> None:
        sent.append(statement)

    event.listen(store.writes, "before_cursor_execute", take)
    yield sent
    event.remove(store.writes, "before_cursor_execute", take)


def test_a_report_costs_no_statement_more_unless_a_granule_fails_or_had_failed(
    store: JobStore, database_url: str
) -> None:
    store.report(job(*[granule(f"g{n}") for n in range(300)], *[failed(f"f{n}") for n in range(300)]))

    def sent(reported: Sequence[GranuleReport]) -> int:
        with statements(store) as found:
            store.report(only(*reported))
        return len(found)

    most = 3 if database_url.startswith("postgresql") else 6
    without = sent([granule("g0", STAGED)])
    assert sent([granule(f"g{n}", SUCCEEDED) for n in range(200)]) == without
    one = sent([failed("g200", NO_WAY), granule("f0", SUCCEEDED, attempt=2)])
    assert without < one <= without + most
    many = sent(
        [failed(f"g{n}", ItemError(f"{n}")) for n in range(201, 300)]
        + [granule(f"f{n}", SUCCEEDED, attempt=2) for n in range(1, 200)]
        + [failed(f"f{n}", NO_WAY, attempt=2) for n in range(200, 300)]
    )
    assert one <= many <= without + most
    check_kept(store)


def test_a_deleted_jobs_failures_are_purged_with_it(store: JobStore, database_url: str) -> None:
    kept = job(failed("a"), key=JobKey("default", "kept"))
    store.report(kept)
    store.report(job(failed("a"), failed("b", NO_WAY)))
    store.delete_job(JOB)
    store.report(job(failed("b", NO_WAY)))
    assert shape(failures(store)) == [("E.2", 1, "b")]
    while store.purge():
        pass
    for table in ("failed_granule", "failure_reason"):
        assert run(database_url, f"select count(*) from {table}") == [(2,)]
    check_kept(store)
    check_kept(store, kept.key)


def write_as_before(url: str, job_pk: int, *names: str) -> None:
    """Have granules fail as a program that keeps no failures writes it."""
    for name in names:
        run(
            url,
            "update granule set state = 4, error_code = 'E.9' "
            f"where job_pk = {job_pk} and granule_id = '{name}'",
        )
    run(
        url,
        f"update job set failed_count = failed_count + {len(names)}, "
        f"pending_count = pending_count - {len(names)}, revision = revision + {len(names)} "
        f"where job_pk = {job_pk}",
    )


def test_failures_that_an_older_program_wrote_are_told_after_the_next_report(
    store: JobStore, database_url: str
) -> None:
    job_pk = store.report(job(failed("a"), *[granule(name) for name in "bcdef"])).job_pk
    write_as_before(database_url, job_pk, "b", "c")
    page = store.read_page(JOB, GranuleQuery(10, None, [FAILED]))
    assert ([one.granule_id for one in page.granules], page.failures) == (["a", "b", "c"], None)
    (first,) = store.read_first_pages([FirstPage(JOB, 10)])
    assert isinstance(first, JobPage)
    assert first.failures is None
    store.report(only(failed("d", ItemError("E.9"))))
    assert shape(failures(store)) == [("E.9", 3, "bcd"), ("E.1", 1, "a")]
    check_kept(store)
    store.report(only(failed("e")))
    check_kept(store)


def test_the_migration_finds_what_has_failed_before_it(store: JobStore, database_url: str) -> None:
    wide = "\U0001f680" * 300
    jobs = [JobKey("default", name) for name in ("many", "few", "none")]
    many = [failed(f"{n:02}", ItemError(f"{n:02}", wide + str(n))) for n in range(MAX_REASONS + 5)]
    few = [failed("a", None), failed("b", None, message="torn"), failed("c"), failed("d"), granule("e")]
    for job_key, reported in zip(jobs, (many, few, [granule("a")]), strict=True):
        store.report(job(*reported, key=job_key, state=JobState.RUNNING))
    before = [failures(store, job_key) for job_key in jobs]
    with connected(database_url) as connection:
        connection.exec_driver_sql("drop index granule_jobs_idx")
        connection.exec_driver_sql("alter table granule drop column files")
        for name in ("failed_granule", "failure_reason", "granule_file", "source_lease"):
            connection.exec_driver_sql(f"drop table {name}")
        connection.exec_driver_sql("alter table job drop column tally")
        connection.exec_driver_sql("update alembic_version set version_num = '1_2'")
    with connected(database_url) as connection, connection.begin():
        migrations.upgrade(connection)
    assert run(database_url, "select version_num from alembic_version") == [(schema.VERSION,)]
    assert [failures(store, job_key) for job_key in jobs] == before
    for job_key in jobs:
        check_kept(store, job_key)
        store.report(only(failed("e"), granule("a", PENDING, attempt=2), key=job_key))
        check_kept(store, job_key)
