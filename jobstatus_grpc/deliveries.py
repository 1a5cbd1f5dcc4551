"""Deliveries: what of a job's history goes into one frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from jobstatus_grpc.model import MAX_FRAME_BYTES, Delivery, GranuleKey, Position, Totals

# Changes of a frame; what is around them takes the rest.
_FRAME_BUDGET: Final = MAX_FRAME_BYTES - 4096
# What a count adds to an encoded change at most.
_COUNT_BYTES: Final = 16


class Entry(NamedTuple):
    """One change in the history of a job, encoded.

    Attributes:
        position: where in the history it stands.
        totals: the totals after it.
        item: the granule it is of, or the id of the sub-job; `None` for the job itself.
        encoded: it, as a part of a frame.
    """

    position: Position
    totals: Totals
    item: GranuleKey | str | None
    encoded: bytes


class Cut(NamedTuple):
    """The content of one frame.

    Attributes:
        encoded: its parts.
        last: the last entry it covers.
    """

    encoded: Sequence[bytes]
    last: Entry


# Adds to an encoded change how many it stands for.
Counted = Callable[[bytes, int], bytes]


def cut_frame(delivery: Delivery, entries: Sequence[Entry], counted: Counted) -> Cut:
    """Return the next frame of consecutive `entries`, not empty: as much as fits, at least one entry."""
    if delivery is Delivery.LATEST:
        return _latest(entries, counted)
    return _each(entries, granules=delivery is Delivery.EVERY_CHANGE)


def _each(entries: Sequence[Entry], granules: bool) -> Cut:
    """Take every change, or, without `granules`, every change of the job itself and of its sub-jobs."""
    budget = _FRAME_BUDGET
    encoded: list[bytes] = []
    last = entries[0]
    for entry in entries:
        if granules or type(entry.item) is not GranuleKey:
            budget -= len(entry.encoded)
            if budget < 0 and encoded:
                break
            encoded.append(entry.encoded)
        last = entry
    return Cut(encoded, last)


def _latest(entries: Sequence[Entry], counted: Counted) -> Cut:
    """Fold the changes of each item into its last; in the order of those."""
    budget = _FRAME_BUDGET
    folded: dict[GranuleKey | str | None, tuple[Entry, int]] = {}
    last = entries[0]
    for entry in entries:
        before, count = folded.get(entry.item, (None, 0))
        budget -= len(entry.encoded) + _COUNT_BYTES
        if before is not None:
            budget += len(before.encoded) + _COUNT_BYTES
        if budget < 0 and folded:
            break
        # Taken out and put in again: a dict is in the order of what was put in.
        folded.pop(entry.item, None)
        folded[entry.item] = entry, count + 1
        last = entry
    parts = [
        counted(entry.encoded, count) if count > 1 else entry.encoded for entry, count in folded.values()
    ]
    return Cut(parts, last)
