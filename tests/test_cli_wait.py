"""`jobstatus wait`: its words, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import ServerProcess, run_command, start_command

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

OPEN, DONE = pb.GRANULE_STATE_STAGED, pb.GRANULE_STATE_SUCCEEDED
BROKEN = pb.GRANULE_STATE_FAILED


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path: Path = tmp_path_factory.mktemp("cli") / "jobstatus.db"
    with ServerProcess(f"sqlite:///{path}") as started, JobStatusClient(started.address) as client:
        report(client, "running", DONE, OPEN)
        report(client, "limping", BROKEN, OPEN)
        report(client, "succeeded", DONE)
        report(client, "failed", DONE, BROKEN)
        yield started.address


def report(client: JobStatusClient, name: str, *states: pb.GranuleState) -> None:
    granules = [pb.Granule(granule_id=f"g{index}", state=state) for index, state in enumerate(states)]
    client.report_job(pb.Job(job_id=name, granules_complete=True), granules)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["succeeded"], 0, "job succeeded is SUCCEEDED: 1 granule: 1 succeeded\n"),
        (["failed"], 1, "job failed is FAILED: 2 granules: 1 succeeded, 1 failed\n"),
        (
            ["running", "--timeout", "0.1"],
            5,
            "job running is RUNNING: 2 granules: 1 staged, 1 succeeded, and the time is over\n",
        ),
        (["running", "--until", "0.5"], 0, "job running is RUNNING: 2 granules: 1 staged, 1 succeeded\n"),
        (["limping", "--until", "0.5"], 0, "job limping is RUNNING: 2 granules: 1 staged, 1 failed\n"),
        (
            ["limping", "--until", "any-failure"],
            1,
            "job limping is RUNNING: 2 granules: 1 staged, 1 failed\n",
        ),
        (["succeeded", "--until", "any-failure"], 0, "job succeeded is SUCCEEDED: 1 granule: 1 succeeded\n"),
        (["failed", "--until", "1"], 1, "job failed is FAILED: 2 granules: 1 succeeded, 1 failed\n"),
        (["nobody"], 3, ""),
        (["nobody", "--wait-for-job", "--timeout", "0.1"], 3, ""),
        (["running", "--until", "0"], 2, ""),
        (["running", "--until", "nan"], 2, ""),
        (["running", "--until", "tomorrow"], 2, ""),
        (["running", "--timeout", "-1"], 2, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_exit_status_tells_how_it_ended(
    server: str, arguments: list[str], status: int, words: str
) -> None:
    ended = run_command("wait", *arguments, server=server)
    assert (ended.returncode, ended.stdout) == (status, words)
    assert bool(ended.stderr) is (status in (2, 3))


def test_programs_get_the_whole_answer(server: str) -> None:
    ended = run_command("wait", "running", "--timeout", "0", "--json", server=server)
    answer = json.loads(ended.stdout)
    assert ended.returncode == 5
    assert answer["job"]["state"] == "JOB_STATE_RUNNING"
    assert "done" not in answer
    changes = run_command(
        *("watch", "running", "--snapshot-only", "--json", "--resume-token", answer["resume_token"]),
        server=server,
    )
    assert "heartbeat" in json.loads(changes.stdout)


def test_it_waits_for_a_job_to_be_reported_and_to_end(server: str) -> None:
    process = start_command("wait", "late", "--wait-for-job", server=server)
    with JobStatusClient(server) as client:
        report(client, "late", OPEN)
        assert not client.wait("late", timeout=0.5).done
        report(client, "late", DONE)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out == "job late is SUCCEEDED: 1 granule: 1 succeeded\n"
