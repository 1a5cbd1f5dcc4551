"""Times as the systems write them, and as microseconds since 1970-01-01 UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,30}))?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def read_time(text: str) -> int | None:
    """Return a time of ISO 8601, with or without a zone (UTC then); `None` for any other text.

    What is smaller than a microsecond is cut off.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    date, clock, fraction, zone = match.groups()
    try:
        time = datetime.fromisoformat(f"{date}T{clock}{zone or 'Z'}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return (time - _EPOCH) // _MICROSECOND + int((fraction or "0").ljust(6, "0")[:6])


def milliseconds(time: int) -> str:
    """Return a time as SDRS and Glacier write it: `2018-04-19T01:55:30.443Z`, cut off there."""
    return f"{_datetime(time).isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def seconds(time: int) -> str:
    """Return a time as SFS Turbo writes it: `2023-07-26 09:33:58`, in UTC and cut off there."""
    return _datetime(time).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")


def _datetime(time: int) -> datetime:
    return _EPOCH + time * _MICROSECOND
