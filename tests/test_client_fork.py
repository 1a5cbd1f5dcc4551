"""The client in processes that are forked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from processes import PATIENCE, ServerProcess, environment

PROGRAM = """
import os, sys
from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

client = JobStatusClient(sys.argv[1])
if sys.argv[2] == "used":
    client.report_job(pb.Job(job_id="parent"))
child = os.fork()
if not child:
    client.report_job(pb.Job(job_id="child", granules_complete=True))
    for update in client.watch("child"):
        print("child", update.kind, flush=True)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("parent", client.get("child").job.revision)
client.close()
"""


@pytest.mark.parametrize(("before", "settings"), [("made", {"GRPC_ENABLE_FORK_SUPPORT": "0"}), ("used", {})])
def test_a_child_makes_connections_of_its_own(tmp_path: Path, before: str, settings: dict[str, str]) -> None:
    with ServerProcess(f"sqlite:///{tmp_path}/jobstatus.db") as server:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, server.address, before],
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            env=environment(**settings),
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["child snapshot", "child completed", "parent 2"]
