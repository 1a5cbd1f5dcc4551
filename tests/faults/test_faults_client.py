"""A client's watch while everything between it and the changes is taken away, again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faces import FACES
from moments import wait_until
from processes import ServerProcess
from relay import Relay
from reporting import PENDING, STAGED, SUCCEEDED, Writer, granules, names

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError, Kind, Update

GRANULES = names(10_000)
REPORT = 50
CHANGES = 2 * len(GRANULES)


def reports() -> Iterator[list[pb.Granule]]:
    """Yield reports that change every granule twice."""
    for start in range(0, len(GRANULES), REPORT):
        for state in (STAGED, SUCCEEDED):
            yield granules(state, *GRANULES[start : start + REPORT])


class Watching:
    """Watches in a thread, and holds everything that comes. Use it as a context manager."""

    def __init__(self, client: Any) -> None:
        self.updates: list[Update] = []
        self.breaks: list[JobStatusRpcError] = []
        self.failure: Exception | None = None
        self._updates = client.watch("j", heartbeat_interval=1, on_break=self.breaks.append)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(60)

    @property
    def revision(self) -> int:
        return self.updates[-1].revision if self.updates else 0

    def wait_for_more(self) -> None:
        """Return once there is something new."""
        seen = self.revision
        wait_until(lambda: self.revision > seen or self.failure is not None, "changes are coming")

    def _run(self) -> None:
        try:
            for update in self._updates:
                self.updates.append(update)
        except Exception as error:
            self.failure = error


class Faults:
    """Takes the server away, each time in another way, and brings it back."""

    def __init__(self, server: ServerProcess, relay: Relay, watching: Watching) -> None:
        self.server, self.relay, self.watching = server, relay, watching

    def kill(self) -> None:
        self.server.kill()
        self.server.start()

    def drain(self) -> None:
        assert self.server.terminate() == 0
        self.server.start()

    def cut(self) -> None:
        self.relay.cut()

    def stall(self) -> None:
        """Fall silent, until the client has noticed by itself."""
        noticed = len(self.watching.breaks)
        self.relay.stall()
        wait_until(lambda: len(self.watching.breaks) > noticed, "the client leaves a silent server")
        assert "nothing has come from the server" in self.watching.breaks[-1].message
        self.relay.resume()

    @property
    def all(self) -> list[Callable[[], None]]:
        return [self.kill, self.drain, self.cut, self.stall]


@pytest.mark.parametrize(("face", "rounds"), [("blocking", 5), ("aio", 1)])
def test_each_change_comes_once_and_in_order_however_often_the_server_is_taken_away(
    tmp_path: Path, face: str, rounds: int
) -> None:
    with (
        ServerProcess(f"sqlite:///{tmp_path}/jobstatus.db", drain_spread="0.1") as server,
        JobStatusClient(server.address) as reporter,
        Relay(server.address) as relay,
        FACES[face](relay.address) as client,
    ):
        reporter.report_job(pb.Job(job_id="j", granules_complete=True), granules(PENDING, *GRANULES))
        first = len(GRANULES) + 1
        with Watching(client) as watching:
            wait_until(lambda: watching.revision == first, "the snapshot is there")
            faults = Faults(server, relay, watching).all * rounds
            held = threading.Semaphore(0)

            def paced() -> Iterator[list[pb.Granule]]:
                """Yield the reports, a share of them for each fault, so that it comes in their midst."""
                share = CHANGES // REPORT // (len(faults) + 1) + 1
                for number, report in enumerate(reports()):
                    if number % share == 0 and number:
                        assert held.acquire(timeout=60)
                    yield report

            with Writer(server.address, "j", paced()) as writer:
                for fault in faults:
                    watching.wait_for_more()
                    connected = relay.connected
                    fault()
                    came_back = partial(lambda before: relay.connected > before, connected)
                    wait_until(came_back, f"the client comes back after: {fault.__name__}")
                    held.release()
                writer.join()
    assert watching.failure is None
    assert all(not update.reset for update in watching.updates)
    revisions = [change.revision for update in watching.updates for change in update.changes]
    assert revisions == list(range(first + 1, first + 1 + len(revisions)))
    # Besides the granules the job itself has begun and ended.
    assert len(revisions) == CHANGES + 2
    assert watching.updates[-1].kind is Kind.COMPLETED
    assert watching.updates[-1].totals.succeeded_count == len(GRANULES)
