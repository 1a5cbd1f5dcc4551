"""Reports on their way to the store: who waits for whom, and what is committed together."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from reports import JOB, STAGED, SUCCEEDED, granule, job, only
from sqlalchemy import make_url
from stored import granules, log_rows

from jobstatus_grpc.errors import (
    DeadlineExceeded,
    InvalidRequest,
    JobNotFound,
    StoreUnavailable,
    TooManyReports,
    Violation,
)
from jobstatus_grpc.model import (
    MAX_GRANULE_BYTES,
    MAX_REPORT_BYTES,
    MAX_REPORT_GRANULES,
    JobKey,
    Report,
    Totals,
)
from jobstatus_grpc.reports import ReportWriter
from jobstatus_grpc.store import open_store
from jobstatus_grpc.store.base import JobStore, ReportResult

OTHER = JobKey("default", "other")


class Desk:
    """A writer on a store of its own, whose file may be held, so that reports have to wait.

    Attributes:
        store: where the reports go.
        url: of that.
        writer: what is tested.
        committed: what it has called `committed` with.
    """

    def __init__(self, url: str, max_waiting: int = 1000) -> None:
        self.url = url
        self.store: JobStore = open_store(url)
        self.store.prepare()
        self.committed: list[tuple[int, JobKey]] = []
        self._pool = ThreadPoolExecutor(4)
        self.writer = ReportWriter(
            self.store, self._pool, max_waiting, lambda job_pk, key: self.committed.append((job_pk, key))
        )
        self._holder = sqlite3.connect(make_url(url).database or "", isolation_level=None)

    def hold(self) -> None:
        """Let no report be written."""
        self._holder.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        """Let reports be written again."""
        self._holder.execute("ROLLBACK")

    @property
    def waiting(self) -> int:
        """How many reports of the job wait."""
        return len(self.writer._trees[JOB].waiting)

    def close(self) -> None:
        """Let go of everything."""
        self._holder.close()
        self._pool.shutdown()
        self.store.close()

    def send(
        self, report: Report, deadline: float | None = None, size: int = 100
    ) -> asyncio.Task[ReportResult]:
        """Begin to report."""
        return asyncio.create_task(self.writer.report(lambda: report, size, deadline))

    async def send_behind(self, *reports: Report) -> list[asyncio.Task[ReportResult]]:
        """Begin to report, so that the first is being written, and the others wait behind it."""
        tasks = [self.send(reports[0])]
        await settle()
        tasks += map(self.send, reports[1:])
        await settle()
        return tasks


@pytest.fixture
def desk(sqlite_url: str) -> Iterator[Desk]:
    with closing(Desk(sqlite_url)) as made:
        yield made


async def settle() -> None:
    """Let every task get as far as it can on the event loop."""
    for _ in range(10):
        await asyncio.sleep(0)


def run(work: Callable[[], Awaitable[Any]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await work()

    asyncio.run(main())


def commits(desk: Desk, job_pk: int) -> list[list[str | None]]:
    """Return what each transaction has changed in a job, in their order."""
    found: dict[int, list[str | None]] = {}
    for row in log_rows(desk.url, job_pk):
        found.setdefault(row.commit_id, []).append(row.granule_id)
    return list(found.values())


def test_what_waits_is_committed_together_in_the_order_of_arrival(desk: Desk) -> None:
    async def work() -> None:
        desk.hold()
        tasks = await desk.send_behind(
            job(granule("a")), only(granule("b")), only(granule("a", STAGED)), only(granule("c"))
        )
        desk.release()
        answers = await asyncio.gather(*tasks)
        assert commits(desk, answers[0].job_pk) == [[None, "a"], ["b", "a", None, "c"]]
        assert [answer.position.revision for answer in answers] == [2, 3, 5, 6]
        assert [answer.totals for answer in answers[1:]] == [
            Totals(pending=2),
            Totals(pending=1, staged=1),
            Totals(pending=2, staged=1),
        ]
        # Both commits are announced, each once.
        assert desk.committed == [(answers[0].job_pk, JOB)] * 2

    run(work)


def test_trees_do_not_wait_for_each_other(desk: Desk) -> None:
    async def work() -> None:
        desk.hold()
        tasks = await desk.send_behind(job(granule("a")), only(granule("b")), job(granule("x"), key=OTHER))
        desk.release()
        first, second, other = await asyncio.gather(*tasks)
        assert first.job_pk == second.job_pk != other.job_pk
        assert sorted(desk.committed, key=str) == sorted(
            [(first.job_pk, JOB), (first.job_pk, JOB), (other.job_pk, OTHER)], key=str
        )

    run(work)


def test_a_refused_report_harms_none_that_is_written_with_it(desk: Desk) -> None:
    async def work() -> None:
        desk.hold()
        tasks = await desk.send_behind(
            job(key=OTHER),
            job(granule("a")),
            only(granule("b", message="m" * MAX_GRANULE_BYTES)),
            only(granule("a", STAGED)),
            only(granule("a"), key=JobKey("default", "missing")),
        )
        desk.release()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [
            ReportResult,
            ReportResult,
            InvalidRequest,
            ReportResult,
            JobNotFound,
        ]
        assert [(one.granule_id, one.state) for one in granules(desk.store, JOB)] == [("a", STAGED)]

    run(work)


def test_a_report_that_breaks_the_contract_never_waits(desk: Desk) -> None:
    def refuse() -> Report:
        raise InvalidRequest([Violation("granules", "is required")])

    async def work() -> None:
        for size in (10, 1_000_000):
            with pytest.raises(InvalidRequest):
                await desk.writer.report(refuse, size, None)

    run(work)


@pytest.mark.parametrize(
    ("report", "size"),
    [
        (only(*[granule(f"g{index}") for index in range(MAX_REPORT_GRANULES // 2 + 1)]), 100),
        (only(granule("g")), MAX_REPORT_BYTES // 2 + 1),
    ],
    ids=["granules", "bytes"],
)
def test_no_more_is_committed_together_than_one_report_may_hold(
    desk: Desk, report: Report, size: int
) -> None:
    async def work() -> None:
        desk.hold()
        first = desk.send(job())
        await settle()
        tasks = [desk.send(only(granule("small")))]
        for name in "xyz":
            tasks.append(desk.send(report._replace(granules=[*report.granules, granule(name)]), size=size))
            # A large one is checked in a thread first.
            while desk.waiting < len(tasks):
                await settle()
        tasks.append(desk.send(only(granule("last"))))
        await settle()
        desk.release()
        job_pk = (await first).job_pk
        await asyncio.gather(*tasks)
        names = [
            [name for name in done if name and len(name) != 2 and name[0] != "g"]
            for done in commits(desk, job_pk)
        ]
        assert [name for done in names for name in done] == ["small", "x", "y", "z", "last"]
        assert [len(done) for done in names] == [0, 2, 1, 2]

    run(work)


def test_no_more_than_so_many_reports_are_committed_together(desk: Desk) -> None:
    async def work() -> None:
        desk.hold()
        tasks = await desk.send_behind(job(), *[only(granule(f"g{index:03}")) for index in range(600)])
        desk.release()
        answers = await asyncio.gather(*tasks)
        assert [answer.position.revision for answer in answers] == list(range(1, 602))
        assert [len(done) for done in commits(desk, answers[0].job_pk)] == [1, 250, 250, 100]

    run(work)


def test_a_deletion_keeps_its_place_among_the_reports(desk: Desk) -> None:
    async def work() -> None:
        desk.hold()
        reported = await desk.send_behind(job(granule("a")), only(granule("b")))
        deleted = asyncio.create_task(desk.writer.delete_job(JOB, None))
        await settle()
        lost = desk.send(only(granule("c")))
        await settle()
        anew = desk.send(job(granule("d")))
        await settle()
        desk.release()
        first, second = await asyncio.gather(*reported)
        assert await deleted == first.job_pk == second.job_pk
        with pytest.raises(JobNotFound):
            await lost
        assert (await anew).job_pk != first.job_pk
        assert [one.granule_id for one in granules(desk.store, JOB)] == ["d"]
        assert [job_pk for job_pk, _ in desk.committed] == [first.job_pk] * 3 + [(await anew).job_pk]
        with pytest.raises(JobNotFound):
            await desk.writer.delete_job(OTHER, None)

    run(work)


def test_a_caller_that_leaves_while_it_waits_takes_its_report_along(desk: Desk) -> None:
    async def work() -> None:
        desk.hold()
        first, second, third = await desk.send_behind(job(), only(granule("b")), only(granule("c")))
        second.cancel()
        await settle()
        desk.release()
        assert (await third).position.revision == 2
        assert commits(desk, (await first).job_pk) == [[None], ["c"]]
        assert second.cancelled()

    run(work)


def test_a_caller_that_leaves_while_its_report_is_written_takes_nothing_back(desk: Desk) -> None:
    async def work() -> None:
        desk.hold()
        (first,) = await desk.send_behind(job(granule("a")))
        first.cancel()
        second = desk.send(only(granule("b")))
        await settle()
        assert first.cancelled()
        desk.release()
        result = await second
        assert commits(desk, result.job_pk) == [[None, "a"], ["b"]]
        assert desk.committed == [(result.job_pk, JOB)] * 2

    run(work)


def test_a_report_whose_deadline_passes_while_it_waits_is_not_written(desk: Desk) -> None:
    async def work() -> None:
        desk.hold()
        tasks = await desk.send_behind(job(), only(granule("b")))
        late = desk.send(only(granule("c")), time.monotonic() + 0.05)
        await asyncio.sleep(0.1)
        desk.release()
        with pytest.raises(DeadlineExceeded):
            await late
        answers = await asyncio.gather(*tasks)
        assert commits(desk, answers[0].job_pk) == [[None], ["b"]]

    run(work)


def test_the_least_patient_caller_hurries_nobody_it_is_written_with(desk: Desk) -> None:
    async def work() -> None:
        created = await desk.send(job())
        desk.hold()
        hurried = desk.send(only(granule("a")), time.monotonic() + 0.2)
        patient = desk.send(only(granule("b")), time.monotonic() + 20)
        await settle()
        assert desk.waiting == 0
        await asyncio.sleep(0.5)
        assert not patient.done()
        desk.release()
        assert (await patient).applied == 1
        await hurried
        assert commits(desk, created.job_pk) == [[None], ["a", "b"]]

    run(work)


def test_a_deadline_of_all_who_are_written_together_is_kept(desk: Desk) -> None:
    async def work() -> None:
        await desk.send(job())
        desk.hold()
        begun = time.monotonic()
        tasks = [
            desk.send(only(granule(name)), begun + seconds) for name, seconds in (("a", 0.2), ("b", 0.4))
        ]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [DeadlineExceeded] * 2
        assert 0.3 < time.monotonic() - begun < 1.5
        desk.release()

    run(work)


def test_all_who_are_written_together_hear_that_the_database_does_not_answer(desk: Desk) -> None:
    async def work() -> None:
        await desk.send(job())
        desk.hold()
        tasks = [desk.send(only(granule(name))) for name in "ab"]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreUnavailable] * 2
        desk.release()
        assert (await desk.send(only(granule("a")))).applied == 1

    run(work)


def test_more_reports_than_may_wait_are_refused_and_those_that_leave_make_room(sqlite_url: str) -> None:
    async def work(desk: Desk) -> None:
        desk.hold()
        waiting = await desk.send_behind(job(), *[only(granule(name)) for name in "abc"])
        with pytest.raises(TooManyReports):
            await desk.send(only(granule("d")))
        with pytest.raises(TooManyReports):
            await desk.writer.delete_job(JOB, None)
        other = desk.send(job(key=OTHER))
        waiting[2].cancel()
        await settle()
        let_in = desk.send(only(granule("e")))
        await settle()
        with pytest.raises(TooManyReports):
            await desk.send(only(granule("f")))
        desk.release()
        await asyncio.gather(other, let_in, *waiting, return_exceptions=True)
        assert [one.granule_id for one in granules(desk.store, JOB)] == ["a", "c", "e"]
        assert desk.writer._trees == {}

    with closing(Desk(sqlite_url, max_waiting=3)) as made:
        run(lambda: work(made))


def test_threads_that_write_an_sqlite_file_at_once_wait_in_line(desk: Desk) -> None:
    """SQLite itself would have them ask again and again, with pauses in which others overtake them."""

    async def reporter(key: JobKey) -> Sequence[ReportResult]:
        await desk.send(job(key=key))
        return [await desk.send(only(granule(f"g{turn}", SUCCEEDED), key=key)) for turn in range(40)]

    async def work() -> None:
        answers = await asyncio.gather(*[reporter(JobKey("p", f"j{number}")) for number in range(16)])
        assert all(answer.applied == 1 for some in answers for answer in some)

    run(work)
