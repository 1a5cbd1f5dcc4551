"""News on their way from their source to the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final

from jobstatus_grpc.store.base import News, NewsSource

# How long the thread waits at a time; it only bounds how late it notices its end.
_WAIT: Final = 1.0


class Listener:
    """Hears from a thread of its own, which does nothing but collect.

    A source that is not read holds up whoever speaks, so nothing else is done there. What has been heard
    while the loop was busy is passed on together, in one call.

    Args:
        source: where news come from; closed with the listener.
        hear: called on the running loop with what was heard.
    """

    def __init__(self, source: NewsSource, hear: Callable[[News], None]) -> None:
        self._source = source
        self._hear = hear
        self._loop = asyncio.get_running_loop()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._job_pks: set[int] = set()
        self._everything = False
        self._due = False
        threading.Thread(target=self._run, name="jobstatus-news", daemon=True).start()

    def close(self) -> None:
        """End the thread, soon, and close the source."""
        self._ended.set()
        self._source.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            heard = self._source.wait(_WAIT)
            if heard and self._collect(heard):
                try:
                    self._loop.call_soon_threadsafe(self._pass_on)
                except RuntimeError:  # The loop has closed.
                    return

    def _collect(self, heard: News) -> bool:
        """Keep what was heard; return whether the loop has to be told."""
        with self._lock:
            self._job_pks |= heard.job_pks
            self._everything |= heard.everything
            told, self._due = self._due, True
            return not told

    def _pass_on(self) -> None:
        with self._lock:
            heard = News(frozenset(self._job_pks), self._everything)
            self._job_pks.clear()
            self._everything = self._due = False
        self._hear(heard)
