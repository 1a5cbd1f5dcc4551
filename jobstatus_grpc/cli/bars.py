"""A bar that shows how many granules are in each state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

from jobstatus import v1 as pb

STYLES: Final = {
    "SUCCEEDED": "green",
    "FAILED": "red",
    "STAGED": "cyan",
    "RUNNING": "cyan",
    "PENDING": "yellow",
    "UNSPECIFIED": "magenta",
}
"""How a state is coloured."""


class _Part(NamedTuple):
    granules: int
    cell: str
    plain: str
    style: str


class StateBar:
    """The granules of a job by their states: what has ended first, and each state told by its shape too.

    Args:
        totals: how many granules are in each state.
    """

    def __init__(self, totals: pb.GranuleTotals) -> None:
        self._parts = (
            _Part(totals.succeeded_count, "█", "#", STYLES["SUCCEEDED"]),
            _Part(totals.failed_count, "▚", "x", STYLES["FAILED"]),
            _Part(totals.staged_count, "▒", "+", STYLES["STAGED"]),
            _Part(totals.unspecified_count, "▒", "?", STYLES["UNSPECIFIED"]),
            _Part(totals.pending_count, "░", ".", "bright_black"),
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        for part, cells in zip(
            self._parts, shares([part.granules for part in self._parts], width), strict=True
        ):
            if cells:
                cell = part.plain if options.ascii_only else part.cell
                yield Segment(cell * cells, Style.parse(part.style))
        if not any(part.granules for part in self._parts):
            yield Segment(" " * width)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(8, options.max_width), options.max_width)


def shares(counts: Sequence[int], width: int) -> list[int]:
    """Return how many of `width` cells each count gets: its share, and at least one if it is not 0."""
    present = sum(1 for count in counts if count)
    if not present:
        return [0] * len(counts)
    if width < present:
        return [*_some(counts, width)]
    total, free = sum(counts), width - present
    cells = [count * free // total + 1 if count else 0 for count in counts]
    # What rounding has left goes to those it took the most from.
    order = sorted(range(len(counts)), key=lambda index: counts[index] * free % total, reverse=True)
    for index in order[: width - sum(cells)]:
        cells[index] += 1
    return cells


def _some(counts: Sequence[int], width: int) -> Iterator[int]:
    """Yield a cell for the first counts that are not 0."""
    for count in counts:
        cell = min(1, width) if count else 0
        width -= cell
        yield cell
