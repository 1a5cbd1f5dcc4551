"""Metrics of several processes, read from their files while some of these begin or have died."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from processes import environment

from jobstatus_grpc.metrics import DIRECTORY_VARIABLE, SharedMetrics

PROGRAM = """
from jobstatus_grpc.metrics import Metrics, Standing
metrics = Metrics()
metrics.call("/a", "OK", 0.1)
metrics.publish(Standing(True, 0, 0, 0, True, {}, 0, 0, 0, 0))
"""


@pytest.fixture
def shared(tmp_path: Path) -> SharedMetrics:
    """Metrics of a directory in which one process has counted a call."""
    variables = environment() | {DIRECTORY_VARIABLE: str(tmp_path)}
    subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, env=variables)
    return SharedMetrics(tmp_path)


@pytest.mark.parametrize("asked", ["ready", "text"])
def test_a_file_half_made_is_read_again_until_it_is_whole(
    shared: SharedMetrics, tmp_path: Path, asked: str
) -> None:
    # A process that begins makes a file without a byte first. Who opens a pipe waits for what is written into
    # it, so the first reading gets just that, and the next one a file that is whole and without values.
    name, next_name = tmp_path / "counter_999999999.db", tmp_path / "next"
    os.mkfifo(name)
    os.mkfifo(next_name)

    def make() -> None:
        with name.open("wb"):
            next_name.rename(name)
        with name.open("wb") as file:
            file.write(struct.pack("ii", 8, 0))

    threading.Thread(target=make, daemon=True).start()
    found = getattr(shared, asked)()
    assert found is True or b'jobstatus_rpc_total{code="OK",method="/a"} 1.0' in found


def test_a_file_that_stays_half_made_is_an_error_and_no_figures(
    shared: SharedMetrics, tmp_path: Path
) -> None:
    (tmp_path / "counter_999999999.db").touch()
    with pytest.raises(struct.error):
        shared.text()
    with pytest.raises(struct.error):
        shared.ready()


def test_what_a_process_that_died_has_half_made_is_removed_with_it(
    shared: SharedMetrics, tmp_path: Path
) -> None:
    (tmp_path / "counter_999999999.db").touch()
    shared.forget(999999999)
    assert shared.ready()
    assert b'jobstatus_rpc_total{code="OK",method="/a"} 1.0' in shared.text()
