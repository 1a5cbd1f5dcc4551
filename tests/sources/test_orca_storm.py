"""Jobs of a busy ORCA database brought in by processes that are killed, stopped and woken on the way."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from bringing import SourceCommand
from moments import wait_until
from orca import ERROR, SUCCESS, OrcaDatabase, OrcaLife, orca_granules
from postgres import PostgresServer
from processes import ServerProcess, run_command
from stored import first_position, history, opened

from jobstatus_grpc.client import JobStatusClient
from jobstatus_grpc.model import Granule, GranuleState, JobKey
from jobstatus_grpc.sources.orca_database import OrcaDatabase as OrcaReader
from jobstatus_grpc.sources.orca_following import OrcaFollowing, Pace
from jobstatus_grpc.store.base import StoredJob

_FINAL = {ERROR: GranuleState.FAILED, SUCCESS: GranuleState.SUCCEEDED}


@pytest.fixture
def orca(postgres_server: PostgresServer) -> Iterator[OrcaDatabase]:
    database = OrcaDatabase(postgres_server)
    yield database
    postgres_server.start()
    database.close()


def compared(database_url: str, orca: OrcaDatabase) -> None:
    """Hold what was brought in to ORCA's own tables."""
    done = run_command(
        *("source", "orca", "--database-url", database_url, "--orca-url", orca.url),
        *("--project-id", "daac", "--compare"),
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-2000:]


class Watchers:
    """A watch of each job, in a thread of its own, going on when the job is opened again.

    Attributes:
        held: what each has been told: the states and attempts of granules, by job.
    """

    def __init__(self, address: str, job_ids: Sequence[str]) -> None:
        self.held: dict[str, dict[tuple[str, str], tuple[int, int]]] = {job_id: {} for job_id in job_ids}
        self.failed: list[Exception] = []
        self._client = JobStatusClient(address, project_id="daac")
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(job_id,)) for job_id in job_ids]
        for thread in self._threads:
            thread.start()

    def _run(self, job_id: str) -> None:
        token = b""
        try:
            while not self._ended.wait(0.1):
                token = self._watch(job_id, token)
        except Exception as error:
            self.failed.append(error)

    def _watch(self, job_id: str, token: bytes) -> bytes:
        held = self.held[job_id]
        for update in self._client.watch(job_id, token, wait_for_job=not token):
            token = update.resume_token or token
            if update.begins:
                held.clear()
            changed = [each.granule.granule for each in update.changes if each.HasField("granule")]
            for granule in (*update.granules, *changed):
                key = granule.collection_id, granule.granule_id
                assert granule.attempt >= held.get(key, (0, 0))[1]
                held[key] = granule.state, granule.attempt
        return token

    def close(self) -> None:
        """End the watches, which all have to be of complete jobs."""
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=30)
        self._client.close()
        assert self.failed == []


def test_a_busy_database_is_brought_in_whole_through_kills_and_stops(
    postgres_url: str, orca: OrcaDatabase, request: pytest.FixtureRequest
) -> None:
    full = request.config.getoption("--full")
    jobs, granules, writers, kills = (20, 500, 8, 10) if full else (6, 60, 4, 2)
    names = [f"job-{number}" for number in range(jobs)]
    everything = [one for name in names for one in orca_granules(name, granules, 3)]
    everything += [one for name in names for one in orca_granules(name, 1, 0, "without files")]
    draw = random.Random(7)
    draw.shuffle(everything)
    lives = [OrcaLife(orca, everything[number::writers], number) for number in range(writers)]
    with ServerProcess(postgres_url) as server, ThreadPoolExecutor(writers) as threads:
        watchers = Watchers(server.address, names)
        source = SourceCommand(postgres_url, orca)
        living = [threads.submit(life.run, 1.0) for life in lives]
        for _ in range(kills):
            threading.Event().wait(draw.uniform(0.5, 2.0))
            source.kill()
            source.process = source.start()
        source.kill(signal.SIGSTOP)
        other = SourceCommand(postgres_url, orca)
        before = sum(each.job.revision for each in stored_jobs(postgres_url, names))
        wait_until(
            lambda: (
                sum(each.job.revision for each in stored_jobs(postgres_url, names)) > before
                or all(each.done() for each in living)
            ),
            "another has taken over",
            12,
        )
        source.process.send_signal(signal.SIGCONT)
        for each in living:
            each.result(timeout=300)
        compared(postgres_url, orca)
        truth = orca.granules()
        ends = {key: _FINAL[status_id] for key, (status_id, _) in truth.items()}
        assert len(ends) == len(everything)
        for name in names:
            expected = {key[1:]: state for key, state in ends.items() if key[0] == name}
            wait_until(lambda: told(watchers, name) == expected, "every final state was streamed")  # noqa: B023
        wait_until(
            lambda: all(each.job.state.terminal for each in stored_jobs(postgres_url, names)),
            "all jobs are complete",
            60,
        )
        check_history(postgres_url, names, ends)
        source.kill(signal.SIGTERM)
        other.kill(signal.SIGTERM)
        assert (source.process.returncode, other.process.returncode) == (0, 0)
        watchers.close()
    positions = [each.position for each in stored_jobs(postgres_url, names)]
    read_again(postgres_url, orca)
    assert [each.position for each in stored_jobs(postgres_url, names)] == positions


def read_again(url: str, orca: OrcaDatabase) -> None:
    """Bring in everything anew, as if nobody had."""
    database = OrcaReader(orca.url)
    with opened(url) as store, ThreadPoolExecutor(4) as executor:
        lease = store.take_lease("read again", 600)
        assert lease is not None
        pace = Pace("daac", 0.0, 0.0)
        following = OrcaFollowing(store, database, database.identify(), lease, pace, executor)
        following.begin()
        while following.filling:
            following.fill()
        following.turn(time.monotonic())
    database.close()


def told(watchers: Watchers, name: str) -> dict[tuple[str, str], int]:
    return {key: state for key, (state, _) in list(watchers.held[name].items())}


def stored_jobs(url: str, names: Sequence[str]) -> Sequence[StoredJob]:
    with opened(url) as store:
        return list(store.read_jobs([JobKey("daac", name) for name in names]).values())


def check_history(url: str, names: Sequence[str], ends: Mapping[tuple[str, str, str], GranuleState]) -> None:
    """Hold the history to it: each granule's attempts in order, and the end ORCA's."""
    with opened(url) as store:
        for name in names:
            stored = store.read_job(JobKey("daac", name))
            last: dict[tuple[str, str], Granule] = {}
            for change in history(store, stored.job_pk, first_position(url, stored.job_pk)):
                item = change.item
                if not isinstance(item, Granule):
                    continue
                before = last.get(item.key)
                assert before is None or before.attempt <= item.attempt
                # Those without files are in error at once, and never change.
                assert before is None or item.collection_id != "without files"
                last[item.key] = item
            found = {(name, *key): granule.state for key, granule in last.items()}
            assert found == {key: state for key, state in ends.items() if key[0] == name}
