"""The live view of a watch: a bar for each job and sub-job, how fast they get on, and what has failed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from jobstatus import v1 as pb
from jobstatus_grpc.cli.bars import STYLES, StateBar
from jobstatus_grpc.cli.digest import rows
from jobstatus_grpc.cli.nodes import Failure, Node
from jobstatus_grpc.cli.terminal import clean, counts
from jobstatus_grpc.cli.views import View, ending_words
from jobstatus_grpc.client import JobStatusRpcError, Update

_LONGEST_NAME: Final = 40
_SHOWN_FAILURES: Final = 8
# What the failures leave of a screen, beside the bars.
_FEWEST_FAILURES: Final = 2
_SHOWN_REASONS: Final = 3
# Lines that are not for bars: failures, their head, and what a terminal writes itself.
_OTHER_LINES: Final = 4 + _FEWEST_FAILURES
# From here on it is worth telling that the server has lost sight of its database.
_NOTABLE_LAG: Final = 3.0

# Which sub-jobs are shown where not all can be, the smallest first.
_URGENCY: Final = {"RUNNING": 1, "FAILED": 2, "PENDING": 3, "SUCCEEDED": 4}
# As which granules jobs are shown that have none.
_LIKE_GRANULES: Final = {
    pb.JOB_STATE_UNSPECIFIED: "unspecified_count",
    pb.JOB_STATE_PENDING: "pending_count",
    pb.JOB_STATE_RUNNING: "staged_count",
    pb.JOB_STATE_SUCCEEDED: "succeeded_count",
    pb.JOB_STATE_FAILED: "failed_count",
}
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
        room = self._console.height - _OTHER_LINES - 2 * len(self.root.children)
        shown, hidden = _chosen([node for depth, node in self.root.below() if depth], room)
        for depth, node in self.root.below():
            if not depth or node.job_id in shown:
                bars.add_row(*_bar(node, depth, now))
            if not depth:
                bars.add_row("", "", _counts(node), "", "", _news(node, now))
        rest = [Text(f"  and {_states_words(hidden)} more", "dim")] if hidden else []
        room = self._console.height - 3 - len(bars.rows) - len(rest)
        why = [*self._reasons()][: room - _SHOWN_FAILURES]
        room = min(_SHOWN_FAILURES, max(_FEWEST_FAILURES, room - len(why)))
        return Group(bars, *rest, *(why if len(why) > 1 else ()), *self._failures(room))

    def _reasons(self) -> Iterator[RenderableType]:
        several = len(self.root.children) > 1
        yield Text("why granules failed", "bold")
        for node in self.root.children.values():
            if node.job.totals.failed_count:
                for count, words, _ in rows(node.reasons, _SHOWN_REASONS):
                    line = Text(f"  {count:>6}  ", no_wrap=True, overflow="ellipsis")
                    line.append(f"{clean(node.job_id)}  " if several else "", "bold")
                    yield line.append(words, STYLES["FAILED"])

    def _failures(self, room: int) -> Iterator[RenderableType]:
        several = len(self.root.children) > 1
        found = [
            (failure, node.job_id if several else "")
            for node in self.root.children.values()
            for failure in node.failures()[-room:]
        ]
        if found:
            yield Text("latest failures", "bold")
        for failure, job_id in sorted(found)[-room:]:
            yield _failure_line(failure, job_id, self._console.width)


def _chosen(nodes: Sequence[Node], room: int) -> tuple[set[str], list[Node]]:
    """Return the ids of the sub-jobs for which there is room, and the others: who gets on comes first."""
    if len(nodes) <= room:
        return {node.job_id for node in nodes}, []
    order = sorted(nodes, key=lambda node: _URGENCY.get(node.state.partition(" ")[0], 0))
    count = max(0, room - 1)
    return {node.job_id for node in order[:count]}, order[count:]


def _states_words(nodes: Sequence[Node]) -> str:
    """Return how many sub-jobs are in each state."""
    counted = Counter(node.state for node in nodes)
    return ", ".join(f"{count} {state}" for state, count in counted.items())


def _bar(node: Node, depth: int, now: float) -> tuple[RenderableType, ...]:
    """Return the row with a job's bar."""
    name = Text("  " * depth + clean(node.job_id), "" if depth else "bold")
    attempt = f" #{node.job.attempt}" if node.job.attempt > 1 else ""
    state = Text(
        (node.state or ("waiting" if node.heard else "connecting")) + attempt, STYLES.get(node.state, "dim")
    )
    more = "" if depth or node.job.granules_complete or not node.state else "+"
    share = f"{node.done * 100 // node.total} %" if node.total else ""
    done = f"{node.done}/{node.total}{more}" if node.total or not (depth or node.children) else ""
    return (
        *(name, state, StateBar(_bar_totals(node))),
        *(Text(share, justify="right"), Text(done), Text(_pace(node, now))),
    )


def _bar_totals(node: Node) -> pb.GranuleTotals:
    """Return what a job's bar shows: its granules; without any its sub-jobs, or else itself."""
    if node.total:
        return node.job.totals
    totals = pb.GranuleTotals()
    for each in node.children.values() or ([node] if node.state else []):
        name = _LIKE_GRANULES[each.job.state]
        setattr(totals, name, getattr(totals, name) + 1)
    return totals


def _counts(node: Node) -> Text:
    told = [(word, count) for word, count in counts(node.job.totals).items() if count]
    line = Text()
    for word, count in told:
        line.append(" · " if line else "", "dim").append(f"{count} {word}", _COUNT_STYLES[word])
    if node.children and not told:
        line.append(f"sub-jobs: {_states_words([*node.children.values()])}", "dim")
    return line


def _pace(node: Node, now: float) -> str:
    """Return how fast a job gets on, and how long that will take."""
    if node.ended:
        return ""
    rate, left = node.rate(now), node.left(now)
    words = [f"{rate:.1f}/s" if rate else "", f"{_long(left)} left" if left else ""]
    return ", ".join(filter(None, words))


def _news(node: Node, now: float) -> Text:
    """Return what keeps a bar from moving, or when it last did."""
    return Text(_news_words(node, now), "yellow" if node.trouble else "dim")


def _news_words(node: Node, now: float) -> str:
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
