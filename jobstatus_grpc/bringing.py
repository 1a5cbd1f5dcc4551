"""The process beside a server that brings in the jobs of an ORCA database.

A process of its own: what it reads and merges would keep the event loop from those who ask and watch.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from jobstatus_grpc.config import ServerConfig

_log = logging.getLogger(__name__)

# Safe from the directory this is started in: a file there may have the name of a module.
_COMMAND: Final = (sys.executable, "-P", "-m", "jobstatus_grpc.sources.process")
_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 30.0
_GOOD_WHILE: Final = 60.0
_LEAVING_SECONDS: Final = 2.0
# Somebody who asks again so soon has not been waiting for news, in seconds.
_ASKED_AGAIN: Final = 0.5
_MOST_ASKED: Final = 10_000


class SourceProcess:
    """Keeps the source going: started, started again when it dies, and stopped with the server.

    Args:
        config: what the operator has set.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._project_id = config.source_orca_project_id
        self._orders = json.dumps(_orders(config)).encode()
        self._stopped = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._asked: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="jobstatus-source", daemon=True)

    def start(self) -> None:
        """Start it; return at once."""
        self._thread.start()

    def ask(self, project_id: str, job_id: str) -> None:
        """Have a job read at once: somebody wants to know. Does not wait; on the event loop alone."""
        now = time.monotonic()
        if project_id != self._project_id or now - self._asked.get(job_id, -_ASKED_AGAIN) < _ASKED_AGAIN:
            return
        if len(self._asked) >= _MOST_ASKED:
            self._asked.clear()
        self._asked[job_id] = now
        process = self._process
        if process is not None and process.stdin is not None:
            # A source that is busy reads no lines: it reads all jobs anyway, a little later.
            with suppress(OSError, ValueError):
                os.write(process.stdin.fileno(), json.dumps(job_id).encode() + b"\n")

    def stop(self) -> None:
        """Have it end; return at once."""
        self._stopped.set()
        self._hang_up()

    def close(self) -> None:
        """Have it end, and return when it has."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        delay = _FIRST_DELAY
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                ending = f"has ended with {self._see_through()}"
            except OSError as error:
                ending = f"cannot be started ({error})"
            if self._stopped.is_set():
                return
            delay = _FIRST_DELAY if time.monotonic() - began > _GOOD_WHILE else min(delay * 2, _LONGEST_DELAY)
            _log.warning("the source of ORCA's jobs %s; starting it again in %.0f s", ending, delay)
            self._stopped.wait(delay)

    def _see_through(self) -> int:
        """See the process through from its start to its end; return how that was."""
        with subprocess.Popen(  # noqa: S603 - A command of our own.
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as process:
            if process.stdin is None:
                raise AssertionError("it was asked for")
            with suppress(OSError):
                process.stdin.write(self._orders + b"\n")
                process.stdin.flush()
            os.set_blocking(process.stdin.fileno(), False)
            self._process = process
            if self._stopped.is_set():
                self._hang_up()
            while process.poll() is None and not self._stopped.wait(0.2):
                pass
            try:
                return process.wait(_LEAVING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                return process.wait()
            finally:
                self._process = None

    def _hang_up(self) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()


def _orders(config: ServerConfig) -> Mapping[str, Any]:
    return {
        "database_url": config.database_url,
        "orca_url": config.source_orca_url,
        "secret_file": config.source_orca_secret_file,
        "notify": config.notify,
        "log_level": config.log_level,
        "log_format": config.log_format,
        "pace": (config.source_orca_project_id, config.source_orca_interval, config.source_orca_settle),
    }
