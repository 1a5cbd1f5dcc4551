"""The command that watches: frames for programs, lines for people, and on a terminal a bar that moves."""

from __future__ import annotations

import base64
import binascii
import os
import sys
import time
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing
from types import TracebackType
from typing import Final, NamedTuple, Self

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobstatus import v1 as pb
from jobstatus_grpc.cli.connection import connected
from jobstatus_grpc.cli.failures import JOB_FAILED, Refused
from jobstatus_grpc.cli.terminal import (
    clean,
    error_words,
    granule_name,
    granule_state,
    job_state,
    json_line,
    say,
    state_word,
    totals_words,
)
from jobstatus_grpc.client import JobStatusRpcError

# Beyond these a burst of changes is counted on a terminal, not shown: nobody reads a thousand lines a second.
_SHOWN_CHANGES: Final = 8
_SHOWN_FAILURES: Final = 20
# From here on it is worth telling that the server has lost sight of its database.
_NOTABLE_LAG: Final = 3.0

_STYLES: Final = {"SUCCEEDED": "green", "FAILED": "red", "STAGED": "cyan", "RUNNING": "cyan"}


class Line(NamedTuple):
    """A line of a watch, and the state it is about."""

    text: str
    state: str = ""


def watch_job(
    server: str, project_id: str, job_id: str, resume_token: str, snapshot_only: bool, as_json: bool
) -> int:
    """Show a watch until its end; return how the job ended."""
    token = _token(resume_token)
    ended = pb.JOB_STATE_UNSPECIFIED
    with connected(server, project_id) as client, _view(as_json) as view:
        frames = client.watch(job_id, token, snapshot_only=snapshot_only, on_break=view.broken)
        with closing(frames):
            for frame in frames:
                view.show(frame)
                ended = frame.completed.job.state
    return JOB_FAILED if ended == pb.JOB_STATE_FAILED else 0


