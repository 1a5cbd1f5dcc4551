"""One of several processes that serve on one port: what the supervisor starts.

Its standard input is a socket to the supervisor. It brings what to do, and its end means to stop: the
supervisor has closed it, or is dead. The other way go the lines for the operator once the port is open, what
a new start would not mend, and a sign of life every second.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from jobstatus_grpc.config import ServerConfig
from jobstatus_grpc.errors import ConfigInvalid, SchemaMismatch
from jobstatus_grpc.leaving import CLEARING_SECONDS, leave_within
from jobstatus_grpc.server import serve

_BEAT_SECONDS: Final = 1.0


class Worker:
    """One worker.

    Args:
        line: to the supervisor.
        number: which of the workers this is.
        addresses: what to bind.
        config: its configuration, by the names of the attributes.
    """

    def __init__(
        self, line: socket.socket, number: int, addresses: Sequence[str], config: dict[str, Any]
    ) -> None:
        self._line = line
        self._number = number
        self._addresses = addresses
        self._config = ServerConfig(**config)
        self._beating: asyncio.Task[None] | None = None

    def run(self) -> int:
        """Serve until told to stop; return the exit status."""
        threading.Thread(target=self._heed, name="jobstatus-line", daemon=True).start()
        try:
            serve(self._config, self._say, self._number, self._addresses)
        except SchemaMismatch as error:
            self._send({"mismatch": str(error)})
            return 1
        except ConfigInvalid as error:
            self._send({"invalid": error.violations})
            return 1
        return 0

    def _say(self, lines: Sequence[str]) -> None:
        self._send({"ready": lines})
        self._beating = asyncio.get_running_loop().create_task(self._beat())
        # The supervisor has started this process with these held back, so that none is lost or ends it early.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            self._send({})

    def _heed(self) -> None:
        """Stop at the end of the line. On a thread: the event loop may be what hangs."""
        with suppress(OSError):
            self._line.recv(1)
        leave_within(self._config.drain_seconds + CLEARING_SECONDS, status=0)
        os.kill(os.getpid(), signal.SIGTERM)

    def _send(self, message: dict[str, Any]) -> None:
        # The event loop does not wait for a supervisor that is stopped; that one is gone, the thread sees.
        with suppress(OSError):
            self._line.send(json.dumps(message).encode() + b"\n", socket.MSG_DONTWAIT)


def main() -> int:
    """Do what the supervisor says; return the exit status."""
    line = socket.socket(fileno=sys.stdin.fileno())
    orders = line.makefile("rb").readline()
    return Worker(line, **json.loads(orders)).run() if orders else 0


if __name__ == "__main__":
    sys.exit(main())
