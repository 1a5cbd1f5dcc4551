"""A server that brings in the jobs of an ORCA database by a process beside it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from moments import wait_until
from orca import STAGED, SUCCESS, OrcaDatabase, orca_granules
from postgres import PostgresServer
from processes import ServerProcess

from jobstatus import v1 as pb
from jobstatus_grpc.bringing import _COMMAND, _orders
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError
from jobstatus_grpc.config import ServerConfig


@pytest.fixture
def orca(postgres_server: PostgresServer) -> Iterator[OrcaDatabase]:
    database = OrcaDatabase(postgres_server)
    yield database
    database.close()


def sources(server: ServerProcess) -> list[int]:
    """Return the processes that a server has started."""
    found = subprocess.run(["pgrep", "-P", str(server.pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def totals(client: JobStatusClient) -> pb.GranuleTotals:
    try:
        return client.get("job").job.totals
    except JobStatusRpcError:
        return pb.GranuleTotals()


def test_a_server_brings_in_what_its_callers_ask_for(
    database_url: str, orca: OrcaDatabase, tmp_path: Path
) -> None:
    first, second = orca_granules("job", 2, 1)
    secret = orca.secret(tmp_path / "secret.json")
    given = ("--source-orca-secret-file", str(secret))
    # So seldom that only who asks can be the reason.
    with (
        ServerProcess(database_url, *given, source_orca_interval="600") as server,
        orca.writer() as writer,
        JobStatusClient(server.address) as client,
    ):
        writer.create(first)
        wait_until(lambda: totals(client).pending_count == 1, "the job is there, since somebody asks")
        writer.update(first, "f-0", STAGED)
        wait_until(lambda: totals(client).staged_count == 1, "it was read again", 10)
        (source,) = sources(server)
        server.kill()
        wait_until(lambda: not alive(source), "the source has ended with its server", 10)
        writer.create(second)
        server.start()
        wait_until(lambda: totals(client).pending_count == 1, "the next one goes on")
        assert server.terminate() == 0


def test_a_source_that_dies_is_started_again(database_url: str, orca: OrcaDatabase) -> None:
    (granule,) = orca_granules("job", 1, 1)
    with (
        ServerProcess(database_url, "--source-orca-url", orca.url, source_orca_settle="0") as server,
        orca.writer() as writer,
        JobStatusClient(server.address) as client,
    ):
        wait_until(lambda: len(sources(server)) == 1, "it runs")
        subprocess.run(["kill", "-9", str(sources(server)[0])], check=True)
        writer.create(granule)
        writer.finish(granule, SUCCESS)
        wait_until(lambda: totals(client).succeeded_count == 1, "another one works")


def test_a_source_whose_store_has_no_schema_says_so_and_ends(
    postgres_server: PostgresServer, orca: OrcaDatabase
) -> None:
    """Also while the server that has started it goes on talking to it."""
    config = ServerConfig(database_url=postgres_server.url("postgres"), source_orca_url=orca.url)
    with subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(_orders(config)).encode() + b"\n")
        process.stdin.flush()
        told = process.stderr.read().decode()
        assert process.wait(30) == 1
    assert "jobstatus db upgrade" in told
    assert "Fatal" not in told
