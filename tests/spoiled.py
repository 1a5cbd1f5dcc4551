"""A watch in which everything happens that can happen, and the ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import grpc
from recorded import BROKEN, DRAINING, Began, Ended, Frame, Recording, Silence, Step, reset, token
from reports import FAILED, PENDING, STAGED, SUCCEEDED, Ledger, granule, job, only

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusRpcError
from jobstatus_grpc.verify import Guarantee

NAMES: Final = ("a", "b", "d", "e", "f")


def restored(failing: str = "b") -> Recording:
    """Return the history of a restore: five granules are asked for, staged and fetched, and one fails."""
    ledger = Ledger(job(*(granule(name, PENDING) for name in NAMES)))
    for name in NAMES:
        ledger.take(only(granule(name, STAGED)))
        ledger.take(only(granule(name, FAILED if name == failing else SUCCEEDED, message="done")))
    ledger.take(only(granule("late", PENDING)))
    ledger.take(only(granule("late", SUCCEEDED)))
    ledger.take(job(granules_complete=True))
    return Recording(ledger)


HISTORY: Final = restored()
HEAD: Final = HISTORY.head


def stream() -> list[Step]:
    """Return a watch of everything that can happen to one: the steps that the tests below spoil."""
    first, *others = HISTORY.snapshot(7)
    return [
        Began(),
        HISTORY.heartbeat(0),
        first,
        HISTORY.heartbeat(7, resumable=False),
        *others,
        HISTORY.every(7, 10),
        HISTORY.heartbeat(10),
        HISTORY.every(10, 12),
        HISTORY.reconnect(12),
        Ended(DRAINING),
        Began(token(12)),
        HISTORY.every(12, 14),
        Ended(BROKEN),
        Began(token(10)),
        HISTORY.every(10, 13),
        HISTORY.heartbeat(13),
        reset(),
        *HISTORY.snapshot(14),
        HISTORY.every(14, 16),
        HISTORY.every(16, HEAD),
        HISTORY.completed(HEAD),
        Ended(),
    ]


def frames(steps: list[Step], kind: str) -> list[Frame]:
    """Return the frames of a kind, to be changed in place."""
    return [step for step in steps if isinstance(step, Frame) and step.WhichOneof("frame") == kind]


def place(steps: list[Step], frame: Step) -> int:
    """Return where a step is: that very one."""
    return next(index for index, step in enumerate(steps) if step is frame)


def granules_in(frame: Frame) -> list[pb.GranuleChange]:
    return [change.granule for change in frame.changes.changes if change.HasField("granule")]


def end_early(steps: list[Step]) -> None:
    """End where the first stream does: the others go on at tokens that have been spoiled."""
    del steps[steps.index(Ended(DRAINING)) + 1 :]


Spoil = Callable[[list[Step]], None]
SPOILED: Final[list[tuple[Guarantee, Spoil]]] = []


def breaks(guarantee: Guarantee) -> Callable[[Spoil], Spoil]:
    """Mark what spoils a good stream, so that it breaks a guarantee."""

    def mark(spoil: Spoil) -> Spoil:
        SPOILED.append((guarantee, spoil))
        return spoil

    return mark


@breaks(Guarantee.COMPLETE)
def a_change_is_left_out(steps: list[Step]) -> None:
    del frames(steps, "changes")[0].changes.changes[1]


@breaks(Guarantee.COMPLETE)
def the_last_change_of_a_frame_is_left_out(steps: list[Step]) -> None:
    del frames(steps, "changes")[0].changes.changes[-1]


@breaks(Guarantee.COMPLETE)
def a_frame_is_left_out(steps: list[Step]) -> None:
    del steps[place(steps, frames(steps, "changes")[-2])]


@breaks(Guarantee.UNIQUE)
def a_frame_comes_twice(steps: list[Step]) -> None:
    steps.insert(place(steps, frames(steps, "changes")[-2]), frames(steps, "changes")[-2])


@breaks(Guarantee.UNIQUE)
def a_change_comes_twice(steps: list[Step]) -> None:
    changes = frames(steps, "changes")[0].changes.changes
    changes.insert(1, changes[0])


@breaks(Guarantee.ORDERED)
def two_changes_are_swapped(steps: list[Step]) -> None:
    frames(steps, "changes")[0].changes.changes.sort(key=lambda change: -change.revision)


@breaks(Guarantee.COMPLETE)
def a_frame_has_a_wrong_total(steps: list[Step]) -> None:
    frames(steps, "changes")[0].totals.staged_count += 1


@breaks(Guarantee.COMPLETE)
def a_total_is_absent(steps: list[Step]) -> None:
    frames(steps, "changes")[0].totals.ClearField("unspecified_count")


@breaks(Guarantee.COMPLETE)
def a_granule_has_another_state(steps: list[Step]) -> None:
    granules_in(frames(steps, "changes")[0])[0].granule.state = pb.GRANULE_STATE_UNSPECIFIED


@breaks(Guarantee.COMPLETE)
def a_granule_is_of_another_revision(steps: list[Step]) -> None:
    granules_in(frames(steps, "changes")[0])[0].granule.revision += 1


@breaks(Guarantee.COMPLETE)
def a_previous_state_is_wrong(steps: list[Step]) -> None:
    granules_in(frames(steps, "changes")[0])[0].previous_state = pb.GRANULE_STATE_FAILED


@breaks(Guarantee.COMPLETE)
def a_previous_state_is_absent(steps: list[Step]) -> None:
    granules_in(frames(steps, "changes")[0])[0].ClearField("previous_state")


@breaks(Guarantee.COMPLETE)
def a_new_granule_has_a_previous_state(steps: list[Step]) -> None:
    told = [change for frame in frames(steps, "changes") for change in granules_in(frame)]
    new = next(change for change in told if not change.HasField("previous_state"))
    new.previous_state = pb.GRANULE_STATE_PENDING


@breaks(Guarantee.COMPLETE)
def time_goes_back(steps: list[Step]) -> None:
    change = frames(steps, "changes")[0].changes.changes[1]
    change.change_time.FromMicroseconds(1)
    change.granule.granule.update_time.FromMicroseconds(1)


@breaks(Guarantee.COMPLETE)
def the_job_of_a_change_has_other_totals(steps: list[Step]) -> None:
    changes = [change for frame in frames(steps, "changes") for change in frame.changes.changes]
    next(change for change in changes if change.HasField("job")).job.totals.failed_count += 1


@breaks(Guarantee.COMPLETE)
def a_frame_tells_the_head_and_not_what_it_brings(steps: list[Step]) -> None:
    frames(steps, "changes")[0].revision = HEAD


@breaks(Guarantee.COMPLETE)
def a_heartbeat_tells_the_head(steps: list[Step]) -> None:
    steps[place(steps, frames(steps, "heartbeat")[2])] = HISTORY.heartbeat(HEAD)


@breaks(Guarantee.COMPLETE)
def a_heartbeat_has_the_token_of_another_place(steps: list[Step]) -> None:
    frames(steps, "heartbeat")[2].resume_token = token(11)


@breaks(Guarantee.COMPLETE)
def a_frame_is_of_no_known_kind(steps: list[Step]) -> None:
    frames(steps, "heartbeat")[2].ClearField("frame")


@breaks(Guarantee.SNAPSHOT)
def a_token_comes_in_mid_snapshot(steps: list[Step]) -> None:
    frames(steps, "snapshot")[1].resume_token = token(7)


@breaks(Guarantee.SNAPSHOT)
def the_last_chunk_has_no_token(steps: list[Step]) -> None:
    next(frame for frame in frames(steps, "snapshot") if frame.snapshot.last).ClearField("resume_token")
    end_early(steps)


@breaks(Guarantee.SNAPSHOT)
def a_granule_is_in_two_chunks(steps: list[Step]) -> None:
    first, second, *_ = frames(steps, "snapshot")
    second.snapshot.granules.append(first.snapshot.granules[0])


@breaks(Guarantee.SNAPSHOT)
def a_granule_is_in_no_chunk(steps: list[Step]) -> None:
    del frames(steps, "snapshot")[1].snapshot.granules[0]


@breaks(Guarantee.SNAPSHOT)
def a_chunk_is_left_out(steps: list[Step]) -> None:
    del steps[place(steps, frames(steps, "snapshot")[1])]


@breaks(Guarantee.SNAPSHOT)
def a_chunk_is_of_another_revision(steps: list[Step]) -> None:
    frames(steps, "snapshot")[1].revision += 1


@breaks(Guarantee.SNAPSHOT)
def a_snapshot_has_a_granule_from_after_it(steps: list[Step]) -> None:
    frames(steps, "snapshot")[1].snapshot.granules[0].revision = 9


@breaks(Guarantee.SNAPSHOT)
def the_first_chunk_has_no_job(steps: list[Step]) -> None:
    frames(steps, "snapshot")[0].snapshot.ClearField("job")


@breaks(Guarantee.SNAPSHOT)
def there_is_a_second_snapshot_without_a_reset(steps: list[Step]) -> None:
    del steps[place(steps, frames(steps, "reset")[0])]


@breaks(Guarantee.SNAPSHOT)
def changes_come_before_the_snapshot_is_whole(steps: list[Step]) -> None:
    steps.insert(place(steps, frames(steps, "snapshot")[1]), HISTORY.every(7, 8))


@breaks(Guarantee.RESUMABLE)
def a_change_is_left_out_after_a_resume(steps: list[Step]) -> None:
    del frames(steps, "changes")[2].changes.changes[0]


@breaks(Guarantee.RESUMABLE)
def a_change_comes_again_after_a_resume(steps: list[Step]) -> None:
    steps[place(steps, frames(steps, "changes")[2])] = HISTORY.every(11, 14)


@breaks(Guarantee.RESUMABLE)
def a_resumed_stream_begins_where_it_never_was(steps: list[Step]) -> None:
    steps.insert(place(steps, frames(steps, "changes")[2]), HISTORY.heartbeat(0))


@breaks(Guarantee.RESUMABLE)
def a_change_is_another_when_it_comes_again(steps: list[Step]) -> None:
    granules_in(frames(steps, "changes")[3])[0].granule.message = "never said"


@breaks(Guarantee.RESUMABLE)
def a_frame_of_changes_has_no_token(steps: list[Step]) -> None:
    frames(steps, "changes")[0].ClearField("resume_token")
    end_early(steps)


@breaks(Guarantee.RESUMABLE)
def a_frame_of_changes_has_the_token_of_the_frame_before(steps: list[Step]) -> None:
    frames(steps, "changes")[0].resume_token = token(7)
    end_early(steps)


@breaks(Guarantee.RESET)
def a_reset_is_not_followed_by_a_snapshot(steps: list[Step]) -> None:
    at = place(steps, frames(steps, "reset")[0])
    steps[at + 1 :] = [HISTORY.every(13, 14), Ended(BROKEN)]


@breaks(Guarantee.RESET)
def a_reset_can_be_resumed(steps: list[Step]) -> None:
    frames(steps, "reset")[0].resume_token = token(13)


@breaks(Guarantee.RESET)
def a_reset_does_not_say_why(steps: list[Step]) -> None:
    frames(steps, "reset")[0].reset.reason = ""


@breaks(Guarantee.RESET)
def a_token_comes_before_the_last_chunk_after_a_reset(steps: list[Step]) -> None:
    at = place(steps, frames(steps, "reset")[0])
    first = steps[at + 1]
    assert isinstance(first, Frame)
    first.resume_token = token(14)


@breaks(Guarantee.ALIVE)
def the_first_frame_is_late(steps: list[Step]) -> None:
    steps.insert(1, Silence(11))


@breaks(Guarantee.ALIVE)
def a_stream_is_silent(steps: list[Step]) -> None:
    steps.insert(place(steps, frames(steps, "heartbeat")[2]), Silence(20))


@breaks(Guarantee.ALIVE)
def a_heartbeat_does_not_tell_the_lag(steps: list[Step]) -> None:
    frames(steps, "heartbeat")[2].heartbeat.ClearField("lag")


@breaks(Guarantee.ALIVE)
def a_heartbeat_does_not_tell_how_news_come(steps: list[Step]) -> None:
    frames(steps, "heartbeat")[2].heartbeat.ClearField("news_mode")


@breaks(Guarantee.ENDING)
def a_job_is_completed_too_early(steps: list[Step]) -> None:
    steps.insert(place(steps, frames(steps, "changes")[-1]), HISTORY.completed(HEAD))


@breaks(Guarantee.ENDING)
def an_open_job_is_completed(steps: list[Step]) -> None:
    steps[place(steps, frames(steps, "completed")[0])] = HISTORY.completed(16)
    del steps[place(steps, frames(steps, "changes")[-1])]


@breaks(Guarantee.ENDING)
def a_job_ends_otherwise_than_told(steps: list[Step]) -> None:
    frames(steps, "completed")[0].completed.job.state = pb.JOB_STATE_SUCCEEDED


@breaks(Guarantee.ENDING)
def a_frame_comes_after_completed(steps: list[Step]) -> None:
    steps.insert(-1, HISTORY.heartbeat(HEAD))


@breaks(Guarantee.ENDING)
def a_stream_ends_well_without_completed(steps: list[Step]) -> None:
    del steps[place(steps, frames(steps, "completed")[0])]


@breaks(Guarantee.ENDING)
def a_stream_ends_well_after_reconnect(steps: list[Step]) -> None:
    steps[steps.index(Ended(DRAINING))] = Ended()


@breaks(Guarantee.ENDING)
def a_stream_breaks_off_after_reconnect(steps: list[Step]) -> None:
    steps[steps.index(Ended(DRAINING))] = Ended(BROKEN)


@breaks(Guarantee.ENDING)
def a_stream_ends_for_another_reason_than_reconnect_said(steps: list[Step]) -> None:
    frames(steps, "reconnect")[0].reconnect.reason = "STREAM_EXPIRED"


@breaks(Guarantee.ENDING)
def a_frame_comes_after_reconnect(steps: list[Step]) -> None:
    steps.insert(steps.index(Ended(DRAINING)), HISTORY.heartbeat(12))


@breaks(Guarantee.ENDING)
def an_error_does_not_say_when_to_try_again(steps: list[Step]) -> None:
    error = JobStatusRpcError(grpc.StatusCode.UNAVAILABLE, "no database", "STORE_UNAVAILABLE")
    steps[steps.index(Ended(BROKEN))] = Ended(error)


@breaks(Guarantee.ENDING)
def an_error_has_no_reason(steps: list[Step]) -> None:
    error = JobStatusRpcError(grpc.StatusCode.UNKNOWN, "Unexpected <class 'KeyError'>: 'x'")
    steps[steps.index(Ended(BROKEN))] = Ended(error)


@breaks(Guarantee.SIZE)
def a_frame_is_too_large(steps: list[Step]) -> None:
    frames(steps, "snapshot")[0].snapshot.job.description = "d" * 1024 * 1024
