"""The examples in the client's docstrings, run as they stand against a real server."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path

import pytest
from processes import PATIENCE, ServerProcess

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError, aio, blocking

WRITTEN = "127.0.0.1:50051"


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for module in (blocking, aio) for test in finder.find(module)]
    return [test for test in found if test.examples]


@pytest.mark.timeout(3 * PATIENCE)
def test_the_examples_do_what_they_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        ServerProcess(f"sqlite:///{tmp_path}/jobstatus.db") as server,
        JobStatusClient(server.address) as client,
    ):
        for test in examples():
            for example in test.examples:
                example.source = example.source.replace(WRITTEN, server.address)
            test.globs |= {"client": client, "pb": pb, "JobStatusRpcError": JobStatusRpcError}
            runner = doctest.DocTestRunner(verbose=False)
            runner.run(test, out=sys.stdout.write)
            assert runner.failures == 0, capsys.readouterr().out


def test_every_way_to_call_has_an_example() -> None:
    named = {test.name.rpartition(".")[2] for test in examples()}
    methods = {name for name, value in vars(JobStatusClient).items() if name[0] != "_" and callable(value)}
    # `report` sends what `report_job` and `report_granules` make, and `close` is the context manager's.
    assert methods - named == {"report", "close"}
    assert {"JobStatusClient", "AsyncJobStatusClient"} <= named
