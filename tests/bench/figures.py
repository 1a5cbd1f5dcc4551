"""Figures: what has been measured, against what, and what was to be reached."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table


class Goal(NamedTuple):
    """What a figure has to keep: limits of its value, and of its ratio to the baseline."""

    at_most: float | None = None
    at_least: float | None = None
    ratio_at_most: float | None = None
    ratio_at_least: float | None = None

    def words(self, unit: str, against: str) -> str:
        """Return it in words."""
        limits = (
            ("at most", self.at_most, unit),
            ("at least", self.at_least, unit),
            ("at most", self.ratio_at_most, f"x {against}"),
            ("at least", self.ratio_at_least, f"x {against}"),
        )
        return " and ".join(f"{how} {shown(limit)} {of}" for how, limit, of in limits if limit is not None)

    def met(self, value: float, ratio: float | None) -> bool | None:
        """Return whether it is kept; `None` if nothing was to be."""
        kept = [
            *(value <= limit for limit in [self.at_most] if limit is not None),
            *(value >= limit for limit in [self.at_least] if limit is not None),
            *(ratio <= limit for limit in [self.ratio_at_most] if limit is not None and ratio is not None),
            *(ratio >= limit for limit in [self.ratio_at_least] if limit is not None and ratio is not None),
        ]
        return all(kept) if kept else None


NO_GOAL = Goal()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table.

    Attributes:
        section: where it belongs.
        name: what it is.
        values: of each round.
        unit: theirs.
        baselines: of each round, what the value is compared with, in the same unit.
        against: what the baseline is.
        goal: what is to be reached.
        skipped: why it was not measured.
    """

    section: str
    name: str
    values: Sequence[float]
    unit: str
    baselines: Sequence[float] = ()
    against: str = ""
    goal: Goal = NO_GOAL
    skipped: str = ""

    @property
    def value(self) -> float | None:
        """The median of the rounds."""
        return median(self.values) if self.values else None

    @property
    def baseline(self) -> float | None:
        """The median of the rounds."""
        return median(self.baselines) if self.baselines else None

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios: each round is compared with its own baseline."""
        pairs = list(zip(self.values, self.baselines, strict=True)) if self.baselines else []
        if not pairs or min(self.baselines) <= 0:
            return None
        return median(value / baseline for value, baseline in pairs)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; `None` if there is none or nothing was measured."""
        return None if self.value is None else self.goal.met(self.value, self.ratio)

    def as_json(self) -> dict[str, Any]:
        """Return it as others read it; `low` and `high` are the spread over the rounds."""
        return {
            "section": self.section,
            "figure": self.name,
            "value": self.value,
            "low": min(self.values, default=None),
            "high": max(self.values, default=None),
            "unit": self.unit,
            "baseline": self.baseline,
            "ratio": self.ratio,
            "goal": self.goal.words(self.unit, self.against) or None,
            "met": self.met,
        } | ({"skipped": self.skipped} if self.skipped else {})


class Findings:
    """The figures of a run, shown as they come and as a table at the end.

    Args:
        section: what they belong to, until `section` is set anew.
    """

    def __init__(self, section: str = "") -> None:
        self.section = section
        self.figures: list[Figure] = []
        self._console = Console(highlight=False, soft_wrap=True)
        self._begun = time.monotonic()

    def add(
        self,
        name: str,
        values: Sequence[float],
        unit: str,
        goal: Goal = NO_GOAL,
        baselines: Sequence[float] = (),
        against: str = "raw",
    ) -> None:
        """Take a figure."""
        self._take(
            Figure(
                section=self.section,
                name=name,
                values=values,
                unit=unit,
                baselines=baselines,
                against=against,
                goal=goal,
            )
        )

    def skip(self, name: str, unit: str, why: str, goal: Goal = NO_GOAL) -> None:
        """Take note of a figure that cannot be measured here."""
        self._take(Figure(section=self.section, name=name, values=(), unit=unit, goal=goal, skipped=why))

    def remark(self, words: str) -> None:
        """Say what a reader of the figures should know."""
        self._console.print(f"  ! {words}", style="yellow")

    def show(self) -> None:
        """Print the table."""
        table = Table(show_edge=False)
        for column in ("section", "figure", "value", "unit", "baseline", "ratio", "goal", "met"):
            right = column in ("value", "baseline", "ratio")
            wraps = column in ("figure", "met")
            table.add_column(column, justify="right" if right else "left", no_wrap=not wraps)
        for figure in self.figures:
            table.add_row(*_cells(figure))
        # A table that is cut to fit into a log is no table.
        Console(highlight=False, width=max(200, self._console.width)).print(table)

    def write(self, path: Path) -> None:
        """Write them as JSON."""
        path.write_text(json.dumps([figure.as_json() for figure in self.figures], indent=1) + "\n")

    def _take(self, figure: Figure) -> None:
        self.figures.append(figure)
        cells = filter(None, _cells(figure)[1:])
        self._console.print(f"{time.monotonic() - self._begun:5.0f} s  " + "  ".join(cells))


def _cells(figure: Figure) -> list[str]:
    if figure.value is None:
        goal = figure.goal.words(figure.unit, figure.against)
        return [figure.section, figure.name, "-", figure.unit, "", "", goal, f"skipped: {figure.skipped}"]
    value = shown(figure.value)
    if len(figure.values) > 1:
        value += f" ({shown(min(figure.values))}–{shown(max(figure.values))})"
    return [
        figure.section,
        figure.name,
        value,
        figure.unit,
        "" if figure.baseline is None else f"{shown(figure.baseline)} {figure.against}",
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        figure.goal.words(figure.unit, figure.against),
        {None: "", True: "met", False: "NOT MET"}[figure.met],
    ]


def shown(number: float) -> str:
    """Return a number with as many digits as mean something."""
    if number == 0 or abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"
