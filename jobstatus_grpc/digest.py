"""Why granules of a job have failed, in a bounded number of reasons. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from jobstatus_grpc.model import Granule, GranuleKey, ItemError, Position, text_bytes

#: How many reasons of a job have a place of their own.
MAX_REASONS: Final = 50
#: How many granules a reason names.
MAX_SAMPLES: Final = 3
# Characters, since a database cuts by them too.
_CODE_CHARS: Final = 64
_TEXT_CHARS: Final = 256
_NO_ERROR: Final = ItemError()


class Reason(NamedTuple):
    """Why granules fail, as far as it is told apart.

    Attributes:
        code: the beginning of their errors' code; empty for none.
        text: the beginning of their errors' reason, or else of their message; empty for neither.
    """

    code: str
    text: str


class FailureReason(NamedTuple):
    """Why some granules of a job have failed.

    Attributes:
        reason: why.
        granule_count: how many are failed for it.
        first_time: when one was first reported failed for it, since the reason has its place.
        last_time: when one last was.
        samples: the first of them, in the order of their keys; at most MAX_SAMPLES.
    """

    reason: Reason
    granule_count: int
    first_time: int
    last_time: int
    samples: Sequence[GranuleKey]


class Failures(NamedTuple):
    """Why all failed granules of a job have failed.

    Attributes:
        position: the head of the job's history when it was read.
        reasons: those of the most granules first; at most MAX_REASONS.
        other_count: how many granules are counted with none of them.
    """

    position: Position
    reasons: Sequence[FailureReason] = ()
    other_count: int = 0


def reason_of(granule: Granule) -> Reason:
    """Return why a granule has failed."""
    code, text = granule.error or _NO_ERROR
    if code is None and text is None:
        text = granule.message
    return Reason((code or "")[:_CODE_CHARS], (text or "")[:_TEXT_CHARS])


def failures_bytes(failures: Failures | None) -> int:
    """Return an upper bound of the bytes that failures take in a frame."""
    if failures is None:
        return 0
    return 32 + sum(
        64
        + text_bytes(each.reason.code + each.reason.text)
        + sum(16 + text_bytes(key.collection_id + key.granule_id) for key in each.samples)
        for each in failures.reasons
    )
