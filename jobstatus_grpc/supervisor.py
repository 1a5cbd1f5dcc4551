"""Several workers on one port: started, started again when they die, and stopped together.

This process holds the port and does not serve; it never loads gRPC. Each worker is a new process, not a copy
of one in which gRPC has threads at work: those would be missing in the copy.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from jobstatus_grpc.admin import AdminPort, Looks
from jobstatus_grpc.config import ServerConfig
from jobstatus_grpc.errors import ConfigInvalid, SchemaMismatch, Violation
from jobstatus_grpc.leaving import CLEARING_SECONDS, leave_within
from jobstatus_grpc.metrics import DIRECTORY_VARIABLE, SharedMetrics
from jobstatus_grpc.port import HeldPort
from jobstatus_grpc.telemetry import configure_logging

_log = logging.getLogger(__name__)

# Safe from the directory this is started in: a file there may have the name of a module.
_COMMAND: Final = (sys.executable, "-P", "-m", "jobstatus_grpc.worker")
_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)

# A worker leaves by itself, and is killed if it has not; this process has left then, unless the kernel holds
# a worker.
_KILLING_SECONDS: Final = CLEARING_SECONDS + 0.3
_LEAVING_SECONDS: Final = CLEARING_SECONDS + 0.5
# Without a sign of life, which come every second.
_SILENT_SECONDS: Final = 60

_FIRST_DELAY: Final = 0.2
_LONGEST_DELAY: Final = 30.0
_GOOD_WHILE: Final = 60.0


def supervise(config: ServerConfig) -> None:
    """Serve with `config.workers` processes until SIGTERM or SIGINT, then have them drain.

    Raises:
        ConfigInvalid: this system does not spread connections over processes, or a file that the
            configuration names cannot be used.
        ListenFailed: the address cannot be bound.
        SchemaMismatch: this program cannot work with the database's schema.
    """
    if sys.platform != "linux":
        words = f"more than 1 need Linux, which spreads connections over processes; this is {sys.platform}"
        raise ConfigInvalid([Violation("workers", words)])
    configure_logging(config.log_level, config.log_format)
    with HeldPort(config.listen) as port, ExitStack() as open_:
        metrics = None
        if config.admin_listen:
            directory = open_.enter_context(tempfile.TemporaryDirectory(prefix="jobstatus-metrics-"))
            metrics = SharedMetrics(Path(directory))
            looks = Looks(metrics.text, lambda: True, metrics.ready)
            open_.enter_context(AdminPort(config.admin_listen, looks))
        asyncio.run(Supervisor(config, port, metrics).run())


class BackOff:
    """How long to wait before a worker is started again: ever longer, until one has lived for a while."""

    def __init__(self) -> None:
        self._delay = _FIRST_DELAY

    def delay(self, lived: float) -> float:
        """Return how many seconds to wait after the death of a worker that lived for so many."""
        delay = _FIRST_DELAY if lived >= _GOOD_WHILE else self._delay
        self._delay = min(2 * delay, _LONGEST_DELAY)
        # Those that have died together shall not come back together.
        return delay * random.uniform(0.5, 1.0)


class Supervisor:
    """Keeps workers going. Made and used on one event loop, in the main thread.

    Args:
        config: the workers'.
        port: where they listen; closed when they stop.
        metrics: where theirs are read; `None` if nobody asks for them.
        patience: after how many seconds without a sign of life a worker is killed.
    """

    def __init__(
        self,
        config: ServerConfig,
        port: HeldPort,
        metrics: SharedMetrics | None = None,
        patience: int = _SILENT_SECONDS,
    ) -> None:
        self._config = replace(config, listen=port.listen)
        self._port = port
        self._metrics = metrics
        self._patience = patience
        self._children: dict[int, _Child] = {}
        self._ready: dict[int, list[str]] = {}
        self._announced = False
        self._stopping = asyncio.Event()
        self._failure: SchemaMismatch | ConfigInvalid | None = None

    async def run(self) -> None:
        """Keep them going until SIGTERM or SIGINT, then have them drain; return when all have ended.

        Raises:
            SchemaMismatch: one of them cannot work with the database's schema; all have ended.
            ConfigInvalid: a file that the configuration names cannot be used; all have ended.
        """
        for stop in _STOPPING:
            asyncio.get_running_loop().add_signal_handler(stop, self._stopping.set)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(1, self._config.workers + 1):
                    group.create_task(self._keep(number))
                await self._stopping.wait()
                self._dismiss()
        except ExceptionGroup as failed:
            # For example: nobody reads the address. The lines are closed, and the workers leave.
            raise failed.exceptions[0] from None
        if self._failure is not None:
            raise self._failure

    def _dismiss(self) -> None:
        """Have all workers drain, and see to it that they end."""
        self._port.close()
        for child in self._children.values():
            child.dismiss()
        drain = self._config.drain_seconds
        asyncio.get_running_loop().call_later(drain + _KILLING_SECONDS, self._kill)
        leave_within(drain + _LEAVING_SECONDS, status=0 if self._failure is None else 1)

    def _kill(self) -> None:
        for number, child in self._children.items():
            _log.warning("worker %d, process %d, does not end: killing it", number, child.pid)
            child.kill()

    async def _keep(self, number: int) -> None:
        back_off = BackOff()
        while not self._stopping.is_set():
            begun = time.monotonic()
            ending = await self._live(number)
            if self._stopping.is_set():
                return
            delay = back_off.delay(time.monotonic() - begun)
            _log.warning("worker %d %s; starting it again in %.2f s", number, ending, delay)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _live(self, number: int) -> str:
        """See a worker through from its start to its end; return how that was."""
        try:
            child = _Child(self._orders(number), self._metrics.directory if self._metrics else None)
        except OSError as error:
            return f"cannot be started ({error})"
        _log.info("worker %d is process %d", number, child.pid)
        self._children[number] = child
        if not await child.listen(self._patience, lambda message: self._hear(number, message)):
            _log.error("worker %d, process %d, gives no sign of life: killing it", number, child.pid)
            child.kill()
        self._ready.pop(number, None)
        status = await child.end()
        if self._metrics is not None:
            self._metrics.forget(child.pid)
        del self._children[number]
        how = f"with status {status}" if status >= 0 else f"by signal {-status} ({signal.strsignal(-status)})"
        return f"(process {child.pid}) ended {how}"

    def _orders(self, number: int) -> dict[str, Any]:
        # The demonstration job has one reporter.
        config = replace(self._config, demo=self._config.demo and number == 1)
        return {"number": number, "addresses": self._port.addresses, "config": asdict(config)}

    def _hear(self, number: int, message: dict[str, Any]) -> None:
        if "mismatch" in message:
            self._fail(SchemaMismatch(message["mismatch"]))
        if "invalid" in message:
            invalid = ConfigInvalid([Violation(*row) for row in message["invalid"]])
            if self._announced:
                # The others go on with what they read before.
                _log.error("worker %d cannot start: %s", number, invalid)
            else:
                self._fail(invalid)
        if "ready" in message:
            self._ready[number] = message["ready"]
            if len(self._ready) == self._config.workers and not self._announced:
                self._announced = True
                print(*self._ready[1], sep="\n", flush=True)  # noqa: T201

    def _fail(self, failure: SchemaMismatch | ConfigInvalid) -> None:
        self._failure = failure
        self._stopping.set()


class _Child:
    """A worker's process, and the line to it. Its orders go on no command line: they may hold a password."""

    def __init__(self, orders: dict[str, Any], metrics: str | None) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            try:
                self._line.sendall(json.dumps(orders).encode() + b"\n")
                self._process = _start(theirs, metrics)
            except BaseException:
                self._line.close()
                raise

    @property
    def pid(self) -> int:
        return self._process.pid

    async def listen(self, patience: int, hear: Callable[[dict[str, Any]], None]) -> bool:
        """Hear what it says until its end; return whether that has come, and not just silence."""
        reader, writer = await asyncio.open_unix_connection(sock=self._line)
        heard, silent = False, 0
        try:
            while silent < patience:
                line = await _next_line(reader)
                if line is None:
                    silent += heard  # A start takes as long as it takes.
                elif line.endswith(b"\n"):
                    heard, silent = True, 0
                    hear(json.loads(line))
                else:
                    return True
        finally:
            writer.close()
        return False

    async def end(self) -> int:
        """Return its exit status when it has one."""
        return await asyncio.to_thread(self._process.wait)

    def dismiss(self) -> None:
        """Tell it to stop: what its own death would tell it too, were this process to die."""
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        self._process.kill()


async def _next_line(reader: asyncio.StreamReader) -> bytes | None:
    """Return a line, or at the end what there is of one; `None` if a second has passed without.

    Seconds are counted one by one: while this process is stopped the workers may be stopped too.
    """
    try:
        return await asyncio.wait_for(reader.readline(), 1.0)
    except TimeoutError:
        return None
    except ConnectionError:  # It died before it had read its orders.
        return b""


def _start(line: socket.socket, metrics: str | None) -> subprocess.Popen[bytes]:
    # Read by Prometheus' client when it is imported, and before that by nobody.
    environment = {**os.environ, DIRECTORY_VARIABLE: metrics} if metrics else None
    # What is sent to all processes of a terminal reaches a worker that is only starting, too: it inherits
    # that these signals wait until it heeds them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        return subprocess.Popen(_COMMAND, stdin=line.fileno(), env=environment)  # noqa: S603 - Nothing of it comes from outside.
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
