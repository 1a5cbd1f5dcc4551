"""The `jobstatus` command, whose server tells what it holds, and can be told a wrong time.

At SIGUSR1 it prints a line of JSON: how many `tasks` its loop has, the names of its Python `threads`, and
how many `watches` and `feeds` there are. What the environment names changes what a process has no setting
for; the rest of the server is as it is.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from processes import ServerProcess, first_line

OBSERVED: Final = (sys.executable, __file__)
"""What starts it, in place of `jobstatus`."""

KEEPALIVE: Final = "OBSERVED_KEEPALIVE"
"""After how many seconds of silence a client is pinged, and how many it has to answer: `5 3`."""
CLOCK: Final = "OBSERVED_CLOCK"
"""The file that says by how many seconds the service's clock is wrong; read whenever that is asked."""


def observe(server: ServerProcess) -> dict[str, Any]:
    """Return what a server holds."""
    assert server.process is not None
    server.process.send_signal(signal.SIGUSR1)
    observed: dict[str, Any] = json.loads(first_line(server.process.stdout))
    return observed


def main() -> None:
    """Be `jobstatus`."""
    from jobstatus_grpc import server
    from jobstatus_grpc.cli import main as command
    from jobstatus_grpc.transport import Keepalive

    class ObservedServer(server.Server):
        def __init__(self, config: Any, **more: Any) -> None:
            if told := os.environ.get(KEEPALIVE):
                more["keepalive"] = _keepalive(told)
            super().__init__(config, **more)

        async def start(self) -> None:
            await super().start()
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._tell)

        def _tell(self) -> None:
            held = {
                "tasks": len(asyncio.all_tasks()),
                "threads": sorted(thread.name for thread in threading.enumerate()),
                "watches": self._limits.taken,
                "feeds": len(self._hub._feeds),
            }
            print(json.dumps(held), flush=True)

    def _keepalive(text: str) -> Keepalive:
        return Keepalive(*map(float, text.split()))

    setattr(server, "Server", ObservedServer)  # noqa: B010
    if os.environ.get(CLOCK):
        _mistake_time(Path(os.environ[CLOCK]))
    sys.argv[0] = "jobstatus"
    command()


def _mistake_time(offset: Path) -> None:
    """Have the clock that the service reads be wrong by what a file says.

    The libraries' own stays right: gRPC compares it with one that cannot be reached from here.
    """
    right = time.time_ns

    def wrong() -> int:
        return right() + int(float(offset.read_text()) * 1e9)

    setattr(time, "time_ns", wrong)  # noqa: B010


if __name__ == "__main__":
    main()
