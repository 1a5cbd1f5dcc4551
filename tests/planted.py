"""`python planted.py PLACE serve …`: the command, with an exception planted that tells too much."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

SECRET: Final = "hunter2"
WORDS: Final = (
    f"connection to postgresql://jobs:{SECRET}@db/{SECRET} failed: password={SECRET}, /etc/{SECRET}/key.pem\n"
    f"[SQL: SELECT {SECRET} FROM job]\n[parameters: ('{SECRET}',)]"
)
PLACES: Final = {
    "interceptor": "jobstatus_grpc.security.access:_check_projects",
    "credentials": "jobstatus_grpc.security.bearer:BearerTokens.grant",
    "request": "jobstatus_grpc.convert.requests:get_job_status",
    "reader": "jobstatus_grpc.reads:StatusReader.answer",
    "answer": "jobstatus_grpc.convert.answers:AnswerEncoder.job_status",
    "writer": "jobstatus_grpc.reports:ReportWriter._call_store",
    "hub": "jobstatus_grpc.watch:WatchHub.open_snapshot",
    "stream": "jobstatus_grpc.streams:Stream.run",
    "wait": "jobstatus_grpc.waits:Wait.run",
    "store's snapshot": "jobstatus_grpc.store.sql:SqlJobStore.open_snapshot",
    "store's job": "jobstatus_grpc.store.sql:SqlJobStore.read_job",
    "store's jobs": "jobstatus_grpc.store.sql:SqlJobStore.read_jobs",
    "store's list": "jobstatus_grpc.store.sql:SqlJobStore.list_jobs",
    "store's pages": "jobstatus_grpc.store.sql:SqlJobStore.read_first_pages",
    "store's reports": "jobstatus_grpc.store.sql:SqlJobStore.report_all",
    "store's deletion": "jobstatus_grpc.store.sql:SqlJobStore.delete_job",
}
FATAL: Final = {
    "health": "jobstatus_grpc.store.sql:SqlJobStore.ping",
    "retention": "jobstatus_grpc.retention:Retention.run",
    "news": "jobstatus_grpc.watch:WatchHub.run",
}
"""Where the process cannot go on."""


def plant(place: str) -> None:
    """Have a function of ours raise an exception with all that is secret in its words."""
    module, _, path = (PLACES | FATAL)[place].partition(":")
    owner: Any = importlib.import_module(module)
    *owners, name = path.split(".")
    for each in owners:
        owner = getattr(owner, each)
    assert hasattr(owner, name), path

    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError(WORDS) from OSError(2, "no such file", f"/etc/{SECRET}/key.pem")

    setattr(owner, name, fail)


if __name__ == "__main__":
    plant(sys.argv[1])
    from jobstatus_grpc.cli import run

    sys.exit(run(sys.argv[2:]))
