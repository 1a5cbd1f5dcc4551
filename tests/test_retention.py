"""Pruning as those see it who watch: through a real server, while it goes on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from moments import wait_until
from processes import ServerProcess, run_command
from reports import granule, job
from stored import count_rows, run

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError
from jobstatus_grpc.model import JobKey
from jobstatus_grpc.retention import Retention
from jobstatus_grpc.store.base import JobStore

STAGED, SUCCEEDED = pb.GRANULE_STATE_STAGED, pb.GRANULE_STATE_SUCCEEDED
DAY = 86_400_000_000
"""In microseconds."""


@pytest.fixture
def server(database_url: str) -> Iterator[ServerProcess]:
    with ServerProcess(database_url) as started:
        yield started


@pytest.fixture
def client(server: ServerProcess) -> Iterator[JobStatusClient]:
    with JobStatusClient(server.address) as made:
        yield made


def granules(count: int, state: pb.GranuleState, message: str | None = None) -> list[pb.Granule]:
    return [pb.Granule(granule_id=f"g{index:04}", state=state, message=message) for index in range(count)]


def begin(client: JobStatusClient) -> None:
    """Report a running job of ten granules."""
    client.report_job(pb.Job(job_id="j", state=pb.JOB_STATE_RUNNING), granules(10, STAGED))


def prune(store: JobStore) -> int:
    """Remove all history but the heads, as if it were old."""
    removed, after = 0, 0
    while True:
        pruned = store.prune_changes(store.read_clock() + DAY, after)
        removed += pruned.removed
        if pruned.next_after is None:
            return removed
        after = pruned.next_after


def resume(client: JobStatusClient, token: bytes) -> Iterator[pb.WatchJobResponse]:
    """Yield the frames of a watch but for heartbeats."""
    for frame in client.frames("j", token):
        if not frame.HasField("heartbeat"):
            yield frame


def revisions(frames: list[pb.WatchJobResponse]) -> list[int]:
    return [change.revision for frame in frames for change in frame.changes.changes]


def test_a_token_from_before_what_is_kept_gets_a_reset_a_snapshot_and_all_that_follows(
    store: JobStore, client: JobStatusClient
) -> None:
    begin(client)
    old = client.get("j").resume_token
    client.report_granules("j", granules(10, SUCCEEDED))
    head = client.get("j")
    assert prune(store) == head.job.revision - 1
    frames = resume(client, old)
    reset, snapshot = next(frames), next(frames)
    assert (reset.reset.reason, reset.resume_token, reset.revision) == ("HISTORY_PRUNED", b"", 0)
    assert snapshot.snapshot.last
    assert snapshot.revision == head.job.revision
    assert snapshot.totals.succeeded_count == 10
    client.report_granules("j", [*granules(3, STAGED), pb.Granule(granule_id="new")])
    assert revisions([next(frames)]) == [head.job.revision + 1]
    # What was given before the pruning, at the head, needs no reset; nor does what was given after it.
    for token in (head.resume_token, snapshot.resume_token):
        again = next(resume(client, token))
        assert revisions([again]) == [head.job.revision + 1]


def test_a_watch_of_only_what_is_new_since_a_pruned_token_is_a_snapshot(
    store: JobStore, client: JobStatusClient
) -> None:
    begin(client)
    old = client.get("j").resume_token
    client.report_granules("j", granules(10, SUCCEEDED))
    prune(store)
    frames = list(client.frames("j", old, snapshot_only=True))
    assert [frame.WhichOneof("frame") for frame in frames] == ["reset", "snapshot"]
    assert frames[0].reset.reason == "HISTORY_PRUNED"


def test_a_watch_at_the_head_is_not_disturbed_by_pruning_behind_it(
    store: JobStore, client: JobStatusClient
) -> None:
    begin(client)
    frames = client.frames("j", heartbeat_interval=1)
    snapshot = next(frames)
    seen: list[int] = []
    for turn in range(1, 6):
        reported = client.report_granules("j", [pb.Granule(granule_id="g0000", attempt=turn + 1)])
        while not seen or seen[-1] < reported.revision:
            frame = next(frames)
            assert frame.WhichOneof("frame") in ("changes", "heartbeat")
            seen += revisions([frame])
        assert prune(store) > 0
    # A heartbeat later it is where it was: the server has looked at the head meanwhile.
    for frame in frames:
        assert frame.WhichOneof("frame") == "heartbeat"
        assert frame.revision == seen[-1]
        break
    assert seen == list(range(snapshot.revision + 1, seen[-1] + 1))


class SlowWatch:
    """A watch by a client that takes frames only when asked to, and has little room for others."""

    OPTIONS = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535))

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=self.OPTIONS)
        self._frames = pb.JobStatusServiceStub(self._channel).WatchJob(pb.WatchJobRequest(job_id="j"))

    def __iter__(self) -> Iterator[pb.WatchJobResponse]:
        for frame in self._frames:
            if not frame.HasField("heartbeat"):
                yield frame

    def close(self) -> None:
        self._frames.cancel()
        self._channel.close()


@pytest.fixture
def slow(server: ServerProcess, client: JobStatusClient) -> Iterator[SlowWatch]:
    """A watch that is open on a running job."""
    begin(client)
    watch = SlowWatch(server.address)
    yield watch
    watch.close()


def report_much(client: JobStatusClient) -> int:
    """Report more than a stream and a feed hold together; return the job's revision."""
    large = "m" * 15_000
    for turn in range(1, 7):
        # Other words each time: what changes nothing is no change.
        reported = client.report_granules("j", granules(250, SUCCEEDED, message=f"{turn}{large}"))
    return reported.revision


