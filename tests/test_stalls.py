"""Clients that stop reading, or stop altogether: they harm nobody, and what they hold is given back."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
import weakref
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from processes import ServerProcess, first_line, start_command
from streaming import (
    ALONE,
    NARROW,
    connected,
    details_of,
    failure_of,
    first_frame,
    place_for,
    reason_of,
    watch,
)

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient
from jobstatus_grpc.config import ServerConfig
from jobstatus_grpc.errors import JobNotFound, WatcherTooSlow
from jobstatus_grpc.server import Server
from jobstatus_grpc.stalls import NEVER, Stalls
from jobstatus_grpc.status import ErrorInterceptor
from jobstatus_grpc.transport import Keepalive

MEBIBYTE = 1024 * 1024


def memory(server: ServerProcess) -> int:
    """Return how many bytes of memory a server has."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def report_job(address: str) -> None:
    with JobStatusClient(address) as client:
        client.report_job(pb.Job(job_id="j"))


def large_granules(number: int, size: int = 12_000) -> list[pb.Granule]:
    return [pb.Granule(granule_id=f"g{index}", message="x" * size) for index in range(number)]


class TestStalls:
    def test_a_write_that_takes_too_long_ends_its_stream_and_no_other(self) -> None:
        ended: list[str] = []

        async def stream(stalls: Stalls, name: str, write: float, frames: int) -> None:
            now = asyncio.get_running_loop().time
            try:
                async with stalls.guard() as pen:
                    for _ in range(frames):
                        pen.began = now()
                        await asyncio.sleep(write)
                        pen.began = NEVER
            except WatcherTooSlow:
                ended.append(name)

        async def main() -> float:
            stalls = Stalls(0.2)
            looking = asyncio.create_task(stalls.run())
            begun = time.monotonic()
            slow = asyncio.create_task(stream(stalls, "slow", 3600, 1))
            # Longer than the timeout, but no write of it.
            busy = asyncio.create_task(stream(stalls, "busy", 0.01, 100))
            await asyncio.wait_for(slow, 10)
            took = time.monotonic() - begun
            await asyncio.wait_for(busy, 10)
            looking.cancel()
            return took

        assert asyncio.run(main()) >= 0.2
        assert ended == ["slow"]

    def test_a_cancellation_from_outside_stays_one_though_the_write_is_late_too(self) -> None:
        async def stream(stalls: Stalls, entered: asyncio.Event) -> None:
            async with stalls.guard() as pen:
                pen.began = asyncio.get_running_loop().time()
                entered.set()
                await asyncio.Event().wait()

        async def main() -> None:
            stalls = Stalls(0.01)
            entered = asyncio.Event()
            task = asyncio.create_task(stream(stalls, entered))
            await entered.wait()
            await asyncio.sleep(0.02)
            task.cancel()
            looking = asyncio.create_task(stalls.run())
            with pytest.raises(asyncio.CancelledError):
                await task
            looking.cancel()

        asyncio.run(main())


def test_nothing_of_a_failed_call_is_kept_while_its_status_waits_for_a_client_that_does_not_read() -> None:
    class Held:
        pass

    async def main() -> None:
        refs: list[weakref.ref[Held]] = []
        failed = asyncio.Event()

        async def behaviour(_request: Any, context: Any) -> None:
            held = Held()
            refs.append(weakref.ref(held))
            try:
                async with asyncio.timeout(0.5):
                    while True:
                        await context.write(b"x" * 100_000)
            except TimeoutError:
                failed.set()
                raise JobNotFound("p", "j") from None

        server = grpc.aio.server(interceptors=[ErrorInterceptor()])
        handler: Any = grpc.unary_stream_rpc_method_handler(behaviour)
        server.add_registered_method_handlers("test.Service", {"Do": handler})
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=NARROW) as channel:
            make: Any = channel.unary_stream("/test.Service/Do")
            call = make(b"")
            await call.read()
            await asyncio.wait_for(failed.wait(), 10)
            async with asyncio.timeout(10):
                while refs[0]() is not None:
                    gc.collect()
                    await asyncio.sleep(0.01)
            error = await failure_of(call)
            assert reason_of(error) == "JOB_NOT_FOUND"
        await server.stop(None)

    asyncio.run(main())


def test_a_watcher_that_does_not_read_is_let_go_and_told_so_when_it_reads_again(sqlite_url: str) -> None:
    async def main(address: str) -> None:
        async with connected(address, NARROW) as stub, connected(address) as other:
            call = watch(stub, "j")
            await first_frame(call)
            # Its place is taken for as long as gRPC holds what it has not read.
            await asyncio.sleep(3)
            error = await failure_of(watch(other, "j"))
            assert reason_of(error) == "TOO_MANY_WATCHES"
            error = await failure_of(call)
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, "WATCHER_TOO_SLOW")
            assert "RetryInfo" in details_of(error)
            await place_for(other, "j", seconds=5)

    with ServerProcess(sqlite_url, max_watches="1", write_timeout="1") as server:
        with JobStatusClient(server.address) as client:
            client.report_job(pb.Job(job_id="j"), large_granules(100))
        asyncio.run(main(server.address))


