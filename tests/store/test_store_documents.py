"""Details and source documents: kept beside jobs and granules, and written only where they change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from reports import JOB, STAGED, SUCCEEDED, granule, job, only
from sqlalchemy import event
from stored import first_position, history, log_rows, run
from trees import key, told, tree

from jobstatus_grpc.errors import DeadlineExceeded, InvalidRequest, JobNotFound, StoreUnavailable
from jobstatus_grpc.model import (
    MAX_JOB_BYTES,
    Details,
    Granule,
    Job,
    JobDocument,
    JobKey,
    JobState,
    Report,
    SubJob,
)
from jobstatus_grpc.sizes import details_bytes, job_bytes
from jobstatus_grpc.store import open_store
from jobstatus_grpc.store.base import JobStore
from jobstatus_grpc.store.sql import SqlJobStore

DETAILS = Details(
    "glacier",
    {
        "archive_size_bytes": 2**63 - 1,
        "inventory_size_bytes": -(2**63) + 1,
        "sns_topic": "",
        "tier": 'quoted "\\" {ü,😀} \0 NULL',
        "select_parameters": {},
        "output_location": {
            "s3": {"access_control_list": [{"permission": "READ"}, {}], "tagging": {"": "a", "b": ""}}
        },
        "other_fields": {"Completed": "false", "n": "9007199254740993", "\n": "[1.50]"},
    },
)
OTHER = Details("glacier", {"archive_size_bytes": 2**63 - 2})
DOCUMENT = '{"form": "glacier", "n": 9223372036854775807, "text": "\\u0000 ü"}'


def kept(store: JobStore, name: JobKey = JOB) -> tuple[JobDocument, dict[str, str | None]]:
    """Return what is kept of a job, and of its granules by their names."""
    with store.open_whole(name) as whole:
        beside = JobDocument(whole.details, whole.document)
        return beside, {each.granule_id: each.document for each in whole.granules}


def items(store: JobStore, url: str, job_pk: int) -> Sequence[Granule | Job | SubJob]:
    """Return what a job's history is about, after its first change."""
    return [change.item for change in history(store, job_pk, first_position(url, job_pk))]


def stands(store: JobStore, name: JobKey = JOB) -> tuple[object, ...]:
    """Return what a change of a job moves."""
    stored = store.read_job(name)
    return stored.position, stored.job


def test_what_is_told_of_a_tree_is_kept_as_it_was_told(store: JobStore) -> None:
    part = told("b", told("c", details=OTHER), document="of b")
    store.report(tree("a", part, told("d"), details=DETAILS, document=DOCUMENT))
    store.report(
        only(granule("2", document="{}"), granule("1"), granule("3", document='\\{ü}"'), key=key("a"))
    )
    store.report(only(granule("x", document="of x"), key=key("c")))
    with store.open_whole(key("a")) as whole:
        assert (whole.job.job_id, whole.details, whole.document) == ("a", DETAILS, DOCUMENT)
        found = [(each.granule_id, each.document) for each in whole.granules]
        assert found == [("1", None), ("2", "{}"), ("3", '\\{ü}"')]
        b, d = whole.sub_jobs
        assert (b.job.job_id, b.details, b.document) == ("b", None, "of b")
        assert (d.job.job_id, d.details, d.document, list(d.sub_jobs)) == ("d", None, None, [])
        (c,) = b.sub_jobs
        assert (c.job.job_id, c.details, c.document) == ("c", OTHER, None)
        assert [each.document for each in c.granules] == ["of x"]
        assert [each.granule_id for each in whole.granules] == ["1", "2", "3"]
    with store.open_whole(key("b")) as whole:
        assert [each.job.job_id for each in whole.sub_jobs] == ["c"]


