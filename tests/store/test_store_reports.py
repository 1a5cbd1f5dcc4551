"""What a report leaves in the database."""

from __future__ import annotations

import time
from typing import Any

import pytest
from reports import (
    FAILED,
    JOB,
    PENDING,
    STAGED,
    SUCCEEDED,
    Ledger,
    fold,
    granule,
    job,
    only,
)
from sqlalchemy import func, select
from stored import connected, count_rows, first_position, granules, history, log_rows, run

from jobstatus_grpc.errors import DeadlineExceeded, InvalidRequest, JobNotFound
from jobstatus_grpc.model import (
    MAX_GRANULE_BYTES,
    Granule,
    GranuleState,
    ItemError,
    Job,
    JobKey,
    JobState,
    Position,
    Report,
    Totals,
)
from jobstatus_grpc.store import schema
from jobstatus_grpc.store.base import GranuleQuery, JobQuery, JobStore


def kinds(url: str, job_pk: int) -> list[str]:
    return ["job" if row.granule_id is None else row.granule_id for row in log_rows(url, job_pk)]


def test_a_first_report_creates_the_job_and_its_granules(store: JobStore, database_url: str) -> None:
    result = store.report(job(granule("a", STAGED), granule("b"), system="orca"))
    assert (result.totals, result.state) == (Totals(pending=1, staged=1), JobState.RUNNING)
    assert (result.changed, result.applied, result.unchanged, result.stale) == (True, 3, 0, 0)
    stored = store.read_job(JOB)
    assert (stored.job_pk, stored.position) == (result.job_pk, result.position)
    assert (stored.job.system, stored.job.totals, stored.job.revision) == ("orca", result.totals, 4)
    assert kinds(database_url, result.job_pk) == ["job", "a", "b", "job"]


def test_a_job_is_stored_as_it_was_merged(store: JobStore) -> None:
    fields: dict[str, Any] = {
        "system": "sdrs",
        "job_type": "copy",
        "state": JobState.FAILED,
        "native_state": "FAIL",
        "attempt": 3,
        "description": "d",
        "message": "m",
        "error": ItemError("SDRS.1013", "no space"),
        "begin_time": 1_700_000_000_000_001,
        "end_time": 1_700_000_000_000_002,
        "granules_complete": True,
        "labels": {"owner": "me"},
    }
    store.report(job(**fields))
    stored = store.read_job(JOB).job
    expected = Ledger(job(**fields)).stands
    assert stored == expected._replace(create_time=stored.create_time, update_time=stored.update_time)


def test_an_update_merges_into_what_is_stored(store: JobStore) -> None:
    store.report(job(granule("a", STAGED, message="m"), state=JobState.RUNNING, description="d"))
    result = store.report(job(granule("a", SUCCEEDED), granule("b", FAILED), message="half"))
    assert (result.position.revision, result.applied) == (5, 3)
    stored = store.read_job(JOB).job
    assert (stored.state, stored.description, stored.message) == (JobState.RUNNING, "d", "half")
    assert [(one.granule_id, one.state, one.message) for one in granules(store, JOB)] == [
        ("a", SUCCEEDED, "m"),
        ("b", FAILED, None),
    ]


def test_the_store_merges_as_the_merge_rule_says(store: JobStore) -> None:
    steps = [
        job(granule("a"), granule("b", STAGED), description="d"),
        only(granule("a", STAGED), granule("b", FAILED, error=ItemError("E")), granule("a", SUCCEEDED)),
        only(granule("b", STAGED), granule("b", STAGED, attempt=2), granule("c", native_state="odd")),
        only(granule("c", PENDING, request_time=5), granule("a", PENDING), authoritative=True),
        job(granule("b", SUCCEEDED, attempt=2), granules_complete=True),
        only(granule("a", SUCCEEDED, attempt=2), granule("c", SUCCEEDED, attempt=2)),
    ]
    ledger = Ledger()
    for step in steps:
        merged, result = ledger.take(step), store.report(step)
        assert (result.applied, result.unchanged, result.stale) == merged[-3:]
        assert (result.totals, result.state) == (ledger.stands.totals, ledger.state)
        assert result.position.revision == ledger.stands.revision
    timeless = [each._replace(update_time=0) for each in ledger.granules.values()]
    assert [each._replace(update_time=0) for each in granules(store, JOB)] == timeless
    assert ledger.state is JobState.SUCCEEDED


def test_the_revisions_of_a_report_are_consecutive_and_its_derived_state_comes_last(
    store: JobStore, database_url: str
) -> None:
    job_pk = store.report(job(granule("a"), granule("b"))).job_pk
    store.report(only(granule("b", STAGED), granule("a", SUCCEEDED)))
    store.report(only(granule("b", SUCCEEDED)))
    log = log_rows(database_url, job_pk)
    assert [row.revision for row in log] == list(range(1, 8))
    assert kinds(database_url, job_pk) == ["job", "a", "b", "b", "a", "job", "b"]
    assert len({row.commit_id for row in log}) == 3
    assert [row.commit_id for row in log] == sorted(
        [row.commit_id for row in log], key=[log[0].commit_id, log[3].commit_id, log[6].commit_id].index
    )


