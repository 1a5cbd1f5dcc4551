"""Seconds as protobuf has them."""

from __future__ import annotations

import datetime

from google.protobuf import duration_pb2


def duration_of(seconds: float) -> duration_pb2.Duration:
    """Return `seconds` to the microsecond."""
    duration = duration_pb2.Duration()
    duration.FromTimedelta(datetime.timedelta(seconds=seconds))
    return duration
