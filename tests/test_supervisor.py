"""Several processes on one port: that they share it, outlive each other, and end together."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import pytest
from family import children, connections, has_loaded, is_gone, listens
from folded import counts_of
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hosts import needs_ipv6
from moments import wait_until
from postgres import PostgresServer
from processes import COMMAND, PATIENCE, ServerProcess, environment, first_line, run_command
from reporting import PENDING, STAGED, Writer, endless, granules, names, read_table
from stored import run
from streaming import ALONE
from watching import SECOND, Watcher

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError
from jobstatus_grpc.supervisor import BackOff

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# To which worker a connection goes is chance. That all of so many go to one of two is none to reckon with.
MANY = 20
# What a server may take beyond its time for draining.
CLEARING = 5
# Runs a command as a shell in a terminal would: as the first of a group of its own.
IMPATIENT = """
from functools import partial
from jobstatus_grpc import cli, supervisor
supervisor.Supervisor = partial(supervisor.Supervisor, patience=4)
cli.main()
"""
IN_A_GROUP = (sys.executable, "-c", "import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])")


class Workers(ServerProcess):
    """A server of several processes."""

    def __init__(self, database_url: str, *arguments: str, workers: int = 2, **settings: str) -> None:
        super().__init__(database_url, *arguments, workers=str(workers), **settings)
        self._number = workers

    @property
    def pid(self) -> int:
        """The supervisor."""
        assert self.process is not None
        return self.process.pid

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def workers(self) -> list[int]:
        """Return the workers' processes."""
        return children(self.pid)

    def connections(self) -> list[int]:
        """Return how many connections each of the workers has taken."""
        return [taken(worker, self.port) for worker in self.workers()]

    def busiest(self) -> int:
        """Return the worker that has the most connections."""
        return max(self.workers(), key=lambda worker: taken(worker, self.port))

    def is_whole(self, *, without: int = 0) -> bool:
        """Return whether all workers take connections, and one of before is none of them."""
        with channels(self.address, 2 * self._number) as made:
            for each in made:
                check(each, "liveness")
            found = self.workers()
            return len(found) == self._number and without not in found and all(self.connections())


class InAGroup(Workers):
    """A server of several processes in a group of their own."""

    command = (*IN_A_GROUP, COMMAND)


class Impatient(Workers):
    """A server of several processes that are taken for dead after some seconds without a sign of life."""

    command = (sys.executable, "-c", IMPATIENT)


def taken(worker: int, port: int) -> int:
    """Return how many connections of clients a worker has."""
    return sum(connection.port == port for connection in connections(worker))


@contextmanager
def channels(address: str, number: int = MANY) -> Iterator[list[grpc.Channel]]:
    """Make so many connections."""
    with ExitStack() as stack:
        yield [stack.enter_context(grpc.insecure_channel(address, options=ALONE)) for _ in range(number)]


def check(channel: grpc.Channel, service: str = "") -> int:
    """Return whether a service is serving, as a connection's worker tells it."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)
    return int(stub.Check(request, timeout=PATIENCE, wait_for_ready=True).status)


def report_job(channel: grpc.Channel, job_id: str = "j") -> None:
    """Report a job, once the connection's worker is ready."""
    wait_until(lambda: check(channel) == SERVING, "the worker is ready")
    request = pb.ReportJobRequest(job=pb.Job(job_id=job_id))
    pb.JobReportServiceStub(channel).ReportJob(request, timeout=PATIENCE)


def watch(channel: grpc.Channel, job_id: str = "j") -> Any:
    """Return a stream that has brought its first frame."""
    request = pb.WatchJobRequest(job_id=job_id, **SECOND)
    call = pb.JobStatusServiceStub(channel).WatchJob(request, timeout=PATIENCE)
    next(call)
    return call


def kinds(call: Any) -> Iterator[str]:
    """Yield what frames a stream brings."""
    return (frame.WhichOneof("frame") for frame in call)


def changed(call: Any) -> Any:
    """Return the next frame that brings changes."""
    return next(frame for frame in call if frame.HasField("changes"))


def assert_sent_away(call: Any) -> None:
    """Read a stream to its end, which is that the watch goes on elsewhere."""
    assert next(kind for kind in kinds(call) if kind != "heartbeat") == "reconnect"
    with pytest.raises(grpc.RpcError):
        next(call)
    assert JobStatusRpcError.of(call).reason == "SERVER_DRAINING"


def not_logged(text: str) -> list[str]:
    """Return what was said on standard error beside the log."""
    return [line for line in text.splitlines() if not line.startswith("{")]


@contextmanager
def started(*arguments: str, command: Sequence[str] = (COMMAND,)) -> Iterator[subprocess.Popen[str]]:
    """Start a server of two workers, and do not wait."""
    words = [*command, "serve", "--listen", "127.0.0.1:0", "--workers", "2", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, encoding="utf-8", env=environment()) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """A server that the tests leave as it is."""
    with Workers(f"sqlite:///{tmp_path_factory.mktemp('database')}/jobstatus.db") as made:
        yield made