def test_changed_details_are_a_change_of_the_job_and_told_above(store: JobStore, database_url: str) -> None:
    store.report(tree("a", told("b", details=DETAILS), details=DETAILS))
    root, part = (store.read_job(key(name)).job_pk for name in "ab")
    assert items(store, database_url, part) == []
    before = stands(store, key("a"))
    again = store.report(tree("b", details=DETAILS))
    assert (again.applied, again.unchanged, again.changed) == (0, 1, False)
    assert stands(store, key("a")) == before
    # As many bytes as before: only the values tell.
    changed = store.report(tree("b", details=OTHER))
    assert changed.applied == 1
    swapped = Details("glacier", {"archive_size_bytes": 2**63 - 3})
    assert store.report(tree("b", details=swapped)).applied == 1
    assert [type(item) for item in items(store, database_url, part)] == [Job, Job]
    assert [type(item) for item in items(store, database_url, root)] == [SubJob] * 3
    assert kept(store, key("b"))[0].details == swapped
    assert kept(store, key("a"))[0].details == DETAILS


def test_a_document_alone_makes_no_revision_and_is_kept(store: JobStore, database_url: str) -> None:
    store.report(job(granule("g", STAGED), granule("h"), state=JobState.RUNNING))
    before = stands(store), log_rows(database_url, store.read_job(JOB).job_pk)
    result = store.report(job(granule("g", STAGED, document="first"), document="of the job"))
    assert (result.applied, result.unchanged, result.changed) == (0, 2, False)
    assert kept(store) == (JobDocument(None, "of the job"), {"g": "first", "h": None})
    store.report(only(granule("g", document="second"), granule("g", document="third")))
    assert kept(store)[1] == {"g": "third", "h": None}
    store.report(only(granule("g", document="")))
    assert kept(store)[1] == {"g": None, "h": None}
    assert (stands(store), log_rows(database_url, store.read_job(JOB).job_pk)) == before


def test_later_reports_leave_what_they_say_nothing_of(store: JobStore) -> None:
    store.report(job(granule("g", document="of g"), details=DETAILS, document=DOCUMENT))
    store.report(job(granule("g", STAGED, message="m"), state=JobState.RUNNING, message="on its way"))
    store.report(only(granule("g", SUCCEEDED)))
    store.report(job(document="another"))
    assert kept(store) == (JobDocument(DETAILS, "another"), {"g": "of g"})
    store.report(job(details=OTHER))
    assert kept(store)[0] == JobDocument(OTHER, "another")
    # What comes too late says nothing of them either.
    store.report(job(state=JobState.SUCCEEDED))
    late = store.report(job(state=JobState.RUNNING, details=DETAILS, document="late"))
    assert late.stale == 1
    assert kept(store)[0] == JobDocument(OTHER, "another")


def test_a_later_attempt_begins_with_nothing(store: JobStore) -> None:
    store.report(tree("a", told("b", details=OTHER, document="of b"), details=DETAILS, document=DOCUMENT))
    store.report(only(granule("g", STAGED, document="of g"), granule("h", document="of h"), key=key("a")))
    store.report(tree("b", attempt=2))
    assert kept(store, key("b"))[0] == JobDocument()
    assert store.read_job(key("b")).job.details_bytes == 0
    store.report(tree("a", attempt=2, details=OTHER))
    assert kept(store, key("a")) == (JobDocument(OTHER), {"g": "of g", "h": "of h"})
    store.report(only(granule("g", attempt=2), granule("h", attempt=2, document="anew"), key=key("a")))
    assert kept(store, key("a"))[1] == {"g": None, "h": "anew"}


def test_reports_taken_together_keep_what_the_last_of_them_tells(store: JobStore, database_url: str) -> None:
    store.report(job(granule("g", document="0"), details=DETAILS, document="0"))
    outcomes = store.report_all(
        [
            job(granule("g", document="1"), details=OTHER),
            job(
                granule("g" * 20_000, document="refused"), key=JobKey("default", "restore-1"), details=DETAILS
            ),
            job(attempt=2, document="2"),
            only(granule("g", STAGED)),
            only(granule("g", STAGED, document="3"), granule("new", document="4")),
        ]
    )
    assert [isinstance(outcome, InvalidRequest) for outcome in outcomes] == [False, True, False, False, False]
    assert kept(store) == (JobDocument(None, "2"), {"g": "3", "new": "4"})


