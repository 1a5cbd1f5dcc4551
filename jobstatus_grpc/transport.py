"""How gRPC keeps its connections."""

from __future__ import annotations

from typing import Final, NamedTuple

from jobstatus_grpc.config import ServerConfig
from jobstatus_grpc.streams import AGE_JITTER

# Larger requests than a report may be come this far, so that they are answered in words, not by a reset.
_MAX_RECEIVED_BYTES: Final = 8 * 1024 * 1024
# Between the two gRPC refuses at random. A token that is too large for us is told so by us.
_MAX_METADATA_BYTES: Final = (32 * 1024, 64 * 1024)
_FIXED: Final = (
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # A burst of streams beyond these is cancelled before any handler sees it; each that waits takes 10 KB.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 30_000),
    ("grpc.max_receive_message_length", _MAX_RECEIVED_BYTES),
    ("grpc.max_metadata_size", _MAX_METADATA_BYTES[0]),
    ("grpc.absolute_max_metadata_size", _MAX_METADATA_BYTES[1]),
)


class Keepalive(NamedTuple):
    """When a silent peer is taken for gone.

    Attributes:
        interval: after how many seconds of silence it is pinged.
        timeout: how many seconds it has to answer.
    """

    interval: float
    timeout: float


KEEPALIVE: Final = Keepalive(interval=30.0, timeout=10.0)


def server_options(config: ServerConfig, keepalive: Keepalive) -> list[tuple[str, int]]:
    """Return gRPC's options for a server.

    A connection that has reached its age takes no new calls, and is closed with what gRPC holds for it: all
    that a client which does not read leaves behind. gRPC tells handlers nothing of that, so those streams
    that are alive must have ended by themselves before, each with its `reconnect`: the grace is as long as
    a stream can last.
    """
    grace = config.max_stream_age * (1 + AGE_JITTER) + config.write_timeout
    return [
        *_FIXED,
        # A taken port is an error, not half of the connections; whose workers share one has it to themselves.
        ("grpc.so_reuseport", int(config.workers > 1)),
        # `keepalive_timeout_ms` does nothing.
        ("grpc.keepalive_time_ms", _milliseconds(keepalive.interval)),
        ("grpc.http2.ping_timeout_ms", _milliseconds(keepalive.timeout)),
        ("grpc.max_connection_age_ms", _milliseconds(config.max_connection_age)),
        ("grpc.max_connection_age_grace_ms", _milliseconds(grace)),
    ]


def _milliseconds(seconds: float) -> int:
    # gRPC's integers have 32 bits; the largest means never.
    return min(round(seconds * 1000), 2**31 - 1)