def _token(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refused(f"the resume token is not base64: {error}") from error


def _view(as_json: bool) -> View:
    if as_json:
        return JsonView()
    on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return TerminalView() if on_terminal else LinesView()


class View(AbstractContextManager["View"]):
    """Shows the frames of a watch. A break is told once, until frames come again."""

    def __init__(self) -> None:
        self.trouble = ""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @abstractmethod
    def tell(self, frame: pb.WatchJobResponse) -> None:
        """Write what `frame` says."""

    def show(self, frame: pb.WatchJobResponse) -> None:
        """Write what `frame` says; the connection is well."""
        self.trouble = ""
        self.tell(frame)

    def broken(self, error: JobStatusRpcError) -> None:
        """Say that the connection is not well."""
        if not self.trouble:
            sys.stderr.write(f"warning: the watch broke off and is tried again: {clean(str(error))}\n")
        self.trouble = error.reason or error.code.name


class JsonView(View):
    """One frame a line, in protobuf's JSON."""

    def tell(self, frame: pb.WatchJobResponse) -> None:
        say(json_line(frame))


class LinesView(View):
    """One change a line."""

    def tell(self, frame: pb.WatchJobResponse) -> None:
        for line in _lines(frame):
            say(line.text)


class TerminalView(View):
    """The job's progress on the last line, the latest changes and every failure scrolling above it."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._state = ""
        self._totals = pb.GranuleTotals()
        self._lag = 0.0
        self._reported: float | None = None
        # Last: it asks for the status at once.
        self._live = Live(console=self._console, get_renderable=self._status, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def tell(self, frame: pb.WatchJobResponse) -> None:
        self._note(frame)
        lines = list(_few(_lines(frame)))
        if lines:
            text = Text("\n").join(Text(line.text, _STYLES.get(line.state, "")) for line in lines)
            self._console.print(text, soft_wrap=True)

    def _note(self, frame: pb.WatchJobResponse) -> None:
        if frame.HasField("totals"):
            self._totals = frame.totals
        for job in _jobs(frame):
            self._state = job_state(job)
        if frame.HasField("heartbeat"):
            self._lag = frame.heartbeat.lag.ToTimedelta().total_seconds()
            if frame.heartbeat.HasField("last_report_time"):
                self._reported = frame.heartbeat.last_report_time.seconds
        elif frame.HasField("changes"):
            self._lag, self._reported = 0.0, time.time()

    def _status(self) -> Table:
        totals = self._totals
        total = totals.pending_count + totals.staged_count + totals.succeeded_count
        total += totals.failed_count + totals.unspecified_count
        done = totals.succeeded_count + totals.failed_count
        style = "red" if totals.failed_count else "green"
        row = Table.grid(padding=(0, 1))
        for _ in range(5):
            row.add_column(no_wrap=True)
        row.add_row(
            Text(self._state or "connecting", _STYLES.get(self._state, "")),
            ProgressBar(
                total=max(total, 1), completed=done, width=20, complete_style="cyan", finished_style=style
            ),
            Text(f"{done}/{total}"),
            Text(totals_words(totals).partition(": ")[2]),
            Text(self._news(), "dim"),
        )
        return row

    def _news(self) -> str:
        """Return what keeps the bar from moving, if anything does."""
        if self.trouble:
            return f"({self.trouble}: trying again)"
        if self._lag >= _NOTABLE_LAG:
            return f"(the server has not read its database for {self._lag:.0f} s)"
        silence = 0.0 if self._reported is None else time.time() - self._reported
        return f"(last report {silence:.0f} s ago)" if silence >= _NOTABLE_LAG else ""


def _jobs(frame: pb.WatchJobResponse) -> Iterator[pb.Job]:
    """Yield the job as `frame` tells it, as often as it does."""
    if frame.snapshot.HasField("job"):
        yield frame.snapshot.job
    for change in frame.changes.changes:
        if change.HasField("job"):
            yield change.job
    if frame.HasField("completed"):
        yield frame.completed.job


def _lines(frame: pb.WatchJobResponse) -> Iterator[Line]:
    """Yield what `frame` tells a person."""
    kind = frame.WhichOneof("frame")
    if kind == "snapshot":
        for job in _jobs(frame):
            words = f"attempt {job.attempt}, revision {frame.revision}, {totals_words(frame.totals)}"
            yield Line(f"job {clean(job.job_id)} is {job_state(job)}: {words}", job_state(job))
        for granule in frame.snapshot.granules:
            if granule.state == pb.GRANULE_STATE_FAILED:
                yield Line(f"{_time(granule.update_time)}  {_granule_words(granule)}", "FAILED")
    elif kind == "changes":
        for change in frame.changes.changes:
            yield _change_line(change)
    elif kind == "reset":
        yield Line(f"what was told before no longer holds ({clean(frame.reset.reason)}): it begins anew")
    elif kind == "completed":
        job = frame.completed.job
        words = ", ".join(filter(None, (totals_words(frame.totals), error_words(job.error))))
        yield Line(f"job {clean(job.job_id)} has ended: {job_state(job)}, {words}", job_state(job))


def _change_line(change: pb.Change) -> Line:
    when = f"{_time(change.change_time)}  #{change.revision}"
    if change.HasField("job"):
        return Line(
            f"{when}  job is {job_state(change.job)}, attempt {change.job.attempt}", job_state(change.job)
        )
    granule = change.granule.granule
    moved = change.granule.HasField("previous_state") and change.granule.previous_state != granule.state
    before = f"{state_word(change.granule.previous_state)} -> " if moved else ""
    return Line(f"{when}  {_granule_words(granule, before)}", granule_state(granule))


def _granule_words(granule: pb.Granule, before: str = "") -> str:
    why = error_words(granule.error) or clean(granule.message)
    return f"{granule_name(granule)}  {before}{granule_state(granule)}" + (f"  {why}" if why else "")


def _time(moment: Timestamp) -> str:
    return f"{moment.ToDatetime():%H:%M:%S}Z"


def _few(lines: Iterable[Line]) -> Iterator[Line]:
    """Yield as many of `lines` as a person can follow: failures before others, of each the latest."""
    held = list(lines)
    failures = [index for index, line in enumerate(held) if line.state == "FAILED"]
    others = [index for index, line in enumerate(held) if line.state != "FAILED"]
    shown = sorted(failures[-_SHOWN_FAILURES:] + others[-_SHOWN_CHANGES:])
    if len(shown) < len(held):
        yield Line(f"({len(held) - len(shown)} more changes)")
    for index in shown:
        yield held[index]
