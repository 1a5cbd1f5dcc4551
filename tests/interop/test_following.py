"""A job of moto's Glacier, which knows nothing of this service, is followed to its end."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from moments import wait_until
from processes import PATIENCE, ServerProcess, start_command

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

_AS_BOTO3: Final = """
import boto3, json, sys
url, vault, job_id = sys.argv[1:]
glacier = boto3.client("glacier", endpoint_url=url, region_name="eu-west-1",
                       aws_access_key_id="k", aws_secret_access_key="s")
print(json.dumps(glacier.describe_job(accountId="-", vaultName=vault, jobId=job_id)))
"""
_AS_HTTP: Final = """
import sys, urllib.request
url, vault, job_id = sys.argv[1:]
words = "Credential=k/20260101/eu-west-1/glacier/aws4_request, SignedHeaders=host, Signature=s"
told = {"Authorization": f"AWS4-HMAC-SHA256 {words}"}
request = urllib.request.Request(f"{url}/-/vaults/{vault}/jobs/{job_id}", headers=told)
print(urllib.request.urlopen(request).read().decode())
"""
PROGRAMS: Final = {"glacier-boto3": _AS_BOTO3, "glacier": _AS_HTTP}


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The URL of a running moto."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = Path(sys.executable).with_name("moto_server")
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [command, "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: answers(url), "moto answers")
            yield url
        finally:
            process.kill()


def answers(url: str) -> bool:
    """Return whether somebody answers there."""
    with suppress(OSError), urllib.request.urlopen(f"{url}/moto-api/", timeout=5):
        return True
    return False


@pytest.fixture(scope="module")
def glacier(moto: str) -> Any:
    """boto3's client for it."""
    made = boto3.client(
        "glacier",
        endpoint_url=moto,
        region_name="eu-west-1",
        aws_access_key_id="k",
        aws_secret_access_key="s",
    )
    made.create_vault(accountId="-", vaultName="vault")
    return made


@pytest.mark.parametrize("form", list(PROGRAMS))
def test_a_watcher_sees_the_change_and_the_end_of_a_job_of_moto(
    moto: str, glacier: Any, server: ServerProcess, client: JobStatusClient, form: str
) -> None:
    parameters = {"Type": "inventory-retrieval", "Tier": "Expedited"}
    job_id = glacier.initiate_job(accountId="-", vaultName="vault", jobParameters=parameters)["jobId"]
    told = ("--every", "250ms", "--until-done", "--format", form)
    asks = (sys.executable, "-c", PROGRAMS[form], moto, "vault", job_id)
    updates = client.watch(job_id, wait_for_job=True)
    with start_command("import", *told, "--", *asks, server=server.address) as process:
        seen = [(update.kind, update.job.state, update.job.native_state) for update in updates]
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert seen[0][1:] == (pb.JOB_STATE_RUNNING, "InProgress")
    assert [update[1:] for update in seen[1:]] == [(pb.JOB_STATE_SUCCEEDED, "Succeeded")] * (len(seen) - 1)
    assert seen[-1][0] == "completed"
    assert [line.split(" at ")[0] for line in out.splitlines()] == [
        f"job {job_id} is RUNNING",
        f"job {job_id} is SUCCEEDED",
    ]
    last = glacier.describe_job(accountId="-", vaultName="vault", jobId=job_id)
    kept = json.loads(client.export_job(job_id, "glacier-boto3"))
    for each in (last, kept):
        each.pop("ResponseMetadata", None)
    assert kept == last