def test_what_grpc_holds_for_watchers_that_never_read_again_is_freed_with_their_connections(
    sqlite_url: str,
) -> None:
    number = 8

    async def main(server: ServerProcess) -> None:
        async with AsyncExitStack() as stack:
            before = memory(server)
            stubs = [await stack.enter_async_context(connected(server.address)) for _ in range(number)]
            begun = time.monotonic()
            for stub in stubs:
                await first_frame(watch(stub, "j"))
            other = await stack.enter_async_context(connected(server.address, NARROW))
            await place_for(other, "j")
            # Not before they were let go, and the connection's age and grace at the latest.
            assert 1 < time.monotonic() - begun < 10
            assert memory(server) - before < number * 6 * MEBIBYTE

    # The snapshot is larger than what a client's windows take.
    with ServerProcess(
        sqlite_url, max_watches=str(number), write_timeout="1", max_connection_age="2", max_stream_age="2"
    ) as server:
        with JobStatusClient(server.address) as client:
            client.report_job(pb.Job(job_id="j"))
            for part in range(4):
                granules = [
                    pb.Granule(granule_id=f"{part}-{each.granule_id}", message=each.message)
                    for each in large_granules(250)
                ]
                client.report_granules("j", granules)
        asyncio.run(main(server))


class Reader:
    """Reads a stream, and notes how late each change arrives."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.delays: list[float] = []
        self.revisions: list[int] = []

    async def run(self) -> None:
        while True:
            frame = await self.call.read()
            now = time.time()
            for change in frame.changes.changes:
                self.delays.append(now - change.change_time.ToNanoseconds() / 1e9)
                self.revisions.append(change.revision)


def test_watchers_that_stop_reading_do_not_slow_those_that_read(sqlite_url: str) -> None:
    """5 of 50, under 50 changes of 6 KB a second, for 10 s."""
    changes, seconds = 50, 10

    async def report(stub: Any) -> None:
        begun = time.monotonic()
        for number in range(changes * seconds):
            granule = pb.Granule(granule_id=f"g{number % 20}", message=os.urandom(3000).hex())
            await stub.ReportGranules(pb.ReportGranulesRequest(job_id="j", granules=[granule]))
            await asyncio.sleep(max(0.0, begun + (number + 1) / changes - time.monotonic()))

    async def main(server: ServerProcess) -> None:
        async with AsyncExitStack() as stack:
            channel = grpc.aio.insecure_channel(server.address, options=ALONE)
            reporter = pb.JobReportServiceStub(await stack.enter_async_context(channel))
            stubs = [await stack.enter_async_context(connected(server.address)) for _ in range(5)]
            readers = [Reader(watch(stubs[number % 5], "j")) for number in range(45)]
            stalled = []
            for _ in range(5):
                stub = await stack.enter_async_context(connected(server.address, NARROW))
                stalled.append(watch(stub, "j"))
            for call in [*stalled, *(reader.call for reader in readers)]:
                await first_frame(call)
            before = memory(server)
            reading = [asyncio.create_task(reader.run()) for reader in readers]
            await report(reporter)
            last = changes * seconds + 1
            async with asyncio.timeout(10):
                while any(reader.revisions[-1] < last for reader in readers):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert memory(server) - before < 5 * 6 * MEBIBYTE
            for task in reading:
                task.cancel()
            for reader in readers:
                assert reader.revisions == list(range(2, last + 1))
            delays = sorted(delay for reader in readers for delay in reader.delays)
            # Seconds of delay is what a queue behind the stalled would give.
            assert delays[len(delays) * 99 // 100] < 1
            for call in stalled:
                assert reason_of(await failure_of(call)) == "WATCHER_TOO_SLOW"

    with ServerProcess(sqlite_url, write_timeout="2") as server:
        report_job(server.address)
        asyncio.run(main(server))


def test_a_client_that_is_frozen_is_taken_for_gone_when_it_does_not_answer_a_ping(sqlite_url: str) -> None:
    async def main() -> None:
        config = ServerConfig(listen="127.0.0.1:0", database_url=sqlite_url, max_watches=1)
        server = Server(config, Keepalive(interval=1, timeout=1))
        await server.start()
        running = asyncio.create_task(server.run())
        try:
            await asyncio.to_thread(report_job, server.address)
            await freeze_a_watcher(server.address)
        finally:
            await server.drain()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            server.close()

    async def freeze_a_watcher(address: str) -> None:
        frozen = await asyncio.to_thread(start_command, "watch", "j", "--json", server=address)
        try:
            await asyncio.to_thread(first_line, frozen.stdout)
            frozen.send_signal(signal.SIGSTOP)
            async with connected(address) as stub:
                assert reason_of(await failure_of(watch(stub, "j"))) == "TOO_MANY_WATCHES"
                await place_for(stub, "j", seconds=8)
        finally:
            frozen.kill()
            frozen.communicate()

    asyncio.run(main())
