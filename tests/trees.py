"""Trees of jobs as tests report them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from reports import granule, only

from jobstatus_grpc.errors import StoreUnavailable
from jobstatus_grpc.model import GranuleState, JobKey, JobReport, Report
from jobstatus_grpc.store import open_store


def key(name: str) -> JobKey:
    """Return the key of a job of the project `p`."""
    return JobKey("p", name)


def told(name: str, *sub_jobs: JobReport, parent: str | None = None, **fields: Any) -> JobReport:
    """Return the report of a job, and of its sub-jobs as its parts."""
    parts = tuple(each._replace(parent_job_id=name) for each in sub_jobs)
    return JobReport("p", name, parent_job_id=parent, sub_jobs=parts, **fields)


def tree(*args: JobReport | str, **fields: Any) -> Report:
    """Return the report of `told`."""
    report = told(*args, **fields)  # type: ignore[arg-type]
    return Report(report.key, report, ())


def report_everywhere(url: str, names: list[str], first: int, rounds: int) -> None:
    """Report granules of the jobs, beginning with a different one in every process."""
    store = open_store(url)
    _patiently(store.prepare)
    for number in range(rounds):
        for index in range(first, first + len(names)):
            state = GranuleState(1 + number % 4)
            reported = only(
                granule(f"{first}", state, attempt=number + 1), key=key(names[index % len(names)])
            )
            _patiently(partial(store.report, reported))
    store.close()


def _patiently(call: Callable[[], object]) -> None:
    """Call until it works: among many writers a file is busy for longer than one of them waits."""
    while True:
        with suppress(StoreUnavailable):
            call()
            return


if __name__ == "__main__":
    report_everywhere(sys.argv[1], sys.argv[4:], int(sys.argv[2]), int(sys.argv[3]))
