"""What a process counts and measures, for Prometheus."""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Names the directory of several processes' values to Prometheus' client, when that is imported."""

_CALL_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 1800)
_LAG_BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60)
_READY: Final = "jobstatus_ready"
_LIVE: Final = "livesum"
# Workers that die again and again leave a file each time.
_DEAD_KEPT: Final = 100
# How often files of other processes are read before it counts that they cannot be, and seconds between.
_TRIES: Final = 5
_PAUSE: Final = 0.05

T = TypeVar("T")


class Standing(NamedTuple):
    """How a process stands at a moment; the counts are from its start on.

    Attributes:
        ready: whether calls will be answered.
        watches: how many watches and waiting calls are open.
        frames: how many frames it has sent.
        changes: how many changes were in them.
        notified: whether news of other processes come by notify, not by poll alone.
        waiting: how much work waits for a thread, by the name of the pool.
        waiting_reports: how many reports wait for their turn.
        cache_hits: how often an answer was kept that could be given again.
        cache_misses: how often none was.
        cache_bytes: how much the answers kept take.
    """

    ready: bool
    watches: int
    frames: int
    changes: int
    notified: bool
    waiting: Mapping[str, int]
    waiting_reports: int
    cache_hits: int
    cache_misses: int
    cache_bytes: int


class Metrics:
    """The metrics of one process. Calls and lags are told as they happen, everything else now and then.

    Not safe in several threads.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._calls = self._counter("jobstatus_rpc", "Calls that have ended.", "method", "code")
        self._seconds = Histogram(
            "jobstatus_rpc_seconds",
            "How long calls took, to their last byte.",
            ("method",),
            registry=self._registry,
            buckets=_CALL_BUCKETS,
        )
        self._lag = Histogram(
            "jobstatus_commit_to_watcher_seconds",
            "From the commit of a change, by the clock of the database, until its frame was ready.",
            registry=self._registry,
            buckets=_LAG_BUCKETS,
        )
        self._ready = self._gauge(_READY, "Processes that answer calls.")
        self._watches = self._gauge("jobstatus_watches", "Open watches and waiting calls.")
        self._frames = self._counter("jobstatus_frames_sent", "Frames sent to watchers.")
        self._changes = self._counter("jobstatus_changes_sent", "Changes in frames sent to watchers.")
        self._news = self._gauge("jobstatus_news_processes", "Processes by how news come to them.", "mode")
        self._waiting = self._gauge("jobstatus_pool_waiting", "Work that waits for a thread.", "pool")
        self._reports = self._gauge("jobstatus_reports_waiting", "Reports that wait for their turn.")
        self._cache = self._counter("jobstatus_cache_lookups", "Looks for a kept answer.", "result")
        self._cache_bytes = self._gauge("jobstatus_cache_bytes", "Kept answers.")
        self._known: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._before = Standing(False, 0, 0, 0, False, {}, 0, 0, 0, 0)

    def call(self, method: str, code: str, seconds: float) -> None:
        """Count a call that has ended; `method` is one that is served."""
        known = self._known.get((method, code))
        if known is None:
            known = self._calls.labels(method, code), self._seconds.labels(method)
            self._known[method, code] = known
        known[0].inc()
        known[1].observe(seconds)

    def lag(self, seconds: float) -> None:
        """Take how long ago a change was committed that is now about to be sent."""
        self._lag.observe(max(0.0, seconds))

    def publish(self, standing: Standing) -> None:
        """Tell how the process stands now."""
        before, self._before = self._before, standing
        self._ready.set(standing.ready)
        self._watches.set(standing.watches)
        self._frames.inc(standing.frames - before.frames)
        self._changes.inc(standing.changes - before.changes)
        self._news.labels("notify").set(standing.notified)
        self._news.labels("poll").set(not standing.notified)
        for pool, count in standing.waiting.items():
            self._waiting.labels(pool).set(count)
        self._reports.set(standing.waiting_reports)
        self._cache.labels("hit").inc(standing.cache_hits - before.cache_hits)
        self._cache.labels("miss").inc(standing.cache_misses - before.cache_misses)
        self._cache_bytes.set(standing.cache_bytes)

    def text(self) -> bytes:
        """Return all of it, in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(name, words, labels, registry=self._registry)

    def _gauge(self, name: str, words: str, *labels: str) -> Gauge:
        return Gauge(name, words, labels, registry=self._registry, multiprocess_mode=_LIVE)


class SharedMetrics:
    """The metrics of several processes together, read from their files by one that has none.

    Args:
        directory: where the files are.

    Attributes:
        directory: the same.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)
        self._registry = CollectorRegistry()
        MultiProcessCollector(self._registry, self.directory)  # type: ignore[no-untyped-call]
        self._dead: deque[int] = deque()

    def text(self) -> bytes:
        """Return all of them, in Prometheus' text format."""
        return _whole(lambda: generate_latest(self._registry))

    def ready(self) -> bool:
        """Return whether one of the processes answers calls."""
        return bool(_whole(lambda: self._registry.get_sample_value(_READY)))

    def forget(self, pid: int) -> None:
        """Take that a process has ended: what it counted stays, how it stood does not.

        Of a hundred that have ended: the counts of one before them are given up, as at a new start.
        """
        mark_process_dead(pid, self.directory)  # type: ignore[no-untyped-call]
        # One that was killed at its start may have left a file without a byte, past which none can be read.
        for file in Path(self.directory).glob(f"*_{pid}.db"):
            if not file.stat().st_size:
                file.unlink()
        self._dead.append(pid)
        if len(self._dead) > _DEAD_KEPT:
            for file in Path(self.directory).glob(f"*_{self._dead.popleft()}.db"):
                file.unlink()


def _whole(read: Callable[[], T]) -> T:
    """Return what is read, again where a process that begins or ends had a file half made or gone."""
    for _ in range(_TRIES - 1):
        with suppress(OSError, ValueError, KeyError, struct.error):
            return read()
        time.sleep(_PAUSE)
    return read()
