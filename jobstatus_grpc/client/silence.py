"""An end to streams that nothing comes from: the blocking ones know no time limit for one message."""

from __future__ import annotations

import math
import threading
import time
from typing import Any, Final

import grpc

from jobstatus_grpc.client.errors import ServerSilent

_LOOKS: Final = 8  # How often to look within the shortest time that a silence may last.


class GuardedStream:
    """A stream that is cancelled when a read of it takes too long.

    Args:
        call: gRPC's own.
        guard: what looks after it.
    """

    def __init__(self, call: Any, guard: Guard) -> None:
        self.within = math.inf
        self.waiting_since: float | None = None
        self._call = call
        self._guard = guard
        self._silent = False
        guard.add(self)

    def read(self, within: float) -> Any:
        """Return the next message; `None` at the end."""
        self.within = within
        self._guard.expect(within)
        # Only a wait counts: a consumer that takes its time is not a server that is silent.
        self.waiting_since = time.monotonic()
        try:
            return next(self._call, None)
        except grpc.RpcError:
            if self._silent:
                raise ServerSilent(within) from None
            raise
        finally:
            self.waiting_since = None

    def look(self, now: float) -> None:
        """Cancel it if it has been silent for too long."""
        since = self.waiting_since
        if since is not None and now - since > self.within:
            self._silent = True
            self._call.cancel()

    def cancel(self) -> None:
        """End it."""
        self._guard.remove(self)
        self._call.cancel()


class Guard:
    """Looks after streams, in a thread that is there while they are."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._streams: set[GuardedStream] = set()
        self._shortest = math.inf
        self._thread: threading.Thread | None = None

    def add(self, stream: GuardedStream) -> None:
        """Look after a stream from now on."""
        with self._changed:
            self._streams.add(stream)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="jobstatus-watch-guard", daemon=True)
                self._thread.start()

    def remove(self, stream: GuardedStream) -> None:
        """Look after a stream no more."""
        with self._changed:
            self._streams.discard(stream)
            self._changed.notify()

    def expect(self, within: float) -> None:
        """Look often enough for a silence of so many seconds."""
        if within < self._shortest / 2:
            with self._changed:
                self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while self._streams:
                self._shortest = min(stream.within for stream in self._streams)
                self._changed.wait(None if math.isinf(self._shortest) else self._shortest / _LOOKS)
                now = time.monotonic()
                for stream in self._streams:
                    stream.look(now)
            self._thread, self._shortest = None, math.inf