def test_the_history_folds_to_what_is_stored(store: JobStore, database_url: str) -> None:
    job_pk = store.report(job(granule("a"), granule("b"), granule("c", STAGED))).job_pk
    start = granules(store, JOB)
    store.report(job(granule("a", FAILED), granule("a", STAGED, attempt=2), message="m"))
    store.report(only(granule("d", SUCCEEDED), granule("b", SUCCEEDED), granule("c", FAILED)))
    stored = store.read_job(JOB)
    changes = history(store, job_pk, first_position(database_url, job_pk))
    folded = fold([change for change in changes if change.revision > 5], start, 5)
    assert list(folded.values()) == granules(store, JOB)
    assert changes[-1].totals == stored.job.totals
    assert changes[-1].position == stored.position
    told = [change.item for change in changes if isinstance(change.item, Job)][-1]
    assert told._replace(totals=Totals(), revision=0, update_time=0) == stored.job._replace(
        totals=Totals(), revision=0, update_time=0
    )


def test_the_counters_equal_a_count_of_the_table(store: JobStore, database_url: str) -> None:
    states = list(GranuleState)
    store.report(job(*[granule(f"g{index}", states[index % 5]) for index in range(40)]))
    store.report(only(*[granule(f"g{index}", SUCCEEDED) for index in range(0, 40, 3)]))
    result = store.report(only(*[granule(f"g{index}", STAGED, attempt=2) for index in range(0, 40, 7)]))
    table = schema.granule.c
    with connected(database_url) as connection:
        query = select(table.state, func.count()).where(table.job_pk == result.job_pk).group_by(table.state)
        counted = {row[0]: row[1] for row in connection.execute(query)}
    assert list(result.totals) == [counted.get(state, 0) for state in states]
    assert store.read_job(JOB).job.totals == result.totals


def test_a_granule_may_come_twice_in_one_report(store: JobStore, database_url: str) -> None:
    steps = (granule("a"), granule("a", STAGED), granule("b"), granule("a", SUCCEEDED), granule("a"))
    result = store.report(job(*steps, state=JobState.RUNNING))
    assert (result.applied, result.unchanged, result.stale) == (5, 1, 0)
    assert result.totals == Totals(pending=1, succeeded=1)
    assert kinds(database_url, result.job_pk) == ["job", "a", "a", "b", "a"]
    assert count_rows(database_url, result.job_pk) == {"job": 1, "granule": 2, "change": 5}
    assert [one.revision for one in granules(store, JOB)] == [5, 4]


def test_a_report_of_what_is_known_leaves_the_position_as_it_is(store: JobStore, database_url: str) -> None:
    report = job(granule("a", STAGED, message="m"), system="orca", labels={"a": "b"})
    first = store.report(report)
    stored = store.read_job(JOB)
    again = store.report(report)
    assert again == first._replace(grown={}, applied=0, unchanged=2)
    after = store.read_job(JOB)
    assert after._replace(last_report_time=0) == stored._replace(last_report_time=0)
    assert len(log_rows(database_url, first.job_pk)) == first.position.revision


def test_a_stale_report_changes_nothing(store: JobStore) -> None:
    first = store.report(job(granule("a", SUCCEEDED, message="m"), granule("b", STAGED, attempt=2)))
    before = granules(store, JOB)
    late = store.report(only(granule("a", FAILED, message="late"), granule("b", SUCCEEDED)))
    assert late == first._replace(grown={}, applied=0, stale=2)
    assert granules(store, JOB) == before


def test_the_truth_of_a_system_reopens_as_its_next_attempt(store: JobStore) -> None:
    store.report(job(granule("a", SUCCEEDED)))
    result = store.report(only(granule("a", PENDING), authoritative=True))
    assert (result.applied, result.totals) == (1, Totals(pending=1))
    assert [(one.state, one.attempt) for one in granules(store, JOB)] == [(PENDING, 2)]


def test_an_empty_report_of_a_job_creates_it(store: JobStore) -> None:
    result = store.report(job())
    assert (result.position.revision, result.totals, result.state) == (1, Totals(), JobState.PENDING)


def test_granules_of_a_job_nobody_reported_are_refused(store: JobStore, database_url: str) -> None:
    with pytest.raises(JobNotFound):
        store.report(only(granule("a")))
    with pytest.raises(JobNotFound):
        store.read_job(JOB)
    assert run(database_url, "SELECT count(*) FROM granule")[0][0] == 0


def test_jobs_of_one_name_in_two_projects_have_nothing_in_common(store: JobStore) -> None:
    here, there = JobKey("here", "j"), JobKey("there", "j")
    first = store.report(job(granule("a", STAGED), key=here))
    second = store.report(job(granule("a", FAILED), granule("b"), key=there))
    assert first.job_pk != second.job_pk
    assert first.position.commit_id != second.position.commit_id
    assert store.read_job(here).job.totals == Totals(staged=1)
    assert store.read_job(there).job.totals == Totals(pending=1, failed=1)


