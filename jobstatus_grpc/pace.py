"""How fast the granules of a job end, and when all will have. Pure.

Kept with the job in four numbers, whatever its size: a period under way, and the one before it. A period
lasts until it is long enough and enough granules have ended in it, so slow jobs have long ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from jobstatus_grpc.model import Change, Granule, GranuleState, Job

_SECOND: Final = 1_000_000
# A period's least length, in microseconds, and the least number of granules that end in it.
_WINDOW: Final = 30 * _SECOND
_ENOUGH: Final = 10
# A rest of this length, and of more than twice what the pace is known from, is a rest, not a slow pace.
_REST: Final = 10 * _WINDOW
# A century: what would take longer is not estimated.
_FURTHEST: Final = 36525 * 86400 * _SECOND


class Pace(NamedTuple):
    """How many granules have ended lately.

    Attributes:
        since: when the period under way began.
        ended: how many granules have ended since then.
        before: when the period before it began; `None` if there was none.
        ended_before: how many ended in that one.
    """

    since: int
    ended: int = 0
    before: int | None = None
    ended_before: int = 0


class Outlook(NamedTuple):
    """What of a job tells how fast it gets on at any moment, as long as nothing in it changes.

    Attributes:
        pace: how many granules have ended lately; `None` before the first has.
        left: how many are still to end; `None` if that is not known, or the job has ended.
        update_time: when the job changed last: no clock is earlier.
    """

    pace: Pace | None
    left: int | None
    update_time: int


class Progress(NamedTuple):
    """How fast a job gets on.

    Attributes:
        rate: how many granules end in a second; `None` while that can't be told.
        estimated_end_time: when all will have ended; `None` while that can't be told.
    """

    rate: float | None = None
    estimated_end_time: int | None = None


#: Nothing can be told.
NO_PROGRESS: Final = Progress()


def count_ended(changes: Iterable[Change]) -> int:
    """Return how many times a granule has ended in a part of a history."""
    return sum(
        1
        for change in changes
        if isinstance(change.item, Granule)
        and change.item.state >= GranuleState.SUCCEEDED
        and change.item.state is not change.previous_state
    )


def advance(pace: Pace | None, ended: int, now: int, last: int) -> Pace | None:
    """Return the pace after some granules have ended.

    Args:
        pace: the pace before.
        ended: how many have ended.
        now: when.
        last: when the job changed before that.
    """
    if not ended:
        return pace
    # Nobody knows how long those took that ended first.
    if pace is None:
        return Pace(now)
    known = last - (pace.since if pace.before is None else pace.before)
    if (pace.ended or pace.before is not None) and now - last > max(_REST, 2 * known):
        return Pace(now)
    if now - pace.since >= _WINDOW and pace.ended + ended >= _ENOUGH:
        return Pace(now, 0, pace.since, pace.ended + ended)
    return pace._replace(ended=pace.ended + ended)


def outlook_of(job: Job, pace: Pace | None) -> Outlook:
    """Return what tells how a job gets on."""
    totals = job.totals
    known = job.granules_complete and not job.state.terminal
    left = totals.unspecified + totals.pending + totals.staged if known else None
    return Outlook(pace, left, job.update_time)


def progress_at(outlook: Outlook, now: int) -> Progress:
    """Return how fast a job gets on at a moment."""
    pace = outlook.pace
    if pace is None:
        return NO_PROGRESS
    now = max(now, outlook.update_time)
    since, ended = pace.since, pace.ended
    if pace.before is not None and (now - since < _WINDOW or ended < _ENOUGH):
        since, ended = pace.before, ended + pace.ended_before
    if now - since < _SECOND:
        return NO_PROGRESS
    rate = ended * _SECOND / (now - since)
    if not outlook.left or not ended:
        return Progress(rate)
    still = outlook.left * (now - since) // ended
    return Progress(rate, now + still if still <= _FURTHEST else None)
