"""The command that watches: any number of jobs, until they end or enough has been seen."""

from __future__ import annotations

import asyncio
import math
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any, Final, NamedTuple

from rich.console import Console

from jobstatus import v1 as pb
from jobstatus_grpc.cli.connection import CONNECT_TIMEOUT, hinted, secrets
from jobstatus_grpc.cli.failures import INTERRUPTED, JOB_FAILED, TERMINATED, TIMED_OUT, Refused
from jobstatus_grpc.cli.live import LiveView
from jobstatus_grpc.cli.nodes import Node
from jobstatus_grpc.cli.terminal import clean
from jobstatus_grpc.cli.tokens import token_of, token_words
from jobstatus_grpc.cli.views import JsonView, LinesView, View
from jobstatus_grpc.client import AsyncJobStatusClient, BrokenPromise, JobStatusRpcError

_FRAMES_A_SECOND: Final = 8
# With a live view: enough for a bar that moves, and to know soon how long the reporter has been silent.
_LIVE_INTERVAL: Final = 0.25
_LIVE_HEARTBEAT: Final = 5.0
_ASKING_INTERVAL: Final = 2.0


class Asked(NamedTuple):
    """What is to be watched, and how.

    Attributes:
        server: the addresses.
        project_id: the jobs' project.
        job_ids: the jobs.
        resume_tokens: where to go on with each of them, in base64; or none.
        until: what ends the watch of a job: `terminal`, `any_failure`, or a share of its granules.
        timeout: after how many seconds to leave; `None` for never.
        wait_for_job: whether to wait for jobs that are not there yet.
        snapshot_only: whether to end with the snapshot.
    """

    server: str
    project_id: str
    job_ids: Sequence[str]
    resume_tokens: Sequence[str] = ()
    until: str | float = "terminal"
    timeout: float | None = None
    wait_for_job: bool = False
    snapshot_only: bool = False


def watch_jobs(asked: Asked, as_json: bool) -> int:
    """Show watches until their end; return how the jobs stand then."""
    root = _root(asked)
    view = _view(root, as_json)
    over = False
    try:
        with _shown(view):
            over = asyncio.run(_watch_all(asked, root, view))
    except (KeyboardInterrupt, asyncio.CancelledError) as interrupted:
        _say_how_to_go_on(asked, root)
        return INTERRUPTED if isinstance(interrupted, KeyboardInterrupt) else TERMINATED
    return _status(asked, root, over)


def _status(asked: Asked, root: Node, over: bool) -> int:
    """Return the exit status for how the watches have ended.

    Raises:
        JobStatusRpcError: one of them has failed.
        BrokenPromise: so has one of them.
    """
    nodes = root.children.values()
    with hinted(asked.server):
        for node in nodes:
            if node.failure is not None:
                raise node.failure
    if over:
        _say_how_to_go_on(asked, root)
        return TIMED_OUT
    failed = any(_has_failed(node, asked.until) for node in nodes)
    return JOB_FAILED if failed and not asked.snapshot_only else 0


def _root(asked: Asked) -> Node:
    """Return the root above the jobs."""
    tokens = asked.resume_tokens or [""] * len(asked.job_ids)
    if len(tokens) != len(asked.job_ids):
        raise Refused(
            f"there are {len(asked.job_ids)} jobs and {len(tokens)} resume tokens: each job needs one"
        )
    root = Node()
    for job_id, token in zip(asked.job_ids, tokens, strict=True):
        if job_id in root.children:
            raise Refused(f"job {clean(job_id)} is there twice")
        root.children[job_id] = Node(job_id, token_of(token, "--resume-token"))
    return root


def _view(root: Node, as_json: bool) -> View:
    if as_json:
        return JsonView(root)
    on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    if not on_terminal:
        return LinesView(root)
    return LiveView(root, Console(highlight=False, markup=False, emoji=False))


@contextmanager
def _shown(view: View) -> Iterator[None]:
    view.start()
    try:
        yield
    finally:
        view.stop()


async def _watch_all(asked: Asked, root: Node, view: View) -> bool:
    """Watch all jobs until each has reached its end; return whether the time was over before."""
    async with AsyncJobStatusClient(
        asked.server, asked.project_id, connect_timeout=CONNECT_TIMEOUT, **secrets()
    ) as client:
        watches = [asyncio.create_task(_follow(client, node, view, asked)) for node in root.children.values()]
        try:
            return await _show_until_ended(set(watches), view, asked.timeout)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)


