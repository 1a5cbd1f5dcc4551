"""The wiring: a server from its configuration, from its start to its end."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from typing import Any, Final

import grpc
import grpc.aio
import uvloop
from grpc_reflection.v1alpha import reflection

from jobstatus import v1 as pb
from jobstatus.v1 import job_document_service_pb2, job_report_service_pb2, job_status_service_pb2
from jobstatus_grpc.bringing import SourceProcess
from jobstatus_grpc.config import ServerConfig
from jobstatus_grpc.convert.answers import AnswerEncoder
from jobstatus_grpc.convert.frames import FrameEncoder
from jobstatus_grpc.errors import ListenFailed, StoreUnavailable
from jobstatus_grpc.exports import DocumentExporter
from jobstatus_grpc.health import Health
from jobstatus_grpc.imports import DocumentImporter
from jobstatus_grpc.leaving import CLEARING_SECONDS, leave_within
from jobstatus_grpc.limits import WatchLimits
from jobstatus_grpc.metrics import Standing
from jobstatus_grpc.model import NewsMode
from jobstatus_grpc.operation import Operation
from jobstatus_grpc.parsing import DocumentParser
from jobstatus_grpc.reads import StatusReader
from jobstatus_grpc.reports import ReportWriter
from jobstatus_grpc.retention import Retention
from jobstatus_grpc.security.access import principal_of_call
from jobstatus_grpc.security.door import Door
from jobstatus_grpc.servicer import JobDocumentServicer, JobReportServicer, JobStatusServicer
from jobstatus_grpc.status import ErrorInterceptor
from jobstatus_grpc.store import open_store
from jobstatus_grpc.telemetry import configure_logging
from jobstatus_grpc.tokens import Tokens
from jobstatus_grpc.transfers import Transfers
from jobstatus_grpc.transport import KEEPALIVE, Keepalive, server_options
from jobstatus_grpc.watch import WatchHub

_log = logging.getLogger(__name__)

_STATUS_SERVICE: Final = job_status_service_pb2.DESCRIPTOR.services_by_name["JobStatusService"].full_name
_DOCUMENT_SERVICE: Final = job_document_service_pb2.DESCRIPTOR.services_by_name[
    "JobDocumentService"
].full_name
_REPORT_SERVICE: Final = job_report_service_pb2.DESCRIPTOR.services_by_name["JobReportService"].full_name
_SERVICES: Final = (_STATUS_SERVICE, _REPORT_SERVICE, _DOCUMENT_SERVICE)

_TAIL_THREADS: Final = 2
_BEHIND_THREADS: Final = 2
_SNAPSHOT_THREADS: Final = 2
_IMPORT_THREADS: Final = 2
_EXPORT_THREADS: Final = 2
_PREPARE_INTERVAL: Final = 1.0
# One process without others, or the first of several, sees to the source.
_WITH_SOURCE: Final = (None, 1)
_GC_THRESHOLDS: Final = (20_000, 20, 50)
# A thread that encodes gives the event loop its turn this often, in seconds.
_SWITCH_INTERVAL: Final = 0.0005


class Server:
    """One process that serves. Made and used on one event loop.

    Args:
        config: what the operator has set.
        keepalive: when a silent client is taken for gone.
        addresses: what to bind, each `HOST:PORT` in numbers, if the configuration's `listen` has been looked
            up already.
        worker: which of several processes on one port this is.

    Attributes:
        address: `HOST:PORT` as bound, from `start` on.

    Raises:
        ConfigInvalid: a file that the configuration names cannot be used.
    """

    def __init__(
        self,
        config: ServerConfig,
        keepalive: Keepalive = KEEPALIVE,
        addresses: Sequence[str] = (),
        worker: int | None = None,
    ) -> None:
        self._config = config
        self._addresses = addresses or (config.listen,)
        self._door = Door(config)
        self._operation = Operation(config, self._standing, principal_of_call, worker)
        self.address = ""
        # As many connections as threads: nobody waits for one. The probe reads; retention reads and writes.
        helping = _TAIL_THREADS + _BEHIND_THREADS + _SNAPSHOT_THREADS + _IMPORT_THREADS + _EXPORT_THREADS
        reading = config.read_threads + helping + 2
        self._store = open_store(config.database_url, reading, config.write_threads + 1, config.notify)
        self._pools = _pools(config)
        self._hub = self._make_hub()
        self._reader = StatusReader(
            self._store,
            AnswerEncoder(),
            self._tokens,
            together=self._pools["batch"],
            alone=self._pools["read"],
        )
        self._writer = ReportWriter(
            self._store, self._pools["write"], config.max_waiting_reports, self._hub.hint
        )
        self._limits = WatchLimits(config.max_watches, config.max_watches_per_project)
        self._health = Health(self._store, self._pools["probe"], _SERVICES, config.poll_interval)
        self._retention = Retention(
            self._store, self._pools["retention"], config.change_retention, config.job_retention
        )
        self._source = SourceProcess(config) if config.has_source and worker in _WITH_SOURCE else None
        self._grpc = grpc.aio.server(
            interceptors=[ErrorInterceptor(self._operation.observe), *self._door.interceptors],
            options=server_options(config, keepalive),
        )

    def _make_hub(self) -> WatchHub:
        return WatchHub(
            self._store,
            FrameEncoder(),
            self._tokens,
            tail=self._pools["tail"],
            behind=self._pools["behind"],
            snapshots=self._pools["snapshot"],
            poll_interval=self._config.poll_interval,
            max_age=self._config.max_stream_age,
            write_timeout=self._config.write_timeout,
            lag=self._operation.lag,
        )

    async def start(self) -> None:
        """Bind, serve, and see to the database in the background.

        Raises:
            ListenFailed: the address, or the admin port's, cannot be bound.
        """
        self._register()
        self._operation.open()
        await self._health.start()
        host = self._config.listen.rpartition(":")[0]
        try:
            for address in self._addresses:
                port = self._door.open(self._grpc, address)
        except RuntimeError as error:
            raise ListenFailed(self._config.listen) from error
        await self._grpc.start()
        self.address = f"{host}:{port}"

    async def run(self) -> None:
        """Prepare the store, then keep watches, health and retention going until cancelled.

        Raises:
            SchemaMismatch: this program cannot work with the database's schema.
        """
        await self._prepare()
        if self._source is not None:
            self._source.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hub.run())
            group.create_task(self._health.run())
            group.create_task(self._retention.run())
            group.create_task(self._door.run())
            group.create_task(self._operation.run())

    async def drain(self) -> None:
        """Stop well: say so, let unary calls finish, send every watcher elsewhere."""
        if self._source is not None:
            self._source.stop()
        await self._health.drain()
        # Half of the time at most is for sending watchers away: the rest is for the last to hear it.
        self._hub.drain(min(self._config.drain_spread, self._config.drain_seconds / 2))
        await self._grpc.stop(self._config.drain_seconds)

    def close(self) -> None:
        """Let go of threads and connections, once nothing is run any more."""
        if self._source is not None:
            self._source.close()
        # A connection that a thread still has would stay open, and SQLite keep a log beside its file.
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)
        self._store.close()
        self._operation.close()

    def _standing(self) -> Standing:
        cache = self._reader.cache
        return Standing(
            ready=self._health.ready,
            watches=self._limits.taken,
            frames=self._hub.sent_frames,
            changes=self._hub.sent_changes,
            notified=self._hub.news_mode is NewsMode.NOTIFY,
            waiting={name: pool._work_queue.qsize() for name, pool in self._pools.items()},
            waiting_reports=self._writer.waiting,
            cache_hits=cache.hits,
            cache_misses=cache.misses,
            cache_bytes=cache.size,
        )

    def _register(self) -> None:
        asked = _ignore if self._source is None else self._source.ask
        status = JobStatusServicer(self._reader, self._hub, self._limits, self._tokens, asked)
        pb.add_JobStatusServiceServicer_to_server(status, self._grpc)
        # What is bytes already. Registered later than the generated code, these handlers take its place.
        get, watch = pb.GetJobStatusRequest.FromString, pb.WatchJobRequest.FromString
        ready: dict[str, Any] = {
            "GetJobStatus": grpc.unary_unary_rpc_method_handler(status.GetJobStatus, get, None),
            "WatchJob": grpc.unary_stream_rpc_method_handler(status.WatchJob, watch, None),
        }
        self._grpc.add_registered_method_handlers(_STATUS_SERVICE, ready)
        pb.add_JobReportServiceServicer_to_server(JobReportServicer(self._writer), self._grpc)
        pb.add_JobDocumentServiceServicer_to_server(self._documents(), self._grpc)
        self._health.register(self._grpc)
        if self._config.reflection:
            names = (*_SERVICES, Health.SERVICE, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._grpc)

    def _documents(self) -> JobDocumentServicer:
        importing = self._pools["import"]
        return JobDocumentServicer(
            DocumentImporter(self._store, self._writer, DocumentParser(importing), importing),
            DocumentExporter(self._store, self._pools["export"]),
            Transfers(self._config.max_transfers, self._config.write_timeout),
        )

    def _tokens(self) -> Tokens:
        return self._known_tokens

    @cached_property
    def _known_tokens(self) -> Tokens:
        # While the store is not prepared its identity raises, and nothing is cached.
        return Tokens(*self._store.identity)

    async def _prepare(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await loop.run_in_executor(self._pools["probe"], self._store.prepare)
            except StoreUnavailable:
                _log.warning("waiting for the database %s", self._config.shown_database_url)
                await asyncio.sleep(_PREPARE_INTERVAL)


def _ignore(_project_id: str, _job_id: str) -> None:
    """Do nothing: no jobs are brought in from elsewhere."""


def _pools(config: ServerConfig) -> dict[str, ThreadPoolExecutor]:
    threads = {
        "read": config.read_threads,
        "batch": 1,
        "write": config.write_threads,
        "tail": _TAIL_THREADS,
        "behind": _BEHIND_THREADS,
        "snapshot": _SNAPSHOT_THREADS,
        "import": _IMPORT_THREADS,
        "export": _EXPORT_THREADS,
        "probe": 1,
        "retention": 1,
    }
    return {
        name: ThreadPoolExecutor(number, thread_name_prefix=f"jobstatus-{name}")
        for name, number in threads.items()
    }


def _print(lines: Sequence[str]) -> None:
    print(*lines, sep="\n", flush=True)  # noqa: T201


def serve(
    config: ServerConfig,
    say: Callable[[Sequence[str]], None] = _print,
    worker: int | None = None,
    addresses: Sequence[str] = (),
) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Args:
        config: what the operator has set.
        say: called once, on the event loop, as soon as the port is open and signals are heeded, with the
            lines for the operator.
        worker: which of several processes on one port this is.
        addresses: as `Server` takes them.

    Raises:
        ConfigInvalid: a file that the configuration names cannot be used.
        ListenFailed: the address cannot be bound.
        SchemaMismatch: this program cannot work with the database's schema.
    """
    configure_logging(config.log_level, config.log_format, worker)
    _log_what_nobody_catches()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    uvloop.run(_serve(config, say, worker, addresses))


