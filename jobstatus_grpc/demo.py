"""A job that lives: an ORCA recovery that begins, stumbles, is tried again and ends, over and over.

It goes the way of every report: through gRPC, to the server's own address.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError

JOB_ID: Final = "demo"

_FAILING: Final = 12
_RETRY_PAUSE: Final = 1.0
_BETWEEN_ATTEMPTS: Final = 10.0
_BETWEEN_CYCLES: Final = 20.0

_NATIVE_STATES: Final = {
    pb.GRANULE_STATE_PENDING: "pending",
    pb.GRANULE_STATE_STAGED: "staged",
    pb.GRANULE_STATE_SUCCEEDED: "success",
    pb.GRANULE_STATE_FAILED: "error",
}

_ERRORS: Final = {
    "AccessDenied": "An error occurred (AccessDenied) when calling the CopyObject operation: Access Denied",
    "NoSuchKey": "An error occurred (NoSuchKey) when calling the CopyObject operation: "
    "The specified key does not exist.",
    "SlowDown": "An error occurred (SlowDown) when calling the CopyObject operation "
    "(reached max retries: 4): Please reduce your request rate.",
}

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


class _Name(NamedTuple):
    collection_id: str
    granule_id: str


class _Stopped(Exception):
    """The server stops."""


def lines_to_try(address: str) -> list[str]:
    """Return commands that show the demonstration job, for the operator of the server at `address`."""
    page, watch = f'{{"job_id": "{JOB_ID}", "page_size": 3}}', f'{{"job_id": "{JOB_ID}", "max_frames": 4}}'
    return [
        f"grpcurl -plaintext {address} list",
        f"grpcurl -plaintext -d '{page}' {address} jobstatus.v1.JobStatusService/GetJobStatus",
        f"grpcurl -plaintext -d '{watch}' {address} jobstatus.v1.JobStatusService/WatchJob",
    ]


def run_demo(target: str, stop: threading.Event, pace: float = 1.0) -> None:
    """Keep the demonstration job going until `stop` is set. Blocks.

    Args:
        target: the server's `host:port`.
        stop: ends it; looked at during every pause.
        pace: what every pause is multiplied with; at 1 a whole recovery takes about a minute.
    """
    Demo(target, stop, pace).run()


class Demo:
    """The demonstration job's reporter. Arguments as in `run_demo`."""

    def __init__(self, target: str, stop: threading.Event, pace: float = 1.0) -> None:
        self._target = target
        self._stop = stop
        self._pace = pace

    def run(self) -> None:
        """Keep the job going until told to stop."""
        # Its patience is our own: a client that waits by itself would not see `stop`.
        with JobStatusClient(self._target, connect_timeout=0.0, timeout=10.0) as client:
            while not self._stop.is_set():
                try:
                    self._cycle(client, self._last_attempt(client) + 1)
                except _Stopped:
                    return
                except JobStatusRpcError as error:
                    # For example: somebody deleted the job.
                    _log.warning("the demonstration job begins anew: %s", error)
                    self._stop.wait(_RETRY_PAUSE * self._pace)

    def _cycle(self, client: JobStatusClient, attempt: int) -> None:
        """Recover all granules, of which some fail, then those."""
        failing = frozenset(random.sample(_GRANULES, _FAILING))
        self._recover(client, _GRANULES, attempt, failing)
        self._rest(_BETWEEN_ATTEMPTS)
        self._recover(client, sorted(failing), attempt + 1, frozenset())
        self._rest(_BETWEEN_CYCLES)

    def _recover(
        self, client: JobStatusClient, names: Sequence[_Name], attempt: int, failing: frozenset[_Name]
    ) -> None:
        job = pb.Job(
            job_id=JOB_ID,
            system="orca",
            job_type="recovery",
            attempt=attempt,
            description=f"Recovery of {len(names)} granules from the archive (a demonstration)",
            granules_complete=True,
        )
        asked = _reports(names, pb.GRANULE_STATE_PENDING, attempt)
        self._patiently(lambda: client.report_job(job, asked))
        pending, staged = random.sample(names, len(names)), list[_Name]()
        while pending or staged:
            self._rest(random.uniform(0.2, 1.9))
            granules = []
            # The oldest first, but not all of them: a copy takes its time.
            ended, staged = _split(staged, random.randint(0, max(1, len(staged))))
            for name in ended:
                state = pb.GRANULE_STATE_FAILED if name in failing else pb.GRANULE_STATE_SUCCEEDED
                granules += _reports([name], state, attempt)
            begun, pending = _split(pending, random.randint(0, 9))
            staged += begun
            granules += _reports(begun, pb.GRANULE_STATE_STAGED, attempt)
            if granules:
                self._send(client, granules)

    def _send(self, client: JobStatusClient, granules: list[pb.Granule]) -> None:
        self._patiently(lambda: client.report_granules(JOB_ID, granules))

    def _last_attempt(self, client: JobStatusClient) -> int:
        """Return the attempt the job is at, 0 if there is no job."""
        try:
            answer = self._patiently(lambda: client.get(JOB_ID, view=pb.JOB_VIEW_BASIC))
        except JobStatusRpcError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return 0
            raise
        return answer.job.attempt

    def _patiently(self, call: Callable[[], _Answer]) -> _Answer:
        """Call until it is answered. A report sent twice changes nothing."""
        while True:
            try:
                return call()
            except JobStatusRpcError as error:
                if not error.retryable and error.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise
                self._wait(max(error.retry_delay or 0.1, _RETRY_PAUSE * self._pace))

    def _rest(self, seconds: float) -> None:
        self._wait(seconds * self._pace)

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _Stopped


def _reports(names: Iterable[_Name], state: pb.GranuleState, attempt: int) -> list[pb.Granule]:
    """Return reports that these granules are in `state` since now."""
    now = Timestamp()
    now.GetCurrentTime()
    reports = []
    for name in names:
        report = pb.Granule(
            collection_id=name.collection_id,
            granule_id=name.granule_id,
            state=state,
            native_state=_NATIVE_STATES[state],
            attempt=attempt,
        )
        if state == pb.GRANULE_STATE_PENDING:
            report.request_time.CopyFrom(now)
        elif state != pb.GRANULE_STATE_STAGED:
            report.end_time.CopyFrom(now)
        if state == pb.GRANULE_STATE_FAILED:
            code, reason = random.choice([*_ERRORS.items()])
            report.error.CopyFrom(pb.ItemError(code=code, reason=reason))
        reports.append(report)
    return reports


def _split(names: list[_Name], count: int) -> tuple[list[_Name], list[_Name]]:
    return names[:count], names[count:]


def _collection(product: str, version: str, day: int) -> list[_Name]:
    """Return the names of one day of a MODIS product: 120 tiles, made nine days later."""
    return [
        _Name(
            f"{product}___{version}",
            f"{product}.A2017{day:03d}.h{tile % 30:02d}v{4 + tile // 30:02d}.{version}"
            f".2017{day + 9:03d}{6 + tile // 60:02d}{tile % 60:02d}{tile * 7 % 60:02d}",
        )
        for tile in range(120)
    ]


_GRANULES: Final = (*_collection("MOD09GQ", "006", 25), *_collection("MYD09GQ", "006", 26))