def test_an_open_watch_that_pruning_overtakes_gets_a_reset_and_a_snapshot(
    store: JobStore, client: JobStatusClient, slow: SlowWatch
) -> None:
    frames = iter(slow)
    start = next(frames)
    assert start.snapshot.last
    head = report_much(client)
    prune(store)
    before = []
    for frame in frames:
        if frame.HasField("reset"):
            break
        before.append(frame)
    assert frame.reset.reason == "HISTORY_PRUNED"
    # What it had got until then was whole.
    seen = revisions(before)
    assert seen == list(range(start.revision + 1, start.revision + 1 + len(seen)))
    assert start.revision + len(seen) < head
    snapshot = [next(frames)]
    while not snapshot[-1].snapshot.last:
        snapshot.append(next(frames))
    assert {chunk.revision for chunk in snapshot} == {head}
    assert sum(len(chunk.snapshot.granules) for chunk in snapshot) == 250
    client.report_granules("j", [pb.Granule(granule_id="new")])
    assert revisions([next(frames)]) == [head + 1]


def test_a_job_that_is_deleted_for_its_age_while_it_is_watched_is_told_of(
    store: JobStore, client: JobStatusClient, slow: SlowWatch
) -> None:
    frames = iter(slow)
    assert next(frames).snapshot.last
    report_much(client)
    client.report_job(pb.Job(job_id="j", state=pb.JOB_STATE_SUCCEEDED))
    token = client.get("j").resume_token
    assert store.prune_jobs(store.read_clock() + DAY).removed == 1
    with pytest.raises(grpc.RpcError) as caught:
        list(frames)
    assert JobStatusRpcError.of(caught.value).reason == "JOB_DELETED"
    with pytest.raises(JobStatusRpcError) as resumed:
        next(resume(client, token))
    assert resumed.value.reason == "JOB_DELETED"
    with pytest.raises(JobStatusRpcError) as asked:
        client.get("j")
    assert asked.value.reason == "JOB_NOT_FOUND"


def report_by_age(client: JobStatusClient, url: str) -> Mapping[str, int]:
    """Report an old running job, an old ended one, and a young ended one; return their rows' keys."""
    for job_id, state in (
        ("running", pb.JOB_STATE_RUNNING),
        ("ended", pb.JOB_STATE_SUCCEEDED),
        ("young", pb.JOB_STATE_SUCCEEDED),
    ):
        client.report_job(pb.Job(job_id=job_id, state=state), granules(5, SUCCEEDED))
    job_pks = dict(run(url, "SELECT job_id, job_pk FROM job"))
    old = f"({job_pks['running']}, {job_pks['ended']})"
    for table, column in (("job", "update_time"), ("job", "last_report_time"), ("change", "change_time")):
        run(url, f"UPDATE {table} SET {column} = {column} - {3 * DAY} WHERE job_pk IN {old}")
    return job_pks


