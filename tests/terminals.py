"""A command on a terminal, as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import pyte
from moments import wait_until
from processes import COMMAND, PATIENCE, environment
from pyte.screens import Char


class Terminal:
    """Runs `jobstatus` on a terminal of its own. Use it as a context manager.

    Args:
        *arguments: of the command.
        program: what is run instead of the command.
        cwd: where.
        server: the command's.
        columns: how wide the terminal is.
        lines: how high.
        stdin: a file that is read instead of the keyboard.
        **more: of the environment.

    Attributes:
        process: the command.
        written: all that came to the terminal, as bytes.
    """

    def __init__(
        self,
        *arguments: str,
        program: Sequence[str] = (COMMAND,),
        cwd: Path | None = None,
        server: str = "",
        columns: int = 110,
        lines: int = 30,
        stdin: int | None = None,
        **more: str,
    ) -> None:
        self.written = b""
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        asked = {"TERM": "xterm-256color", "NO_COLOR": "", "COLUMNS": str(columns), "LINES": str(lines)}
        self.process = subprocess.Popen(
            [*program, *arguments],
            cwd=cwd,
            stdin=theirs if stdin is None else stdin,
            stdout=theirs,
            stderr=theirs,
            env=environment(server, **(asked | more)),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        os.close(self._ours)

    @property
    def lines(self) -> list[str]:
        """What is on the screen, without what is empty at its end."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    def cells(self) -> list[list[Char]]:
        """Return what is on the screen cell by cell."""
        rows = len(self.lines)
        return [
            [self._screen.buffer[row][column] for column in range(self._screen.columns)]
            for row in range(rows)
        ]

    @property
    def cursor_hidden(self) -> bool:
        """Whether the person's cursor is gone."""
        return bool(self._screen.cursor.hidden)

    def shows(self, *words: str) -> bool:
        """Return whether all of that is on the screen."""
        shown = "\n".join(self.lines)
        return all(word in shown for word in words)

    def wait_for(self, *words: str) -> None:
        """Return once all of that is on the screen."""
        shown: list[str] = []

        def there() -> bool:
            shown[:] = self.lines
            assert self.shows(*words) or self.process.poll() is None, "\n".join(self.lines)
            return self.shows(*words)

        try:
            wait_until(there, f"the screen shows {words}")
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *shown])) from None

    def type(self, text: str) -> None:
        """Type on the keyboard."""
        os.write(self._ours, text.encode())

    def finish(self) -> int:
        """Wait for the end, and return the exit status."""
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return self.process.returncode

    def _read(self) -> None:
        with suppress(OSError):  # What Linux says when the last writer has left.
            while piece := os.read(self._ours, 65536):
                self.written += piece
                self._stream.feed(piece)
