"""Behind Debian's PgBouncer in transaction mode: the store keeps its contract, and news come by polling."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from pooler import PROGRAM, Pooler
from postgres import PostgresServer
from processes import ServerProcess
from reporting import PENDING, STAGED, SUCCEEDED, Writer, granules, names, read_table
from sqlalchemy import make_url
from watching import Watcher

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs the Debian package pgbouncer")

TESTS: Final = Path(__file__).parents[2]


@pytest.fixture
def pooled_url(postgres_url: str, postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of the test's own database, through a pooler."""
    pooler = Pooler(postgres_server.port)
    url = make_url(postgres_url).set(port=pooler.port)
    yield url.render_as_string(hide_password=False)
    pooler.close()


def test_the_store_keeps_its_contract(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "--pooler", "-q", "-x", "-k", "postgresql"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", f"--basetemp={tmp_path}/inner", str(TESTS / "store")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        cwd=TESTS.parent,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_watchers_of_other_servers_hear_of_everything_by_polling(pooled_url: str) -> None:
    reports = [granules(state, name) for state in (STAGED, SUCCEEDED) for name in names(200)]
    with (
        ServerProcess(pooled_url) as server,
        ServerProcess(pooled_url) as other,
        JobStatusClient(server.address) as client,
    ):
        client.report_job(pb.Job(job_id="j"), granules(PENDING, *names(200)))
        with (
            Watcher(server.address, "j") as near,
            Watcher(other.address, "j") as far,
            Writer(server.address, "j", reports) as writer,
        ):
            writer.join()
            head = client.get("j", view=pb.JOB_VIEW_BASIC).job.revision
            for watcher in (near, far):
                watcher.wait_for_revision(head)
                folded = watcher.folded
                assert folded.revisions == list(range(folded.snapshots[0] + 1, head + 1))
                assert (folded.succeeded(), folded.resets) == (200, [])
                assert folded.granules == read_table(client, "j")
                assert watcher.wait_for_heartbeat().news_mode == pb.NEWS_MODE_POLL
