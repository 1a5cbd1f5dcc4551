"""Streams of WatchJob as many clients have them: many at once, read or not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from jobstatus import v1 as pb

PATIENCE = 60

# A connection that no other channel shares.
ALONE = (("grpc.use_local_subchannel_pool", 1),)
# And that takes 64 KiB of a stream that is not read, not some megabytes as clients on fast networks do.
NARROW = (*ALONE, ("grpc.http2.bdp_probe", 0))


@asynccontextmanager
async def connected(address: str, options: tuple[tuple[str, int], ...] = ALONE) -> AsyncIterator[Any]:
    """Give the stub of a connection of its own."""
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield pb.JobStatusServiceStub(channel)


def watch(stub: Any, job_id: str, project_id: str = "") -> Any:
    """Return a stream; nothing of it is read."""
    request = pb.WatchJobRequest(project_id=project_id, job_id=job_id, heartbeat_interval={"seconds": 1})
    return stub.WatchJob(request, timeout=2 * PATIENCE)


async def first_frame(call: Any) -> pb.WatchJobResponse:
    """Return a stream's first frame."""
    frame: pb.WatchJobResponse = await asyncio.wait_for(call.read(), PATIENCE)
    assert isinstance(frame, pb.WatchJobResponse)
    return frame


async def failure_of(call: Any) -> grpc.aio.AioRpcError:
    """Read a stream to its end, and return what it failed with."""

    async def rest() -> grpc.aio.AioRpcError:
        try:
            while await call.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError("the stream ended well")

    return await asyncio.wait_for(rest(), PATIENCE)


def details_of(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """Return the details of a failure, by their kinds."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    found = {}
    for packed in status.details if status else ():
        name = packed.TypeName().rpartition(".")[2]
        found[name] = getattr(error_details_pb2, name)()
        packed.Unpack(found[name])
    return found


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the service's reason for a failure; empty if it is not the service's."""
    info = details_of(error).get("ErrorInfo")
    return str(info.reason) if info else ""


async def place_for(stub: Any, job_id: str, project_id: str = "", seconds: float = PATIENCE) -> None:
    """Return once there is a place for a watch; until then each is refused for the lack of one."""
    async with asyncio.timeout(seconds):
        while (failure := await _try_to_watch(stub, job_id, project_id)) is not None:
            assert reason_of(failure) == "TOO_MANY_WATCHES"
            await asyncio.sleep(0.05)


async def _try_to_watch(stub: Any, job_id: str, project_id: str) -> grpc.aio.AioRpcError | None:
    call = watch(stub, job_id, project_id)
    try:
        await first_frame(call)
    except grpc.aio.AioRpcError as failure:
        return failure
    call.cancel()
    return None
