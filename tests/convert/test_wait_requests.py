from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from jobstatus import v1 as pb
from jobstatus_grpc.convert.waits import WAIT_SECONDS, wait_job
from jobstatus_grpc.errors import INVALID, InvalidRequest
from jobstatus_grpc.model import JobKey


def test_a_wait_is_read() -> None:
    whole = pb.WaitJobRequest(
        project_id="p",
        job_id="j",
        done_share=1,
        timeout=Duration(seconds=600),
        wait_for_job=True,
    )
    assert wait_job(whole) == (JobKey("p", "j"), False, 1.0, 600.0, True)
    assert wait_job(pb.WaitJobRequest(job_id="j")) == (
        *(JobKey("default", "j"), False, None),
        *(WAIT_SECONDS, False),
    )
    none = pb.WaitJobRequest(job_id="j", any_failure=True, timeout=Duration())
    assert wait_job(none)[1:4] == (True, None, 0.0)
    assert not wait_job(pb.WaitJobRequest(job_id="j", terminal=True)).any_failure


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"terminal": False}, "terminal"),
        ({"any_failure": False}, "any_failure"),
        ({"done_share": 0}, "done_share"),
        ({"done_share": -0.5}, "done_share"),
        ({"done_share": 1.0000001}, "done_share"),
        ({"done_share": float("inf")}, "done_share"),
        ({"done_share": float("nan")}, "done_share"),
        ({"timeout": Duration(nanos=-1)}, "timeout"),
        ({"timeout": Duration(seconds=600, nanos=1)}, "timeout"),
        ({"timeout": Duration(seconds=2**62)}, "timeout"),
    ],
    ids=str,
)
def test_what_cannot_be_waited_for_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wait_job(pb.WaitJobRequest(job_id="j", **fields))
    assert [(fault.field, fault.reason) for fault in caught.value.violations] == [(field, INVALID)]


def test_all_that_is_wrong_with_a_wait_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        wait_job(pb.WaitJobRequest(project_id="\n", done_share=2, timeout=Duration(seconds=-1)))
    fields = [fault.field for fault in caught.value.violations]
    assert fields == ["project_id", "job_id", "done_share", "timeout"]
