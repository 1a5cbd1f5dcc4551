"""Why granules have failed, in a few rows."""

from __future__ import annotations

from collections.abc import Iterator

from jobstatus import v1 as pb
from jobstatus_grpc.cli.terminal import clean

_UNSAID = "no reason given"


def reason_words(reason: pb.FailureReason) -> str:
    """Return a reason in words."""
    return clean(": ".join(filter(None, (reason.code, reason.reason)))) or _UNSAID


def rows(failures: pb.FailureDigest, shown: int) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each of the first reasons, and one for all others together."""
    for reason in failures.reasons[:shown]:
        names = (
            "/".join(filter(None, (key.collection_id, key.granule_id))) for key in reason.sample_granules
        )
        more = " …" if reason.granule_count > len(reason.sample_granules) else ""
        yield str(reason.granule_count), reason_words(reason), ", ".join(map(clean, names)) + more
    rest = failures.reasons[shown:]
    others = sum(reason.granule_count for reason in rest) + failures.other_count
    if others:
        yield str(others), "other reasons" if failures.other_count else f"{len(rest)} other reasons", ""