@pytest.fixture
def server(sqlite_url: str) -> Iterator[Workers]:
    with Workers(sqlite_url) as made:
        yield made


def test_the_workers_share_the_connections_and_the_supervisor_has_none_and_no_grpc(shared: Workers) -> None:
    with channels(shared.address) as made:
        assert {check(each, "liveness") for each in made} == {SERVING}
        assert sum(shared.connections()) == MANY
        assert all(shared.connections())
        assert connections(shared.pid) == []
    for library in ("cygrpc", "_upb", "psycopg2", "uvloop"):
        assert not has_loaded(shared.pid, library)
        assert has_loaded(shared.workers()[0], library)


def test_when_the_address_is_told_all_workers_listen_and_the_log_tells_them_apart(sqlite_url: str) -> None:
    with started("--database-url", sqlite_url) as process:
        address = first_line(process.stdout).removeprefix("listening on ")
        workers = children(process.pid)
        assert [listens(one, int(address.rpartition(":")[2])) for one in workers] == [True, True]
        process.terminate()
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "")
    lines = [json.loads(line) for line in err.splitlines()]
    assert {line["worker"] for line in lines if line["logger"] == "jobstatus_grpc.health"} == {1, 2}
    told = [line["event"] for line in lines if "worker" not in line]
    assert sorted(told) == [f"worker {number} is process {pid}" for number, pid in enumerate(workers, 1)]


@pytest.mark.session
def test_every_worker_is_told_what_any_of_them_takes(database_url: str) -> None:
    with (
        # Of polling they would hear too late.
        Workers(database_url, poll_interval="600") as server,
        channels(server.address) as made,
        JobStatusClient(server.address) as client,
    ):
        for each in made:
            check(each)
        client.report_job(pb.Job(job_id="j"), granules(PENDING, *names(MANY)))
        watches = [watch(each) for each in made]
        assert all(server.connections())
        for number, each in enumerate(made):
            request = pb.ReportGranulesRequest(job_id="j", granules=granules(STAGED, names(MANY)[number]))
            revision = pb.JobReportServiceStub(each).ReportGranules(request, timeout=PATIENCE).revision
            for call in watches:
                assert changed(call).revision == revision


def test_health_is_told_by_every_worker_as_by_one(postgres_url: str, postgres_server: PostgresServer) -> None:
    def told(service: str = "") -> set[int]:
        return {check(each, service) for each in made}

    with Workers(postgres_url, poll_interval="0.1") as server, channels(server.address) as made:
        wait_until(lambda: told() == {SERVING}, "all are ready")
        postgres_server.stop()
        wait_until(lambda: told() == {NOT_SERVING}, "all have noticed the outage")
        assert told("liveness") == {SERVING}
        assert all(server.connections())
        postgres_server.start()
        wait_until(lambda: told() == {SERVING}, "all are ready again")


