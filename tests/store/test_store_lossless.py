"""Documents parsed, kept in a database and written again: equal to what came, but for later reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

import pytest
from documents import EXAMPLES, FORMS, Document
from hypothesis import given, settings
from hypothesis import strategies as st
from shelf import Shelf, data, parsed, unordered
from stored import history

from jobstatus_grpc.formats import FORMATS, own_form
from jobstatus_grpc.model import (
    DEFAULT_PROJECT,
    Details,
    Granule,
    GranuleReport,
    GranuleState,
    ItemError,
    Job,
    JobKey,
    JobReport,
    JobState,
    Report,
    SubJob,
    WholeJob,
)
from jobstatus_grpc.store.base import JobStore, ReportResult

# Each is several transactions on a disk.
_EXAMPLES: Final = 20
_projects = count()


def some_project() -> str:
    """Return a project of the caller's own, its name as long as `default`: it counts towards a limit."""
    return f"{next(_projects):0{len(DEFAULT_PROJECT)}}"


def take(store: JobStore, document: object, form: str, project_id: str) -> ReportResult:
    """Take a document as its system's truth."""
    found = parsed(document, form, project_id)
    return store.report(Report(found.job.key, found.job, found.granules, authoritative=True))


def written(store: JobStore, key: JobKey, form: str | None = None) -> Any:
    """Return a job's document, in its own form unless another is named."""
    with store.open_whole(key) as whole:
        named = form or own_form(whole.document)
        assert named is not None
        return json.loads("".join(FORMATS[named].render(whole)))


def comparable(document: Any) -> str:
    """Return a document as text that tells 1 from 1.0 and from true, with ORCA's granules as a set."""
    value = unordered(document) if "asyncOperationId" in document else document
    return json.dumps(value, sort_keys=True)


def key_of(document: object, form: str, project_id: str) -> JobKey:
    return parsed(document, form, project_id).job.key


@pytest.mark.parametrize(("form", "name"), EXAMPLES, ids=[name for _, name in EXAMPLES])
def test_an_example_comes_out_of_the_store_as_it_went_in(store: JobStore, form: str, name: str) -> None:
    document = data(name)
    take(store, document, "auto", "p")
    key = key_of(document, form, "p")
    out = written(store, key)
    assert comparable(out) == comparable(document)
    assert list(out) == list(document)
    # It says nothing new the second time.
    again = take(store, document, "auto", "p")
    assert (again.applied, again.stale, again.changed) == (0, 0, False)
    assert comparable(written(store, key)) == comparable(document)


@pytest.mark.parametrize("name", FORMS)
def test_a_document_comes_out_of_the_store_as_it_went_in(store: JobStore, name: str) -> None:
    @settings(max_examples=_EXAMPLES)
    @given(FORMS[name])
    def check(document: Document) -> None:
        project_id = some_project()
        take(store, document, name, project_id)
        key = key_of(document, name, project_id)
        assert comparable(written(store, key)) == comparable(document)
        assert not take(store, document, name, project_id).changed

    check()


@pytest.mark.parametrize("name", [name for name in FORMS if not name.startswith("orca")])
def test_a_later_document_is_a_report_whose_differences_are_changes(store: JobStore, name: str) -> None:
    @settings(max_examples=_EXAMPLES)
    @given(FORMS[name], FORMS[name])
    def check(first: Document, second: Document) -> None:
        project_id = some_project()
        take(store, first, name, project_id)
        key = key_of(first, name, project_id)
        before = store.read_job(key)
        result = take(store, second, name, project_id)
        assert comparable(written(store, key)) == comparable(second)
        assert result.changed == (result.applied > 0)
        changes = history(store, before.job_pk, before.position)
        assert result.changed == bool(changes)
        assert all(isinstance(change.item, Job | SubJob) for change in changes)

    check()


def test_a_later_document_of_the_same_granules_comes_out_of_the_store_too(store: JobStore) -> None:
    words = st.sampled_from(["pending", "staged", "success", "failed", "error", "lost"])

    @settings(max_examples=_EXAMPLES)
    @given(FORMS["orca"], st.lists(words, min_size=6, max_size=6))
    def check(first: Document, states: list[str]) -> None:
        project_id = some_project()
        take(store, first, "orca", project_id)
        entries = zip(first["granules"], states, strict=False)
        second = {**first, "granules": [{**entry, "status": word} for entry, word in entries]}
        take(store, second, "orca", project_id)
        assert comparable(written(store, key_of(first, "orca", project_id))) == comparable(second)

    check()


