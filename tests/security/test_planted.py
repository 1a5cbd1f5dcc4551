"""Exceptions that tell of the database, its statements and files, planted everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import grpc
import pytest
from credentials import Issuer
from google.protobuf.descriptor import MethodDescriptor
from planted import FATAL, PLACES, SECRET
from processes import PATIENCE, ServerProcess, environment
from rpcs import RPCS, aimed_at, call

from jobstatus_grpc.client import JobStatusRpcError

COMMAND: Final = (sys.executable, str(Path(__file__).parent.parent / "planted.py"))


def failure_of(channel: grpc.Channel, rpc: MethodDescriptor, authorization: str) -> JobStatusRpcError | None:
    """Return what a call fails with, if it does."""
    try:
        call(channel, rpc, aimed_at(rpc, "p"), authorization, timeout=1.5)
    except JobStatusRpcError as error:
        return error
    return None


@pytest.mark.parametrize("place", PLACES)
def test_what_an_exception_tells_reaches_neither_client_nor_log(
    database_url: str, tmp_path: Path, place: str
) -> None:
    issuer = Issuer(tmp_path)
    server = ServerProcess(database_url, log_level="debug", log_format="json", **issuer.settings)
    server.command = (*COMMAND, place)
    rpcs = sorted(RPCS, key=lambda rpc: ("Report" not in rpc.name, "Delete" in rpc.name))
    with (
        (tmp_path / "log").open("w") as server.log,
        server,
        grpc.insecure_channel(server.address) as channel,
    ):
        failures = [failure_of(channel, rpc, f"Bearer {issuer.token()}") for rpc in rpcs]
    told = [f"{error} {error.metadata} {error.violations}" for error in failures if error]
    assert not any(SECRET in words for words in told)
    internal = [error for error in failures if error and error.code is grpc.StatusCode.INTERNAL]
    assert internal
    assert {error.message.partition(";")[0] for error in internal} == {"the server failed"}
    said = (tmp_path / "log").read_text()
    assert SECRET not in said
    assert "RuntimeError: connection to" in said


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("place", FATAL)
def test_nor_does_it_where_the_process_cannot_go_on(
    sqlite_url: str, tmp_path: Path, place: str, log_format: str
) -> None:
    arguments = ("serve", "--listen", "127.0.0.1:0", "--database-url", sqlite_url, "--log-format", log_format)
    done = subprocess.run(
        [*COMMAND, place, *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        env=environment(TMPDIR=str(tmp_path)),
        check=False,
    )
    assert done.returncode != 0
    assert SECRET not in done.stdout + done.stderr
    for file in tmp_path.glob("jobstatus-*.log"):
        assert SECRET not in file.read_text()