def test_a_server_removes_what_is_older_than_it_is_told_to_keep(
    database_url: str, server: ServerProcess, client: JobStatusClient
) -> None:
    job_pks = report_by_age(client, database_url)
    with ServerProcess(database_url, change_retention="36h", job_retention="48h"):
        wait_until(lambda: count_rows(database_url, job_pks["ended"])["job"] == 0, "the ended job is gone")
        wait_until(
            lambda: count_rows(database_url, job_pks["running"])["change"] == 1, "only the head is left"
        )
        assert count_rows(database_url, job_pks["young"])["change"] == 6
        assert client.get("running").job.revision == 6


def test_a_server_keeps_everything_that_it_is_not_told_to_remove(
    database_url: str, server: ServerProcess, client: JobStatusClient
) -> None:
    job_pks = report_by_age(client, database_url)
    client.delete("young")
    server.kill()
    with ServerProcess(database_url, change_retention="0"):
        # By then it has been at everything that it does.
        wait_until(lambda: count_rows(database_url, job_pks["young"])["job"] == 0, "the deleted job is gone")
    for job_id in ("running", "ended"):
        assert count_rows(database_url, job_pks[job_id]) == {"job": 1, "granule": 5, "change": 6}


def test_what_cannot_be_removed_holds_up_nothing_else(
    store: JobStore, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    job_pk = store.report(job(granule("a"), key=JobKey("p", "j"))).job_pk
    store.delete_job(JobKey("p", "j"))
    run(database_url, "ALTER TABLE job DROP COLUMN change_floor")

    async def retain() -> None:
        with ThreadPoolExecutor(1) as executor:
            running = asyncio.create_task(Retention(store, executor, changes=3600, jobs=3600).run())
            await asyncio.to_thread(
                wait_until, lambda: count_rows(database_url, job_pk)["job"] == 0, "the deleted job is gone"
            )
            assert not running.done()
            running.cancel()

    asyncio.run(retain())
    assert "removing changes failed" in caplog.text


def test_the_command_prunes_once_and_tells_how_much(
    database_url: str, server: ServerProcess, client: JobStatusClient
) -> None:
    job_pks = report_by_age(client, database_url)

    def prune_by_command(*arguments: str) -> list[int]:
        done = run_command("db", "prune", "--database-url", database_url, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        found = re.fullmatch("changes removed: ([0-9]+)\njobs deleted: ([0-9]+)\n", done.stdout)
        assert found, done.stdout
        return [int(number) for number in found.groups()]

    assert prune_by_command("--changes-older-than", "7d") == [0, 0]
    assert prune_by_command("--jobs-older-than", "48h") == [0, 1]
    assert count_rows(database_url, job_pks["ended"]) == {"job": 0, "granule": 0, "change": 0}
    assert prune_by_command("--changes-older-than", "1h", "--jobs-older-than", "1h") == [5, 0]
    assert [job.job_id for job in client.list()] == ["young", "running"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say what to remove"),
        (("--changes-older-than", "0"), "--changes-older-than: '0' is not from 60s to 36500d"),
        (("--jobs-older-than", "a month"), "--jobs-older-than: 'a month' is not a duration like"),
        (("--jobs-older-than", "30d"), "there is no database at "),
    ],
)
def test_the_command_refuses_what_it_cannot_do(
    sqlite_url: str, arguments: tuple[str, ...], words: str
) -> None:
    done = run_command("db", "prune", "--database-url", sqlite_url, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {words}")


def test_the_command_asks_for_an_upgrade_where_there_is_no_schema(postgres_url: str) -> None:
    run(postgres_url, "DELETE FROM alembic_version")
    done = run_command("db", "prune", "--database-url", postgres_url, "--changes-older-than", "7d")
    assert done.returncode == 2
    assert "jobstatus db upgrade" in done.stderr
