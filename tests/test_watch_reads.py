"""Reads and watches side by side, of a job that does not stand still."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from folded import Counts, Table, count, counts_of, id_of, table_of
from processes import ServerProcess
from reporting import PENDING, Writer, endless, granules, names, read_table
from watching import RawStream, Watcher

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

NAMES = names(3000)


@pytest.fixture
def writer(shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str) -> Iterator[Writer]:
    """A writer that changes a job of many granules all the time."""
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, *NAMES))
    with Writer(shared_server.address, job_id, endless(NAMES)) as writing:
        yield writing


def pages(client: JobStatusClient, job_id: str, size: int) -> Iterator[pb.GetJobStatusResponse]:
    token = b""
    while True:
        page = client.get(job_id, page_size=size, page_token=token)
        yield page
        token = page.next_page_token
        if not token:
            return


def skipping(table: Table, change: pb.Change) -> None:
    """Fold a change into a table read by pages, which may know it already, or a later one."""
    granule = change.granule.granule
    if granule.granule_id:
        known = table.get(id_of(granule))
        if known is None or change.revision > known.revision:
            table[id_of(granule)] = granule


def test_pages_and_the_changes_after_the_first_of_them_are_the_true_table(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str, writer: Writer
) -> None:
    read = list(pages(shared_client, job_id, 100))
    revisions = [page.job.revision for page in read]
    assert revisions == sorted(revisions)
    assert revisions[-1] > revisions[0] + 10
    table = table_of(granule for page in read for granule in page.granules)
    assert len(table) == len(NAMES)
    writer.__exit__(None, None, None)
    truth = read_table(shared_client, job_id)
    assert table != truth
    expected = revisions[0]
    for frame in shared_client.frames(job_id, read[0].resume_token, snapshot_only=True):
        for change in frame.changes.changes:
            expected += 1
            assert change.revision == expected
            skipping(table, change)
    assert expected == shared_client.get(job_id, view=pb.JOB_VIEW_BASIC).job.revision
    assert table == truth


def test_a_reader_of_pages_sees_every_granule_once_while_the_job_changes(
    shared_client: JobStatusClient, job_id: str, writer: Writer
) -> None:
    for size in (7, 250, 999):
        read = [granule for page in pages(shared_client, job_id, size) for granule in page.granules]
        assert [granule.granule_id for granule in read] == NAMES


def test_an_answer_of_one_page_adds_up_to_its_totals(
    shared_client: JobStatusClient, job_id: str, writer: Writer
) -> None:
    seen: set[Counts] = set()
    while len(seen) < 8:
        page = shared_client.get(job_id, page_size=10_000)
        assert not page.next_page_token
        assert count(page.granules) == counts_of(page.job.totals)
        assert max(granule.revision for granule in page.granules) <= page.job.revision
        seen.add(counts_of(page.job.totals))


def test_a_large_snapshot_comes_in_chunks_of_one_revision_while_the_job_changes(
    shared_server: ServerProcess, shared_client: JobStatusClient, job_id: str
) -> None:
    many = names(20_000)
    shared_client.report_job(pb.Job(job_id=job_id), granules(PENDING, *many[:10_000], message="m" * 40))
    shared_client.report_granules(job_id, granules(PENDING, *many[10_000:], message="m" * 40))
    with Writer(shared_server.address, job_id, endless(many, 50)) as writer:
        with RawStream(shared_server.address, job_id) as stream:
            stream.read_until(lambda frame: frame.snapshot.last)
            chunks = len(stream.frames)
            assert len(stream.folded.granules) == len(many)
            stream.read_until(lambda frame: frame.revision > stream.folded.snapshots[0] + 500)
        with Watcher(shared_server.address, job_id) as watcher:
            watcher.wait_for(lambda folded: len(folded.revisions) > 500, "changes after the snapshot")
            writer.__exit__(None, None, None)
            watcher.wait_for_revision(shared_client.get(job_id, view=pb.JOB_VIEW_BASIC).job.revision)
            assert watcher.folded.granules == read_table(shared_client, job_id)
    assert chunks > 4
    assert {frame.revision for frame in stream.frames[:chunks]} == set(stream.folded.snapshots)