def test_details_count_towards_the_limit_of_a_tree(store: JobStore) -> None:
    store.report(tree("a", told("b", details=DETAILS)))
    room = MAX_JOB_BYTES - sum(job_bytes(store.read_job(key(name)).job) for name in "ab")
    room -= details_bytes(DETAILS)

    def filling(size: int) -> Details:
        return Details("sdrs", {"resource_name": "x" * size})

    fixed = details_bytes(filling(0))
    with pytest.raises(InvalidRequest, match="more than"):
        store.report(tree("a", details=filling(room - fixed + 1)))
    assert kept(store, key("a"))[0].details is None
    assert store.report(tree("a", details=filling(room - fixed))).applied == 1
    with pytest.raises(InvalidRequest):
        store.report(tree("c", parent="b"))
    assert store.report(tree("a", details=filling(0))).applied == 1
    assert store.report(tree("c", parent="b")).applied == 1
    assert store.read_job(key("a")).job.sub_jobs.tree_bytes == details_bytes(DETAILS) + sum(
        job_bytes(store.read_job(key(name)).job) for name in "bc"
    )


def test_nothing_is_left_of_a_deleted_job(store: JobStore, database_url: str) -> None:
    store.report(tree("a", told("b", document="of b"), details=DETAILS))
    store.report(tree("other", document="of another"))
    store.delete_job(key("a"))
    while store.purge():
        pass
    assert run(database_url, "select document from job_document") == [("of another",)]
    store.report(tree("a"))
    assert kept(store, key("a"))[0] == JobDocument()


def test_a_whole_job_is_of_one_moment(store: JobStore, database_url: str) -> None:
    names = [f"g{index:04}" for index in range(1000)]
    store.report(job(*[granule(name, document=name) for name in names], details=DETAILS))
    with store.open_whole(JOB) as whole:
        walk = iter(whole.granules)
        seen = [next(walk)]
        store.report(job(*[granule(name, STAGED, document="later") for name in names], details=OTHER))
        store.delete_job(JOB)
        seen += walk
        assert [each.document for each in seen] == names
        assert [each.document for each in whole.granules] == names
        assert whole.details == DETAILS
    with pytest.raises(JobNotFound), store.open_whole(JOB):
        pass


def test_a_whole_job_is_refused_as_any_other(store: JobStore, database_url: str) -> None:
    with pytest.raises(DeadlineExceeded), store.open_whole(JOB, 0.0):
        pass
    opened = open_store(database_url)
    with pytest.raises(StoreUnavailable), opened.open_whole(JOB):
        pass
    opened.close()


class Statements:
    """Counts the statements a store sends for its writes."""

    def __init__(self, store: JobStore) -> None:
        assert isinstance(store, SqlJobStore)
        self._count = 0
        event.listen(store.writes, "before_cursor_execute", self._take)

    def _take(self, *_: Any) -> None:
        self._count += 1

    def of(self, store: JobStore, *reports: Report) -> int:
        """Return how many statements it takes to write reports together."""
        before = self._count
        assert not [each for each in store.report_all(reports) if isinstance(each, Exception)]
        return self._count - before


def test_what_is_kept_takes_a_fixed_number_of_statements_and_nothing_else_any(store: JobStore) -> None:
    store.report(tree("a", *(told(f"{number}") for number in range(100))))
    count = Statements(store)

    def telling(number: int, text: str | None, **fields: Any) -> Report:
        parts = [told(f"{index}", message="m", **fields) for index in range(number)]
        granules = [granule(f"{index}", document=text) for index in range(number)]
        return tree("a", *parts)._replace(granules=granules)

    plain = count.of(store, telling(2, None))
    assert count.of(store, telling(100, None)) == plain
    some = count.of(store, telling(2, "1", details=DETAILS))
    # What is kept of jobs is read, and written; granules' documents are written.
    assert some <= plain + 4
    assert count.of(store, telling(100, "2", details=OTHER, document="d")) == some
    assert count.of(store, telling(100, None, state=JobState.RUNNING)) == plain
