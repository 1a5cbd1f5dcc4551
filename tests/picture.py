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

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError
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
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(f"sqlite:///{folder}/jobstatus.db", "--log-level", "error") as server,
        JobStatusClient(server.address) as client,
    ):
        stop = _Pause(client, share)
        reporter = threading.Thread(target=run_demo, args=(server.address, stop, pace))
        words = ("watch", JOB_ID, "--wait-for-job", "--until", str(share))
        try:
            with Terminal(*words, server=server.address, columns=COLUMNS, lines=24) as terminal:
                terminal.wait_for(f"{JOB_ID} waiting")
                reporter.start()
                assert terminal.finish() == 0, "\n".join(terminal.lines)
                shown = [_line(cells) for cells in terminal.cells()]
        finally:
            stop.set()
            if reporter.ident is not None:
                reporter.join()
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ jobstatus watch {JOB_ID}", "bold"), *shown, sep="\n", no_wrap=True)
    drawn = console.export_svg(title="jobstatus watch", unique_id="live-view")
    return _FONT_FACES.sub("\n", drawn)


class _Pause(threading.Event):
    """Stops the demonstration when it is set, and holds it once a share of the job is done."""

    def __init__(self, client: JobStatusClient, share: float) -> None:
        super().__init__()
        self._client = client
        self._share = share

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(None if self._is_reached() else timeout)

    def _is_reached(self) -> bool:
        try:
            totals = self._client.get(JOB_ID, view=pb.JOB_VIEW_BASIC).job.totals
        except JobStatusRpcError:  # Nothing has been reported yet.
            return False
        counts = [count for _, count in totals.ListFields()]
        done = totals.succeeded_count + totals.failed_count
        return done > 0 and done >= self._share * sum(counts)


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
