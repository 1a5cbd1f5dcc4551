"""Requests that nobody should send are answered with documented codes, and the server goes on."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import grpc
from frames import requests, send
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import ServerProcess, resident_megabytes
from rpcs import RPCS

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

NUMBER = 1000


def test_a_thousand_bad_requests_have_documented_answers(database_url: str, tmp_path: Path) -> None:
    server = ServerProcess(database_url, log_level="error", log_format="json", max_watches="64")
    with (tmp_path / "log").open("w") as server.log, server:
        with JobStatusClient(server.address) as client:
            client.report_job(pb.Job(job_id="j"), [pb.Granule(granule_id="g")])
        before = resident_megabytes(server.pid)
        codes = send(server.address, list(islice(requests(1), NUMBER)))
        assert sum(codes.values()) == NUMBER
        assert codes[grpc.StatusCode.OK] > 20
        assert codes[grpc.StatusCode.INVALID_ARGUMENT] > 300
        assert resident_megabytes(server.pid) < before + 200
        with JobStatusClient(server.address) as client:
            assert client.report_job(pb.Job(job_id="still here")).revision == 1
    said = (tmp_path / "log").read_text().splitlines()
    assert [
        line for line in said if not line.startswith("E") and json.loads(line)["level"] != "warning"
    ] == []


def test_any_bytes_have_documented_answers(sqlite_url: str) -> None:
    codes: Counter[grpc.StatusCode] = Counter()
    with ServerProcess(sqlite_url, log_level="error") as server:

        @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(st.tuples(st.sampled_from(RPCS), st.binary(max_size=300)), min_size=1, max_size=20))
        def check(calls: list[tuple[object, bytes]]) -> None:
            codes.update(send(server.address, calls))  # type: ignore[arg-type]

        check()
    assert codes
