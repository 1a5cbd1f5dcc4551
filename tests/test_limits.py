from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from processes import ServerProcess
from streaming import connected, details_of, failure_of, first_frame, place_for, reason_of, watch

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient
from jobstatus_grpc.errors import TooManyWatches
from jobstatus_grpc.limits import WatchLimits


def test_places_are_given_out_up_to_the_limits_and_taken_back() -> None:
    limits = WatchLimits(total=3, per_project=2)
    slots = [limits.take("a"), limits.take("a"), limits.take("b")]
    with pytest.raises(TooManyWatches, match="project 'a' has 2 watches on this server already"):
        limits.take("a")
    with pytest.raises(TooManyWatches, match="this server has 3 watches already"):
        limits.take("c")
    assert limits.taken == 3
    slots[0].release()
    slots[0].release()
    assert limits.taken == 2
    with limits.take("a"):
        assert limits.taken == 3
    assert limits.taken == 2


def test_a_place_is_given_back_whatever_happens_in_it() -> None:
    limits = WatchLimits(total=1, per_project=1)
    with suppress(KeyError), limits.take("a"):
        raise KeyError
    assert limits.taken == 0


def test_watches_beyond_the_limits_are_refused_with_the_quota_and_when_to_come_back(sqlite_url: str) -> None:
    async def main(address: str) -> None:
        async with connected(address) as stub:
            calls = [watch(stub, "j", "a") for _ in range(3)]
            for call in calls:
                await first_frame(call)
            # Nobody has reported this job, but the store is not even asked.
            details = await refusal(stub, "nobodys", "a")
            assert dict(details["ErrorInfo"].metadata) == {"limit": "3", "project_id": "a"}
            calls += [watch(stub, "j", "b") for _ in range(2)]
            for call in calls[3:]:
                await first_frame(call)
            details = await refusal(stub, "j", "b")
            assert dict(details["ErrorInfo"].metadata) == {"limit": "5"}
            await others_are_answered(address, stub)
            calls[0].cancel()
            await place_for(stub, "j", "a")

    with ServerProcess(sqlite_url, max_watches="5", max_watches_per_project="3") as server:
        with JobStatusClient(server.address) as client:
            for project_id in ("a", "b"):
                client.report_job(pb.Job(project_id=project_id, job_id="j"))
        asyncio.run(main(server.address))


async def refusal(stub: Any, job_id: str, project_id: str) -> dict[str, Any]:
    error = await failure_of(watch(stub, job_id, project_id))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(error) == "TOO_MANY_WATCHES"
    details = details_of(error)
    (violation,) = details["QuotaFailure"].violations
    assert violation.description == error.details()
    assert violation.subject in ("watches of one project on one server", "watches of one server")
    assert 1 <= details["RetryInfo"].retry_delay.ToMilliseconds() / 1000 <= 10
    return details


async def others_are_answered(address: str, stub: Any) -> None:
    """Calls that are answered and gone have nothing to do with watches, on this connection or another."""
    async with connected(address) as another:
        for each in (stub, another):
            request = pb.GetJobStatusRequest(project_id="a", job_id="j")
            answer = await asyncio.wait_for(each.GetJobStatus(request), 10)
            assert answer.job.job_id == "j"
    async with grpc.aio.insecure_channel(address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        check = health.Check(health_pb2.HealthCheckRequest())
        assert (await asyncio.wait_for(check, 10)).status == health_pb2.HealthCheckResponse.SERVING
