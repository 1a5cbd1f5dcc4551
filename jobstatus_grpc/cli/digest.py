"""Why granules have failed, in a few rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from jobstatus import v1 as pb
from jobstatus_grpc.cli.terminal import granule_name, why_words

UNSAID: Final = "no reason given"

_SAMPLES: Final = 3


class Reason(NamedTuple):
    """Why some granules have failed.

    Attributes:
        words: the reason.
        granules: how many have failed for it.
        samples: the names of some of them.
    """

    words: str
    granules: int
    samples: tuple[str, ...]


def digest(granules: Iterable[pb.Granule]) -> list[Reason]:
    """Return the reasons of failed granules, the most frequent first."""
    counted: dict[str, int] = {}
    samples: dict[str, list[str]] = {}
    for granule in granules:
        words = why_words(granule) or UNSAID
        counted[words] = counted.get(words, 0) + 1
        named = samples.setdefault(words, [])
        if len(named) < _SAMPLES:
            named.append(granule_name(granule))
    found = [Reason(words, count, tuple(samples[words])) for words, count in counted.items()]
    return sorted(found, key=lambda reason: (-reason.granules, reason.words))


def rows(reasons: Iterable[Reason], shown: int) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each of the first reasons, and one for all others together."""
    held = list(reasons)
    for reason in held[:shown]:
        more = " …" if reason.granules > len(reason.samples) else ""
        yield str(reason.granules), reason.words, ", ".join(reason.samples) + more
    rest = held[shown:]
    if rest:
        yield str(sum(reason.granules for reason in rest)), f"{len(rest)} other reasons", ""
