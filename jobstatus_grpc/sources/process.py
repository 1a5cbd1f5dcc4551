"""A source as a process of its own beside a server: what the server starts.

Its standard input brings what to do, then the jobs that somebody asks for, each a line; its end means to
stop: the server has closed it, or is dead.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from jobstatus_grpc.errors import JobStatusError
from jobstatus_grpc.sources.orca import WRITE_THREADS, OrcaSource
from jobstatus_grpc.sources.orca_database import OrcaDatabase
from jobstatus_grpc.sources.orca_following import Pace
from jobstatus_grpc.sources.orca_secret import read_secret
from jobstatus_grpc.store import open_store
from jobstatus_grpc.telemetry import configure_logging

_log = logging.getLogger(__name__)

_FAILED: Final = 1


def run(orders: dict[str, Any], lines: Iterator[bytes]) -> int:
    """Bring jobs in as the server has said; return the exit status.

    Args:
        orders: what it has said.
        lines: what else it says: the jobs to read.
    """
    configure_logging(orders["log_level"], orders["log_format"])
    store = open_store(orders["database_url"], 2, WRITE_THREADS + 1, orders["notify"])
    try:
        told = partial(read_secret, orders["secret_file"]) if orders["secret_file"] else None
        database = OrcaDatabase(told() if told else orders["orca_url"], told=told)
        source = OrcaSource(store, database, Pace(*orders["pace"]))
        threading.Thread(target=_heed, args=(source, lines), name="jobstatus-line", daemon=True).start()
        source.run()
    except (JobStatusError, ValueError) as error:
        _log.error("ORCA's jobs cannot be brought in: %s", error)
        return _FAILED
    finally:
        store.close()
    return 0


def _heed(source: OrcaSource, lines: Iterator[bytes]) -> None:
    """Have jobs read that somebody asks for, and stop at the end of the input."""
    for line in lines:
        source.ask(json.loads(line))
    source.stop()


def _lines() -> Iterator[bytes]:
    """Yield the lines of the standard input.

    Not by its buffer: an interpreter that ends while a thread waits there cannot have its lock, and aborts.
    """
    rest = b""
    while read := os.read(sys.stdin.fileno(), 65_536):
        *lines, rest = (rest + read).split(b"\n")
        yield from lines


def main() -> int:
    """Do what the server says; return the exit status."""
    # From the keyboard the server hears it too, and closes the line.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines = _lines()
    line = next(lines, None)
    return run(json.loads(line), lines) if line else 0


if __name__ == "__main__":
    sys.exit(main())
