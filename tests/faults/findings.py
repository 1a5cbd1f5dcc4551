"""What trials have found, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from faults.proof import PROMISES

PROPERTY: Final = "trial"
"""The property of a test under which its findings travel."""
FIGURE: Final = "figure"
"""The property under which a figure does that is promised, in words."""
CAUGHT: Final = "caught"
"""The property under which a seeded bug does, and the tests that have caught it."""

_HEADS: Final = ("fault", "writes before/in/after", "delivered", "watchers", "streams", "back", "verdict")


class Findings(NamedTuple):
    """What a trial has found.

    Attributes:
        fault: what failed.
        writes: how many reports were taken before, during and after the fault.
        delivered: how many changes have come to watchers.
        watchers: how many there were.
        streams: on how many streams.
        back: the longest time that a watcher whose stream broke was without one, in seconds.
        held: the promises that were found to hold.
        broken: what was broken.
    """

    fault: str
    writes: Sequence[int]
    delivered: int
    watchers: int
    streams: int
    back: float
    held: Sequence[str]
    broken: Sequence[str]

    @property
    def verdict(self) -> str:
        """What was proved, and what was not asked."""
        if self.broken:
            return f"BROKEN: {', '.join(sorted({words.partition(':')[0] for words in self.broken}))}"
        unasked = [promise for promise in PROMISES if promise not in self.held]
        return f"all held but {', '.join(unasked)}, not asked" if unasked else "all held"

    @property
    def row(self) -> Sequence[str]:
        """The row of the table."""
        return (
            self.fault,
            "/".join(map(str, self.writes)),
            f"{self.delivered:,}",
            str(self.watchers),
            str(self.streams),
            f"{self.back:.1f} s",
            self.verdict,
        )


def table(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table of findings, which have travelled as mappings."""
    rows = [_HEADS, *(Findings(**each).row for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    for row in rows:
        yield "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
