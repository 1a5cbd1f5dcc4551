"""The client for event loops: it does the core's steps where it is awaited."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack

import grpc
import grpc.aio
from google.protobuf.message import Message

from jobstatus import v1 as pb
from jobstatus_grpc.client import documents, queries, reports, watching
from jobstatus_grpc.client.channels import Channels, metadata_of, open_aio_channel
from jobstatus_grpc.client.core import DEFAULT_CONNECT_TIMEOUT, DEFAULT_TIMEOUT, Core
from jobstatus_grpc.client.documents import DOCUMENT_TIMEOUT
from jobstatus_grpc.client.errors import ClientClosed, JobStatusRpcError, ServerSilent, connection_given_up
from jobstatus_grpc.client.queries import ListOptions, PageOptions, Until
from jobstatus_grpc.client.reports import Report, ReportResponse
from jobstatus_grpc.client.steps import (
    ANSWERED_IN_PARTS,
    Answer,
    Call,
    Course,
    Credentials,
    Give,
    Leave,
    Open,
    Pause,
    Read,
    Step,
    Steps,
    Take,
)
from jobstatus_grpc.client.updates import Update
from jobstatus_grpc.client.watching import WatchOptions


class AsyncJobStatusClient:
    """Calls the service from one event loop. Use it as an asynchronous context manager.

    Every method does, takes and raises what the method of that name of `JobStatusClient` does; those that
    yield are asynchronous iterators.

        >>> import asyncio
        >>> from jobstatus import v1 as pb
        >>> from jobstatus_grpc.client import AsyncJobStatusClient
        >>> async def follow() -> None:
        ...     async with AsyncJobStatusClient("127.0.0.1:50051") as client:
        ...         await client.report_job(pb.Job(job_id="night", granules_complete=True))
        ...         async for update in client.watch("night"):
        ...             print(update.kind, pb.JobState.Name(update.job.state))
        >>> asyncio.run(follow())
        snapshot JOB_STATE_SUCCEEDED
        completed JOB_STATE_SUCCEEDED

    Args:
        addresses: as in `JobStatusClient`.
        project_id: as there.
        connect_timeout: as there.
        timeout: as there.
        tls: as there.
        credentials: as there; it may be a coroutine function, and otherwise must not block.

    Raises:
        ValueError: no address is given.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        project_id: str = "",
        *,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT,
        timeout: float = DEFAULT_TIMEOUT,
        tls: grpc.ChannelCredentials | None = None,
        credentials: Callable[[], str | Awaitable[str]] | None = None,
    ) -> None:
        self._core = Core(addresses, project_id, connect_timeout, timeout)
        self._credentials = credentials
        self._channels = Channels(partial(open_aio_channel, tls=tls))
        self._closed = asyncio.Event()

    @property
    def addresses(self) -> tuple[str, ...]:
        """The servers."""
        return self._core.servers.addresses

    @property
    def project_id(self) -> str:
        """The project of every call; empty means `default`."""
        return self._core.project_id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End every call under way, with an error of code CANCELLED; a watch that is waiting too."""
        self._closed.set()
        for channel in self._channels.opened():
            await channel.close()

    async def get(self, job_id: str, **options: Unpack[PageOptions]) -> pb.GetJobStatusResponse:
        """Return a job, and one page of its granules."""
        return await self._run(queries.get(self._core, job_id, options))

    def get_many(self, job_ids: Iterable[str]) -> AsyncIterator[tuple[str, pb.Job | JobStatusRpcError]]:
        """Yield any number of jobs with their totals, or why one is not there, in the order of their ids."""
        return self._each(queries.get_many(self._core, job_ids))

    def granules(
        self, job_id: str, states: Iterable[pb.GranuleState] = (), *, page_size: int = 0
    ) -> AsyncIterator[pb.Granule]:
        """Yield all granules of a job, or those in one of `states`, page after page."""
        return self._each(queries.granules(self._core, job_id, {"states": states, "page_size": page_size}))

    async def granule(
        self, collection_id: str, granule_id: str, *, job_id: str | None = None, timeout: float | None = None
    ) -> pb.GetGranuleStatusResponse:
        """Return a granule with its files: of a job, or of whichever job requested it last."""
        return await self._run(queries.granule(self._core, collection_id, granule_id, job_id, timeout))

    async def report(self, request: Report, *, timeout: float | None = None) -> ReportResponse:
        """Send a report as it is, but for the project if it names none."""
        return await self._run(reports.report(self._core, request, timeout))

    async def report_job(
        self,
        job: pb.Job,
        granules: Iterable[pb.Granule] = (),
        authoritative: bool = False,
        *,
        timeout: float | None = None,
    ) -> pb.ReportJobResponse:
        """Create or update a job, and in the same transaction granules of it, 10,000 at most."""
        return await self._run(reports.report_job(self._core, job, granules, authoritative, timeout))

    async def report_granules(
        self,
        job_id: str,
        granules: Iterable[pb.Granule] | AsyncIterable[pb.Granule],
        authoritative: bool = False,
        *,
        timeout: float | None = None,
    ) -> pb.ReportGranulesResponse:
        """Create or update any number of granules of a job; they may come from an asynchronous iterable."""
        source = aiter(granules) if isinstance(granules, AsyncIterable) else iter(granules)
        return await self._run(reports.report_granules(self._core, job_id, source, authoritative, timeout))

    async def import_jobs(
        self, text: bytes, form: str = "", *, timeout: float = DOCUMENT_TIMEOUT
    ) -> Sequence[pb.ImportedJob]:
        """Report the jobs of another system's JSON as its truth, and return what became of each."""
        return await self._run(documents.import_jobs(self._core, text, form, timeout))

    async def export_job(self, job_id: str, form: str = "", *, timeout: float = DOCUMENT_TIMEOUT) -> bytes:
        """Return a job as JSON in the form of a system, read at one revision."""
        return await self._run(documents.export_job(self._core, job_id, form, timeout))

    async def delete(self, job_id: str, *, timeout: float | None = None) -> None:
        """Delete a job with its granules and its history."""
        await self._run(reports.delete(self._core, job_id, timeout))

    async def wait(
        self,
        job_id: str,
        until: Until = "terminal",
        *,
        timeout: float | None = None,
        wait_for_job: bool = False,
    ) -> pb.WaitJobResponse:
        """Return the job when it has ended, or what is waited for holds, or the time is over."""
        return await self._run(queries.wait(self._core, job_id, until, timeout, wait_for_job))

    def watch(
        self,
        job_id: str,
        resume_token: bytes = b"",
        *,
        heartbeats: bool = False,
        **options: Unpack[WatchOptions],
    ) -> AsyncGenerator[Update, None]:
        """Yield what is new of a job until it ends: first all of it, then each change once, in order."""
        return self._each(watching.updates(self._core, job_id, resume_token, heartbeats, options))

    def frames(
        self, job_id: str, resume_token: bytes = b"", **options: Unpack[WatchOptions]
    ) -> AsyncGenerator[pb.WatchJobResponse, None]:
        """Yield the frames of a watch as the service sends them, over any number of streams, unproved."""
        return self._each(watching.frames(self._core, job_id, resume_token, options))

    async def list_page(self, **options: Unpack[ListOptions]) -> pb.ListJobsResponse:
        """Return one page of the jobs that match, newest first."""
        return await self._run(queries.list_page(self._core, options))

    def list(self, **options: Unpack[ListOptions]) -> AsyncIterator[pb.Job]:
        """Yield the jobs of the project that match, newest first, page after page."""
        return self._each(queries.list_jobs(self._core, options))

    async def _run(self, steps: Steps[Answer]) -> Answer:
        """Do steps that only lead to an answer."""
        with Course(steps) as course:
            while course.step is not None:
                await self._advance(course, course.step)
            return course.answer

    async def _each(self, steps: Steps[None]) -> AsyncGenerator[Any, None]:
        """Do steps, and yield what they give."""
        with Course(steps) as course:
            while course.step is not None:
                if isinstance(course.step, Give):
                    for item in course.step.items:
                        yield item
                    course.done(None)
                else:
                    await self._advance(course, course.step)

    async def _advance(self, course: Course[Any], step: Step) -> None:
        try:
            result = await self._do(step)
        except JobStatusRpcError as error:
            course.failed(error)
        else:
            course.done(result)

    async def _do(self, step: Step) -> Any:
        if self._closed.is_set():
            raise ClientClosed
        try:
            return await self._result_of(step)
        except grpc.RpcError as error:
            if self._closed.is_set():
                raise ClientClosed from error
            raise JobStatusRpcError.of(error) from error
        except (asyncio.CancelledError, grpc.aio.UsageError) as error:
            # A closed channel cancels its calls, and that looks as if somebody had cancelled this task.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise (ClientClosed() if self._closed.is_set() else connection_given_up()) from error

    async def _result_of(self, step: Step) -> Any:
        match step:
            case Read(stream, within):
                return await _read(stream, within)
            case Call(server, method, request, seconds, credentials):
                told = request if isinstance(request, Message) else iter(request)
                call = self._channels.method(server, method)
                answer = call(told, timeout=seconds, metadata=metadata_of(credentials))
                return [part async for part in answer] if method in ANSWERED_IN_PARTS else await answer
            case Open(server, request, credentials):
                call = self._channels.method(server, "WatchJob")
                return call(request, metadata=metadata_of(credentials))
            case Credentials():
                found = self._credentials() if self._credentials is not None else ""
                return await found if inspect.isawaitable(found) else found
            case Leave(server):
                channel = self._channels.drop(server)
                if channel is not None:
                    await channel.close()
            case Pause(seconds):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), seconds)
            case Take(source):
                return await anext(source, None) if hasattr(source, "__anext__") else next(source, None)
        return None


async def _read(stream: Any, within: float) -> Any:
    """Return the next frame; `None` at the end."""
    try:
        async with asyncio.timeout(within):
            frame = await stream.read()
    except TimeoutError:
        raise ServerSilent(within) from None
    return None if frame is grpc.aio.EOF else frame
