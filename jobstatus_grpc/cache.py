"""Answers that were given, kept to be given again if they are still true."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Final, Generic, NamedTuple, TypeVar

from jobstatus_grpc.pace import Outlook
from jobstatus_grpc.store.base import Version

Q = TypeVar("Q", bound=Hashable)

# What an answer takes besides its own bytes: its question, its version, its place.
_ENTRY_BYTES: Final = 768


class KeptAnswer(NamedTuple):
    """An answer, the version of the job that it tells of, and what of that tells how it gets on."""

    version: Version
    answer: bytes
    outlook: Outlook


class AnswerCache(Generic[Q]):
    """Keeps the answers used last, in a bounded number of bytes. May be used by many threads.

    It does not know whether an answer is still true: whoever uses one compares its version with the job's.

    Args:
        limit: how many bytes.

    Attributes:
        hits: how often an answer was found.
        misses: how often none was.
        size: how many bytes are kept.
    """

    def __init__(self, limit: int) -> None:
        self.hits = self.misses = self.size = 0
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: dict[Q, KeptAnswer] = {}

    def find(self, question: Q) -> KeptAnswer | None:
        """Return the answer that was kept last."""
        with self._lock:
            found = self._kept.pop(question, None)
            if found is not None:
                # The dictionary's order is that of the last use.
                self._kept[question] = found
                self.hits += 1
            else:
                self.misses += 1
            return found

    def keep(self, question: Q, kept: KeptAnswer) -> None:
        """Keep an answer, and make room for it."""
        with self._lock:
            self._drop(question)
            self._kept[question] = kept
            self.size += _size(kept)
            while self.size > self._limit:
                self._drop(next(iter(self._kept)))

    def _drop(self, question: Q) -> None:
        dropped = self._kept.pop(question, None)
        if dropped is not None:
            self.size -= _size(dropped)


def _size(kept: KeptAnswer) -> int:
    return _ENTRY_BYTES + len(kept.answer)
