from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobstatus import v1 as pb
from jobstatus_grpc.convert.frames import FrameEncoder
from jobstatus_grpc.deliveries import Entry, cut_frame
from jobstatus_grpc.model import (
    MAX_FRAME_BYTES,
    Change,
    Delivery,
    Granule,
    GranuleKey,
    GranuleState,
    Job,
    JobState,
    Position,
    Totals,
)

ENCODER = FrameEncoder()
JOB = Job(
    *("default", "job", "orca", None, JobState.RUNNING, None, 1, None, None, None, 1, None, None, 1),
    *(Totals(), False, {}, 1, False, False, False),
)


def entry(revision: int, granule_id: str | None, message: str = "") -> Entry:
    """Return the entry of a change of a granule, or of the job."""
    position, totals = Position(revision, 7), Totals(pending=revision)
    item: Granule | Job = JOB._replace(revision=revision, message=message)
    if granule_id is not None:
        state = GranuleState(1 + revision % 4)
        item = Granule("c", granule_id, state, None, 1, None, message, None, None, revision, revision)
    change = Change(revision, 7, revision, item, None, totals)
    key = None if granule_id is None else GranuleKey("c", granule_id)
    return Entry(position, totals, key, ENCODER.change(change))


def history(items: list[str | None], size: int = 0) -> list[Entry]:
    return [entry(revision, item, "m" * size) for revision, item in enumerate(items, 1)]


def frames_of(delivery: Delivery, entries: list[Entry]) -> list[tuple[list[pb.Change], Entry]]:
    """Return the frames that deliver `entries`, decoded, each with the last entry it covers."""
    frames = []
    while entries:
        cut = cut_frame(delivery, entries, ENCODER.counted)
        encoded = ENCODER.changes(cut.encoded, cut.last.position.revision, cut.last.totals, b"t")
        assert len(encoded) <= MAX_FRAME_BYTES or len(cut.encoded) == 1
        frame = pb.WatchJobResponse.FromString(encoded)
        assert frame.WhichOneof("frame") == "changes"
        assert frame.revision == cut.last.position.revision
        assert frame.totals.pending_count == frame.revision
        frames.append((list(frame.changes.changes), cut.last))
        entries = entries[cut.last.position.revision - entries[0].position.revision + 1 :]
    return frames


def name_of(change: pb.Change) -> str | None:
    return change.granule.granule.granule_id if change.HasField("granule") else None


ITEMS = st.lists(st.sampled_from([None, "a", "b", "c", "d"]), min_size=1, max_size=60)
SIZES = st.sampled_from([0, 10_000, 60_000, 400_000])


@given(ITEMS, SIZES)
def test_every_change_delivers_each_revision_once_and_in_order(items: list[str | None], size: int) -> None:
    delivered = [
        change for changes, _ in frames_of(Delivery.EVERY_CHANGE, history(items, size)) for change in changes
    ]
    assert [change.revision for change in delivered] == list(range(1, len(items) + 1))
    assert [name_of(change) for change in delivered] == items
    assert not any(change.HasField("change_count") for change in delivered)


@given(ITEMS, SIZES)
def test_latest_delivers_each_item_once_a_frame_as_it_is_at_its_end(
    items: list[str | None], size: int
) -> None:
    covered = 0
    for changes, last in frames_of(Delivery.LATEST, history(items, size)):
        part = items[covered : last.position.revision]
        names = [name_of(change) for change in changes]
        assert len(set(names)) == len(names)
        assert [change.revision for change in changes] == sorted(change.revision for change in changes)
        for change in changes:
            name = name_of(change)
            assert change.revision == covered + len(part) - part[::-1].index(name)
            assert (change.change_count or 1) == part.count(name)
        covered = last.position.revision
    assert covered == len(items)


@given(ITEMS, SIZES)
def test_none_delivers_the_jobs_own_changes_and_no_granule(items: list[str | None], size: int) -> None:
    frames = frames_of(Delivery.NONE, history(items, size))
    delivered = [change.revision for changes, _ in frames for change in changes]
    assert delivered == [revision for revision, item in enumerate(items, 1) if item is None]
    assert frames[-1][1].position.revision == len(items)


@pytest.mark.parametrize("delivery", Delivery)
def test_a_change_too_large_for_any_frame_travels_alone(delivery: Delivery) -> None:
    entries = [entry(1, None, "m" * 500_000), entry(2, None, "m" * 1_200_000), entry(3, None, "m")]
    assert [last.position.revision for _, last in frames_of(delivery, entries)][-1] == 3
