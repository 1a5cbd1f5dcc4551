"""Feeds on a real store: what they keep, when they look, and by what they know a history."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hubs import HubRoom, Watch, happened, watching
from reports import JOB, PENDING, STAGED, granule, job, only
from stored import copied, log_rows

from jobstatus import v1 as pb
from jobstatus_grpc.deliveries import Entry
from jobstatus_grpc.feeds import Feed
from jobstatus_grpc.model import Delivery, JobState, Position
from jobstatus_grpc.store.base import ChangeBatch, JobStore

# Far longer than anything here takes.
SOON = 10.0

Read = tuple[ChangeBatch, Sequence[Entry]] | None


def in_room(store: JobStore, play: Callable[[HubRoom], Coroutine[Any, Any, None]]) -> None:
    """Run a play beside a hub that looks only when it is told to."""

    async def main(pool: ThreadPoolExecutor) -> None:
        await play(HubRoom(store, pool))

    with ThreadPoolExecutor(4) as pool:
        asyncio.run(main(pool))


def feed_of(room: HubRoom, changes: Callable[[int, Position], Awaitable[Read]] | None = None) -> Feed:
    """Return a feed of the job, from where it is now."""
    stored = room.store.read_job(JOB)
    reading = room.hub._reading._replace(changes=changes or room.hub.read_changes)
    return Feed(stored, stored.position, reading)


def frames_after(feed: Feed, position: Position) -> Iterator[pb.WatchJobResponse]:
    """Yield the frames that bring a stream from a position on."""
    while frame := feed.frame_after(position, Delivery.EVERY_CHANGE):
        yield pb.WatchJobResponse.FromString(frame.data)
        position = frame.point.position


def test_a_look_that_comes_during_a_read_leads_to_another_one(store: JobStore) -> None:
    async def play(room: HubRoom) -> None:
        store.report(job(granule("a", PENDING)))
        read, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(job_pk: int, position: Position) -> Read:
            found = await room.hub.read_changes(job_pk, position)
            read.set()
            await go_on.wait()
            return found

        feed = feed_of(room, slowly)
        feed.look()
        await happened(read.is_set, SOON)
        # Committed after what has been read, and told before that has arrived.
        result = store.report(only(granule("a", STAGED)))
        feed.look()
        go_on.set()
        await happened(lambda: feed.head == result.position, SOON)

    in_room(store, play)


def test_a_feed_rests_at_its_head_until_the_end_has_been_read_too(store: JobStore) -> None:
    async def play(room: HubRoom) -> None:
        store.report(job())
        reads = 0
        last = asyncio.Event()

        async def slowly(job_pk: int, position: Position) -> Read:
            nonlocal reads
            reads += 1
            if reads > 1:
                await last.wait()
            return await room.hub.read_changes(job_pk, position)

        feed = feed_of(room, slowly)
        # Of one transaction, which is read in parts: the first knows how the job is after the last.
        ended = store.report(job(*(granule(f"g{index}") for index in range(1500)), state=JobState.SUCCEEDED))
        feed.look()
        await happened(lambda: reads == 2, SOON)
        assert feed.stored.job.state.terminal
        assert feed.head.revision < ended.position.revision
        assert feed.rest == feed.head
        last.set()
        await happened(lambda: feed.rest is None, SOON)
        assert feed.head == ended.position

    in_room(store, play)


def test_a_feed_holds_the_very_commits_it_keeps_and_nothing_below_them(
    store: JobStore, database_url: str
) -> None:
    async def play(room: HubRoom) -> None:
        job_pk = store.report(job()).job_pk
        feed = feed_of(room)
        # More than a feed keeps: 11 MB.
        for part in range(3):
            store.report(only(*[granule(f"g{part}{index:03}", message="m" * 15_000) for index in range(250)]))
            await feed.looked()
        log = [Position(row.revision, row.commit_id) for row in log_rows(database_url, job_pk)]
        await happened(lambda: feed.head == log[-1], SOON)
        held = [position for position in log if feed.holds(position)]
        assert held == log[-len(held) :]
        assert 400 < len(held) < len(log) - 100
        # Another history may have the same revisions.
        assert not any(feed.holds(Position(at.revision, at.commit_id ^ 1)) for at in log)
        frames = list(frames_after(feed, held[0]))
        assert [change.revision for frame in frames for change in frame.changes.changes] == [
            position.revision for position in held[1:]
        ]
        assert feed.frame_after(log[0], Delivery.EVERY_CHANGE) is None
        # What a frame says of itself is what it has delivered, not what the feed has.
        assert len(frames) > 5
        for frame in frames:
            position = room.hub.tokens().read_resume_token(JOB, frame.resume_token).position
            assert position == log[frame.changes.changes[-1].revision - 1]
            assert frame.revision == position.revision

    in_room(store, play)


def test_what_nobody_was_told_of_is_found_by_polling(store: JobStore) -> None:
    async def play(room: HubRoom) -> None:
        store.report(job(granule("a", PENDING)))
        polling = asyncio.create_task(room.hub.run())
        async with watching(room, None, Watch()) as watch:
            await happened(lambda: len(watch.heartbeats) > 1)
            # Past the hub. Another process's commit would be told of, but that may be lost.
            result = store.report(only(granule("a", STAGED)))
            await happened(lambda: watch.revision == result.position.revision, SOON)
        polling.cancel()

    in_room(store, play)


def test_a_poll_finds_another_history_of_the_same_length(store: JobStore, database_url: str) -> None:
    async def play(room: HubRoom) -> None:
        store.report(job(granule("a", PENDING)))
        backup = copied(database_url)
        next(backup)
        lost = store.report(only(granule("a", STAGED, message="lost")))
        async with watching(room, None, Watch()) as watch:
            await room.watched(lost.job_pk)
            # Set back, and as long again, before anybody looks.
            next(backup)
            other = store.report(only(granule("a", STAGED, message="other")))
            assert other.position.revision == lost.position.revision
            polling = asyncio.create_task(room.hub.run())
            await happened(lambda: bool(watch.resets) and watch.whole, SOON)
            polling.cancel()
        assert watch.resets == ["HISTORY_CHANGED"]
        assert [each.message for each in watch.granules.values()] == ["other"]

    in_room(store, play)


def test_a_snapshot_serves_nobody_once_the_history_is_another_one(store: JobStore, database_url: str) -> None:
    async def play(room: HubRoom) -> None:
        store.report(job(granule("a", PENDING)))
        backup = copied(database_url)
        next(backup)
        store.report(only(granule("a", STAGED, message="lost")))
        first = await room.hub.open_snapshot(JOB, exact=True)
        assert await first.chunk(0)
        assert await room.hub.open_snapshot(JOB, exact=True) is first
        next(backup)
        other = store.report(only(granule("a", STAGED, message="other")))
        second = await room.hub.open_snapshot(JOB, exact=True)
        chunk = pb.WatchJobResponse.FromString(await second.chunk(0) or b"")
        assert [each.message for each in chunk.snapshot.granules] == ["other"]
        assert second.stored.position == other.position

    in_room(store, play)
