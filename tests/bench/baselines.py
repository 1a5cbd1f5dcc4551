"""The baselines of reads: other ways to answer GetJobStatus, each as a server of its own. Run as a worker.

* `empty`: a handler of grpc.aio that returns bytes it has. What it costs is what gRPC costs.
* `plain`: the way most people would write it: SQLAlchemy's ORM, a session for each request, in a thread; a
  query for the job and one for a page of its granules; the messages of the generated code.
* `fresh`: the way of NASA ORCA's `request_status_for_job`: an engine for each request; all granules, in no
  order; the totals counted by a GROUP BY in a second transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import create_engine, func, make_url, select
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from workers import Handler, work

from jobstatus import v1 as pb
from jobstatus_grpc.store import schema

_SERVICE = "jobstatus.v1.JobStatusService"
_OPTIONS = (("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1))

Answer = Callable[[Any, Any], Awaitable[Any]]


class _Base(DeclarativeBase):
    pass


class _Job(_Base):
    __table__ = schema.job


class _Granule(_Base):
    __table__ = schema.granule


class Baselines:
    """Servers, started when they are asked for."""

    def __init__(self) -> None:
        self._servers: list[grpc.aio.Server] = []

    async def empty(self, size: int) -> str:
        """Serve answers of so many bytes; return the address."""
        answer = bytes(size)

        async def get(_request: bytes, _context: object) -> bytes:
            return answer

        return await self._serve(get, None, None)

    async def plain(self, url: str) -> str:
        """Serve a database the way most people would; return the address."""
        sessions = sessionmaker(create_engine(_driven(url)))

        async def get(request: pb.GetJobStatusRequest, _context: object) -> pb.GetJobStatusResponse:
            return await asyncio.to_thread(_read_by_session, sessions, request)

        return await self._serve(get, pb.GetJobStatusRequest.FromString, _serialize)

    async def fresh(self, url: str) -> str:
        """Serve a database the way of ORCA; return the address."""

        async def get(request: pb.GetJobStatusRequest, _context: object) -> pb.GetJobStatusResponse:
            return await asyncio.to_thread(_read_afresh, _driven(url), request)

        return await self._serve(get, pb.GetJobStatusRequest.FromString, _serialize)

    async def _serve(self, get: Answer, decode: Any, encode: Any) -> str:
        server = grpc.aio.server(options=_OPTIONS)
        handler: Any = grpc.unary_unary_rpc_method_handler(get, decode, encode)
        server.add_registered_method_handlers(_SERVICE, {"GetJobStatus": handler})
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self._servers.append(server)
        return f"127.0.0.1:{port}"


def _driven(url: str) -> Any:
    return make_url(url).set(drivername="postgresql+psycopg2")


def _serialize(answer: pb.GetJobStatusResponse) -> bytes:
    return answer.SerializeToString()


def _read_by_session(
    sessions: sessionmaker[Session], request: pb.GetJobStatusRequest
) -> pb.GetJobStatusResponse:
    project_id = request.project_id or "default"
    with sessions() as session:
        job: Any = session.scalars(
            select(_Job).where(schema.job.c.project_id == project_id, schema.job.c.job_id == request.job_id)
        ).one()
        granules: Any = session.scalars(
            select(_Granule)
            .where(schema.granule.c.job_pk == job.job_pk)
            .order_by(schema.granule.c.collection_id, schema.granule.c.granule_id)
            .limit(request.page_size or 1000)
        )
        return pb.GetJobStatusResponse(
            job=pb.Job(
                project_id=job.project_id,
                job_id=job.job_id,
                system=job.system,
                job_type=job.job_type,
                state=job.state,
                attempt=job.attempt,
                description=job.description,
                create_time=_time(job.create_time),
                begin_time=_time(job.begin_time),
                update_time=_time(job.update_time),
                totals=pb.GranuleTotals(
                    pending_count=job.pending_count,
                    staged_count=job.staged_count,
                    succeeded_count=job.succeeded_count,
                    failed_count=job.failed_count,
                    unspecified_count=job.unspecified_count,
                ),
                granules_complete=job.granules_complete,
                revision=job.revision,
            ),
            granules=[
                pb.Granule(
                    collection_id=granule.collection_id,
                    granule_id=granule.granule_id,
                    state=granule.state,
                    native_state=granule.native_state,
                    attempt=granule.attempt,
                    request_time=_time(granule.request_time),
                    end_time=_time(granule.end_time),
                    update_time=_time(granule.update_time),
                    revision=granule.revision,
                )
                for granule in granules
            ],
        )


def _read_afresh(url: Any, request: pb.GetJobStatusRequest) -> pb.GetJobStatusResponse:
    job, granule = schema.job.c, schema.granule.c
    of_job = select(job.job_pk).where(job.project_id == "default", job.job_id == request.job_id)
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            columns = granule.collection_id, granule.granule_id, granule.state
            found = connection.execute(select(*columns).where(granule.job_pk.in_(of_job))).all()
            granules = [pb.Granule(collection_id=row[0], granule_id=row[1], state=row[2]) for row in found]
        with engine.begin() as connection:
            counted = connection.execute(
                select(granule.state, func.count()).where(granule.job_pk.in_(of_job)).group_by(granule.state)
            )
            counts: Mapping[int, int] = {row[0]: row[1] for row in counted}
    finally:
        engine.dispose()
    totals = pb.GranuleTotals(
        unspecified_count=counts.get(0, 0),
        pending_count=counts.get(1, 0),
        staged_count=counts.get(2, 0),
        succeeded_count=counts.get(3, 0),
        failed_count=counts.get(4, 0),
    )
    return pb.GetJobStatusResponse(job=pb.Job(job_id=request.job_id, totals=totals), granules=granules)


def _time(microseconds: int | None) -> Timestamp | None:
    if microseconds is None:
        return None
    time = Timestamp()
    time.FromMicroseconds(microseconds)
    return time


def _handlers() -> dict[str, Handler]:
    baselines = Baselines()
    return {"empty": baselines.empty, "plain": baselines.plain, "fresh": baselines.fresh}


if __name__ == "__main__":
    work(_handlers)
