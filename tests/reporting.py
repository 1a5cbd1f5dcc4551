"""Reporters and readers as clients are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from types import TracebackType
from typing import Any, Self

from folded import Folded, Table, counts_of, table_of

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError

PENDING, STAGED = pb.GRANULE_STATE_PENDING, pb.GRANULE_STATE_STAGED
SUCCEEDED, FAILED = pb.GRANULE_STATE_SUCCEEDED, pb.GRANULE_STATE_FAILED


def granules(state: pb.GranuleState, *names: str, **fields: Any) -> list[pb.Granule]:
    """Return reports of granules."""
    return [pb.Granule(collection_id="c", granule_id=name, state=state, **fields) for name in names]


def names(number: int, prefix: str = "g") -> list[str]:
    """Return so many names, in order."""
    return [f"{prefix}{index:06d}" for index in range(number)]


def read_table(client: JobStatusClient, job_id: str) -> Table:
    """Return all granules of a job, read by pages."""
    return table_of(client.granules(job_id, page_size=10_000))


def check_whole(folded: Folded, client: JobStatusClient, job_id: str) -> None:
    """Check that the folded frames are the table, and the revisions all there are, each once."""
    job = client.get(job_id, view=pb.JOB_VIEW_BASIC).job
    assert folded.revision == job.revision
    assert folded.revisions == list(range(folded.snapshots[0] + 1, job.revision + 1))
    assert (len(folded.snapshots), folded.resets) == (1, [])
    assert folded.granules == read_table(client, job_id)
    assert folded.counts == counts_of(job.totals)


class Writer:
    """Reports to a job, one report after the other, in a thread. Use it as a context manager.

    Args:
        address: of the server.
        job_id: the job; it exists.
        reports: each a report's granules; the writer ends when they do.
        connect_timeout: for how long a report is tried again before it is given up.

    Attributes:
        acknowledged: the granules of all reports that were answered.
        refused: what the others failed with.
    """

    def __init__(
        self,
        address: str,
        job_id: str,
        reports: Iterable[list[pb.Granule]],
        connect_timeout: float = 30,
    ) -> None:
        self.acknowledged: list[pb.Granule] = []
        self.refused: list[JobStatusRpcError] = []
        self._client = JobStatusClient(address, connect_timeout=connect_timeout)
        self._job_id = job_id
        self._reports = reports
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"writer of {job_id}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=60)
        self._client.close()
        if kind is None:
            assert not self._thread.is_alive()
            if self._failure is not None:
                raise self._failure

    def join(self) -> None:
        """Wait until everything has been reported."""
        self._thread.join(timeout=100)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            for report in self._reports:
                if self._stop.is_set():
                    return
                try:
                    self._client.report_granules(self._job_id, report)
                except JobStatusRpcError as error:
                    if not error.retryable:
                        raise
                    self.refused.append(error)
                else:
                    self.acknowledged += report
        except JobStatusRpcError as error:
            self._failure = error


def endless(of: list[str], step: int = 10) -> Iterator[list[pb.Granule]]:
    """Yield reports without end; each changes the next `step` of these granules."""
    for attempt in count(2):
        for state in (STAGED, SUCCEEDED):
            for start in range(0, len(of), step):
                yield granules(state, *of[start : start + step], attempt=attempt)


def repeatedly(read: Callable[[], None], writer: Writer, reports: int) -> None:
    """Read again and again while the writer gets on by so many granules."""
    goal = len(writer.acknowledged) + reports
    while len(writer.acknowledged) < goal:
        read()
