"""The `jobstatus` command, whose server answers SIGUSR1 with a line: how many tasks its loop has."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import uvloop

from jobstatus_grpc.cli import main

_run = uvloop.run


def _observed_run(work: Any) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: print(len(asyncio.all_tasks()), flush=True))
        await work

    _run(run())


if __name__ == "__main__":
    setattr(uvloop, "run", _observed_run)  # noqa: B010
    sys.argv[0] = "jobstatus"
    main()
