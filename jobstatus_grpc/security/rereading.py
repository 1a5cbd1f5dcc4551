"""Files that are read again when they change."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from jobstatus_grpc.errors import ConfigInvalid, Violation

_log = logging.getLogger(__name__)

T = TypeVar("T")

# How often files are looked at, at most, in seconds.
_LOOK_INTERVAL: Final = 1.0

_Signature = tuple[tuple[int, int, int], ...]


class Reread(Generic[T]):
    """What some files say together. Safe in any thread.

    They are looked at when somebody asks, once a second at most. If what is there now cannot be used, what
    was read before stays, and the log says so: once for each state of the files, since a key that is
    replaced after its certificate is a state that passes.

    Args:
        files: the paths, by the settings that name them.
        read: makes something of their contents, in that order; raises ValueError, in words that may be
            logged, if it cannot.

    Attributes:
        generation: grows with each reading that could be used.

    Raises:
        ConfigInvalid: they cannot be used at the start.
    """

    def __init__(self, files: Mapping[str, str], read: Callable[[Sequence[bytes]], T]) -> None:
        self.generation = 1
        self._settings = ", ".join(files)
        self._paths = [Path(path) for path in files.values()]
        self._read = read
        self._lock = threading.Lock()
        self._look_at = 0.0
        self._complaint = ""
        try:
            self._signature = self._sign()
            self._value = self._load()
        except (OSError, ValueError) as error:
            raise ConfigInvalid([Violation(self._settings, _words(error))]) from error

    def current(self) -> T:
        """Return what was last read and could be used."""
        if time.monotonic() >= self._look_at and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._look_at = time.monotonic() + _LOOK_INTERVAL
                self._lock.release()
        return self._value

    def _look(self) -> None:
        try:
            signature = self._sign()
            if signature == self._signature:
                return
            self._signature = signature
            value = self._load()
        except (OSError, ValueError) as error:
            self._complain(_words(error))
            return
        self._value, self._complaint = value, ""
        self.generation += 1
        _log.info("%s: read again", self._settings)

    def _complain(self, words: str) -> None:
        if words != self._complaint:
            self._complaint = words
            _log.error("%s: %s; what was read before stays in use", self._settings, words)

    def _sign(self) -> _Signature:
        found = [path.stat() for path in self._paths]
        # The time of the last change of any kind: a file may become readable without being written.
        return tuple((stat.st_ino, stat.st_ctime_ns, stat.st_size) for stat in found)

    def _load(self) -> T:
        return self._read([path.read_bytes() for path in self._paths])


def _words(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return str(error)
