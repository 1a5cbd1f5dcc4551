"""Many reporters at once, in processes of their own: every revision once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from processes import ServerProcess, environment
from reporting import check_whole
from watching import Watcher

from faults import reporter as reporter_process
from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

REPORTER = reporter_process.__file__
GRANULES = 10_000
BATCH = 1_000


@contextmanager
def reporter(address: str, job_id: str, seed: int) -> Iterator[subprocess.Popen[str]]:
    """Start a reporter, which does not outlive the block."""
    process = subprocess.Popen(
        [sys.executable, REPORTER, address, job_id, str(GRANULES), str(BATCH), str(seed)],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_ten_thousand_granules_from_four_processes_reach_a_watcher_once_each(database_url: str) -> None:
    with (
        ServerProcess(database_url) as server,
        ServerProcess(database_url) as other,
        JobStatusClient(server.address) as client,
    ):
        client.report_job(pb.Job(job_id="j"))
        with Watcher(server.address, "j") as watcher, ExitStack() as reporting:
            watcher.wait_for(lambda folded: folded.snapshots == [1], "the snapshot")
            addresses = [server.address, other.address] * 2
            reporters = [
                reporting.enter_context(reporter(address, "j", seed))
                for seed, address in enumerate(addresses)
            ]
            for process in reporters:
                answered, _ = process.communicate(timeout=120)
                assert (process.returncode, int(answered)) == (0, 3 * (GRANULES + GRANULES // BATCH))
            client.report_job(pb.Job(job_id="j", granules_complete=True))
            watcher.wait_for(lambda folded: folded.completed is not None, "the end")
            assert watcher.folded.counts == (0, 0, GRANULES, 0, 0)
            check_whole(watcher.folded, client, "j")
