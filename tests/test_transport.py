from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
from processes import ServerProcess
from streaming import connected, first_frame, reason_of, watch

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient
from jobstatus_grpc.config import ServerConfig
from jobstatus_grpc.transport import KEEPALIVE, server_options


def test_a_connection_that_has_reached_its_age_cuts_off_no_stream(sqlite_url: str) -> None:
    async def main(address: str) -> None:
        async with connected(address) as stub:
            call = watch(stub, "j")
            await first_frame(call)
            ended = asyncio.create_task(ending(call))
            # Called again and again beyond the connection's age: a new one takes over, unnoticed.
            while not ended.done():
                await stub.GetJobStatus(pb.GetJobStatusRequest(job_id="j"))
                await asyncio.sleep(0.05)
            assert await ended == ("reconnect", "STREAM_EXPIRED")

    with ServerProcess(sqlite_url, max_connection_age="1", max_stream_age="3", write_timeout="1") as server:
        with JobStatusClient(server.address) as client:
            client.report_job(pb.Job(job_id="j"))
        asyncio.run(main(server.address))


async def ending(call: Any) -> tuple[str, str]:
    """Read a stream to its end; return the kind of its last frame, and the reason of its failure."""
    kind = ""
    try:
        while (frame := await call.read()) is not grpc.aio.EOF:
            kind = str(frame.WhichOneof("frame"))
    except grpc.aio.AioRpcError as error:
        return kind, reason_of(error)
    return kind, ""


def test_ages_beyond_what_grpc_can_count_mean_for_ever() -> None:
    options = dict(server_options(ServerConfig(max_connection_age=1e9, max_stream_age=1e9), KEEPALIVE))
    assert options["grpc.max_connection_age_ms"] == options["grpc.max_connection_age_grace_ms"] == 2**31 - 1
