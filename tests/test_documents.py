"""Documents of other systems through a server: in, asked for, watched, out."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final
from uuid import uuid4

import grpc
import pytest
from documents import EXAMPLES
from processes import ServerProcess
from shelf import data, unordered
from transfers import Documents, orca_document

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError
from jobstatus_grpc.formats import FORMATS

IDS: Final = ("asyncOperationId", "job_id", "JobId")


@pytest.fixture
def documents(shared_server: ServerProcess) -> Iterator[Documents]:
    """The documents of a project of the test's own."""
    with Documents(shared_server.address, uuid4().hex) as opened:
        yield opened


@pytest.fixture
def client(shared_server: ServerProcess, documents: Documents) -> Iterator[JobStatusClient]:
    """A client for the same project."""
    with JobStatusClient(shared_server.address, documents.project_id) as made:
        yield made


def id_of(document: dict[str, Any]) -> str:
    return str(next(document[name] for name in IDS if name in document))


def comparable(document: Any) -> Any:
    return unordered(document) if "granules" in document else document


def states(client: JobStatusClient, job_id: str) -> dict[str, str]:
    return {each.granule_id: each.native_state for each in client.granules(job_id)}


@pytest.mark.parametrize(("form", "name"), EXAMPLES, ids=[name for _, name in EXAMPLES])
@pytest.mark.parametrize("told", [True, False], ids=["told", "detected"])
def test_an_example_goes_in_is_asked_for_is_watched_and_comes_out_equal(
    documents: Documents, client: JobStatusClient, form: str, name: str, told: bool
) -> None:
    document = data(name)
    job_id = id_of(document)
    result = documents.take_one(document, format=form if told else "")
    assert (result.path, result.format, result.job_id) == ("$", form, job_id)
    assert result.applied_count > 0
    job = client.get(job_id).job
    assert (job.revision, job.state, job.totals) == (result.revision, result.state, result.totals)
    assert job.system == FORMATS[form].system
    update = next(client.watch(job_id, snapshot_only=True))
    assert (update.revision, update.job.state) == (job.revision, job.state)
    out = documents.show(job_id)
    assert comparable(out) == comparable(document)
    assert list(out) == list(document)
    again = documents.take_one(document)
    assert (again.revision, again.applied_count) == (result.revision, 0)


def test_jobs_of_one_array_are_taken_or_refused_each_for_itself(
    documents: Documents, client: JobStatusClient
) -> None:
    good = data("sfs_turbo/bind_ldap.json")
    orphan = {"status": "success", "job_id": "b" * 513}
    array = [good, {}, orphan, data("glacier/inventory_raw.json"), data("sfs_turbo/error_400.json")]
    results = documents.take(array)
    assert [result.path for result in results] == [f"$[{index}]" for index in range(5)]
    assert [result.status.code for result in results] == [0, 3, 3, 0, 3]
    assert results[2].format == "sfs-turbo"
    faults = JobStatusRpcError.of_status(results[2].status)
    assert faults.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [(fault.field, fault.description) for fault in faults.violations] == [
        ("$[2].job_id", "must be at most 512 bytes, is 513")
    ]
    assert "SFS.TURBO.0001: parameter error" in results[4].status.message
    assert {job.job_id for job in client.list()} == {good["job_id"], results[3].job_id}


