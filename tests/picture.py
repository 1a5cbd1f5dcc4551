"""Draws the live view as it really is: `python tests/picture.py FILE`.

The command watches a demonstration job, on a terminal and a server of its own. What is on the screen when
most of the job has been done is the picture.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
import threading
from itertools import groupby
from pathlib import Path
from typing import Final

from processes import ServerProcess
from pyte.screens import Char
from rich.console import Console
from rich.style import Style
from rich.text import Text
from terminals import Terminal

from jobstatus_grpc.demo import JOB_ID, run_demo

COLUMNS: Final = 100
SHARE: Final = 0.7
# The fonts a picture names are nobody's business but the viewer's.
_FONT_FACES: Final = re.compile(r"\s*@font-face \{.*?\}\n", re.DOTALL)
# As the terminal names them, and as rich does.
_COLOURS: Final = {"default": None, "brown": "yellow"}


def draw(pace: float, share: float = SHARE) -> str:
    """Return the picture as SVG.

    Args:
        pace: how slowly the job gets on; 1 is as in the demonstration.
        share: how much of the job is done in the picture.
    """
    stop = threading.Event()
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(f"sqlite:///{folder}/jobstatus.db", "--log-level", "error") as server,
    ):
        reporter = threading.Thread(target=run_demo, args=(server.address, stop, pace))
        reporter.start()
        words = ("watch", JOB_ID, "--wait-for-job", "--until", str(share))
        try:
            with Terminal(*words, server=server.address, columns=COLUMNS, lines=24) as terminal:
                assert terminal.finish() == 0, "\n".join(terminal.lines)
                shown = [_line(cells) for cells in terminal.cells()]
        finally:
            stop.set()
            reporter.join()
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ jobstatus watch {JOB_ID}", "bold"), *shown, sep="\n", no_wrap=True)
    drawn = console.export_svg(title="jobstatus watch", unique_id="live-view")
    return _FONT_FACES.sub("\n", drawn)


def _line(cells: list[Char]) -> Text:
    """Return a line of the screen as rich has it."""
    line = Text()
    # Blanks apart: not every viewer keeps those a text begins with.
    for (colour, bold, _), run in groupby(cells, key=lambda cell: (cell.fg, cell.bold, cell.data == " ")):
        named = _COLOURS.get(colour, colour.replace("bright", "bright_"))
        line.append("".join(cell.data for cell in run), Style(color=named, bold=bold))
    line.rstrip()
    return line


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(pace=1.0))
