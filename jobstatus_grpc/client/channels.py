"""Connections to servers, with the options that long watches need."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import grpc
import grpc.aio

from jobstatus import v1 as pb

_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    # The one that works: grpc.keepalive_timeout_ms is read and never used.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # The channel's own back-off, up to two minutes, would hide a server that is back from our retries.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A channel that is opened anew is a new connection, not the one that another channel has already.
    ("grpc.use_local_subchannel_pool", 1),
)
# Whose methods are not those of JobStatusService.
_STUBS: Final = {
    **dict.fromkeys(("ReportJob", "ReportGranules", "DeleteJob"), pb.JobReportServiceStub),
    **dict.fromkeys(("ImportJobs", "ExportJob"), pb.JobDocumentServiceStub),
}

_Channel = TypeVar("_Channel")


def open_channel(target: str, tls: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """Return a channel to a server; encrypted if there are credentials for that."""
    if tls is None:
        return grpc.insecure_channel(target, options=_OPTIONS)
    return grpc.secure_channel(target, tls, options=_OPTIONS)


def open_aio_channel(target: str, tls: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """Return a channel as `open_channel` does, for the event loop that runs."""
    if tls is None:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    return grpc.aio.secure_channel(target, tls, options=_OPTIONS)


class Channels(Generic[_Channel]):
    """A channel to each server that has been asked for, opened then.

    Args:
        open_one: opens a channel to an address.
    """

    def __init__(self, open_one: Callable[[str], _Channel]) -> None:
        self._open_one = open_one
        self._lock = threading.Lock()
        self._held: dict[str, tuple[_Channel, dict[type, Any]]] = {}

    def method(self, server: str, name: str) -> Any:
        """Return a method of a server, to be called."""
        held = self._held.get(server) or self._open(server)
        return getattr(held[1][_STUBS.get(name, pb.JobStatusServiceStub)], name)

    def _open(self, server: str) -> tuple[_Channel, dict[type, Any]]:
        with self._lock:
            if server not in self._held:
                channel = self._open_one(server)
                stubs = {stub: stub(channel) for stub in (pb.JobStatusServiceStub, *_STUBS.values())}
                self._held[server] = (channel, stubs)
            return self._held[server]

    def drop(self, server: str) -> _Channel | None:
        """Return the channel to a server, to be closed; the next call opens another one."""
        with self._lock:
            held = self._held.pop(server, None)
        return held and held[0]

    def opened(self) -> list[_Channel]:
        """Return the channels there are."""
        return [channel for channel, _ in self._held.values()]


def metadata_of(credentials: str) -> tuple[tuple[str, str], ...]:
    """Return what a call says about its caller."""
    return (("authorization", f"Bearer {credentials}"),) if credentials else ()