async def _show_until_ended(watches: set[asyncio.Task[None]], view: View, seconds: float | None) -> bool:
    """Show what watches bring; return whether the time was over before they were."""
    loop, current = asyncio.get_running_loop(), asyncio.current_task()
    with suppress(NotImplementedError):  # Not on Windows. Elsewhere the terminal is left as it was found.
        loop.add_signal_handler(signal.SIGTERM, lambda: current and current.cancel())
    end = math.inf if seconds is None else loop.time() + seconds
    while watches and loop.time() < end:
        rest = min(1 / _FRAMES_A_SECOND, end - loop.time())
        ended, watches = await asyncio.wait(watches, timeout=rest, return_when=asyncio.FIRST_COMPLETED)
        for watch in ended:
            watch.result()  # What is raised here is no error of the service's.
        view.refresh()
    return bool(watches)


async def _follow(client: AsyncJobStatusClient, node: Node, view: View, asked: Asked) -> None:
    """Watch one job. What ends it early is left in its node: it is no reason to end the others."""

    def broken(error: JobStatusRpcError) -> None:
        view.broken(node, error)
        node.broken(error)

    live = view.delivery == pb.DELIVERY_LATEST
    try:
        if node.token and live:
            node.know((await client.get(node.job_id, view=pb.JOB_VIEW_BASIC)).job)
        updates = client.watch(
            node.job_id,
            node.token,
            heartbeats=view.heartbeats,
            delivery=view.delivery,
            min_interval=_LIVE_INTERVAL if live else None,
            heartbeat_interval=_LIVE_HEARTBEAT if live else None,
            wait_for_job=asked.wait_for_job,
            snapshot_only=asked.snapshot_only,
            on_break=broken,
        )
        async with aclosing(updates), _alongside(_ask(client, node), live):
            async for update in updates:
                node.take(update)
                view.tell(node, update)
                if update.whole and _is_reached(node, asked.until):
                    return
    except (JobStatusRpcError, BrokenPromise) as error:
        node.failure = error


@asynccontextmanager
async def _alongside(work: Coroutine[Any, Any, None], wanted: bool) -> AsyncIterator[None]:
    """Have something done while the block lasts, if it is wanted."""
    task = asyncio.create_task(work)
    if not wanted:
        task.cancel()
    try:
        yield
    finally:
        task.cancel()


async def _ask(client: AsyncJobStatusClient, node: Node) -> None:
    """Ask now and then for what a watch tells only in silence: why granules have failed, and the pace."""
    while True:
        await asyncio.sleep(_ASKING_INTERVAL)
        if node.lacks_reasons or not node.progress.HasField("ended_per_second"):
            with suppress(JobStatusRpcError):
                answer = await client.get(node.job_id, view=pb.JOB_VIEW_BASIC)
                node.take_standing(answer.failures, answer.progress)


def _is_reached(node: Node, until: str | float) -> bool:
    """Return whether what ends the watch of a job holds; its own end comes by itself."""
    if until == "any_failure":
        return _has_failed(node, until)
    if isinstance(until, float) and node.job.granules_complete:
        return node.total > 0 and node.done >= until * node.total
    return False


def _has_failed(node: Node, until: str | float) -> bool:
    any_granule = until == "any_failure" and node.job.totals.failed_count > 0
    return node.job.state == pb.JOB_STATE_FAILED or any_granule


def _say_how_to_go_on(asked: Asked, root: Node) -> None:
    """Say with which command the watch goes on where it is."""
    open_nodes = [node for node in root.children.values() if not node.ended and node.failure is None]
    words = ["jobstatus", "watch", *(node.job_id for node in open_nodes)]
    if any(node.token for node in open_nodes):
        for node in open_nodes:
            words += ["--resume-token", token_words(node.token)]
    words += ["--server", asked.server] + (["--project-id", asked.project_id] if asked.project_id else [])
    if open_nodes:
        with suppress(OSError):  # The terminal may be gone.
            sys.stderr.write(f"to go on: {clean(shlex.join(words))}\n")
