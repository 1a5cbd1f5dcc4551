"""The client for threads: it does the core's steps where it is called."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack

import grpc
from google.protobuf.message import Message

from jobstatus import v1 as pb
from jobstatus_grpc.client import documents, queries, reports, watching
from jobstatus_grpc.client.channels import Channels, metadata_of, open_channel
from jobstatus_grpc.client.core import DEFAULT_CONNECT_TIMEOUT, DEFAULT_TIMEOUT, Core
from jobstatus_grpc.client.documents import DOCUMENT_TIMEOUT
from jobstatus_grpc.client.errors import ClientClosed, JobStatusRpcError, connection_given_up
from jobstatus_grpc.client.queries import ListOptions, PageOptions, Until
from jobstatus_grpc.client.reports import Report, ReportResponse
from jobstatus_grpc.client.silence import Guard, GuardedStream
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
    Requests,
    Step,
    Steps,
    Take,
)
from jobstatus_grpc.client.updates import Update
from jobstatus_grpc.client.watching import WatchOptions


class JobStatusClient:
    """Calls the service. Use it as a context manager, from any number of threads.

    A call that meets an error that may pass is tried again: all of them can be repeated. Every method raises
    `JobStatusRpcError` for what remains. Several servers of one database are one service: a call that finds
    one of them gone goes on at the next.

        >>> from jobstatus import v1 as pb
        >>> from jobstatus_grpc.client import JobStatusClient
        >>> with JobStatusClient("127.0.0.1:50051") as client:
        ...     answer = client.report_job(pb.Job(job_id="backup"), [pb.Granule(granule_id="disk-1")])
        ...     print(answer.applied_count, client.get("backup").job.totals.pending_count)
        2 1

    Connections are made at the first call. A process that is forked after that makes its own; what was going
    on at the fork stays with the parent. gRPC itself stands a fork only while no watch is open, and not where
    `GRPC_ENABLE_FORK_SUPPORT=0`: start children before, or with the start method `spawn`.

    Args:
        addresses: one `host:port` or several, in a list or separated by commas.
        project_id: of every call, unless a message names another. Empty means `default`.
        connect_timeout: for how many seconds a call, and the start of a watch, is tried again while no server
            answers.
        timeout: how many seconds a call may take with all its tries, unless it says otherwise.
        tls: encrypts the connection: `grpc.ssl_channel_credentials()` for the system's authorities, with
            arguments for others, and for a certificate of the client's own.
        credentials: returns what is sent as `authorization: Bearer …`; asked before each call, and each time
            a watch reconnects, so it should remember what is still good. May be called in any thread. Without
            `tls` they can be read on their way.

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
        credentials: Callable[[], str] | None = None,
    ) -> None:
        self._core = Core(addresses, project_id, connect_timeout, timeout)
        self._credentials = credentials
        self._open_one = partial(open_channel, tls=tls)
        self._closed = threading.Event()
        self._held = _Held(self._open_one)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The servers."""
        return self._core.servers.addresses

    @property
    def project_id(self) -> str:
        """The project of every call; empty means `default`."""
        return self._core.project_id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every call under way, with an error of code CANCELLED; a watch that is waiting too."""
        self._closed.set()
        for channel in self._here.channels.opened():
            channel.close()

    def get(self, job_id: str, **options: Unpack[PageOptions]) -> pb.GetJobStatusResponse:
        """Return a job, and one page of its granules: those that the options ask for.

        >>> reports = [pb.Granule(granule_id=name) for name in "ab"]
        >>> _ = client.report_job(pb.Job(job_id="copy"), reports)
        >>> page = client.get("copy", page_size=1)
        >>> page.job.totals.pending_count, page.granules[0].granule_id, page.next_page_token != b""
        (2, 'a', True)
        """
        return self._run(queries.get(self._core, job_id, options))

    def get_many(self, job_ids: Iterable[str]) -> Iterator[tuple[str, pb.Job | JobStatusRpcError]]:
        """Yield any number of jobs with their totals, or why one is not there, in the order of their ids.

        The jobs of one call, 500 at most, are of one moment.

        >>> _ = client.report_job(pb.Job(job_id="copy-1", state=pb.JOB_STATE_RUNNING))
        >>> for job_id, found in client.get_many(["copy-1", "copy-0"]):
        ...     print(job_id, found.reason if isinstance(found, JobStatusRpcError) else found.revision)
        copy-1 1
        copy-0 JOB_NOT_FOUND
        """
        return self._each(queries.get_many(self._core, job_ids))

    def granules(
        self, job_id: str, states: Iterable[pb.GranuleState] = (), *, page_size: int = 0
    ) -> Iterator[pb.Granule]:
        """Yield all granules of a job, or those in one of `states`, page after page.

        Each page is of one revision, but not all pages of the same.

        >>> reports = [pb.Granule(granule_id=name, state=pb.GRANULE_STATE_FAILED) for name in "ab"]
        >>> _ = client.report_job(pb.Job(job_id="move"), reports)
        >>> [granule.granule_id for granule in client.granules("move", [pb.GRANULE_STATE_FAILED])]
        ['a', 'b']
        """
        return self._each(queries.granules(self._core, job_id, {"states": states, "page_size": page_size}))

    def granule(
        self, collection_id: str, granule_id: str, *, job_id: str | None = None, timeout: float | None = None
    ) -> pb.GetGranuleStatusResponse:
        """Return a granule with its files: of a job, or of whichever job requested it last.

        >>> files = [pb.GranuleFile(file_name=name) for name in ("g.hdf", "g.met")]
        >>> reports = [pb.Granule(collection_id="MOD09", granule_id="g", files=files)]
        >>> _ = client.report_job(pb.Job(job_id="restore"), reports)
        >>> found = client.granule("MOD09", "g")
        >>> found.job_id, [file.file_name for file in found.granule.files]
        ('restore', ['g.hdf', 'g.met'])
        """
        return self._run(queries.granule(self._core, collection_id, granule_id, job_id, timeout))

    def report(self, request: Report, *, timeout: float | None = None) -> ReportResponse:
        """Send a report as it is, but for the project if it names none."""
        return self._run(reports.report(self._core, request, timeout))

    def report_job(
        self,
        job: pb.Job,
        granules: Iterable[pb.Granule] = (),
        authoritative: bool = False,
        *,
        timeout: float | None = None,
    ) -> pb.ReportJobResponse:
        """Create or update a job, and in the same transaction granules of it, 10,000 at most.

        >>> answer = client.report_job(pb.Job(job_id="sync", granules_complete=True))
        >>> pb.JobState.Name(answer.state), answer.applied_count
        ('JOB_STATE_SUCCEEDED', 1)
        """
        return self._run(reports.report_job(self._core, job, granules, authoritative, timeout))

    def report_granules(
        self,
        job_id: str,
        granules: Iterable[pb.Granule],
        authoritative: bool = False,
        *,
        timeout: float | None = None,
    ) -> pb.ReportGranulesResponse:
        """Create or update any number of granules of a job that has been reported before.

        They are sent in batches, in their order, as they are read from `granules`. Each batch is one
        transaction, and can be sent again unharmed. When one fails those before it have been reported, which
        a note of the error says; all may then be reported again.

        >>> _ = client.report_job(pb.Job(job_id="scan"))
        >>> reports = (pb.Granule(granule_id=f"file-{number}") for number in range(2500))
        >>> answer = client.report_granules("scan", reports)
        >>> answer.applied_count, answer.totals.pending_count
        (2500, 2500)

        Args:
            job_id: the job.
            granules: what to report of them.
            authoritative: whether that is their system's truth.
            timeout: how many seconds a batch may take, instead of the client's.

        Returns:
            The last batch's answer, with the counts of all batches. A batch whose first answer was lost
            counts as `unchanged`. Without granules: the job as it stands.
        """
        source = iter(granules)
        return self._run(reports.report_granules(self._core, job_id, source, authoritative, timeout))

    def import_jobs(
        self, text: bytes, form: str = "", *, timeout: float = DOCUMENT_TIMEOUT
    ) -> Sequence[pb.ImportedJob]:
        """Report the jobs of another system's JSON as its truth, and return what became of each.

        One that was refused has a `status`, and harms no other; `JobStatusRpcError.of_status` reads it.

        >>> text = b'[{"job_id": "ldap", "status": "running"}, {"job_id": "ldap 2"}]'
        >>> for one in client.import_jobs(text, "sfs-turbo"):
        ...     print(one.path, one.status.message or pb.JobState.Name(one.state))
        $[0] JOB_STATE_RUNNING
        $[1] $[1].status: is missing

        Args:
            text: one job, an array of jobs, or the system's own list; 64 MiB at most.
            form: the form they are in; empty for the one that each shows.
            timeout: how many seconds it may take.
        """
        return self._run(documents.import_jobs(self._core, text, form, timeout))

    def export_job(self, job_id: str, form: str = "", *, timeout: float = DOCUMENT_TIMEOUT) -> bytes:
        """Return a job as JSON in the form of a system, read at one revision.

        >>> _ = client.import_jobs(b'{"job_id": "bind", "status": "success", "note": null}')
        >>> client.export_job("bind")
        b'{"job_id": "bind", "status": "success", "note": null}'

        Args:
            job_id: the job.
            form: the form; empty for that of its latest document, or of its system.
            timeout: how many seconds it may take.
        """
        return self._run(documents.export_job(self._core, job_id, form, timeout))

    def delete(self, job_id: str, *, timeout: float | None = None) -> None:
        """Delete a job with its granules and its history.

        >>> _ = client.report_job(pb.Job(job_id="gone"))
        >>> client.delete("gone")
        """
        self._run(reports.delete(self._core, job_id, timeout))

    def wait(
        self,
        job_id: str,
        until: Until = "terminal",
        *,
        timeout: float | None = None,
        wait_for_job: bool = False,
    ) -> pb.WaitJobResponse:
        """Return the job when it has ended, or what is waited for holds, or the time is over.

        The answer's `done` tells which. Outages are sat out once the service has answered.

        >>> _ = client.report_job(pb.Job(job_id="long"))
        >>> client.wait("long", timeout=0.1).done
        False

        Args:
            job_id: the job.
            until: what to wait for; whatever it is, the job's end ends the waiting too.
            timeout: for how many seconds, over any number of calls; `None` for ever.
            wait_for_job: wait for a job that nobody has reported yet, instead of raising NOT_FOUND at once.
        """
        return self._run(queries.wait(self._core, job_id, until, timeout, wait_for_job))

    def watch(
        self,
        job_id: str,
        resume_token: bytes = b"",
        *,
        heartbeats: bool = False,
        **options: Unpack[WatchOptions],
    ) -> Generator[Update, None, None]:
        """Yield what is new of a job until it ends: first the whole of it, then each change once, in order.

        It survives lost connections, servers that stop, restart or fall silent, and refusals that may pass:
        it goes on, at any of the servers, after the last update. What it yields is proved on the way. Where
        the service can't go on, because the history is no longer there, the job is told whole again:
        `begins` and `reset` of the next update say so.

        >>> _ = client.report_job(pb.Job(job_id="pull", granules_complete=True), [pb.Granule(granule_id="a")])
        >>> _ = client.report_granules("pull", [pb.Granule(granule_id="a", state=pb.GRANULE_STATE_SUCCEEDED)])
        >>> for update in client.watch("pull"):
        ...     print(update.kind, update.revision, update.totals.succeeded_count, len(update.changes))
        snapshot 4 1 0
        completed 4 1 0

        Closing the iterator ends the call.

        Args:
            job_id: the job.
            resume_token: where to go on; empty begins with a snapshot.
            heartbeats: whether to yield also that nothing has happened.
            **options: how to watch.

        Raises:
            BrokenPromise: what came proves that something is missing, double or out of order.
        """
        return self._each(watching.updates(self._core, job_id, resume_token, heartbeats, options))

    def frames(
        self, job_id: str, resume_token: bytes = b"", **options: Unpack[WatchOptions]
    ) -> Generator[pb.WatchJobResponse, None, None]:
        """Yield the frames of a watch as the service sends them, over any number of streams, unproved.

        Where a stream breaks in the middle of a snapshot the watch begins anew, and says so with a `reset` of
        reason `SNAPSHOT_INTERRUPTED`. `reconnect` frames are followed, not yielded.

        >>> _ = client.report_job(pb.Job(job_id="push", granules_complete=True))
        >>> [frame.WhichOneof("frame") for frame in client.frames("push")]
        ['snapshot', 'completed']
        """
        return self._each(watching.frames(self._core, job_id, resume_token, options))

    def list_page(self, **options: Unpack[ListOptions]) -> pb.ListJobsResponse:
        """Return one page of the jobs that match, newest first.

        >>> _ = client.report_job(pb.Job(job_id="newest"))
        >>> client.list_page(page_size=1).jobs[0].job_id
        'newest'
        """
        return self._run(queries.list_page(self._core, options))

    def list(  # The verb of the rpc; last of the calls, so that it hides the built-in from none of them.
        self, **options: Unpack[ListOptions]
    ) -> Iterator[pb.Job]:
        """Yield the jobs of the project that match, newest first, page after page.

        >>> _ = client.report_job(pb.Job(job_id="labelled", labels={"team": "a"}))
        >>> [job.job_id for job in client.list(labels={"team": "a"})]
        ['labelled']
        """
        return self._each(queries.list_jobs(self._core, options))

    @property
    def _here(self) -> _Held:
        """What this process has open."""
        if self._held.process != os.getpid():
            self._held = _Held(self._open_one)
        return self._held

    def _run(self, steps: Steps[Answer]) -> Answer:
        """Do steps that only lead to an answer."""
        with Course(steps) as course:
            while course.step is not None:
                self._advance(course, course.step)
            return course.answer

    def _each(self, steps: Steps[None]) -> Generator[Any, None, None]:
        """Do steps, and yield what they give."""
        with Course(steps) as course:
            while course.step is not None:
                if isinstance(course.step, Give):
                    yield from course.step.items
                    course.done(None)
                else:
                    self._advance(course, course.step)

    def _advance(self, course: Course[Any], step: Step) -> None:
        try:
            result = self._do(step)
        except JobStatusRpcError as error:
            course.failed(error)
        else:
            course.done(result)

    def _do(self, step: Step) -> Any:
        if self._closed.is_set():
            raise ClientClosed
        try:
            return self._result_of(step)
        except grpc.RpcError as error:
            if self._closed.is_set():
                raise ClientClosed from error
            raise JobStatusRpcError.of(error) from error

    def _result_of(self, step: Step) -> Any:
        match step:
            case Read(stream, within):
                return stream.read(within)
            case Call(server, method, request, seconds, credentials):
                answer = self._invoke(server, method, request, credentials, timeout=seconds)
                return list(answer) if method in ANSWERED_IN_PARTS else answer
            case Open(server, request, credentials):
                call = self._invoke(server, "WatchJob", request, credentials)
                return GuardedStream(call, self._here.guard)
            case Leave(server):
                channel = self._here.channels.drop(server)
                return None if channel is None else channel.close()
            case Credentials():
                return self._credentials() if self._credentials is not None else ""
            case Pause(seconds):
                return self._closed.wait(seconds)
            case Take(source):
                return next(source, None)

    def _invoke(self, server: str, method: str, request: Requests, credentials: str, **options: float) -> Any:
        call = self._here.channels.method(server, method)
        told = request if isinstance(request, Message) else iter(request)
        try:
            return call(told, metadata=metadata_of(credentials), **options)
        except ValueError as error:  # What gRPC raises for a channel that is closed.
            if self._closed.is_set():
                raise ClientClosed from error
            raise connection_given_up() from error


class _Held:
    """What one process has open."""

    def __init__(self, open_one: Callable[[str], grpc.Channel]) -> None:
        self.process = os.getpid()
        self.channels = Channels(open_one)
        self.guard = Guard()