def _log_what_nobody_catches() -> None:
    """Have the log tell of exceptions that end a thread or the process: Python repeats all their words."""

    def tell(error: BaseException | None) -> None:
        _log.critical("failed", exc_info=error)

    sys.excepthook = lambda _kind, error, _trace: tell(error)
    threading.excepthook = lambda failed: tell(failed.exc_value)


async def _serve(
    config: ServerConfig,
    say: Callable[[Sequence[str]], None],
    worker: int | None,
    addresses: Sequence[str],
) -> None:
    server = Server(config, addresses=addresses, worker=worker)
    await server.start()
    # Thousands of streams are many objects that live long: looking through them at the usual pace took a
    # quarter of the time.
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    running = asyncio.create_task(server.run())
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    say([f"listening on {server.address}", *(_lines_of_demo(server.address) if config.demo else ())])
    stop_demo = _start_demo(server.address) if config.demo else threading.Event()
    asked = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leave_within(config.drain_seconds + CLEARING_SECONDS, status=0 if stopping.is_set() else 1)
        stop_demo.set()
        asked.cancel()
        await server.drain()
        # It may have only begun: without its threads it would fail, where it is to end.
        running.cancel()
        try:
            with suppress(asyncio.CancelledError):
                await running
        finally:
            server.close()


def _lines_of_demo(address: str) -> list[str]:
    from jobstatus_grpc.demo import lines_to_try

    return ["try:", *(f"  {line}" for line in lines_to_try(address))]


def _start_demo(address: str) -> threading.Event:
    from jobstatus_grpc.demo import run_demo

    stop = threading.Event()
    threading.Thread(target=run_demo, args=(address, stop), name="jobstatus-demo", daemon=True).start()
    return stop
