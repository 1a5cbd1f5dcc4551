"""Many processes at once, and processes that die: every revision once, every acknowledged report kept."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from processes import ServerProcess
from reporting import PENDING, STAGED, SUCCEEDED, Writer, check_whole, granules, names, read_table
from watching import Watcher

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient


def lives(prefix: str, number: int, seed: int) -> list[list[pb.Granule]]:
    """Return the reports of so many granules' lives, one granule each, mixed."""
    reports = [
        (place, granules(state, name))
        for name in names(number, prefix)
        for place, state in zip(
            sorted(random.Random(f"{seed} {name}").sample(range(10_000), 3)),
            (PENDING, STAGED, SUCCEEDED),
            strict=True,
        )
    ]
    return [report for _, report in sorted(reports, key=lambda placed: placed[0])]


def test_a_server_killed_again_and_again_loses_and_doubles_nothing(postgres_url: str) -> None:
    with (
        ServerProcess(postgres_url) as server,
        JobStatusClient(server.address) as client,
        ExitStack() as writing,
    ):
        client.report_job(pb.Job(job_id="j"))
        watcher = writing.enter_context(Watcher(server.address, "j"))
        watcher.wait_for(lambda folded: folded.whole, "the snapshot")
        writers = [
            writing.enter_context(Writer(server.address, "j", lives(f"w{number}-", 100, number)))
            for number in range(3)
        ]
        for kill in range(1, 4):
            # Each in the midst of reports that are being written and changes that are being sent.
            watcher.wait_for_revision(200 * kill)
            server.kill()
            server.start()
        with ThreadPoolExecutor() as pool:
            list(pool.map(Writer.join, writers))
        watcher.wait_for_revision(client.get("j", view=pb.JOB_VIEW_BASIC).job.revision)
        check_whole(watcher.folded, client, "j")
        assert len(watcher.breaks) >= 3
        table = read_table(client, "j")
        for writer in writers:
            assert not writer.refused
            for reported in writer.acknowledged:
                assert table["c", reported.granule_id].state >= reported.state  # type: ignore[index]
        assert len(table) == watcher.folded.succeeded() == 300


def test_servers_started_at_once_on_one_empty_file_all_serve(sqlite_url: str) -> None:
    servers = [ServerProcess(sqlite_url) for _ in range(4)]
    with ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        for server in servers:
            stack.push(server.__exit__)
        list(pool.map(ServerProcess.start, servers))
        clients = [stack.enter_context(JobStatusClient(server.address)) for server in servers]
        list(pool.map(lambda client: list(client.list()), clients))
        tokens = []
        for number, client in enumerate(clients):
            client.report_job(pb.Job(job_id=f"j{number}"), granules(PENDING, "a"))
            tokens += [reader.get(f"j{number}").resume_token for reader in clients]
        for client in clients:
            assert [job.job_id for job in client.list()] == ["j3", "j2", "j1", "j0"]
        # All have the identity of one store: they give the same tokens, and take each other's.
        assert len(set(tokens)) == 4
        for client in clients:
            (frame,) = client.frames("j0", tokens[0], snapshot_only=True)
            assert frame.HasField("heartbeat")
        assert all(server.terminate() == 0 for server in servers)
