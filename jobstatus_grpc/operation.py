"""What a process tells of itself to those who look after it: calls, metrics, probes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from jobstatus_grpc.admin import AdminPort, Looks
from jobstatus_grpc.config import ServerConfig
from jobstatus_grpc.metrics import Metrics, Standing
from jobstatus_grpc.telemetry import CallLog

_PUBLISH_INTERVAL: Final = 1.0
# After how many seconds without a turn the event loop is taken for stuck.
_STUCK: Final = 30.0
# Probes come all the time, and tell nothing while they are well.
_QUIET: Final = "/grpc.health.v1.Health/"


class Operation:
    """Logs and measures a process, and opens its admin port unless a supervisor has one for it.

    Args:
        config: what the operator has set.
        standing: returns how the process stands.
        principal: returns who makes the call under way.
        worker: which of several processes this is.
    """

    def __init__(
        self,
        config: ServerConfig,
        standing: Callable[[], Standing],
        principal: Callable[[], str],
        worker: int | None = None,
    ) -> None:
        self._standing = standing
        self._principal = principal
        self._log = CallLog(config.log_calls, config.log_level, config.log_format, worker)
        self._metrics = Metrics() if config.admin_listen else None
        self._beat = time.monotonic()
        self._listen = config.admin_listen if worker is None else ""
        self._ports = ExitStack()

    def open(self) -> None:
        """Open the admin port.

        Raises:
            ListenFailed: it cannot be bound.
        """
        if self._metrics is not None and self._listen:
            looks = Looks(self._metrics.text, self._is_alive, lambda: self._standing().ready)
            self._ports.enter_context(AdminPort(self._listen, looks))

    def observe(self, method: str, code: str, seconds: float, request_id: str) -> None:
        """Take the end of a call."""
        if self._metrics is not None:
            self._metrics.call(method, code, seconds)
        if code != "OK" or not method.startswith(_QUIET):
            self._log.call(method, code, seconds, request_id, self._principal())

    def lag(self, change_time: int) -> None:
        """Take that a change is about to be sent that was committed then, in microseconds since 1970."""
        if self._metrics is not None:
            self._metrics.lag(time.time() - change_time / 1e6)

    async def run(self) -> None:
        """Publish how the process stands, again and again, until cancelled."""
        try:
            while True:
                self._publish()
                await asyncio.sleep(_PUBLISH_INTERVAL)
        finally:
            self._publish()

    def close(self) -> None:
        """Close the admin port, and write the last lines."""
        self._ports.close()
        self._log.close()

    def _publish(self) -> None:
        self._beat = time.monotonic()
        if self._metrics is not None:
            self._metrics.publish(self._standing())

    def _is_alive(self) -> bool:
        return time.monotonic() - self._beat < _STUCK
