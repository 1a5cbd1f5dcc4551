"""What reporters send of files, and what readers ask of a granule."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from jobstatus import v1 as pb
from jobstatus_grpc.convert import reports, requests, resources
from jobstatus_grpc.errors import InvalidRequest
from jobstatus_grpc.model import (
    MAX_FILES_BYTES,
    MAX_GRANULE_FILES,
    FileReport,
    Granule,
    GranuleFile,
    GranuleKey,
    GranuleState,
    ItemError,
    JobKey,
)
from jobstatus_grpc.sizes import file_bytes

G = Granule("c", "g", GranuleState.STAGED, None, 1, None, None, None, None, 5, 7)


def files_of(*files: pb.GranuleFile) -> list[FileReport]:
    granule = pb.Granule(granule_id="g", files=files)
    request = pb.ReportGranulesRequest(job_id="j", granules=[granule])
    return list(reports.report_granules(request).granules[0].files)


def faults(*files: pb.GranuleFile) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        files_of(*files)
    prefix = "granules[0]."
    assert all(fault.field.startswith(prefix) for fault in caught.value.violations)
    return {fault.field.removeprefix(prefix): fault.description for fault in caught.value.violations}


def test_a_whole_file_is_read() -> None:
    file = pb.GranuleFile(
        file_name="f",
        state=pb.GRANULE_STATE_FAILED,
        native_state="error",
        restore_destination="",
        error=pb.ItemError(code="", reason="r"),
        attempt=3,
        request_time=Timestamp(seconds=-1, nanos=999_999_999),
        end_time=Timestamp(),
        update_time=Timestamp(seconds=2**60),
    )
    error = ItemError("", "r")
    assert files_of(file) == [FileReport("f", GranuleState.FAILED, "error", "", error, 3, -1, 0)]


def test_what_is_absent_of_a_file_is_no_news() -> None:
    assert files_of(pb.GranuleFile(file_name="f")) == [FileReport("f")]
    assert files_of() == []


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"file_name": ""}, {"file_name": "is required"}),
        ({"file_name": "a\nb"}, {"file_name": "contains a control character"}),
        ({"file_name": "x" * 513}, {"file_name": "takes 513 bytes, more than 512"}),
        ({"state": 5}, {"state": "5 is not a state"}),
        ({"native_state": ""}, {"native_state": "is empty and there is no state beside it"}),
        ({"attempt": 0}, {"attempt": "0 is less than 1"}),
        (
            {"error": pb.ItemError(reason="\0")},
            {"error.reason": "contains a NUL character, which not every database can keep"},
        ),
    ],
)
def test_a_fault_of_a_file_is_named_with_its_place(fields: dict[str, Any], fault: dict[str, str]) -> None:
    bad = pb.GranuleFile(**({"file_name": "f"} | fields))
    expected = {f"files[1].{field}": words for field, words in fault.items()}
    assert faults(pb.GranuleFile(file_name="good"), bad) == expected


def test_a_report_names_a_file_once_and_no_more_of_them_than_a_granule_may_have() -> None:
    twice = pb.GranuleFile(file_name="f")
    assert faults(twice, twice) == {"files[1].file_name": "is that of another file of this granule"}
    many = [pb.GranuleFile(file_name=f"{number}") for number in range(MAX_GRANULE_FILES + 1)]
    assert len(files_of(*many[1:])) == MAX_GRANULE_FILES
    assert faults(*many) == {"files": "are 1001, more than 1000"}


def test_a_granule_without_a_job_is_asked_for_by_an_absent_id_and_not_by_an_empty_one() -> None:
    asked = requests.get_granule_status(pb.GetGranuleStatusRequest(granule_id="g"))
    assert asked == (JobKey("default", ""), GranuleKey("", "g"))
    asked = requests.get_granule_status(
        pb.GetGranuleStatusRequest(project_id="p", job_id="j", collection_id="c", granule_id="g")
    )
    assert asked == (JobKey("p", "j"), GranuleKey("c", "g"))
    with pytest.raises(InvalidRequest) as caught:
        requests.get_granule_status(pb.GetGranuleStatusRequest(job_id="", project_id="\n"))
    assert [fault.field for fault in caught.value.violations] == ["project_id", "job_id", "granule_id"]


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
texts = st.none() | names
times = st.none() | st.integers(-(2**50), 2**50)
files = st.builds(
    GranuleFile,
    names,
    st.sampled_from(GranuleState),
    texts,
    texts,
    st.none() | st.builds(ItemError, texts, texts),
    st.integers(1, 2**31 - 1),
    times,
    times,
    st.integers(-(2**50), 2**50),
)


@given(files)
def test_a_file_takes_no_more_bytes_than_it_counts(file: GranuleFile) -> None:
    message = resources.granule_to_pb(G, [file]).files[0]
    # Its tag and its length among them.
    assert message.ByteSize() + 1 + 5 <= file_bytes(file) <= MAX_FILES_BYTES
