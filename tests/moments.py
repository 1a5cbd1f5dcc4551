"""Waiting for a named moment."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(happened: Callable[[], bool], moment: str, seconds: float = 30) -> None:
    """Return once `happened` says so.

    Raises:
        AssertionError: the moment did not come within that many seconds.
    """
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"not within {seconds} s: {moment}"
        time.sleep(0.01)
