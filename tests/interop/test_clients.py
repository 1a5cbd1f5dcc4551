"""Clients of the systems, as they are installed from PyPI, read what the service writes."""

from __future__ import annotations

import copy
import json
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdksdrs.v1 import SdrsClient, ShowJobStatusRequest
from huaweicloudsdksfsturbo.v1 import SFSTurboClient, ShowJobDetailRequest
from shelf import data

from interop.endpoints import endpoint
from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

NO_SUCH = "0" * 32
LONG = "x" * 513


def imported(client: JobStatusClient, document: dict[str, Any]) -> str:
    """Import a document, and return the job's id."""
    (result,) = client.import_jobs(json.dumps(document).encode())
    assert not result.HasField("status"), result
    return result.job_id


def glacier(url: str) -> Any:
    """Return boto3's client for a Glacier at `url`."""
    return boto3.client(
        "glacier",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=Config(retries={"max_attempts": 0}),
    )


def huawei(kind: Any, url: str) -> Any:
    """Return a client of the cloud's SDK for an endpoint at `url`."""
    credentials = BasicCredentials("ak", "sk", "project")
    return kind.new_builder().with_credentials(credentials).with_endpoint(url).build()


@pytest.mark.parametrize("form", ["glacier", "glacier-boto3"])
@pytest.mark.parametrize("name", ["inventory_raw", "inventory_boto3", "filled_boto3"])
def test_boto3_reads_a_job_of_glacier(client: JobStatusClient, form: str, name: str) -> None:
    document = data(f"glacier/{name}.json")
    job_id = imported(client, document)
    with endpoint(client, form) as url:
        answer = glacier(url).describe_job(accountId="-", vaultName="v", jobId=job_id)
    told = copy.deepcopy(document)
    for each in (answer, told):
        each.pop("ResponseMetadata", None)
    # Another form than the job's own is written from its fields, which do not tell "" from nothing.
    own = form == ("glacier" if None in document.values() else "glacier-boto3")
    assert answer == without(told, [None] if own else [None, ""])


def without(value: Any, nothing: list[Any]) -> Any:
    """Return a value without the keys that tell nothing, which boto3 drops too."""
    if isinstance(value, dict):
        return {key: without(inner, nothing) for key, inner in value.items() if inner not in nothing}
    return [without(inner, nothing) for inner in value] if isinstance(value, list) else value


def test_boto3_reads_a_job_that_was_reported_through_the_api(client: JobStatusClient) -> None:
    size = 2**63 - 1
    details = pb.GlacierDetails(archive_size_bytes=size, tier="Bulk")
    job = pb.Job(job_id="api", system="glacier", job_type="ArchiveRetrieval", glacier=details)
    job.state, job.message = pb.JOB_STATE_FAILED, "no such archive"
    client.report_job(job)
    with endpoint(client, "glacier") as url:
        answer = glacier(url).describe_job(accountId="-", vaultName="v", jobId="api")
    told = {key: answer[key] for key in ("StatusCode", "Completed", "StatusMessage", "Tier", "Action")}
    assert told == {
        "StatusCode": "Failed",
        "Completed": True,
        "StatusMessage": "no such archive",
        "Tier": "Bulk",
        "Action": "ArchiveRetrieval",
    }
    assert answer["ArchiveSizeInBytes"] == size


@pytest.mark.parametrize(
    ("job_id", "code", "status", "words"),
    [
        (NO_SUCH, "ResourceNotFoundException", 404, f"The job ID was not found: {NO_SUCH}"),
        (LONG, "InvalidParameterValueException", 400, "job_id"),
    ],
)
def test_boto3_raises_the_errors_that_glacier_has(
    client: JobStatusClient, job_id: str, code: str, status: int, words: str
) -> None:
    with endpoint(client, "glacier") as url:
        reader = glacier(url)
        with pytest.raises(getattr(reader.exceptions, code)) as caught:
            reader.describe_job(accountId="-", vaultName="v", jobId=job_id)
    error = caught.value
    assert isinstance(error, ClientError)
    assert error.response["Error"]["Code"] == code
    assert words in error.response["Error"]["Message"]
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert error.response["type"] == "Client"


@pytest.mark.parametrize("name", ["protection_group", "sub_jobs"])
def test_the_sdk_reads_a_job_of_sdrs(client: JobStatusClient, name: str) -> None:
    document = data(f"sdrs/{name}.json")
    job_id = imported(client, document)
    with endpoint(client, "sdrs") as url:
        answer = huawei(SdrsClient, url).show_job_status(ShowJobStatusRequest(job_id=job_id))
    told = answer.to_json_object()
    facts = ("status", "job_id", "job_type", "begin_time", "end_time", "error_code", "fail_reason")
    assert {key: told.get(key) for key in facts} == {key: document.get(key) for key in facts}
    entities = document["entities"]
    assert answer.entities.server_group_id == entities.get("server_group_id")
    parts = [part.to_dict() for part in answer.entities.sub_jobs or []]
    wanted = entities.get("sub_jobs", [])
    assert [{key: part.get(key) for key in facts} for part in parts] == [
        {key: part.get(key) for key in facts} for part in wanted
    ]
    assert (name == "sub_jobs") == bool(parts)


@pytest.mark.parametrize("name", ["bind_ldap", "sub_jobs"])
def test_the_sdk_reads_a_job_of_sfs_turbo(client: JobStatusClient, name: str) -> None:
    document = data(f"sfs_turbo/{name}.json")
    job_id = imported(client, document)
    with endpoint(client, "sfs-turbo") as url:
        answer = huawei(SFSTurboClient, url).show_job_detail(ShowJobDetailRequest(job_id=job_id))
    told = answer.to_json_object()
    facts = ("status", "job_id", "job_type", "begin_time", "end_time", "error_code", "fail_reason")
    assert {key: told.get(key) for key in facts} == {key: document.get(key) for key in facts}
    assert [part["job_id"] for part in told.get("sub_jobs") or []] == [
        part["job_id"] for part in document.get("sub_jobs", [])
    ]


def test_the_sdks_raise_the_errors_that_their_systems_have(client: JobStatusClient) -> None:
    with endpoint(client, "sdrs") as url:
        reader = huawei(SdrsClient, url)
        for job_id, status, code, words in (
            (NO_SUCH, 404, "404", f"no job '{NO_SUCH}'"),
            (LONG, 400, "SDRS.0201", "job_id"),
        ):
            with pytest.raises(ClientRequestException) as caught:
                reader.show_job_status(ShowJobStatusRequest(job_id=job_id))
            error = caught.value
            assert (error.status_code, error.error_code, error.request_id) == (status, code, "r-1")
            assert words in error.error_msg
    with endpoint(client, "sfs-turbo") as url:
        with pytest.raises(ClientRequestException) as caught:
            huawei(SFSTurboClient, url).show_job_detail(ShowJobDetailRequest(job_id=NO_SUCH))
        # The SDK does not know the documented keys, and passes on the body as it is.
        assert caught.value.status_code == 404
        assert json.loads(caught.value.error_msg) == {
            "errCode": "SFS.TURBO.0019",
            "errMsg": "Invalid Job Id",
        }
