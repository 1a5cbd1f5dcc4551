"""`jobstatus granule` as a person and a script use it, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Cli
from processes import ServerProcess

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with ServerProcess(f"sqlite:///{tmp_path}/jobstatus.db") as started:
        yield started.address


@pytest.fixture
def client(server: str) -> Iterator[JobStatusClient]:
    with JobStatusClient(server, "p") as made:
        yield made


@pytest.fixture
def cli(server: str) -> Cli:
    return Cli(server, "p")


def restore(client: JobStatusClient, job_id: str) -> None:
    failed = pb.GranuleFile(
        file_name="g.hdf",
        state=pb.GRANULE_STATE_FAILED,
        restore_destination="s3://bucket",
        error=pb.ItemError(code="E", reason="torn\x1b[31m"),
        attempt=2,
    )
    lost = pb.GranuleFile(file_name="g.met", native_state="lost")
    granule = pb.Granule(collection_id="MOD09", granule_id="g", files=[failed, lost])
    client.report_job(pb.Job(job_id=job_id), [granule])


def test_it_shows_a_granule_and_its_files(client: JobStatusClient, cli: Cli) -> None:
    restore(client, "restore")
    lines = cli.lines("granule", "MOD09", "g")
    assert lines[:4] == [
        "granule      MOD09/g",
        "job          restore in project p",
        "state        STAGED, attempt 2, revision 2",
        "error        E: torn\\x1b[31m",
    ]
    assert lines[-4:] == [
        "",
        "files",
        "  g.hdf  FAILED              s3://bucket  attempt 2 E: torn\\x1b[31m",
        "  g.met  UNSPECIFIED (lost)",
    ]


def test_it_shows_that_of_the_job_that_is_named(client: JobStatusClient, cli: Cli) -> None:
    restore(client, "first")
    restore(client, "second")
    (answer,) = cli.values("granule", "MOD09", "g", "--json")
    assert answer["job_id"] == "second"
    assert [file["file_name"] for file in answer["granule"]["files"]] == ["g.hdf", "g.met"]
    (answer,) = cli.values("granule", "MOD09", "g", "--job-id", "first", "--json")
    assert (answer["project_id"], answer["job_id"]) == ("p", "first")


def test_a_granule_without_a_collection_or_files_is_shown_without(client: JobStatusClient, cli: Cli) -> None:
    client.report_job(pb.Job(job_id="j"), [pb.Granule(granule_id="g", message="waits")])
    lines = cli.lines("granule", "", "g")
    assert lines[0].split() == ["granule", "g"]
    assert "files" not in lines


def test_a_granule_that_is_not_there_leaves_with_3(client: JobStatusClient, cli: Cli) -> None:
    restore(client, "restore")
    done = cli("granule", "MOD09", "other", "--job-id", "restore")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no granule 'other' of collection 'MOD09' of job 'restore' in project 'p'" in done.stderr
    assert "(GRANULE_NOT_FOUND)" in done.stderr
