"""A PostgreSQL of two nodes fails over under load, and the servers follow through a URL of both."""

from __future__ import annotations

import pytest
from processes import ServerProcess
from replication import Pair
from reporting import PENDING, STAGED, SUCCEEDED, Writer, endless, granules, names, read_table
from watching import Watcher

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient
from jobstatus_grpc.store import upgrade

GRANULES = names(300)


def test_with_a_synchronous_standby_nothing_acknowledged_is_lost_and_watchers_go_on() -> None:
    with Pair(synchronous=True) as pair:
        pair.first.create_database("jobs")
        upgrade(pair.url("jobs"))
        reports = [granules(state, name) for state in (STAGED, SUCCEEDED) for name in GRANULES]
        with (
            ServerProcess(pair.url("jobs")) as server,
            ServerProcess(pair.url("jobs")) as other,
            JobStatusClient(server.address, connect_timeout=60, timeout=60) as client,
        ):
            client.report_job(pb.Job(job_id="j"), granules(PENDING, *GRANULES))
            with (
                Writer(server.address, "j", reports, connect_timeout=60) as writer,
                Watcher(server.address, "j") as near,
                Watcher(other.address, "j") as far,
            ):
                near.wait_for_revision(301 + 200)
                far.wait_for_revision(301 + 200)
                pair.fail_over()
                writer.join()
                head = client.get("j", view=pb.JOB_VIEW_BASIC).job.revision
                for watcher in (near, far):
                    watcher.wait_for_revision(head)
                    folded = watcher.folded
                    assert (folded.succeeded(), folded.resets) == (300, [])
                    assert folded.revisions == list(range(folded.snapshots[0] + 1, head + 1))
                    assert folded.granules == read_table(client, "j")
                    assert not watcher.breaks
            assert not writer.refused
        assert len(writer.acknowledged) == 600


@pytest.mark.parametrize("behind", [50])
def test_with_an_asynchronous_standby_lost_commits_are_told_as_a_reset(behind: int) -> None:
    with Pair(synchronous=False) as pair:
        pair.first.create_database("jobs")
        upgrade(pair.url("jobs"))
        with (
            ServerProcess(pair.url("jobs")) as server,
            ServerProcess(pair.url("jobs")) as other,
            JobStatusClient(server.address, connect_timeout=60, timeout=60) as client,
        ):
            client.report_job(pb.Job(job_id="j"), granules(PENDING, *GRANULES))
            reports = endless(GRANULES)
            for _ in range(20):
                kept = client.report_granules("j", next(reports)).revision
            with Watcher(server.address, "j") as near, Watcher(other.address, "j") as far:
                near.wait_for_revision(kept)
                far.wait_for_revision(kept)
                pair.leave_behind()
                for _ in range(behind):
                    lost = client.report_granules("j", next(reports)).revision
                near.wait_for_revision(lost)
                far.wait_for_revision(lost)
                pair.fail_over()
                for watcher in (near, far):
                    watcher.wait_for(lambda folded: len(folded.resets) == 1, "the loss is told")
                after = client.report_granules("j", granules(SUCCEEDED, *GRANULES[:10], attempt=99)).revision
                assert after < lost
                for watcher in (near, far):
                    watcher.wait_for(lambda folded: folded.revision == after, "they go on")
                    assert watcher.folded.resets == ["HISTORY_CHANGED"]
                    assert watcher.folded.granules == read_table(client, "j")
