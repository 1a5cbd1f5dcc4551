"""A server that is told to stop: watchers leave one after the other, and nobody holds it up."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio
import pytest
from processes import PATIENCE, ServerProcess, first_line, start_command
from proxy import Proxy
from streaming import NARROW, connected, details_of, first_frame, reason_of, watch

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError

# What a server may take beyond its time for draining.
CLEARING = 5


def report(server: ServerProcess, *granules: pb.Granule) -> None:
    with JobStatusClient(server.address) as client:
        client.report_job(pb.Job(job_id="j"), granules)


def told_to_stop(server: ServerProcess) -> float:
    """Tell a server to stop; return how long it took, having stopped well."""
    begun = time.monotonic()
    assert server.terminate() == 0
    return time.monotonic() - begun


async def sent_away(call: Any) -> tuple[float, float]:
    """Read a stream to its end; return when it was told to reconnect, and after how long to do so."""
    told = 0.0
    try:
        while (frame := await call.read()) is not grpc.aio.EOF:
            if frame.WhichOneof("frame") == "reconnect":
                told = time.monotonic()
    except grpc.aio.AioRpcError as error:
        ending = error
    assert told
    assert reason_of(ending) == "SERVER_DRAINING"
    delay: float = details_of(ending)["RetryInfo"].retry_delay.ToMilliseconds() / 1000
    return told, delay


async def watch_and_stop(server: ServerProcess, number: int) -> list[tuple[float, float]]:
    """Open so many streams, stop the server, and return when they left and were to come back."""
    async with AsyncExitStack() as stack:
        stubs = [await stack.enter_async_context(connected(server.address)) for _ in range(10)]
        calls = [watch(stubs[index % 10], "j") for index in range(number)]
        for call in calls:
            await first_frame(call)
        leaving = [asyncio.create_task(sent_away(call)) for call in calls]
        begun = time.monotonic()
        await asyncio.to_thread(told_to_stop, server)
        ends = await asyncio.wait_for(asyncio.gather(*leaving), PATIENCE)
    return [(told - begun, delay) for told, delay in ends]


def test_many_watchers_are_not_sent_away_at_one_moment(sqlite_url: str) -> None:
    with ServerProcess(sqlite_url, drain_seconds="10", drain_spread="2") as server:
        report(server)
        ends = asyncio.run(watch_and_stop(server, 1000))
    told = sorted(moment for moment, _ in ends)
    # A thousand a second: however late a busy machine hears of the first, the last is not sent away earlier.
    assert 0.9 < told[-1] < 4
    delays = [delay for _, delay in ends]
    assert 0.8 <= min(delays) < 0.9 < 1.1 < max(delays) <= 1.2


def test_no_more_time_is_taken_for_it_than_there_is(sqlite_url: str) -> None:
    with ServerProcess(sqlite_url, drain_seconds="1", drain_spread="60") as server:
        report(server)
        ends = asyncio.run(watch_and_stop(server, 1000))
    told = [moment for moment, _ in ends]
    assert max(told) - min(told) < 1


def test_few_watchers_are_sent_away_at_once(sqlite_url: str) -> None:
    with ServerProcess(sqlite_url, drain_seconds="10", drain_spread="5") as server:
        report(server)
        ends = asyncio.run(watch_and_stop(server, 10))
    told = [moment for moment, _ in ends]
    assert max(told) - min(told) < 0.5


def test_watchers_that_do_not_read_or_are_frozen_do_not_hold_it_up(
    sqlite_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    drain = 2.0

    async def main(server: ServerProcess) -> None:
        async with connected(server.address, NARROW) as stub:
            await first_frame(watch(stub, "j"))
            took = await asyncio.to_thread(told_to_stop, server)
            assert drain - 0.5 < took < drain + CLEARING

    with ServerProcess(sqlite_url, drain_seconds=str(drain)) as server:
        report(server, *(pb.Granule(granule_id=f"g{index}", message="x" * 12_000) for index in range(100)))
        frozen = start_command("watch", "j", "--json", server=server.address)
        try:
            first_line(frozen.stdout)
            frozen.send_signal(signal.SIGSTOP)
            asyncio.run(main(server))
        finally:
            frozen.kill()
            frozen.communicate()
    # By itself: nothing of its own was left behind.
    assert "leaving now" not in capfd.readouterr().err


def test_a_database_that_has_fallen_silent_does_not_hold_it_up(postgres_url: str) -> None:
    drain = 1.0
    with Proxy(postgres_url) as proxy, ServerProcess(proxy.url, drain_seconds=str(drain)) as server:
        report(server)
        with JobStatusClient(server.address, connect_timeout=0) as client:
            proxy.stall()
            asking = threading.Thread(target=_ask, args=(client,))
            asking.start()
            assert told_to_stop(server) < drain + CLEARING
            asking.join(timeout=PATIENCE)
            assert not asking.is_alive()


def _ask(client: JobStatusClient) -> None:
    with pytest.raises(JobStatusRpcError):
        client.get("j")
