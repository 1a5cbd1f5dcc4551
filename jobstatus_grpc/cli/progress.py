"""How far a large input has been read, for a person who waits."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

_LARGE: Final = 256 * 1024


def is_watched(source: BinaryIO) -> bool:
    """Return whether a bar is of use: the input is large, as far as is known, and somebody looks."""
    found = os.fstat(source.fileno())
    return sys.stderr.isatty() and stat.S_ISREG(found.st_mode) and found.st_size >= _LARGE


@contextmanager
def progress_of(source: BinaryIO) -> Iterator[Callable[[int], object]]:
    """Show a bar on standard error; give what is to be told how many bytes more have been dealt with."""
    columns = BarColumn(bar_width=None), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), expand=True) as progress:
        task = progress.add_task("", total=os.fstat(source.fileno()).st_size)
        yield lambda dealt_with: progress.advance(task, dealt_with)
