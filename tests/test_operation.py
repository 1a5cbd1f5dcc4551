"""What a server tells of itself: lines of calls, metrics over all workers, probes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from credentials import Issuer
from moments import wait_until
from postgres import PostgresServer
from processes import ServerProcess, environment, run_command
from prometheus_client.parser import text_string_to_metric_families

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError
from jobstatus_grpc.metrics import DIRECTORY_VARIABLE, SharedMetrics


class Told(ServerProcess):
    """A server whose log is in a file, and that has an admin port."""

    def __init__(self, database_url: str, home: Path, *arguments: str, **settings: str) -> None:
        settings = {"admin_listen": "0", "log_format": "json"} | settings
        super().__init__(database_url, *arguments, **settings)
        self.file = home / "log"
        self.log = self.file.open("w")

    def __exit__(self, *told: object) -> None:
        super().__exit__(*told)
        assert self.log is not None
        self.log.close()

    def lines(self) -> list[dict[str, Any]]:
        """Return what its log says."""
        return [json.loads(line) for line in self.file.read_text().splitlines() if line.startswith("{")]

    def calls(self, method: str = "") -> list[dict[str, Any]]:
        """Return the lines of its calls, or of those of one method."""
        return [
            line
            for line in self.lines()
            if line["event"] == "call" and line["method"].endswith(f"/{method}" if method else "")
        ]

    def ask(self, path: str) -> tuple[int, str]:
        """Return what the admin port answers."""
        (address,) = {
            found[1]
            for line in self.lines()
            if (found := re.fullmatch("metrics and probes at (.*)", line["event"]))
        }
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def value(self, name: str, **labels: str) -> float:
        """Return a metric, of all that have these labels together."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.ask("/metrics")[1])
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture(params=["1", "2"])
def server(request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path) -> Iterator[Told]:
    with Told(sqlite_url, tmp_path, workers=request.param) as started:
        yield started


def test_metrics_count_what_all_workers_do(server: Told) -> None:
    def calls(method: str, code: str) -> float:
        return server.value("jobstatus_rpc_total", method=f"/jobstatus.v1.{method}", code=code)

    for _ in range(6):
        with JobStatusClient(server.address) as client:
            client.report_job(pb.Job(job_id="j"), [pb.Granule(granule_id="a")])
            client.get("j")
            with suppress(JobStatusRpcError):
                client.get("k")
    with grpc.insecure_channel(server.address) as channel, suppress(grpc.RpcError):
        channel.unary_unary("/made.Up/Method", None, None)(b"")  # type: ignore[arg-type]
    with JobStatusClient(server.address) as client:
        watch = iter(client.watch("j"))
        next(watch)
        wait_until(lambda: server.value("jobstatus_watches") == 1, "the watch is counted")
        client.report_granules("j", [pb.Granule(granule_id="a", state=pb.GRANULE_STATE_SUCCEEDED)])
        next(watch)
        wait_until(lambda: server.value("jobstatus_changes_sent_total") >= 1, "the change is counted")
        assert server.value("jobstatus_frames_sent_total") >= 2
        assert server.value("jobstatus_commit_to_watcher_seconds_count") >= 1
    wait_until(lambda: server.value("jobstatus_watches") == 0, "the watch has ended")
    assert calls("JobReportService/ReportJob", "OK") == 6
    assert calls("JobStatusService/GetJobStatus", "OK") == 6
    assert calls("JobStatusService/GetJobStatus", "NOT_FOUND") == 6
    assert calls("JobStatusService/WatchJob", "CANCELLED") == 1
    assert server.value("jobstatus_rpc_total", method="unknown") == 1
    assert "made.Up" not in server.ask("/metrics")[1]
    assert server.value("jobstatus_rpc_seconds_count", method="/jobstatus.v1.JobReportService/ReportJob") == 6
    assert server.value("jobstatus_cache_lookups_total") == 12
    assert server.value("jobstatus_news_processes") == server.value("jobstatus_ready")


def test_what_a_dead_worker_counted_stays_and_how_it_stood_does_not(sqlite_url: str, tmp_path: Path) -> None:
    with Told(sqlite_url, tmp_path, workers="2") as server:
        wait_until(lambda: server.value("jobstatus_ready") == 2, "both are ready")
        with JobStatusClient(server.address) as client:
            client.report_job(pb.Job(job_id="j"))
        assert server.value("jobstatus_rpc_total", code="OK") >= 1
        for child in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        wait_until(lambda: server.value("jobstatus_ready") == 0, "they are gone")
        assert server.ask("/readyz")[0] == 503
        assert server.ask("/healthz")[0] == 200
        wait_until(lambda: server.ask("/readyz")[0] == 200, "others have taken their place")
        assert server.value("jobstatus_rpc_total", code="OK") >= 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_probes_tell_an_outage_of_the_database_from_a_dead_process(
    postgres_url: str, postgres_server: PostgresServer, tmp_path: Path, workers: str
) -> None:
    with Told(postgres_url, tmp_path, workers=workers) as server:
        wait_until(lambda: server.ask("/readyz")[0] == 200, "it is ready")
        postgres_server.stop()
        wait_until(lambda: server.ask("/readyz")[0] == 503, "the outage is told")
        assert server.ask("/healthz") == (200, "ok\n")
        postgres_server.start()
        wait_until(lambda: server.ask("/readyz")[0] == 200, "the database is back")
        assert server.ask("/elsewhere")[0] == 404


