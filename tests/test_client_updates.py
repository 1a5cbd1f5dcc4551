"""The client's updates, and its proof that none is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from faces import MakeClient
from reporting import FAILED, PENDING, STAGED, SUCCEEDED, granules
from scripted import UNAVAILABLE, Frame, ScriptedServer, Step

from jobstatus import v1 as pb
from jobstatus_grpc.client import BrokenPromise, JobStatusClient, Kind, Update

NAMES = ("unspecified_count", "pending_count", "staged_count", "succeeded_count", "failed_count")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        yield scripted


@pytest.fixture
def client(server: ScriptedServer, make_client: MakeClient) -> Iterator[JobStatusClient]:
    with make_client(server.target, connect_timeout=5) as made:
        yield made


def frame(revision: int, totals: dict[str, int], token: bytes = b"", **kind: Any) -> Frame:
    """Return a frame that stands at a revision, with a token named for it."""
    told = pb.GranuleTotals(**{name: totals.get(name.removesuffix("_count"), 0) for name in NAMES})
    return Frame(revision=revision, totals=told, resume_token=token or b"t%d" % revision, **kind)


def snapshot(revision: int, totals: dict[str, int], *held: pb.Granule) -> Frame:
    job = pb.Job(job_id="j", state=pb.JOB_STATE_RUNNING, revision=revision)
    return frame(revision, totals, snapshot=pb.Snapshot(job=job, granules=held, last=True))


def moved(revision: int, before: pb.GranuleState | None, after: pb.GranuleState) -> pb.Change:
    change = pb.GranuleChange(granule=pb.Granule(granule_id="a", state=after, revision=revision))
    if before is not None:
        change.previous_state = before
    return pb.Change(revision=revision, granule=change)


def changes(revision: int, totals: dict[str, int], *told: pb.Change) -> Frame:
    return frame(revision, totals, changes=pb.Changes(changes=told))


def ended(revision: int, totals: dict[str, int]) -> Frame:
    job = pb.Job(job_id="j", state=pb.JOB_STATE_SUCCEEDED, revision=revision)
    return frame(revision, totals, completed=pb.Completed(job=job))


RESET = Frame(reset=pb.Reset(reason="HISTORY_PRUNED"))
TWO = snapshot(3, {"pending": 2}, *granules(PENDING, "a", "b"))
STAGING = changes(4, {"pending": 1, "staged": 1}, moved(4, PENDING, STAGED))
DONE = changes(5, {"pending": 1, "succeeded": 1}, moved(5, STAGED, SUCCEEDED))
END = ended(5, {"pending": 1, "succeeded": 1})
HEARTBEAT = frame(3, {"pending": 2}, heartbeat=pb.Heartbeat(news_mode=pb.NEWS_MODE_POLL))


def told(updates: Iterator[Update]) -> list[tuple[str, int, str]]:
    return [(update.kind, update.revision, update.reset) for update in updates]


def test_an_update_tells_the_job_as_it_is_at_its_revision(
    server: ScriptedServer, client: JobStatusClient
) -> None:
    server.streams = [[TWO, HEARTBEAT, STAGING, UNAVAILABLE], [DONE, END]]
    first, second, third, last = client.watch("j")
    assert (first.kind, first.begins, first.whole, first.resume_token) == (Kind.SNAPSHOT, True, True, b"t3")
    assert [granule.granule_id for granule in first.granules] == ["a", "b"]
    assert (second.kind, second.begins, second.job.state) == (Kind.CHANGES, False, pb.JOB_STATE_RUNNING)
    assert (second.job.revision, second.job.totals.staged_count, second.totals.staged_count) == (4, 1, 1)
    assert [change.revision for change in third.changes] == [5]
    assert (last.kind, last.job.state, last.granules) == (Kind.COMPLETED, pb.JOB_STATE_SUCCEEDED, ())
    # What was told before stays as it was told.
    assert (first.job.revision, first.job.totals.pending_count) == (3, 2)


def test_heartbeats_are_told_to_who_asks_for_them(server: ScriptedServer, client: JobStatusClient) -> None:
    server.streams = [[TWO, HEARTBEAT, STAGING, DONE, END]]
    kinds = [update.kind for update in client.watch("j", heartbeats=True)]
    assert kinds == [Kind.SNAPSHOT, Kind.HEARTBEAT, Kind.CHANGES, Kind.CHANGES, Kind.COMPLETED]


def test_a_reset_is_told_by_the_snapshot_that_follows_it(
    server: ScriptedServer, client: JobStatusClient
) -> None:
    server.streams = [[TWO, STAGING, UNAVAILABLE], [RESET, UNAVAILABLE], [TWO, STAGING, DONE, END]]
    assert told(client.watch("j")) == [
        ("snapshot", 3, ""),
        ("changes", 4, ""),
        ("snapshot", 3, "HISTORY_PRUNED"),
        ("changes", 4, ""),
        ("changes", 5, ""),
        ("completed", 5, ""),
    ]


def test_a_snapshot_in_parts_is_whole_with_the_last_and_begins_anew_when_torn(
    server: ScriptedServer, client: JobStatusClient
) -> None:
    job = pb.Job(job_id="j", revision=3)
    first = Frame(revision=3, totals=TWO.totals)
    first.snapshot.CopyFrom(pb.Snapshot(job=job, granules=granules(PENDING, "a")))
    second = frame(3, {"pending": 2}, snapshot=pb.Snapshot(granules=granules(PENDING, "b"), last=True))
    server.streams = [[first, UNAVAILABLE], [first, second, STAGING, DONE, END]]
    parts = [
        (update.begins, update.whole, update.reset, bool(update.resume_token)) for update in client.watch("j")
    ]
    assert parts[:3] == [
        (True, False, "", False),
        (True, False, "SNAPSHOT_INTERRUPTED", False),
        (False, True, "", True),
    ]


def test_a_watch_from_a_token_knows_what_it_is_told(server: ScriptedServer, client: JobStatusClient) -> None:
    server.streams = [[STAGING, DONE, END]]
    first, _, last = client.watch("j", b"t3")
    assert (first.job.job_id, first.job.revision, first.job.totals.staged_count) == ("j", 4, 1)
    assert not first.job.HasField("state")
    assert last.job.state == pb.JOB_STATE_SUCCEEDED
    assert server.tokens == [b"t3"]


GAP = changes(6, {"pending": 1, "succeeded": 1}, moved(6, STAGED, SUCCEEDED))
ADDED = changes(4, {"pending": 2, "failed": 1}, moved(4, None, FAILED))


@pytest.mark.parametrize(
    ("frames", "promise", "words"),
    [
        ([TWO, STAGING, GAP], "W3", "after revision 4: revision 6 came next"),
        ([TWO, STAGING, STAGING], "W2", "after revision 4: revision 4 came again"),
        ([TWO, STAGING, DONE, STAGING], "W1", "after revision 5: revision 4 came"),
        ([TWO, changes(4, {"pending": 2}, moved(4, PENDING, STAGED))], "W3", "the granules add up to"),
        ([TWO, ADDED, changes(5, {"pending": 3}, moved(5, FAILED, SUCCEEDED))], "W3", "add up to"),
        ([snapshot(3, {"pending": 3}, *granules(PENDING, "a", "b"))], "W3", "add up to"),
        ([TWO, frame(4, {"pending": 2}, heartbeat=pb.Heartbeat())], "W3", "everything up to 4 has been sent"),
        ([TWO, ended(4, {"pending": 2})], "W3", "everything up to 4 has been sent"),
        ([TWO, changes(5, {"pending": 1, "staged": 1}, moved(4, PENDING, STAGED))], "W3", "up to 5"),
        ([TWO, frame(4, {"pending": 2}, reconnect=pb.Reconnect(reason="R"))], "W3", "up to 4 has been sent"),
        ([STAGING], "W3", "before the whole of a snapshot"),
        ([TWO, TWO], "W2", "a snapshot came that nothing had announced"),
        ([TWO, RESET, STAGING], "W3", "before the whole of a snapshot"),
    ],
)
def test_a_broken_promise_is_raised_and_ends_the_watch(
    server: ScriptedServer, client: JobStatusClient, frames: list[Step], promise: str, words: str
) -> None:
    server.streams = [[*frames, None]]
    with pytest.raises(BrokenPromise, match=words) as caught:
        list(client.watch("j"))
    assert caught.value.promise == promise
    assert server.gone.wait(10)
    assert len(server.asked) == 1


@pytest.mark.parametrize("second", [STAGING, GAP])
def test_a_promise_that_is_broken_over_two_streams_is_raised_too(
    server: ScriptedServer, client: JobStatusClient, second: Frame
) -> None:
    server.streams = [[TWO, STAGING, UNAVAILABLE], [second, None]]
    with pytest.raises(BrokenPromise):
        list(client.watch("j"))


def test_a_promise_that_is_broken_after_a_token_is_raised_too(
    server: ScriptedServer, client: JobStatusClient
) -> None:
    server.streams = [[STAGING, GAP, None]]
    with pytest.raises(BrokenPromise, match="revision 6 came next"):
        list(client.watch("j", b"t3"))


def test_a_watch_at_a_pace_may_skip_but_never_go_back(
    server: ScriptedServer, client: JobStatusClient
) -> None:
    folded = changes(6, {"pending": 1, "succeeded": 1}, moved(6, STAGED, SUCCEEDED))
    server.streams = [[TWO, folded, ended(6, {"pending": 1, "succeeded": 1})], [TWO, folded, STAGING, None]]
    latest = list(client.watch("j", delivery=pb.DELIVERY_LATEST, min_interval=0.5))
    assert [update.revision for update in latest] == [3, 6, 6]
    (asked,) = server.asked
    assert (asked.delivery, asked.min_interval.ToMilliseconds()) == (pb.DELIVERY_LATEST, 500)
    with pytest.raises(BrokenPromise, match="after revision 6: revision 4 came"):
        list(client.watch("j", delivery=pb.DELIVERY_LATEST))


@pytest.mark.parametrize("delivery", [pb.DELIVERY_EVERY_CHANGE, pb.DELIVERY_LATEST, pb.DELIVERY_NONE])
def test_every_delivery_of_a_real_server_is_proved(
    shared_client: JobStatusClient, job_id: str, delivery: pb.Delivery
) -> None:
    shared_client.report_job(pb.Job(job_id=job_id, granules_complete=True), granules(PENDING, "a", "b"))
    options: Any = {"delivery": delivery, "min_interval": 0.1, "heartbeats": True}
    updates = shared_client.watch(job_id, **options)
    first = next(updates)
    assert len(first.granules) == (0 if delivery == pb.DELIVERY_NONE else 2)
    shared_client.report_granules(job_id, granules(STAGED, "a", "b"))
    second = next(update for update in updates if update.kind is Kind.CHANGES)
    shared_client.report_granules(job_id, granules(SUCCEEDED, "a", "b"))
    rest = list(updates)
    assert rest[-1].kind is Kind.COMPLETED
    assert rest[-1].totals.succeeded_count == 2
    again = list(shared_client.watch(job_id, second.resume_token, **options))
    assert (again[-1].kind, again[-1].revision) == (Kind.COMPLETED, rest[-1].revision)


def test_a_watch_waits_for_a_job_that_is_not_there(shared_client: JobStatusClient, job_id: str) -> None:
    updates = shared_client.watch(job_id, wait_for_job=True, heartbeats=True)
    waiting = next(updates)
    assert (waiting.kind, waiting.revision, waiting.whole) == (Kind.HEARTBEAT, 0, False)
    shared_client.report_job(pb.Job(job_id=job_id, granules_complete=True))
    kinds = [update.kind for update in updates]
    assert kinds[-2:] == [Kind.SNAPSHOT, Kind.COMPLETED]
