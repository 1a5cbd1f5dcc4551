"""Health: ready while the database answers, alive while the event loop runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from concurrent.futures import Executor
from typing import Final

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from jobstatus_grpc.errors import StoreUnavailable
from jobstatus_grpc.store.base import JobStore

_log = logging.getLogger(__name__)

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
# A watcher of the health service that does not read cannot hold up the others for longer, in seconds.
_SET_TIMEOUT: Final = 2.0


class Health:
    """Answers `grpc.health.v1.Health`.

    The empty service and `services` tell readiness: whether calls will be answered. `liveness` tells
    whether the process should live: an outage of the database is no reason to restart it.

    Args:
        store: asked whether it answers.
        executor: one thread, for asking.
        services: their full names.
        interval: seconds between two questions.
    """

    SERVICE: Final = health.SERVICE_NAME
    LIVENESS: Final = "liveness"

    def __init__(self, store: JobStore, executor: Executor, services: Iterable[str], interval: float) -> None:
        self._store = store
        self._executor = executor
        self._interval = interval
        self._services = ("", *services)
        self._servicer = health.aio.HealthServicer()
        self._draining = False
        self._ready: bool | None = None

    @property
    def ready(self) -> bool:
        """Whether calls will be answered."""
        return self._ready is True

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def start(self) -> None:
        """Be alive, and not ready."""
        await self._servicer.set(self.LIVENESS, _SERVING)
        await self._set_ready(False)

    async def run(self) -> None:
        """Ask the database again and again, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self._executor, self._store.ping)
                ready = True
            except StoreUnavailable:
                ready = False
            if not self._draining:
                await self._set_ready(ready)
            await asyncio.sleep(self._interval)

    async def drain(self) -> None:
        """Be not ready for ever."""
        self._draining = True
        await self._set_ready(False)

    async def _set_ready(self, ready: bool) -> None:
        if ready is self._ready:
            return
        self._ready = ready
        _log.info("the database answers" if ready else "not ready")
        for service in self._services:
            try:
                async with asyncio.timeout(_SET_TIMEOUT):
                    await self._servicer.set(service, _SERVING if ready else _NOT_SERVING)
            except TimeoutError:
                _log.warning("a watcher of the health service does not read")
