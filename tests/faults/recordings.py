"""Recordings: what clients have done and what they were told, event by event, in a file."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

import grpc

from jobstatus_grpc.client import JobStatusRpcError

Key = tuple[str, str]
"""A project's id and a job's."""


class Failure(NamedTuple):
    """What a call failed with; `retry_delay` is `None` if the server did not say."""

    code: str
    reason: str
    message: str
    retry_delay: float | None

    @classmethod
    def of(cls, error: grpc.RpcError) -> Self:
        """Return what an error says."""
        failure = JobStatusRpcError.of(error)
        return cls(failure.code.name, failure.reason, failure.message, failure.retry_delay)

    @property
    def error(self) -> JobStatusRpcError:
        """The error, as the client would raise it."""
        code = grpc.StatusCode[self.code]
        return JobStatusRpcError(code, self.message, self.reason, retry_delay=self.retry_delay)


class Watches(NamedTuple):
    """A watcher's first event: what it watches, and how; `delivery` by its number."""

    at: float
    key: Key
    delivery: int
    heartbeat_interval: float


class Began(NamedTuple):
    """A stream was asked for, of a server by its number; without a token it begins anew."""

    at: float
    server: int
    token: bytes


class Came(NamedTuple):
    """A frame."""

    at: float
    frame: bytes


class Ended(NamedTuple):
    """The stream ended; `None` is OK."""

    at: float
    failure: Failure | None


class Dropped(NamedTuple):
    """The watcher itself ended the stream, on purpose or because it was silent for too long."""

    at: float
    silent: bool


class Read(NamedTuple):
    """The watcher has read the job by pages, and goes on from the first one's token."""

    at: float
    pages: Sequence[bytes]


class Reports(NamedTuple):
    """A reporter's first event: the job."""

    at: float
    key: Key


class Sent(NamedTuple):
    """A report was sent for the first time; its granules all have this message, and no others have."""

    at: float
    message: str
    granules: int


class Acknowledged(NamedTuple):
    """A report was answered."""

    at: float
    message: str
    revision: int


class Refused(NamedTuple):
    """A try of a report, or a question, has failed, after so many seconds; it is made again."""

    at: float
    seconds: float
    failure: Failure


class Asked(NamedTuple):
    """A question was answered: asked at `began`, by a server of that number."""

    at: float
    began: float
    server: int
    key: Key
    revision: int
    totals: Sequence[int]
    token: bytes


Event = Watches | Began | Came | Ended | Dropped | Read | Reports | Sent | Acknowledged | Refused | Asked


class Recorder:
    """Writes a recording. Every event is with the system before anything else is done: a kill loses none."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def record(self, who: str, event: Event) -> None:
        """Write an event."""
        os.write(self._file, pickle.dumps((who, event), pickle.HIGHEST_PROTOCOL))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_recording(file: Path) -> Mapping[str, list[Event]]:
    """Return what everybody did, in order, by their names. Of a killed client the last event may be torn."""
    events: dict[str, list[Event]] = {}
    with file.open("rb") as data:
        while True:
            try:
                who, event = pickle.load(data)
            except (EOFError, pickle.UnpicklingError):
                return events
            events.setdefault(who, []).append(event)


now: Final = time.monotonic
"""The clock of recordings: the same for all processes of a host."""
