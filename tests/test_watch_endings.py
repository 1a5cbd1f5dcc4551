"""Endings that are not the job's: refused tokens, deleted jobs, another job in a job's place."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from folded import Folded
from processes import ServerProcess
from reporting import PENDING, STAGED, SUCCEEDED, granules, read_table
from reports import granule, job
from watching import SECOND, Ending, RawStream, watch_kinds

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient
from jobstatus_grpc.model import JobKey
from jobstatus_grpc.store import open_store
from jobstatus_grpc.store.base import JobStore
from jobstatus_grpc.tokens import ResumePoint, Tokens

REFUSED = Ending(grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID")
NOT_FOUND = Ending(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
DELETED = Ending(grpc.StatusCode.NOT_FOUND, "JOB_DELETED")


@pytest.fixture
def folded(shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str) -> Folded:
    """A job of two granules, as a watcher left it."""
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, "a", "b"))
    with RawStream(shared_server.address, job_id, snapshot_only=True) as stream:
        stream.rest()
        return stream.folded


@contextmanager
def opened(database_url: str) -> Iterator[JobStore]:
    store = open_store(database_url)
    try:
        store.prepare()
        yield store
    finally:
        store.close()


@contextmanager
def stopped(server: ServerProcess) -> Iterator[JobStore]:
    """Let the server notice nothing until the end of the block; changes are made through another store."""
    assert server.process is not None
    with opened(server.database_url) as store:
        server.process.send_signal(signal.SIGSTOP)
        try:
            yield store
        finally:
            server.process.send_signal(signal.SIGCONT)


def test_bytes_that_are_no_token_are_refused(
    shared_server: ServerProcess, job_id: str, folded: Folded
) -> None:
    token = folded.token
    damaged = [token[:place] + bytes([token[place] ^ 1]) + token[place + 1 :] for place in range(len(token))]
    for bad in (b"\0", b"junk", token[:-1], token + b"\0", bytes(len(token)), *damaged):
        assert watch_kinds(shared_server.address, job_id, resume_token=bad) == ([], REFUSED)


def test_a_page_token_is_refused(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str, folded: Folded
) -> None:
    page_token = shared_client.get(job_id, page_size=1).next_page_token
    assert page_token
    assert watch_kinds(shared_server.address, job_id, resume_token=page_token) == ([], REFUSED)


def test_the_token_of_another_job_or_project_is_refused(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str, folded: Folded
) -> None:
    shared_client.report_job(pb.Job(job_id=f"{job_id} other"))
    shared_client.report_job(pb.Job(job_id=job_id, project_id="p"))
    for other, project_id in ((f"{job_id} other", ""), (job_id, "p"), ("unknown", "")):
        fields = {"project_id": project_id, "resume_token": folded.token}
        assert watch_kinds(shared_server.address, other, **fields) == ([], REFUSED)


def test_the_token_of_another_store_is_refused(
    shared_server: ServerProcess, job_id: str, folded: Folded, tmp_path: Path
) -> None:
    key = JobKey("default", job_id)
    with opened(f"sqlite:///{tmp_path}/other.db") as store, opened(shared_server.database_url) as own:
        made = store.report(job(granule("a"), key=key))
        foreign = Tokens(*store.identity).resume_token(key, ResumePoint(made.job_pk, made.position))
        # Made the same way for the store it is shown to, it is the token the server gave.
        found = own.read_job(key)
        token = Tokens(*own.identity).resume_token(key, ResumePoint(found.job_pk, found.position))
    assert token == folded.token
    assert watch_kinds(shared_server.address, job_id, resume_token=foreign) == ([], REFUSED)


def test_a_job_nobody_has_reported_is_not_found(shared_server: ServerProcess, job_id: str) -> None:
    assert watch_kinds(shared_server.address, job_id) == ([], NOT_FOUND)
    assert watch_kinds(shared_server.address, job_id, snapshot_only=True) == ([], NOT_FOUND)


def test_a_job_that_is_deleted_ends_its_watches_and_tokens(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str, folded: Folded
) -> None:
    resumed = folded.copy()
    with (
        RawStream(shared_server.address, job_id, **SECOND) as one,
        RawStream(shared_server.address, job_id, resumed, resume_token=folded.token, **SECOND) as other,
    ):
        one.read_kind("heartbeat")
        other.read_kind("heartbeat")
        shared_client.delete(job_id)
        for stream in (one, other):
            assert set(stream.rest()) <= {"heartbeat"}
            assert stream.ending() == DELETED
    for fields in ({}, {"snapshot_only": True}):
        kinds, ending = watch_kinds(shared_server.address, job_id, resume_token=folded.token, **fields)
        assert (kinds, ending) == ([], DELETED)
    assert watch_kinds(shared_server.address, job_id) == ([], NOT_FOUND)


def test_another_job_in_the_place_of_a_watched_one_is_a_reset(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str, folded: Folded
) -> None:
    key = JobKey("default", job_id)
    with RawStream(shared_server.address, job_id, **SECOND) as stream:
        stream.read_kind("heartbeat")
        with stopped(shared_server) as store:
            store.delete_job(key)
            # At the revision at which the watcher stands, and beyond.
            store.report(job(granule("x"), granule("y"), granule("z"), key=key))
        assert stream.read_kind("reset").reset.reason == "JOB_REPLACED"
        stream.read_kind("snapshot")
        result = shared_client.report_granules(job_id, granules(STAGED, "x"))
        stream.read_until(lambda frame: frame.revision == result.revision)
        assert stream.folded.granules == read_table(shared_client, job_id)
        assert stream.folded.resets == ["JOB_REPLACED"]


@pytest.mark.parametrize("revisions", ["fewer", "as many", "more"])
def test_the_token_of_a_job_reported_anew_is_a_reset(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str, folded: Folded, revisions: str
) -> None:
    shared_client.delete(job_id)
    new = {"fewer": ["x"], "as many": ["x", "y"], "more": ["x", "y", "z"]}[revisions]
    shared_client.report_job(pb.Job(job_id=job_id, granules_complete=True), granules(PENDING, *new))
    with RawStream(shared_server.address, job_id, folded, resume_token=folded.token) as stream:
        kinds = [frame.WhichOneof("frame") for frame in (stream.next(), stream.next()) if frame]
        assert kinds == ["reset", "snapshot"]
        shared_client.report_granules(job_id, granules(SUCCEEDED, *new))
        assert stream.rest()[-1] == "completed"
        assert stream.ending().code is grpc.StatusCode.OK
    assert folded.resets == ["JOB_REPLACED"]
    assert folded.granules == read_table(shared_client, job_id)


def test_after_a_reset_a_snapshot_alone_ends_well(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str, folded: Folded
) -> None:
    shared_client.delete(job_id)
    shared_client.report_job(pb.Job(job_id=job_id))
    with RawStream(
        shared_server.address, job_id, folded, resume_token=folded.token, snapshot_only=True
    ) as stream:
        assert stream.rest() == ["reset", "snapshot"]
        assert stream.ending() == Ending(grpc.StatusCode.OK)
