"""Several processes on one port: what a second one brings, and what has the machine's time.

Each caller asks for a job of its own, over a connection of its own, again as soon as it is answered. h2load
does that with the least of the processor that the servers need; where it is missing a process in Python does.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import NamedTuple

import grpc
from family import children
from workers import Handler, Worker, work

from bench.accounting import busy_seconds, cpu_seconds
from bench.stage import ROUNDS, BenchedServer, Stage
from bench.wire import WireConnection, WireStream
from jobstatus import v1 as pb

_METHOD = "/jobstatus.v1.JobStatusService/GetJobStatus"
_CALLERS = 32
_GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")
# What gRPC puts before a message.
_PREFIX_BYTES = 5


class Asked(NamedTuple):
    """What callers have got: how many answers, their bytes, and the processor time it took, in seconds."""

    calls: int
    size: int
    cpu: float


class Run(NamedTuple):
    """One measurement.

    Attributes:
        rate: answers a second.
        servers: of the machine's time, what each serving process had.
        driver: what the callers had.
        others: what all others had, the database's processes first.
    """

    rate: float
    servers: Sequence[float]
    driver: float
    others: float


def measure(stage: Stage, url: str, job_ids: Sequence[str]) -> None:
    """Compare two workers with one process: reads of jobs of `job_ids`, which the database at `url` has."""
    seconds = round(stage.seconds(2))
    rounds: list[tuple[Run, Run]] = []
    with BenchedServer(url) as one, BenchedServer(url, workers="2") as two:
        for number in range(ROUNDS + 1):
            chosen = random.sample(job_ids, _CALLERS)
            runs = (
                _run([one.pid], one.address, chosen, seconds),
                _run(children(two.pid), two.address, chosen, seconds),
            )
            if number:  # What happens only once is not measured.
                rounds.append(runs)
    alone, together = zip(*rounds, strict=True)
    stage.findings.add(
        f"GetJobStatus, a job each for {_CALLERS} callers, 2 workers on {os.cpu_count()} cores",
        [run.rate for run in together],
        "requests/s",
        baselines=[run.rate for run in alone],
        against="1 process",
    )
    for name, runs in (("1 process", alone), ("2 workers", together)):
        stage.findings.remark(f"the machine's time with {name}, driven by {_driver()}: {_shares(runs)}")


def _shares(runs: Sequence[Run]) -> str:
    servers = " + ".join(f"{mean(share):.0%}" for share in zip(*(run.servers for run in runs), strict=True))
    driver, others = mean(run.driver for run in runs), mean(run.others for run in runs)
    return f"serving {servers}, callers {driver:.0%}, database and others {others:.0%}"


def _run(pids: Sequence[int], address: str, job_ids: Sequence[str], seconds: int) -> Run:
    requests, least = [], 0
    with grpc.insecure_channel(address) as channel:
        for job_id in job_ids:
            request = pb.GetJobStatusRequest(job_id=job_id)
            answer = pb.JobStatusServiceStub(channel).GetJobStatus(request, timeout=60)
            requests.append(request.SerializeToString())
            least = min(least or answer.ByteSize(), answer.ByteSize())
    begun, busy, before = time.monotonic(), busy_seconds(), list(map(cpu_seconds, pids))
    asked = (_ask_by_h2load if _driver() == "h2load" else _ask_by_python)(address, requests, seconds)
    took = [cpu_seconds(pid) - cpu for pid, cpu in zip(pids, before, strict=True)]
    busy, lasted = busy_seconds() - busy, time.monotonic() - begun
    # An error has no message: what was counted are answers.
    assert asked.size >= asked.calls * (least + _PREFIX_BYTES), asked
    machine = lasted * (os.cpu_count() or 1)
    others = max(0.0, busy - sum(took) - asked.cpu)
    return Run(asked.calls / seconds, [cpu / machine for cpu in took], asked.cpu / machine, others / machine)


def _driver() -> str:
    return "h2load" if shutil.which("h2load") else "Python"


def _ask_by_h2load(address: str, requests: Sequence[bytes], seconds: int) -> Asked:
    """Have one h2load for each request: it knows no more than one."""
    command = ("h2load", "-c1", "-m1", "-t1", f"-D{seconds}", *_GRPC)
    before = _children_cpu()
    calls = size = 0
    with TemporaryDirectory() as folder, ExitStack() as stack:
        callers = []
        for number, request in enumerate(requests):
            body = Path(folder) / str(number)
            body.write_bytes(b"\0" + len(request).to_bytes(4, "big") + request)
            words = [*command, "-d", str(body), f"http://{address}{_METHOD}"]
            started = subprocess.Popen(words, stdout=subprocess.PIPE, encoding="utf-8")
            callers.append(stack.enter_context(started))
        for caller in callers:
            said = caller.communicate(timeout=seconds + 60)[0]
            found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", said)
            received = re.search(r"\((\d+)\) data", said)
            assert found is not None, said
            assert received is not None, said
            assert (found[2], found[3]) == ("0", "0"), said
            calls += int(found[1])
            size += int(received[1])
    return Asked(calls, size, _children_cpu() - before)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _ask_by_python(address: str, requests: Sequence[bytes], seconds: int) -> Asked:
    with Worker("bench.several_workers") as callers:
        hexadecimal = [request.hex() for request in requests]
        return Asked(*callers.call("ask", address=address, requests=hexadecimal, seconds=seconds))


async def _ask_in_turn(address: str, requests: Sequence[str], seconds: float) -> Asked:
    """Be all callers; one that is answered asks again at once."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    calls = size = 0

    def ask(connection: WireConnection, request: bytes) -> None:
        def answered(_stream: WireStream, message: bytes, _now: float) -> None:
            nonlocal calls, size
            calls += 1
            size += len(message) + _PREFIX_BYTES
            ask(connection, request)

        connection.open(request, answered)

    connections = [
        (await loop.create_connection(lambda: WireConnection(address, _METHOD), host, int(port)))[1]
        for _ in requests
    ]
    for connection, request in zip(connections, requests, strict=True):
        ask(connection, bytes.fromhex(request))
    await asyncio.sleep(seconds)
    assert all(connection.streams for connection in connections), "an answer without a message: an error"
    for connection in connections:
        connection.close()
    return Asked(calls, size, time.process_time())


def _handlers() -> Mapping[str, Handler]:
    return {"ask": _ask_in_turn}


if __name__ == "__main__":
    work(_handlers)
