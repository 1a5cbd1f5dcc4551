"""The checker, for every history there can be and every way to deliver it."""

from __future__ import annotations

from hypothesis import assume, given, reject
from hypothesis import strategies as st
from recorded import BROKEN, Began, Ended, Frame, Recording, Step, play
from reports import Ledger, job
from test_merge_properties import histories

from jobstatus import v1 as pb
from jobstatus_grpc.model import Report
from jobstatus_grpc.verify import Asked, Checker, Minutes

DELIVERIES = (pb.DELIVERY_EVERY_CHANGE, pb.DELIVERY_LATEST, pb.DELIVERY_NONE)
CUTS = {
    pb.DELIVERY_EVERY_CHANGE: Recording.every,
    pb.DELIVERY_LATEST: Recording.latest,
    pb.DELIVERY_NONE: Recording.job_only,
}


def recorded(reports: list[Report]) -> Recording:
    return Recording(Ledger(job(), *reports))


def deliver(data: st.DataObject, recording: Recording, checker: Checker, delivery: pb.Delivery) -> None:
    """Deliver a history to its head, with whatever happens on the way."""

    def snapshot() -> list[Step]:
        revision = data.draw(st.integers(1, recording.head), "snapshot at")
        return [*recording.snapshot(revision, with_granules=delivery != pb.DELIVERY_NONE)]

    if data.draw(st.booleans(), "read first") and delivery != pb.DELIVERY_NONE:
        read_at = data.draw(st.lists(st.integers(1, recording.head), min_size=1, max_size=4).map(sorted))
        play([Began(checker.read(recording.pages(read_at, 1)))], checker)
    else:
        play([Began(), *snapshot()], checker)
    for happens in data.draw(st.lists(st.sampled_from(["changes", "silence", "resume", "anew"]), max_size=6)):
        at = checker.revision
        if happens == "changes" and at < recording.head:
            until = data.draw(st.integers(at + 1, recording.head), "changes until")
            play([CUTS[delivery](recording, at, until)], checker)
        elif happens == "silence":
            play([recording.heartbeat(at)], checker)
        elif happens == "resume":
            token = data.draw(st.sampled_from([checker.token, *checker.tokens()]), "resume at")
            play([Ended(BROKEN), Began(token)], checker)
        elif happens == "anew":
            play([Ended(BROKEN), Began(), *snapshot()], checker)
    if checker.revision < recording.head:
        play([CUTS[delivery](recording, checker.revision, recording.head)], checker)
    play([recording.heartbeat(recording.head)], checker)


@given(st.data(), histories)
def test_a_good_delivery_breaks_nothing_and_all_watchers_agree(
    data: st.DataObject, reports: list[Report]
) -> None:
    recording, minutes = recorded(reports), Minutes()
    for delivery in DELIVERIES:
        watcher = pb.Delivery.Name(delivery)
        checker = Checker(Asked(delivery), minutes=minutes, watcher=watcher)
        deliver(data, recording, checker, delivery)
        assert not checker.breaches
        assert checker.totals == recording.totals(recording.head)
    last = minutes.at(recording.head)
    assert last is not None
    assert last.witnesses == 0b111


SPOILS = (
    *("leave out", "double", "swap", "state", "previous", "total", "revision", "token"),
    *("frame left out", "frame twice", "chunk left out", "chunk twice", "granule left out"),
)


def spoil(data: st.DataObject, steps: list[Step]) -> None:
    """Change what a delivery means, in one place."""
    how = data.draw(st.sampled_from(SPOILS))
    kind = "snapshot" if how.startswith(("chunk", "granule")) else "changes"
    among = [step for step in steps if isinstance(step, Frame) and step.WhichOneof("frame") == kind]
    frame = data.draw(st.sampled_from(among), kind)
    where = next(index for index, step in enumerate(steps) if step is frame)
    if how in ("frame left out", "chunk left out"):
        del steps[where]
    elif how in ("frame twice", "chunk twice"):
        steps.insert(where, frame)
    elif how == "granule left out":
        assume(frame.snapshot.granules)
        del frame.snapshot.granules[0]
    elif how == "total":
        frame.totals.failed_count += 1
    elif how == "revision":
        frame.revision += data.draw(st.sampled_from([-1, 1]))
    elif how == "token":
        frame.ClearField("resume_token")
    else:
        spoil_change(data.draw(st.integers(0, len(frame.changes.changes) - 1)), frame.changes, how)


def spoil_change(at: int, told: pb.Changes, how: str) -> None:
    change = told.changes[at].granule
    if how == "leave out":
        del told.changes[at]
    elif how == "double":
        told.changes.insert(at, told.changes[at])
    elif how == "swap":
        assume(at > 0)
        told.changes.insert(at - 1, told.changes.pop(at))
    elif not told.changes[at].HasField("granule"):
        reject()
    elif how == "state":
        change.granule.state = (change.granule.state + 1) % 5  # type: ignore[assignment]
    elif change.HasField("previous_state"):
        change.ClearField("previous_state")
    else:
        change.previous_state = pb.GRANULE_STATE_PENDING


@given(st.data(), histories)
def test_whatever_is_spoiled_is_found(data: st.DataObject, reports: list[Report]) -> None:
    recording = recorded(reports)
    assume(recording.head > 1)
    start = data.draw(st.integers(1, recording.head - 1), "snapshot at")
    steps: list[Step] = [Began(), *recording.snapshot(start, 1)]
    at = start
    while at < recording.head:
        until = data.draw(st.integers(at + 1, recording.head), "changes until")
        steps.append(recording.every(at, until))
        at = until
    steps.append(recording.heartbeat(recording.head))
    spoil(data, steps)
    assert play(steps, Checker(collect=True)).breaches