def test_an_item_beyond_its_limit_is_refused_and_nothing_written(store: JobStore, database_url: str) -> None:
    first = store.report(job(granule("a", STAGED, message="m" * 9_000)))
    before = granules(store, JOB)
    too_much = granule("a", STAGED, native_state="n" * 9_000)
    with pytest.raises(InvalidRequest) as refused:
        store.report(only(granule("b", SUCCEEDED), too_much))
    assert [violation.field for violation in refused.value.violations] == ["granules[1]"]
    assert granules(store, JOB) == before
    assert store.read_job(JOB).position == first.position
    assert len(log_rows(database_url, first.job_pk)) == first.position.revision


def test_a_job_created_beyond_a_limit_is_not_created(store: JobStore) -> None:
    with pytest.raises(InvalidRequest):
        store.report(job(granule("a", message="m" * MAX_GRANULE_BYTES)))
    with pytest.raises(JobNotFound):
        store.read_job(JOB)


def test_a_report_of_ten_thousand_granules_is_one_transaction(store: JobStore, database_url: str) -> None:
    many = [granule(f"g{index:05}", STAGED) for index in range(10_000)]
    result = store.report(job(*many, state=JobState.RUNNING))
    assert (result.position.revision, result.totals) == (10_001, Totals(staged=10_000))
    done = store.report(only(*[each._replace(state=SUCCEEDED) for each in reversed(many)]))
    assert (done.position.revision, done.totals) == (20_001, Totals(succeeded=10_000))
    log = log_rows(database_url, result.job_pk)
    assert [row.revision for row in log] == list(range(1, 20_002))
    assert [row.granule_id for row in log[1:10_001]] == [each.granule_id for each in many]
    assert [row.granule_id for row in log[10_001:]] == [each.granule_id for each in reversed(many)]


def test_the_time_of_the_last_report_moves_without_a_revision(store: JobStore, database_url: str) -> None:
    first = store.report(job(granule("a")))
    run(
        database_url,
        f"UPDATE job SET last_report_time = last_report_time - 5000000 WHERE job_pk = {first.job_pk}",
    )
    before = store.read_job(JOB)
    store.report(only(granule("a", PENDING)))
    after = store.read_job(JOB)
    assert after.last_report_time - before.last_report_time >= 5_000_000
    assert (after.position, after.job) == (before.position, before.job)


def test_the_time_of_a_change_never_goes_backwards(store: JobStore, database_url: str) -> None:
    ahead = (time.time_ns() // 1000) + 3_600_000_000
    job_pk = store.report(job(granule("a"))).job_pk
    run(
        database_url,
        f"UPDATE job SET update_time = {ahead} WHERE job_pk = {job_pk}",
        f"UPDATE change SET change_time = {ahead} WHERE job_pk = {job_pk} AND revision = 2",
    )
    store.report(only(granule("a", STAGED)))
    times = [row.change_time for row in log_rows(database_url, job_pk)]
    assert times == sorted(times)
    assert times[-1] >= ahead
    assert granules(store, JOB)[0].update_time == times[2]


def test_times_are_those_of_the_database_in_microseconds(store: JobStore) -> None:
    before = time.time_ns() // 1000
    store.report(job(granule("a", STAGED)))
    stored = store.read_job(JOB)
    after = time.time_ns() // 1000
    for moment in (
        stored.job.create_time,
        stored.job.update_time,
        stored.job.begin_time,
        stored.last_report_time,
    ):
        assert moment is not None
        assert before - 1_000_000 <= moment <= after + 1_000_000


def test_a_deadline_that_has_passed_is_answered_at_once(store: JobStore) -> None:
    store.report(job())
    past = time.monotonic() - 1
    for call in (
        lambda: store.report(only(granule("a")), past),
        lambda: store.delete_job(JOB, past),
        lambda: store.read_job(JOB, past),
        lambda: store.read_page(JOB, GranuleQuery(1), past),
        lambda: store.read_changes(1, Position(1, 1), 1, past),
        lambda: store.list_jobs(JobQuery("default", 1), past),
        lambda: store.open_snapshot(JOB, past).__enter__(),
    ):
        with pytest.raises(DeadlineExceeded):
            call()
    assert store.read_job(JOB).job.totals == Totals()


def test_a_report_whose_items_are_a_tuple_or_a_list_is_the_same(store: JobStore) -> None:
    report = job(granule("a"))
    store.report(report)
    assert store.report(Report(report.key, report.job, list(report.granules))).unchanged == 2


def test_a_granule_read_back_has_the_revision_that_set_it(store: JobStore) -> None:
    store.report(job(granule("a"), granule("b"), state=JobState.RUNNING))
    store.report(only(granule("b", STAGED)))
    found: list[Granule] = granules(store, JOB)
    assert [one.revision for one in found] == [2, 4]
