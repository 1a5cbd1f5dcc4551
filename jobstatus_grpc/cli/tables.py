"""Tables: with a head and colours on a terminal, as plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import cache

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobstatus_grpc.cli.bars import STYLES
from jobstatus_grpc.cli.terminal import say, table


def on_terminal() -> bool:
    """Return whether somebody looks at the output."""
    return sys.stdout.isatty()


@cache
def console() -> Console:
    """Return the terminal. It shows no colours where `NO_COLOR` is set."""
    return Console(highlight=False, markup=False, emoji=False)


def say_table(rows: Iterable[Sequence[str]], head: Sequence[str] = (), indent: int = 0) -> None:
    """Write rows of as many cells each. States are coloured, and only a terminal gets the head."""
    held = [tuple(row) for row in rows]
    if held and on_terminal():
        _show(held, head, indent)
    else:
        for line in table(held, " " * indent):
            say(line)


def _show(rows: Sequence[tuple[str, ...]], head: Sequence[str], indent: int) -> None:
    shown = Table(
        *head,
        box=box.SIMPLE_HEAD if head else None,
        show_header=bool(head),
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
    )
    for _ in range(len(rows[0]) - len(head)):
        shown.add_column()
    for column in shown.columns:
        column.overflow = "fold"
    for row in rows:
        shown.add_row(*map(_styled, row))
    console().print(Padding(shown, (0, 0, 0, indent)))


def _styled(cell: str) -> Text:
    word = cell.partition(",")[0].partition(" ")[0]
    return Text(cell, STYLES.get(word, ""))
