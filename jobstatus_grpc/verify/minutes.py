"""What the watchers of one job held at each revision, to be held against each other."""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

from jobstatus_grpc.verify.record import Guarantee

Counts = tuple[int, ...]
"""How many granules are in each state, by the state's number."""

# Watchers of one job are near each other: what is further back than this is not compared.
_KEPT: Final = 100_000


class Minute(NamedTuple):
    """What was held at one revision.

    Attributes:
        counts: the totals.
        digest: of the granules, whatever their order; `None` where they were not delivered.
        guarantee: what a difference would break, going by how the first witness came to it.
        first: the first witness.
        witnesses: one bit for each watcher that held it.
    """

    counts: Counts
    digest: int | None
    guarantee: Guarantee
    first: str
    witnesses: int


class Difference(NamedTuple):
    """Two watchers held the same revision, and not the same.

    `certain` says that the two had the same token, so it was the same history; else one of them may not have
    heard yet that the history has changed.
    """

    guarantee: Guarantee
    words: str
    certain: bool


class Minutes:
    """Compares what watchers held. Used by the threads of all of them.

    Attributes:
        compared: how often a watcher held a revision that another had held.
        history_changed: whether a watcher was told that the history has changed.
    """

    def __init__(self) -> None:
        self.compared = 0
        self.history_changed = False
        self._lock = threading.Lock()
        self._by_revision: dict[int, Minute] = {}
        self._by_token: dict[bytes, Minute] = {}
        self._numbers: dict[str, int] = {}

    def number_of(self, watcher: str) -> int:
        """Return the bit of a watcher among the witnesses."""
        with self._lock:
            return 1 << self._numbers.setdefault(watcher, len(self._numbers))

    def held(self, watcher: str, bit: int, revision: int, token: bytes, minute: Minute) -> Difference | None:
        """Take what a watcher holds; return how it differs from what others, or it itself, held.

        Args:
            watcher: its name.
            bit: its number.
            revision: where it stands.
            token: the token it has for that; empty in the middle of a frame.
            minute: what it holds.
        """
        with self._lock:
            same = self._by_token.get(token) if token else None
            near = self._by_revision.get(revision)
            known = same or near
            if known is not None and known.witnesses != bit:
                self.compared += 1
            if known is None or _agree(known, minute):
                own = minute._replace(first=watcher, witnesses=bit)
                self._keep(revision, _joined(near, own), token, _joined(same, own))
                return None
        words = (
            f"at revision {revision} this watcher holds {_words(minute)}, "
            f"and {known.first} held {_words(known)}"
        )
        pages = Guarantee.READ_THEN_WATCH in (known.guarantee, minute.guarantee)
        guarantee = Guarantee.READ_THEN_WATCH if pages else minute.guarantee
        return Difference(guarantee, words, certain=same is not None)

    def at(self, revision: int) -> Minute | None:
        """Return what was held at a revision; `None` if nobody was seen there."""
        with self._lock:
            return self._by_revision.get(revision)

    def change_history(self) -> None:
        """Forget everything: the job's history is another from here on."""
        with self._lock:
            self.history_changed = True
            self._by_revision.clear()

    def _keep(self, revision: int, near: Minute, token: bytes, same: Minute) -> None:
        """Keep what is known of a revision, in whatever history, and of the history that a token tells."""
        self._by_revision[revision] = near
        if len(self._by_revision) > _KEPT:
            del self._by_revision[next(iter(self._by_revision))]
        if token:
            self._by_token[token] = same
            if len(self._by_token) > _KEPT:
                del self._by_token[next(iter(self._by_token))]


def _agree(one: Minute, other: Minute) -> bool:
    digests_agree = one.digest == other.digest or None in (one.digest, other.digest)
    return one.counts == other.counts and digests_agree


def _joined(known: Minute | None, minute: Minute) -> Minute:
    """Return what is known after `minute`; of another history, that is all."""
    if known is None or not _agree(known, minute):
        return minute
    digest = minute.digest if known.digest is None else known.digest
    return known._replace(digest=digest, witnesses=known.witnesses | minute.witnesses)


def _words(minute: Minute) -> str:
    totals = "/".join(map(str, minute.counts))
    return f"totals {totals}" + ("" if minute.digest is None else f" and granules {minute.digest:016x}")