def compared(whole: WholeJob) -> tuple[object, ...]:
    """Return all that is kept of a job but what a clock or a project has told."""
    job = whole.job._replace(project_id="", create_time=0, update_time=0, begin_time=0, end_time=0)
    granules = [each._replace(update_time=0) for each in whole.granules]
    return job, whole.details, whole.document, granules, [compared(part) for part in whole.sub_jobs]


_fields = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from([JobState.PENDING, JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED]),
        "attempt": st.integers(1, 3),
        "message": st.sampled_from(["", "ü"]),
        "error": st.sampled_from([ItemError(), ItemError("E", "why")]),
        "details": st.sampled_from([Details("sdrs", {}), Details("glacier", {"archive_size_bytes": 2**62})]),
        "document": st.just("a document"),
    },
)
_granules = st.lists(
    st.builds(
        lambda name, state, document: GranuleReport("c", name, state, document=document),
        st.sampled_from("ab"),
        st.none() | st.sampled_from(GranuleState),
        st.sampled_from([None, "", "of a granule"]),
    ),
    max_size=3,
)


@pytest.mark.parametrize("name", FORMS)
def test_documents_and_reports_leave_in_a_store_what_the_rules_say(store: JobStore, name: str) -> None:
    """The rules alone, kept in memory, are the other side; a sub-job is reported as any job is."""

    @settings(max_examples=_EXAMPLES)
    @given(FORMS[name], st.lists(FORMS[name] | st.tuples(st.booleans(), _fields, _granules), max_size=3))
    def check(first: Document, later: list[Any]) -> None:
        project_id, shelf = some_project(), Shelf()
        for step in [first, *later]:
            if isinstance(step, dict):
                take(store, step, name, project_id)
                shelf.take(step, name)
                continue
            below, fields, granules = step
            parts = sorted(shelf.sub_job_ids)
            if below and parts:
                report = JobReport(project_id, parts[-1], **fields)
                store.report(Report(report.key, report, ()))
                shelf.report_sub_job(parts[-1], **fields)
            else:
                report = JobReport(project_id, shelf.stands.job_id, **fields)
                store.report(Report(report.key, report, granules))
                shelf.report(*granules, **fields)
        with store.open_whole(JobKey(project_id, shelf.stands.job_id)) as whole:
            assert compared(whole) == compared(shelf.whole())

    check()


def test_a_later_report_changes_in_a_document_what_it_is_about_and_nothing_else(store: JobStore) -> None:
    document: dict[str, Any] = data("orca/recovery_current_form.json")
    take(store, document, "auto", "p")
    key = key_of(document, "auto", "p")
    entry = next(each for each in document["granules"] if each["status"] == "pending")
    granule = GranuleReport(entry.get("collectionId", ""), entry["granuleId"], GranuleState.STAGED)
    assert store.report(Report(key, None, [granule])).applied == 1
    expected = json.loads(json.dumps(document))
    changed = next(each for each in expected["granules"] if each == entry)
    changed["status"] = "staged"
    # ORCA's own counts disagree with its granules here: what has changed is counted anew.
    for word in ("pending", "staged"):
        expected["jobStatusTotals"][word] = sum(each["status"] == word for each in expected["granules"])
    assert comparable(written(store, key)) == comparable(expected)


def test_a_later_report_of_a_sub_job_shows_in_the_document_of_the_whole(store: JobStore) -> None:
    document: Mapping[str, Any] = data("sdrs/sub_jobs.json")
    take(store, document, "auto", "p")
    key = key_of(document, "auto", "p")
    part = document["entities"]["sub_jobs"][0]
    report = JobReport("p", part["job_id"], state=JobState.FAILED, attempt=2, native_state="FAIL")
    assert store.report(Report(report.key, report, ())).applied == 1
    out = written(store, key)
    assert out["entities"]["sub_jobs"][0]["status"] == "FAIL"
    assert out["entities"]["sub_jobs"][1:] == document["entities"]["sub_jobs"][1:]
    assert {**out, "entities": None} == {**document, "entities": None}


def test_a_granule_that_leaves_no_more_than_its_columns_has_no_document(store: JobStore) -> None:
    document = data("orca/recovery_current_form.json")
    take(store, document, "auto", "p")
    with store.open_whole(key_of(document, "auto", "p")) as whole:
        found: list[Granule] = list(whole.granules)
    assert len(found) == len(document["granules"])
    assert all(each.document is None for each in found)