@pytest.mark.parametrize(
    ("document", "words", "field"),
    [
        ({}, "is of none of the forms that are known here", "$"),
        (b"7", "is of none of the forms that are known here", "$"),
        ({"job_id": "a\0b", "status": "SUCCESS"}, "must not contain control characters", "$.job_id"),
        (b'{"job_id": "a", "status": "SUCCESS", "status": "FAIL"}', "is there more than once", "$.status"),
        ({"JobId": "a", "StatusCode": 1}, "must be a string, is a number", "$.StatusCode"),
        (
            {"asyncOperationId": "a", "granules": [{"granuleId": "g", "status": "success"}] * 2},
            "is the same granule as $.granules[0]: 'g'",
            "$.granules[1]",
        ),
    ],
    ids=["empty", "number", "nul", "twice", "type", "granules"],
)
def test_a_broken_document_is_refused_by_its_path_and_nothing_of_it_is_kept(
    documents: Documents, client: JobStatusClient, document: object, words: str, field: str
) -> None:
    refusal = documents.refusal(document)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [fault.field for fault in refusal.violations] == [field]
    assert words in refusal.violations[0].description
    assert list(client.list()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff{}", "is not UTF-8"),
        (b"[" * 10_000 + b"]" * 10_000, "is nested more than 64 levels deep"),
        (b'{"a": "' + b"x" * (65 * 1024 * 1024), "takes more than 67108864 bytes"),
        (b"[" + b"[" * 300_000, "is nested more than 64 levels deep"),
        (json.dumps([{}] * 1001).encode(), "has 1001 jobs, more than 1000"),
    ],
    ids=["nothing", "open", "bytes", "deep", "huge", "deep and large", "many"],
)
def test_a_text_that_cannot_be_read_is_refused_as_a_whole(
    documents: Documents, client: JobStatusClient, text: bytes, words: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        documents.take(text)
    error = JobStatusRpcError.of(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PARAMETER_VALUE")
    assert [fault.field for fault in error.violations] == ["$"]
    assert error.violations[0].description.startswith(words)
    assert list(client.list()) == []


def test_a_stream_without_messages_and_wrong_messages_are_refused(documents: Documents) -> None:
    def refused(*messages: pb.ImportJobsRequest) -> list[str]:
        with pytest.raises(grpc.RpcError) as caught:
            documents.stub.ImportJobs(iter(messages), timeout=30)
        return [fault.field for fault in JobStatusRpcError.of(caught.value).violations]

    assert refused() == ["$"]
    assert refused(pb.ImportJobsRequest(project_id="a\n", chunk=b"{}")) == ["project_id"]
    assert refused(pb.ImportJobsRequest(format="csv", chunk=b"{}")) == ["format"]
    assert refused(pb.ImportJobsRequest(chunk=b"x" * (1024 * 1024 + 1))) == ["chunk"]
    late = pb.ImportJobsRequest(format="sdrs", project_id="p", chunk=b"{}")
    assert refused(pb.ImportJobsRequest(chunk=b"{}"), late) == ["project_id", "format"]


def test_a_text_may_be_cut_anywhere(documents: Documents) -> None:
    document = {"job_id": "é漢🂡", "status": "Süccess", "job_type": "ü"}
    text = json.dumps(document, ensure_ascii=False).encode()
    for size in (1, 7):
        told = (pb.ImportJobsRequest(chunk=text[at : at + size]) for at in range(0, len(text), size))
        first = pb.ImportJobsRequest(project_id=documents.project_id, format="sdrs")
        (result,) = documents.stub.ImportJobs(iter([first, *told]), timeout=30).results
        assert result.job_id == "é漢🂡"
    assert documents.show("é漢🂡") == document


def test_a_later_document_is_news_to_watchers_and_what_went_back_is_the_next_attempt(
    documents: Documents, client: JobStatusClient
) -> None:
    documents.take(orca_document("j", ["pending", "success", "error"]))
    updates = client.watch("j")
    first = next(updates)
    assert (first.job.state, first.totals.failed_count) == (pb.JOB_STATE_RUNNING, 1)
    documents.take(orca_document("j", ["staged", "pending", "error"]))
    moved = [change.granule.granule for change in next(updates).changes if change.HasField("granule")]
    changed = {each.granule_id: (each.native_state, each.attempt) for each in moved}
    assert changed == {"g000000": ("staged", 1), "g000001": ("pending", 2)}
    documents.take(orca_document("j", ["success", "success", "success"]))
    kinds = [update.kind for update in updates]
    assert kinds[-1] == "completed"
    assert client.get("j").job.state == pb.JOB_STATE_SUCCEEDED


def test_totals_are_counted_from_the_granules_whatever_the_document_says(
    documents: Documents, client: JobStatusClient
) -> None:
    document = orca_document("j", ["pending", "success"])
    document["jobStatusTotals"] = {"pending": 7, "staged": 0, "success": 0, "error": 0}
    result = documents.take_one(document)
    assert (result.totals.pending_count, result.totals.succeeded_count) == (1, 1)
    assert comparable(documents.show("j")) == comparable(document)


def test_after_a_later_report_only_what_it_changed_is_otherwise(
    documents: Documents, client: JobStatusClient
) -> None:
    document = orca_document("j", ["staged", "success"]) | {"note": [None, "", 2**63]}
    document["granules"][0]["more"] = {"a": None}
    documents.take(document)
    granule = pb.Granule(collection_id="c", granule_id="g000000", state=pb.GRANULE_STATE_FAILED)
    client.report_granules("j", [granule])
    wanted = copy.deepcopy(document)
    wanted["granules"][0]["status"] = "error"
    wanted["jobStatusTotals"] |= {"staged": 0, "error": 1}
    assert comparable(documents.show("j")) == comparable(wanted)


def test_a_job_comes_out_in_the_form_asked_for_its_own_or_its_systems(
    documents: Documents, client: JobStatusClient
) -> None:
    documents.take(data("sfs_turbo/bind_ldap.json"))
    job_id = data("sfs_turbo/bind_ldap.json")["job_id"]
    assert documents.show(job_id, "sdrs")["status"] == "SUCCESS"
    assert documents.show(job_id, "glacier")["StatusCode"] == "Succeeded"
    client.report_job(pb.Job(job_id="plain", system="sdrs", state=pb.JOB_STATE_RUNNING))
    assert documents.show("plain")["status"] == "RUNNING"
    client.report_job(pb.Job(job_id="own", system="backup", state=pb.JOB_STATE_RUNNING))
    with pytest.raises(grpc.RpcError) as caught:
        documents.text("own")
    error = JobStatusRpcError.of(caught.value)
    assert (error.reason, error.violations[0].field) == ("MISSING_PARAMETER_VALUE", "format")
    first = next(
        iter(
            documents.stub.ExportJob(
                pb.ExportJobRequest(project_id=documents.project_id, job_id="own", format="glacier-boto3"),
                timeout=30,
            )
        )
    )
    assert (first.format, first.revision) == ("glacier-boto3", 1)


@pytest.mark.parametrize(
    ("job_id", "form", "code", "reason", "named"),
    [
        ("", "", "INVALID_ARGUMENT", "MISSING_PARAMETER_VALUE", ["job_id"]),
        ("j", "csv", "INVALID_ARGUMENT", "INVALID_PARAMETER_VALUE", ["format"]),
        ("nope", "", "NOT_FOUND", "JOB_NOT_FOUND", []),
        ("j", "sdrs", "FAILED_PRECONDITION", "NOT_REPRESENTABLE", ["granules", "details"]),
        ("j", "orca", "FAILED_PRECONDITION", "NOT_REPRESENTABLE", ["granules['g000000' of collection 'c']"]),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_sent(
    documents: Documents, job_id: str, form: str, code: str, reason: str, named: list[str]
) -> None:
    documents.take(orca_document("j", ["pending"]))
    request = pb.ExportJobRequest(project_id=documents.project_id, job_id=job_id, format=form)
    parts = documents.stub.ExportJob(request, timeout=30)
    with pytest.raises(grpc.RpcError) as caught:
        next(parts)
    error = JobStatusRpcError.of(caught.value)
    assert (error.code.name, error.reason) == (code, reason)
    assert [fault.field for fault in error.violations] == named


def test_a_document_of_many_granules_is_the_truth_only_when_all_of_it_is_in(
    documents: Documents,
    client: JobStatusClient,
    shared_server: ServerProcess,
    pytestconfig: pytest.Config,
) -> None:
    failed = 25_000 if pytestconfig.getoption("--full") else 3_000
    document = orca_document("j", ["success"] * 3 * failed + ["error"] * failed)
    client.report_job(pb.Job(job_id="j", system="orca"))
    with JobStatusClient(shared_server.address, documents.project_id) as watching:
        updates = watching.watch("j")
        next(updates)
        result = documents.take_one(document)
        assert (result.applied_count, result.unchanged_count) == (4 * failed + 1, 0)
        seen = [pb.JobState.Name(update.job.state) for update in updates]
    assert [state for state, _ in groupby(seen)][-2:] == ["JOB_STATE_RUNNING", "JOB_STATE_FAILED"]
    assert "JOB_STATE_SUCCEEDED" not in seen
    assert result.state == pb.JOB_STATE_FAILED
    assert comparable(documents.show("j")) == comparable(document)
    again = documents.take_one(document)
    assert (again.revision, again.applied_count, again.unchanged_count) == (
        result.revision,
        0,
        4 * failed + 1,
    )


def test_a_known_job_is_not_opened_again_by_a_document_that_has_no_more_of_it(
    documents: Documents, client: JobStatusClient
) -> None:
    document = orca_document("j", ["success"] * 3_000)
    first = documents.take_one(document)
    document["granules"][2_999]["status"] = "error"
    second = documents.take_one(document)
    # The granule, and the job's end.
    assert (second.revision - first.revision, second.applied_count) == (2, 1)
    larger = documents.take_one(orca_document("j", ["success"] * 3_001))
    assert (larger.applied_count, larger.unchanged_count) == (3, 2_999)
    assert larger.state == pb.JOB_STATE_SUCCEEDED