def test_every_call_has_a_line_that_tells_who_and_how_and_no_secret(sqlite_url: str, tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    token = issuer.token("default", sub="some\nbody\u2028")
    with Told(sqlite_url, tmp_path, **issuer.settings) as server:
        with grpc.insecure_channel(server.address) as channel:
            stub = pb.JobStatusServiceStub(channel)
            good = [("authorization", f"Bearer {token}"), ("x-request-id", "mine-1")]
            with suppress(grpc.RpcError):
                stub.GetJobStatus(pb.GetJobStatusRequest(job_id="a\nb"), metadata=good)
            with suppress(grpc.RpcError):
                stub.GetJobStatus(pb.GetJobStatusRequest(job_id="j"), metadata=good)
            with suppress(grpc.RpcError):
                stub.GetJobStatus(pb.GetJobStatusRequest(job_id="j"))
            stub.ListJobs(pb.ListJobsRequest(), metadata=good)
        wait_until(lambda: len(server.calls()) >= 4, "the lines are there")
        told = [
            (line["code"], line["principal"], line["method"].rpartition("/")[2]) for line in server.calls()
        ]
        assert told == [
            ("INVALID_ARGUMENT", "some\nbody\u2028", "GetJobStatus"),
            ("NOT_FOUND", "some\nbody\u2028", "GetJobStatus"),
            ("UNAUTHENTICATED", "", "GetJobStatus"),
            ("OK", "some\nbody\u2028", "ListJobs"),
        ]
        assert [line["request_id"] == "mine-1" for line in server.calls()] == [True, True, False, True]
        assert all(0 < line["seconds"] < 30 for line in server.calls())
        assert token.rpartition(".")[2] not in server.file.read_text()
        for path in ("/metrics", "/healthz"):
            assert "some" not in server.ask(path)[1]


@pytest.mark.parametrize(
    ("which", "level", "expected"),
    [
        ("failed", "info", ["NOT_FOUND"]),
        ("none", "info", []),
        ("all", "warning", []),
        ("auto", "info", ["OK", "NOT_FOUND"]),
    ],
)
def test_an_operator_says_which_calls_have_lines(
    sqlite_url: str, tmp_path: Path, which: str, level: str, expected: list[str]
) -> None:
    with Told(sqlite_url, tmp_path, log_calls=which, log_level=level, admin_listen="") as server:
        with JobStatusClient(server.address) as client:
            list(client.list())
            with suppress(JobStatusRpcError):
                client.get("k")
        server.terminate()
        assert [line["code"] for line in server.calls()] == expected


def test_a_taken_admin_port_is_an_error_on_one_line(sqlite_url: str, tmp_path: Path) -> None:
    with Told(sqlite_url, tmp_path) as server:
        address = next(
            line["event"].rpartition(" ")[2] for line in server.lines() if "probes at" in line["event"]
        )
        for workers in ("1", "2"):
            url = f"sqlite:///{tmp_path}/other.db"
            arguments = ("--listen", "127.0.0.1:0", "--database-url", url, "--log-level", "error")
            done = run_command(
                "serve", *arguments, "--workers", workers, env={"JOBSTATUS_ADMIN_LISTEN": address}
            )
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith(f"error: cannot listen on {address}")


def test_workers_that_die_again_and_again_leave_a_bounded_number_of_files(tmp_path: Path) -> None:
    program = (
        "from jobstatus_grpc.metrics import Metrics\nimport os, sys\n"
        "Metrics().call('/a', 'OK', 0.1)\nprint(os.getpid())\n"
    )
    shared = SharedMetrics(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment() | {DIRECTORY_VARIABLE: str(tmp_path)},
    )
    pid = int(done.stdout)
    assert b'jobstatus_rpc_total{code="OK",method="/a"} 1.0' in shared.text()
    shared.forget(pid)
    for other in range(10**9, 10**9 + 99):
        shared.forget(other)
    assert b'jobstatus_rpc_total{code="OK",method="/a"} 1.0' in shared.text()
    shared.forget(10**9 + 99)
    assert list(tmp_path.glob("*.db")) == []
