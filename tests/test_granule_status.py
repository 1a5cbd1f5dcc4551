"""Files of granules through a real server: reported, answered by GetGranuleStatus, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from faces import FACES
from google.protobuf.timestamp_pb2 import Timestamp
from processes import ServerProcess

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError

PENDING, STAGED = pb.GRANULE_STATE_PENDING, pb.GRANULE_STATE_STAGED
SUCCEEDED, FAILED = pb.GRANULE_STATE_SUCCEEDED, pb.GRANULE_STATE_FAILED


@pytest.fixture
def client(database_url: str) -> Iterator[JobStatusClient]:
    with ServerProcess(database_url) as server, JobStatusClient(server.address, "p") as made:
        yield made


def at(seconds: int) -> Timestamp:
    return Timestamp(seconds=seconds)


def granule(*files: pb.GranuleFile, **fields: Any) -> pb.Granule:
    return pb.Granule(**{"collection_id": "c", "granule_id": "g", "files": files, **fields})


def refused(client: JobStatusClient, *granules: pb.Granule) -> dict[str, str]:
    """Return what is wrong with a report, by field."""
    with pytest.raises(JobStatusRpcError) as caught:
        client.report_granules("j", granules)
    return {fault.field: fault.description for fault in caught.value.violations}


def test_files_come_back_as_they_were_told_in_the_order_of_their_names(client: JobStatusClient) -> None:
    full = pb.GranuleFile(
        file_name="z.hdf",
        state=FAILED,
        native_state="error",
        restore_destination="s3://bucket",
        error=pb.ItemError(code="E", reason="torn"),
        attempt=2,
        request_time=at(5),
        end_time=at(9),
        update_time=at(1),
    )
    client.report_job(pb.Job(job_id="j"), [granule(full, pb.GranuleFile(file_name="a.hdf"))])
    answer = client.granule("c", "g", job_id="j")
    assert (answer.project_id, answer.job_id) == ("p", "j")
    first, second = answer.granule.files
    now = answer.granule.update_time
    assert first == pb.GranuleFile(file_name="a.hdf", state=PENDING, attempt=1, update_time=now)
    full.update_time.CopyFrom(now)
    assert second == full
    told = answer.granule
    assert (told.state, told.attempt, told.request_time, told.error) == (PENDING, 2, at(5), full.error)


def test_nothing_else_tells_files(client: JobStatusClient) -> None:
    client.report_job(pb.Job(job_id="j"), [granule(pb.GranuleFile(file_name="a"))])
    client.report_granules("j", [granule(pb.GranuleFile(file_name="a", state=STAGED))])
    (page,) = client.get("j").granules
    assert (page.state, list(page.files)) == (STAGED, [])
    told = client.granule("c", "g").granule
    assert [file.state for file in told.files] == [STAGED]
    told.ClearField("files")
    assert told == page


def test_a_watcher_sees_a_granule_change_with_each_of_its_files(client: JobStatusClient) -> None:
    files = [pb.GranuleFile(file_name=name) for name in "ab"]
    client.report_job(pb.Job(job_id="j", granules_complete=True), [granule(*files)])
    updates = client.watch("j")
    assert next(updates).kind == "snapshot"
    for name in "ab":
        client.report_granules("j", [granule(pb.GranuleFile(file_name=name, state=SUCCEEDED))])
    changed = [
        change.granule for update in updates for change in update.changes if change.HasField("granule")
    ]
    assert [each.granule.state for each in changed] == [PENDING, SUCCEEDED]
    assert [len(each.granule.files) for each in changed] == [0, 0]
    assert client.get("j").job.state == pb.JOB_STATE_SUCCEEDED


def test_without_a_job_it_is_the_one_that_requested_the_granule_last(client: JobStatusClient) -> None:
    for job_id, seconds in (("late", 20), ("early", 10)):
        file = pb.GranuleFile(file_name=job_id)
        client.report_job(pb.Job(job_id=job_id), [granule(file, request_time=at(seconds))])
    answer = client.granule("c", "g")
    assert (answer.job_id, [file.file_name for file in answer.granule.files]) == ("late", ["late"])
    assert client.granule("c", "g", job_id="early").job_id == "early"


def test_what_is_not_there_has_its_name_in_the_answer(client: JobStatusClient) -> None:
    client.report_job(pb.Job(job_id="j"), [granule()])
    for job_id, reason in (("j", "GRANULE_NOT_FOUND"), (None, "GRANULE_NOT_FOUND"), ("k", "JOB_NOT_FOUND")):
        with pytest.raises(JobStatusRpcError) as caught:
            client.granule("c", "other", job_id=job_id)
        assert caught.value.reason == reason
    with pytest.raises(JobStatusRpcError, match=r"no granule 'other' of collection 'c' of job 'j'"):
        client.granule("c", "other", job_id="j")


def test_a_request_names_all_its_faults_at_once(client: JobStatusClient) -> None:
    with pytest.raises(JobStatusRpcError) as caught:
        client.granule("\n", "", job_id="")
    fields = [fault.field for fault in caught.value.violations]
    assert (caught.value.reason, fields) == (
        "INVALID_PARAMETER_VALUE",
        ["job_id", "collection_id", "granule_id"],
    )


def test_a_report_names_all_faults_of_its_files_and_writes_nothing(client: JobStatusClient) -> None:
    client.report_job(pb.Job(job_id="j"), [granule(pb.GranuleFile(file_name="a"))])
    bad = pb.GranuleFile(attempt=-1, restore_destination="\0", end_time=Timestamp(nanos=-1))
    bad.state = 9  # type: ignore[assignment]
    twice = pb.GranuleFile(file_name="twice", state=SUCCEEDED)
    assert refused(client, granule(twice, granule_id="other"), granule(twice, bad, twice)) == {
        "granules[1].files[1].file_name": "is required",
        "granules[1].files[1].state": "9 is not a state",
        "granules[1].files[1].restore_destination": (
            "contains a NUL character, which not every database can keep"
        ),
        "granules[1].files[1].attempt": "-1 is less than 1",
        "granules[1].files[1].end_time": "is not a valid time from year 1 to 9999",
        "granules[1].files[2].file_name": "is that of another file of this granule",
    }
    assert [file.file_name for file in client.granule("c", "g").granule.files] == ["a"]


def test_a_granule_has_files_up_to_its_limits(client: JobStatusClient) -> None:
    names = [f"{number:04}" for number in range(1001)]
    assert refused(client, granule(*[pb.GranuleFile(file_name=name) for name in names])) == {
        "granules[0].files": "are 1001, more than 1000"
    }
    files = [pb.GranuleFile(file_name=name, restore_destination="d" * 400) for name in names[:1000]]
    client.report_job(pb.Job(job_id="j"), [granule(*files)])
    assert len(client.granule("c", "g").granule.files) == 1000
    assert refused(client, granule(pb.GranuleFile(file_name="more"))) == {
        "granules[0].files": "the granule would have more than 1000"
    }
    large = [pb.GranuleFile(file_name=name, restore_destination="d" * 600) for name in names[:1000]]
    assert refused(client, granule(*large)) == {"granules[0].files": "they would take more than 524288 bytes"}


@pytest.mark.parametrize("face", FACES.values())
def test_both_clients_ask_for_a_granule(database_url: str, face: Any) -> None:
    with ServerProcess(database_url) as server, face(server.address, "p") as client:
        client.report_job(pb.Job(job_id="j"), [granule(pb.GranuleFile(file_name="a"))])
        for job_id in ("j", None):
            answer = client.granule("c", "g", job_id=job_id)
            assert (answer.job_id, answer.granule.files[0].file_name) == ("j", "a")
