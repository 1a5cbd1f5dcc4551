"""The live view of a watch: a bar for each job, how fast it gets on, and what has failed last."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from jobstatus import v1 as pb
from jobstatus_grpc.cli.bars import STYLES, StateBar
from jobstatus_grpc.cli.nodes import Failure, Node
from jobstatus_grpc.cli.terminal import clean, counts
from jobstatus_grpc.cli.views import View, ending_words
from jobstatus_grpc.client import JobStatusRpcError, Update

_LONGEST_NAME: Final = 40
_SHOWN_FAILURES: Final = 8
# What the failures leave of a screen, beside the bars.
_FEWEST_FAILURES: Final = 2
# From here on it is worth telling that the server has lost sight of its database.
_NOTABLE_LAG: Final = 3.0

_COUNT_STYLES: Final = {name.lower(): style for name, style in STYLES.items()}


class LiveView(View):
    """Bars that move, and stay standing at the end.

    Args:
        root: what is above all jobs that are watched.
        console: where to show it.
    """

    delivery = pb.DELIVERY_LATEST
    heartbeats = True

    def __init__(self, root: Node, console: Console) -> None:
        super().__init__(root)
        self._console = console
        self._live = Live(console=console, get_renderable=self.render, auto_refresh=False)

    def start(self) -> None:
        self._live.start(refresh=True)

    def stop(self) -> None:
        self._live.stop()
        for node in self.root.children.values():
            if node.ended:
                self._console.print(Text(ending_words(node.job), STYLES.get(node.state, "")), soft_wrap=True)

    def refresh(self) -> None:
        self._live.refresh()

    def tell(self, node: Node, update: Update) -> None:
        pass  # What is new is shown with the next refresh,

    def broken(self, node: Node, error: JobStatusRpcError) -> None:
        pass  # and so is what is wrong.

    def render(self) -> RenderableType:
        """Return what is to be seen now."""
        now = time.monotonic()
        bars = Table.grid(padding=(0, 1), expand=True)
        for name in ("job", "state", "bar", "share", "done", "pace"):
            longest = _LONGEST_NAME if name == "job" else None
            share = 1 if name == "bar" else None
            bars.add_column(no_wrap=True, max_width=longest, ratio=share, overflow="ellipsis")
        for depth, node in _below(self.root, 0):
            for row in _rows(node, depth, now):
                bars.add_row(*row)
        room = self._console.height - 3 - len(bars.rows)
        return Group(bars, *self._failures(min(_SHOWN_FAILURES, max(_FEWEST_FAILURES, room))))

    def _failures(self, room: int) -> Iterator[RenderableType]:
        found = [
            (failure, node.job_id) for _, node in _below(self.root, 0) for failure in node.failures()[-room:]
        ]
        if not found:
            return
        yield Text("latest failures", "bold")
        several = len(self.root.children) > 1
        for failure, job_id in sorted(found)[-room:]:
            yield _failure_line(failure, job_id if several else "", self._console.width)


def _below(node: Node, depth: int) -> Iterator[tuple[int, Node]]:
    """Yield the nodes below one, each before those below itself."""
    for child in node.children.values():
        yield depth, child
        yield from _below(child, depth + 1)


def _rows(node: Node, depth: int, now: float) -> Iterator[tuple[RenderableType, ...]]:
    """Yield a job's two rows: its bar, and what the bar consists of."""
    name = Text("  " * depth + clean(node.job_id), "bold")
    attempt = f" #{node.job.attempt}" if node.job.attempt > 1 else ""
    state = Text(
        (node.state or ("waiting" if node.heard else "connecting")) + attempt, STYLES.get(node.state, "dim")
    )
    more = "" if node.job.granules_complete or not node.state else "+"
    share = f"{node.done * 100 // node.total} %" if node.total else ""
    yield (
        *(name, state, StateBar(node.job.totals)),
        *(Text(share, justify="right"), Text(f"{node.done}/{node.total}{more}"), Text(_pace(node, now))),
    )
    yield "", "", _counts(node), "", "", Text(_news(node, now), "yellow" if node.trouble else "dim")


def _counts(node: Node) -> Text:
    told = [(word, count) for word, count in counts(node.job.totals).items() if count]
    line = Text()
    for word, count in told:
        line.append(" · " if line else "", "dim").append(f"{count} {word}", _COUNT_STYLES[word])
    return line


def _pace(node: Node, now: float) -> str:
    """Return how fast a job gets on, and how long that will take."""
    if node.ended:
        return ""
    rate, left = node.pace.rate(now), node.left(now)
    words = [f"{rate:.1f}/s" if rate else "", f"{_long(left)} left" if left else ""]
    return ", ".join(filter(None, words))


def _news(node: Node, now: float) -> str:
    """Return what keeps a bar from moving, or when it last did."""
    if node.failure is not None:
        return f"given up: {clean(str(node.failure))}"
    if node.trouble:
        return f"{node.trouble}: trying again"
    if node.lag >= _NOTABLE_LAG:
        return f"the server has not read its database for {_long(node.lag)}"
    silence = node.since_report(now)
    return "" if silence is None or node.ended else f"last report {_long(silence)} ago"


def _long(seconds: float) -> str:
    """Return a length of time in words."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"


def _failure_line(failure: Failure, job_id: str, width: int) -> Text:
    """Return a line on a failure. Of a long name the end is shown, which tells it from the others."""
    longest = width * 2 // 5
    name = failure.name if len(failure.name) <= longest else f"…{failure.name[1 - longest :]}"
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"  {failure.when}  ", "dim")
    line.append(f"{clean(job_id)}  " if job_id else "", "bold")
    return line.append(f"{name}  ").append(failure.why, STYLES["FAILED"])
