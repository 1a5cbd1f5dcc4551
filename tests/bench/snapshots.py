"""Snapshots of a large job, as its watchers take them."""

from __future__ import annotations

import time

from workers import Worker

from bench.stage import Key


def take_snapshot(takers: Worker, key: Key, watchers: int) -> float:
    """Have all of a snapshot sent to watchers who come at once; return how many seconds that took.

    Args:
        takers: a crowd that is connected.
        key: the job.
        watchers: how many.
    """
    begun = time.time()
    takers.call("open", keys=[key], watchers=watchers, snapshot_only=True)
    seconds: float = takers.call("ended")["last"] - begun
    takers.call("leave")
    return seconds