def test_many_workers_start_on_one_empty_file(sqlite_url: str) -> None:
    with Workers(sqlite_url, workers=3) as server, channels(server.address) as made:
        wait_until(lambda: {check(each) for each in made} == {SERVING}, "all are ready")
        tokens = set()
        for each in made:
            report_job(each)
            request = pb.GetJobStatusRequest(job_id="j")
            tokens.add(pb.JobStatusServiceStub(each).GetJobStatus(request, timeout=PATIENCE).resume_token)
        assert all(server.connections())
    assert len(tokens) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_taken_port_is_an_error_on_one_line_whoever_has_it(
    sqlite_url: str, shared: Workers, workers: int
) -> None:
    arguments = ("--database-url", sqlite_url, "--workers", str(workers))
    done = run_command("serve", "--listen", shared.address, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    # The library that failed to bind has a line of its own, beginning with its level and the date.
    (line,) = [line for line in not_logged(done.stderr) if not re.match(r"E\d{4} ", line)]
    assert line.startswith(f"error: cannot listen on {shared.address}")
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = "127.0.0.1:{1}".format(*other.getsockname())
        done = run_command("serve", "--listen", address, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: cannot listen on {address}" in done.stderr


@needs_ipv6
@pytest.mark.parametrize("host", ["localhost", "[::]"])
def test_all_addresses_of_a_host_lead_to_all_workers(sqlite_url: str, host: str) -> None:
    server = Workers(sqlite_url, insecure="true")
    server.address = f"{host}:0"
    with server:
        assert server.address == f"{host}:{server.port}"
        for reached in ("[::1]", "127.0.0.1"):
            with channels(f"{reached}:{server.port}") as made:
                assert {check(each, "liveness") for each in made} == {SERVING}
                assert all(server.connections())


def test_the_demonstration_has_one_reporter_and_another_when_that_has_died(sqlite_url: str) -> None:
    def reporters() -> dict[int, int]:
        found = {
            worker: len([one for one in connections(worker) if one.peer == server.port])
            for worker in server.workers()
        }
        return {worker: number for worker, number in found.items() if number}

    def is_reported_beyond(revision: int) -> bool:
        try:
            return client.get("demo", view=pb.JOB_VIEW_BASIC).job.revision > revision
        except JobStatusRpcError:
            return False

    with Workers(sqlite_url, "--demo") as server, JobStatusClient(server.address) as client:
        assert server.process is not None
        assert first_line(server.process.stdout) == "try:"
        wait_until(lambda: is_reported_beyond(0), "the job is there")
        ((worker, number),) = reporters().items()
        assert number == 1
        before = client.get("demo", view=pb.JOB_VIEW_BASIC).job.revision
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: is_reported_beyond(before), "the job goes on")
        ((other, number),) = reporters().items()
        assert number == 1
        assert other != worker


def test_a_worker_killed_under_load_takes_nothing_with_it_and_another_takes_its_place(
    database_url: str,
) -> None:
    with Workers(database_url) as server:
        # A connection of its own, which is not to be the one that is taken for the busiest.
        with JobStatusClient(server.address) as client:
            client.report_job(pb.Job(job_id="j"))
        with (
            Watcher(server.address, "j") as watcher,
            Writer(server.address, "j", endless(names(40, "one-"), 1)) as one,
            Writer(server.address, "j", endless(names(40, "two-"), 4)) as two,
        ):
            watcher.wait_for_revision(watcher.folded.revision + 50)
            # In the midst of reports, and, until it has been so twice, of frames to the watcher.
            while len(watcher.breaks) < 2:
                worker = server.busiest()
                os.kill(worker, signal.SIGKILL)
                watcher.wait_for_revision(watcher.folded.revision + 50)
                wait_until(lambda: server.is_whole(without=worker), "there is another worker")  # noqa: B023
        with JobStatusClient(server.address) as client:
            job = client.get("j", view=pb.JOB_VIEW_BASIC).job
            with Watcher(server.address, "j", watcher.folded.token, watcher.folded) as watcher:
                watcher.wait_for_revision(job.revision)
            folded, table = watcher.folded, read_table(client, "j")
        assert (len(folded.snapshots), folded.resets) == (1, [])
        assert folded.revisions == list(range(folded.snapshots[0] + 1, job.revision + 1))
        assert folded.granules == table
        assert folded.counts == counts_of(job.totals)
        for writer in (one, two):
            assert not writer.refused
            for reported in writer.acknowledged:
                kept: Any = table["c", reported.granule_id]  # type: ignore[index]
                assert (kept.attempt, kept.state) >= (reported.attempt, reported.state)


def test_a_worker_that_is_told_to_stop_sends_its_watchers_to_the_others_and_is_replaced(
    server: Workers,
) -> None:
    with channels(server.address, 1) as made:
        report_job(made[0])
        call = watch(made[0])
        worker = server.busiest()
        os.kill(worker, signal.SIGTERM)
        assert_sent_away(call)
        watch(made[0])
    wait_until(lambda: server.is_whole(without=worker), "there is another worker")


@pytest.mark.parametrize(("number", "all_at_once"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_all_workers_drain_and_leave_when_the_server_is_told_to_stop_or_the_terminal_tells_all(
    sqlite_url: str, number: signal.Signals, all_at_once: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        InAGroup(sqlite_url, drain_seconds="10") as server,
        channels(server.address) as made,
        JobStatusClient(server.address) as client,
    ):
        client.report_job(pb.Job(job_id="j"))
        watches = [watch(each) for each in made]
        workers = server.workers()
        assert all(server.connections())
        begun = time.monotonic()
        tell = os.killpg if all_at_once else os.kill
        tell(server.pid, number)
        # Impatience changes nothing.
        tell(server.pid, number)
        for call in watches:
            assert_sent_away(call)
        assert server.process is not None
        assert server.process.wait(PATIENCE) == 0
        assert time.monotonic() - begun < 10
        assert len(workers) == 2
        assert all(map(is_gone, workers))
    assert not_logged(capfd.readouterr().err) == []


def test_workers_that_are_only_starting_leave_too(sqlite_url: str) -> None:
    with started("--database-url", sqlite_url, command=(*IN_A_GROUP, COMMAND)) as process:
        wait_until(lambda: len(children(process.pid)) == 2, "the workers start")
        workers = children(process.pid)
        # In the midst of it: what they do with a signal is still Python's own idea.
        wait_until(
            lambda: all(has_loaded(worker, "cygrpc") for worker in workers), "they load what they need"
        )
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, not_logged(err)) == (0, [])
        assert "starting it again" not in err
        assert all(map(is_gone, workers))


def test_a_worker_that_hangs_holds_up_no_stop(sqlite_url: str) -> None:
    drain = 0.1
    with Workers(sqlite_url, drain_seconds=str(drain)) as server:
        workers = server.workers()
        os.kill(workers[0], signal.SIGSTOP)
        begun = time.monotonic()
        assert server.terminate() == 0
        assert drain < time.monotonic() - begun < drain + CLEARING
        assert all(map(is_gone, workers))


def test_a_worker_that_hangs_is_killed_and_replaced(sqlite_url: str) -> None:
    with Impatient(sqlite_url) as server:
        worker, other = server.workers()
        os.kill(worker, signal.SIGSTOP)
        wait_until(lambda: is_gone(worker), "it is killed")
        wait_until(lambda: server.is_whole(without=worker), "there is another worker")
        assert other in server.workers()


def test_workers_whose_supervisor_is_killed_send_their_watchers_away_and_leave(
    server: Workers,
) -> None:
    with channels(server.address) as made:
        report_job(made[0])
        watches = [watch(each) for each in made]
        workers = server.workers()
        assert all(server.connections())
        # While it is stopped they go on, and what they send it is not read.
        os.kill(server.pid, signal.SIGSTOP)
        assert [next(kinds(watches[0])) for _ in range(3)] == ["heartbeat"] * 3
        begun = time.monotonic()
        os.kill(server.pid, signal.SIGKILL)
        for call in watches:
            assert_sent_away(call)
    wait_until(lambda: all(map(is_gone, workers)), "no worker is left")
    assert time.monotonic() - begun < 5
    server.kill()
    server.start()
    with channels(server.address) as made:
        watch(made[0])


def test_a_worker_that_dies_again_and_again_is_started_ever_more_rarely(
    sqlite_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with Workers(sqlite_url) as server:
        survivor, victim = server.workers()
        for _ in range(4):
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: bool(set(server.workers()) - {survivor, victim}), "it is started again")  # noqa: B023
            (victim,) = set(server.workers()) - {survivor}
        # The other has served all the while, and this one does at last.
        wait_until(server.is_whole, "both take connections")
        assert set(server.workers()) == {survivor, victim}
    said = capfd.readouterr().err
    delays = [float(found) for found in re.findall(r"\(Killed\); starting it again in ([\d.]+) s", said)]
    assert len(delays) == 4
    assert delays == sorted(delays)
    assert delays[0] <= 0.2 < delays[-1]


def test_the_time_until_the_next_start_doubles_up_to_a_limit_and_a_good_while_makes_up_for_it() -> None:
    back_off = BackOff()
    delays = [back_off.delay(lived=1) for _ in range(2000)]
    for number, delay in enumerate(delays):
        most = min(0.2 * 2 ** min(number, 20), 30)
        assert most / 2 <= delay <= most
    assert min(delays[10:]) < 18 < 27 < max(delays[10:])
    assert back_off.delay(lived=3600) <= 0.2
    assert 0.2 <= back_off.delay(lived=1) <= 0.4


def test_a_server_whose_address_nobody_reads_ends_and_leaves_no_worker(sqlite_url: str) -> None:
    with started("--database-url", sqlite_url) as process:
        assert process.stdout is not None
        process.stdout.close()
        wait_until(lambda: len(children(process.pid)) == 2, "the workers start")
        workers = children(process.pid)
        assert process.wait(PATIENCE) == 141
        wait_until(lambda: all(map(is_gone, workers)), "no worker is left")


def assert_refused(process: subprocess.Popen[str]) -> None:
    """Check that a server ends because of its database's schema."""
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    (line,) = not_logged(err)
    assert line.startswith("error: the database's schema is at 99_0")
    assert line.endswith("(SCHEMA_MISMATCH)")


def test_a_schema_that_does_not_fit_ends_all_with_the_error_of_one(database_url: str) -> None:
    run(database_url, "update alembic_version set version_num = '99_0'")
    with started("--database-url", database_url, "--log-level", "error") as process:
        assert_refused(process)


def test_a_schema_that_fits_no_more_when_a_worker_is_started_again_ends_the_others_well(
    postgres_url: str,
) -> None:
    with started("--database-url", postgres_url, "--log-level", "error") as process:
        address = first_line(process.stdout).removeprefix("listening on ")
        workers = children(process.pid)
        with channels(address, 1) as made:
            report_job(made[0])
            call = watch(made[0])
            (idle,) = (one for one in workers if not taken(one, int(address.rpartition(":")[2])))
            run(postgres_url, "update alembic_version set version_num = '99_0'")
            os.kill(idle, signal.SIGKILL)
            assert_sent_away(call)
        assert_refused(process)
        assert all(map(is_gone, workers))
