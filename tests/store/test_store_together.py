"""Reports written together: each as if it had come alone, in one transaction."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from reports import FAILED, JOB, PENDING, STAGED, SUCCEEDED, fold, granule, job, only
from sqlalchemy import event
from stored import connected, count_rows, first_position, granules, history, log_rows, run

from jobstatus_grpc.errors import InvalidRequest, JobNotFound
from jobstatus_grpc.model import (
    MAX_GRANULE_BYTES,
    ItemError,
    Job,
    JobKey,
    JobState,
    Position,
    Report,
    SubJob,
    Totals,
)
from jobstatus_grpc.store.base import JobStore, ReportOutcome, ReportResult
from jobstatus_grpc.store.sql import SqlJobStore


def results(outcomes: Sequence[ReportOutcome]) -> list[ReportResult]:
    """Return the outcomes, none of which is a refusal."""
    found = [outcome for outcome in outcomes if isinstance(outcome, ReportResult)]
    assert len(found) == len(outcomes), outcomes
    return found


def some_reports(key: JobKey, number: int, chance: random.Random) -> list[Report]:
    """Return reports that meet each other: moves, repetitions, stale ones, later attempts."""

    def some_granules() -> list[Any]:
        return [
            granule(
                f"g{chance.randrange(6)}",
                chance.choice([None, PENDING, STAGED, SUCCEEDED, FAILED]),
                attempt=chance.choice([None, 1, 1, 2]),
                message=chance.choice([None, "m", 'quoted "\\" ü', ""]),
                error=chance.choice([None, ItemError("E", "{a,b}")]),
            )
            for _ in range(chance.randrange(1, 5))
        ]

    made = [only(*some_granules(), key=key) for _ in range(number)]
    made.insert(number // 2, job(*some_granules(), key=key, description="half", granules_complete=True))
    return made


@pytest.mark.parametrize("seed", range(3))
def test_reports_written_together_are_as_if_each_had_come_alone(
    store: JobStore, database_url: str, seed: int
) -> None:
    alone, together = JobKey("p", "alone"), JobKey("p", "together")
    firsts = [store.report(job(granule("g0"), key=key)) for key in (alone, together)]
    one_by_one = [store.report(report) for report in some_reports(alone, 30, random.Random(seed))]
    at_once = results(store.report_all(some_reports(together, 30, random.Random(seed))))
    for mine, other in zip(at_once, one_by_one, strict=True):
        assert mine.position.revision == other.position.revision
        # The rows and the ids are those of two jobs.
        assert mine[2:4] + mine[6:] == other[2:4] + other[6:]
        assert mine.changed == other.changed
    assert len({result.position.commit_id for result in at_once if result.changed}) == 1
    logs = [
        [row._replace(commit_id=0, change_time=0) for row in log_rows(database_url, first.job_pk)]
        for first in firsts
    ]
    assert logs[0] == logs[1]
    tables = [[each._replace(update_time=0) for each in granules(store, key)] for key in (alone, together)]
    assert tables[0] == tables[1]
    changes = history(store, firsts[1].job_pk, first_position(database_url, firsts[1].job_pk))
    assert sorted(fold(changes, after=1).values()) == granules(store, together)
    assert store.read_job(together).position == at_once[-1].position


def test_a_job_may_be_created_together_with_what_follows(store: JobStore, database_url: str) -> None:
    early, created, later, again = store.report_all(
        [
            only(granule("a")),
            job(granule("a"), granule("b"), state=JobState.RUNNING, system="orca"),
            only(granule("a", STAGED), granule("c", SUCCEEDED)),
            job(description="d"),
        ]
    )
    assert isinstance(early, JobNotFound)
    made = results([created, later, again])
    assert [result.position.revision for result in made] == [3, 5, 6]
    assert [result.totals for result in made] == [
        Totals(pending=2),
        Totals(pending=1, staged=1, succeeded=1),
        Totals(pending=1, staged=1, succeeded=1),
    ]
    stored = store.read_job(JOB)
    assert (stored.position, stored.job.system, stored.job.description) == (made[-1].position, "orca", "d")
    assert len({row.commit_id for row in log_rows(database_url, stored.job_pk)}) == 1
    assert count_rows(database_url, stored.job_pk) == {"job": 1, "granule": 3, "change": 6}


def test_granules_of_a_job_nobody_reported_are_each_refused(store: JobStore, database_url: str) -> None:
    outcomes = store.report_all([only(granule("a")), only(granule("b"))])
    assert [type(outcome) for outcome in outcomes] == [JobNotFound, JobNotFound]
    assert run(database_url, "SELECT count(*) FROM job")[0][0] == 0


def test_a_report_that_is_refused_harms_none_of_its_neighbours(store: JobStore, database_url: str) -> None:
    first = store.report(job(granule("a", STAGED, message="m" * 9_000)))
    before, refused, after, unchanged = store.report_all(
        [
            only(granule("b")),
            only(granule("c"), granule("a", STAGED, native_state="n" * 9_000)),
            only(granule("a", SUCCEEDED)),
            only(granule("b")),
        ]
    )
    assert isinstance(refused, InvalidRequest)
    assert [violation.field for violation in refused.violations] == ["granules[1]"]
    known = results([before, after, unchanged])
    assert [result.position.revision - first.position.revision for result in known] == [1, 2, 2]
    assert [(result.applied, result.unchanged, result.stale) for result in known] == [
        (1, 0, 0),
        (1, 0, 0),
        (0, 1, 0),
    ]
    assert [(one.granule_id, one.state) for one in granules(store, JOB)] == [("a", SUCCEEDED), ("b", PENDING)]
    assert [row.granule_id for row in log_rows(database_url, first.job_pk)][-2:] == ["b", "a"]


def test_a_creation_that_is_refused_leaves_the_job_to_the_next(store: JobStore) -> None:
    refused, missing, created = store.report_all(
        [
            job(granule("a", message="m" * MAX_GRANULE_BYTES)),
            only(granule("a")),
            job(granule("a")),
        ]
    )
    assert isinstance(refused, InvalidRequest)
    assert isinstance(missing, JobNotFound)
    assert results([created])[0].position.revision == 2
    assert store.read_job(JOB).job.totals == Totals(pending=1)


def test_a_report_the_database_itself_refuses_harms_none_of_its_neighbours(
    store: JobStore, database_url: str
) -> None:
    first = store.report(job(granule("a")))
    too_large = 2**63
    before, refused, after = store.report_all(
        [
            only(granule("a", STAGED)),
            only(granule("b", STAGED, request_time=too_large)),
            only(granule("a", SUCCEEDED)),
        ]
    )
    assert isinstance(refused, Exception)
    known = results([before, after])
    assert [result.applied for result in known] == [1, 1]
    assert store.read_job(JOB).position == known[-1].position
    assert [one.granule_id for one in granules(store, JOB)] == ["a"]
    log = log_rows(database_url, first.job_pk)
    assert [row.revision for row in log] == list(range(1, known[-1].position.revision + 1))
    with pytest.raises(type(refused)):
        store.report(only(granule("b", STAGED, request_time=too_large)))


def test_a_granule_reported_by_several_is_written_once_and_logged_with_every_move(
    store: JobStore, database_url: str
) -> None:
    created = store.report(job(state=JobState.RUNNING))
    outcomes = results(
        store.report_all(
            [
                only(granule("a", state), granule("b"))
                for state in (PENDING, STAGED, STAGED, SUCCEEDED, FAILED)
            ]
        )
    )
    assert [(one.applied, one.unchanged, one.stale) for one in outcomes] == [
        (2, 0, 0),
        (1, 1, 0),
        (0, 2, 0),
        (1, 1, 0),
        (0, 1, 1),
    ]
    assert [one.position.revision for one in outcomes] == [3, 4, 4, 5, 5]
    assert len({one.position.commit_id for one in outcomes}) == 1
    log = log_rows(database_url, created.job_pk)
    assert [(row.granule_id, row.state) for row in log[1:]] == [
        ("a", PENDING),
        ("b", PENDING),
        ("a", STAGED),
        ("a", SUCCEEDED),
    ]
    assert count_rows(database_url, created.job_pk) == {"job": 1, "granule": 2, "change": 5}
    assert [(one.granule_id, one.revision) for one in granules(store, JOB)] == [("a", 5), ("b", 3)]


def test_what_changes_nothing_is_answered_with_the_position_before_it(store: JobStore) -> None:
    first = store.report(job(granule("a", STAGED)))
    same, moved, late = results(
        store.report_all([only(granule("a", STAGED)), only(granule("b")), only(granule("a", PENDING))])
    )
    assert (same.position, same.changed) == (first.position, False)
    assert moved.position == Position(first.position.revision + 1, moved.position.commit_id)
    assert moved.position.commit_id != first.position.commit_id
    assert (late.position, late.changed, late.stale) == (moved.position, False, 1)
    known = results(store.report_all([only(granule("a", STAGED)), only(granule("b"))]))
    assert [one.position for one in known] == [moved.position] * 2
    assert store.read_job(JOB).position == moved.position


def test_a_change_of_the_job_stands_where_its_report_does(store: JobStore) -> None:
    job_pk = store.report(job(granule("a"), granule("b"), granules_complete=True)).job_pk
    position = store.read_job(JOB).position
    results(store.report_all([only(granule("a", SUCCEEDED)), only(granule("b", SUCCEEDED))]))
    changes = history(store, job_pk, position)
    told = []
    for change in changes:
        assert not isinstance(change.item, SubJob)
        told.append(change.item.state if isinstance(change.item, Job) else change.item.granule_id)
    assert told == ["a", JobState.RUNNING, "b", JobState.SUCCEEDED]


class Statements:
    """The statements a store sends for its writes from now on, and their parameters."""

    def __init__(self, store: JobStore) -> None:
        assert isinstance(store, SqlJobStore)
        self.sent: list[tuple[str, Any]] = []
        event.listen(store.writes, "before_cursor_execute", self._take)

    def _take(self, _: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        self.sent.append((statement, parameters))

    def drain(self) -> list[tuple[str, Any]]:
        """Return what was sent since the last time."""
        sent, self.sent = self.sent, []
        return sent


def test_a_batch_takes_as_many_statements_as_one_granule(store: JobStore, database_url: str) -> None:
    store.report(job(granule("g0"), state=JobState.RUNNING))
    statements = Statements(store)
    store.report(only(granule("g0", STAGED)))
    alone = len(statements.drain())
    assert alone == (4 if database_url.startswith("postgresql") else 6)
    many = [granule(f"g{index}", STAGED) for index in range(1000)]
    for reports in (
        [only(*many)],
        [only(*[each._replace(state=SUCCEEDED) for each in many])],
        [only(granule(f"g{index}", STAGED, attempt=2)) for index in range(100)],
    ):
        results(store.report_all(reports))
        assert len(statements.drain()) == alone


def test_a_report_looks_at_its_own_granules_only(store: JobStore, database_url: str) -> None:
    """Whatever the planner believes about the size of the job, it was not asked to read all of it."""
    store.report(job(*[granule(f"g{index:05}") for index in range(10_000)], state=JobState.RUNNING))
    if database_url.startswith("postgresql"):
        run(database_url, "ANALYZE granule")
    statements = Statements(store)
    store.report(only(*[granule(f"g{index:05}", STAGED) for index in range(0, 10_000, 10)]))
    (read,) = [
        (sql, given)
        for sql, given in statements.drain()
        if sql.lstrip().startswith("select") and "g.state" in sql
    ]
    with connected(database_url) as connection:
        explain = "explain" if database_url.startswith("postgresql") else "explain query plan"
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(f"{explain} {read[0]}", read[1]))
    if database_url.startswith("postgresql"):
        assert (
            "Index Cond: ((job_pk = 1) AND (collection_id = k.collection_id) AND (granule_id = k.granule_id))"
            in plan
        )
        assert "Hash" not in plan
        assert "Seq Scan" not in plan
    else:
        assert "USING PRIMARY KEY (job_pk=? AND collection_id=? AND granule_id=?)" in plan
