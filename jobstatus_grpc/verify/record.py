"""What a checker has found: how often each guarantee held, and where one was broken."""

from __future__ import annotations

from collections import Counter, deque
from enum import StrEnum
from typing import Final

from jobstatus import v1 as pb

# How many outlines of frames stand before and after the one that broke a guarantee.
_AROUND: Final = 3
# One fault of a server can break every later frame: nobody reads more than this of one watch.
_KEPT_BREACHES: Final = 50


class Guarantee(StrEnum):
    """What a watcher may rely on."""

    ORDERED = "W1"  #: Changes come in the order of their revisions.
    UNIQUE = "W2"  #: No change comes twice.
    COMPLETE = "W3"  #: No change is left out, and what they add up to is what the frames say.
    SNAPSHOT = "W4"  #: Without a token the whole job comes first, at one revision.
    RESUMABLE = "W5"  #: With a token the stream goes on right after it, with the same changes as ever.
    RESET = "W6"  #: A history that is gone is answered by a reset and a snapshot.
    ALIVE = "W7"  #: Frames, or heartbeats, come in time.
    ENDING = "W8"  #: A stream ends as it has said.
    READ_THEN_WATCH = "W10"  #: Pages that were read and a watch from the first one's token have no gap.
    SIZE = "SIZE"  #: No frame and no page is larger than 1 MiB.

    @property
    def words(self) -> str:
        """What it is about, for people."""
        return self.name.lower().replace("_", " ")


class Breach(Exception):
    """A guarantee was broken.

    Attributes:
        guarantee: which.
        words: what was seen, and what was due.
        frame: the frame that shows it; `None` where it is the lack of one, or the end of a stream.
        watcher: whose watch it was; may be empty.
        around: one line for each frame before, the frame itself (marked by `>`), and after it.
    """

    def __init__(
        self, guarantee: Guarantee, words: str, frame: pb.WatchJobResponse | None = None, watcher: str = ""
    ) -> None:
        super().__init__(f"{guarantee} ({guarantee.words}): {words}")
        self.guarantee = guarantee
        self.words = words
        self.frame = frame
        self.watcher = watcher
        self.around: list[str] = []


def outline(frame: pb.WatchJobResponse) -> str:
    """Return a line that tells a frame from others."""
    kind = frame.WhichOneof("frame") or "a frame of no known kind"
    totals = frame.totals
    counts = (totals.pending_count, totals.staged_count, totals.succeeded_count, totals.failed_count)
    inner = ""
    if kind == "snapshot":
        inner = f" of {len(frame.snapshot.granules)} granules{', the last' if frame.snapshot.last else ''}"
    elif kind == "changes" and frame.changes.changes:
        first, last = frame.changes.changes[0].revision, frame.changes.changes[-1].revision
        inner = f" {first} to {last} ({len(frame.changes.changes)})"
    elif kind in ("reset", "reconnect"):
        inner = f" {(frame.reset if kind == 'reset' else frame.reconnect).reason!r}"
    token = frame.resume_token.hex()[-8:] or "none"
    told = "/".join(map(str, (*counts, totals.unspecified_count)))
    return f"{kind}{inner}: revision {frame.revision}, totals {told}, token {token}"


class Record:
    """What one checker has found.

    Args:
        watcher: whose checker it is.
        collect: whether to keep breaches, instead of raising the first.

    Attributes:
        checked: how often each guarantee was found to hold.
        breaches: the first breaches, in the order they were found.
    """

    def __init__(self, watcher: str = "", *, collect: bool = False) -> None:
        self.watcher = watcher
        self.checked: Counter[Guarantee] = Counter()
        self.breaches: list[Breach] = []
        self._collect = collect
        self._frame: pb.WatchJobResponse | None = None
        self._number = 0
        self._recent: deque[str] = deque(maxlen=_AROUND)
        self._current = ""
        self._open: deque[tuple[int, Breach]] = deque()

    def note(self, line: str) -> None:
        """Take a line that stands between frames: a stream begins or ends."""
        self._advance(line, None)

    def begin(self, frame: pb.WatchJobResponse) -> None:
        """Take the frame that is checked from now on."""
        self._number += 1
        self._advance(f"frame {self._number}, {outline(frame)}", frame)

    def holds(self, guarantee: Guarantee, held: bool, words: str, *values: object) -> bool:
        """Count that a guarantee held, or note its breach in `words`, formatted with `values`; return `held`.

        Raises:
            Breach: it was broken, and breaches are not collected.
        """
        if held:
            self.checked[guarantee] += 1
        else:
            self._breach(guarantee, words.format(*values))
        return held

    def counted(self, guarantee: Guarantee, times: int) -> None:
        """Count that a guarantee was found to hold so many times."""
        self.checked[guarantee] += times

    def _breach(self, guarantee: Guarantee, words: str) -> None:
        breach = Breach(guarantee, words, self._frame, self.watcher)
        breach.around = [*(f"  {line}" for line in self._recent), f"> {self._current}"]
        if len(self.breaches) < _KEPT_BREACHES:
            self.breaches.append(breach)
            self._open.append((_AROUND, breach))
        if not self._collect:
            raise breach

    def _advance(self, line: str, frame: pb.WatchJobResponse | None) -> None:
        for _ in range(len(self._open)):
            wanted, breach = self._open.popleft()
            breach.around.append(f"  {line}")
            if wanted > 1:
                self._open.append((wanted - 1, breach))
        if self._current:
            self._recent.append(self._current)
        self._current, self._frame = line, frame
