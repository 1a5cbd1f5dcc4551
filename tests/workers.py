"""Processes that take part in a test or a measurement, and are told what to do in lines of JSON."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvloop

Handler = Callable[..., Awaitable[Any]]

_TESTS = str(Path(__file__).parent)


class Worker:
    """A process of its own that runs a module. Use it as a context manager.

    Args:
        module: its name, from this directory on.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        path = os.pathsep.join(filter(None, (_TESTS, os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path},
        )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self._process.returncode is None:
            self._process.kill()
            self._process.communicate()

    def freeze(self) -> None:
        """Stop it, so that it does nothing until `thaw`."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def begin(self, name: str, /, **arguments: Any) -> None:
        """Have it do something; `end` gives what came of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()

    def end(self) -> Any:
        """Return what came of what was begun.

        Raises:
            AssertionError: it failed; its own words are on standard error.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"{self._module} has ended"
        return json.loads(line)

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Have it do something, and return what came of it."""
        self.begin(name, **arguments)
        return self.end()


def work(make: Callable[[], Mapping[str, Handler]]) -> None:
    """Be a worker: call what standard input names, until it ends. A failure ends the process."""
    uvloop.run(_work(make))


async def _work(make: Callable[[], Mapping[str, Handler]]) -> None:
    handlers = make()
    loop = asyncio.get_running_loop()
    commands: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(commands.put_nowait, line)
        loop.call_soon_threadsafe(commands.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    while line := await commands.get():
        name, arguments = json.loads(line)
        print(json.dumps(await handlers[name](**arguments)), flush=True)
