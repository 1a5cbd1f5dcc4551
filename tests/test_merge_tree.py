"""What a report makes of the jobs of a tree: sub-jobs, their parents, and the state that rolls up."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import FAILED, PENDING, STAGED, SUCCEEDED, granule, only

from jobstatus_grpc.errors import InvalidRequest, JobNotFound, ParentConflict
from jobstatus_grpc.merge import Merged, merge_report
from jobstatus_grpc.model import (
    MAX_JOB_BYTES,
    MAX_TREE_DEPTH,
    MAX_TREE_JOBS,
    Change,
    Granule,
    GranuleKey,
    GranuleReport,
    Job,
    JobKey,
    JobReport,
    JobState,
    Report,
    SubJob,
)
from jobstatus_grpc.sizes import job_bytes


def key(name: str) -> JobKey:
    """Return the key of a job of the project `p`."""
    return JobKey("p", name)


def told(name: str, *sub_jobs: JobReport, parent: str | None = None, **fields: object) -> JobReport:
    """Return the report of a job, and of its sub-jobs as its parts."""
    parts = [each._replace(parent_job_id=name) for each in sub_jobs]
    return JobReport("p", name, parent_job_id=parent, sub_jobs=parts, **fields)  # type: ignore[arg-type]


class Tree:
    """Jobs as reports make them by the merge rule alone, and their histories."""

    def __init__(self, *reports: JobReport) -> None:
        self.jobs: dict[JobKey, Job] = {}
        self.granules: dict[tuple[JobKey, GranuleKey], Granule] = {}
        self.logs: dict[JobKey, list[Change]] = {}
        self.clock = 1_000
        for report in reports:
            self.take(report)

    def take(self, report: JobReport | Report, *granules: GranuleReport) -> Merged:
        """Merge a report, a thousand microseconds after the one before."""
        self.clock += 1_000
        if isinstance(report, JobReport):
            report = Report(report.key, report, granules)
        known = {k[1]: each for k, each in self.granules.items() if k[0] == report.key}
        merged = merge_report(self.jobs, known, report, self.clock, self.clock)
        self.jobs.update(merged.jobs)
        self.granules.update({(report.key, k): each for k, each in merged.granules.items()})
        for name, changes in merged.logs.items():
            self.logs.setdefault(name, []).extend(changes)
        return merged

    def state(self, name: str) -> JobState:
        """Return how a job stands."""
        return self.jobs[key(name)].state

    def log(self, name: str) -> list[str]:
        """Return what a job's history is about: `job`, the key of a granule, or `/` and a sub-job's id."""
        words = []
        for change in self.logs[key(name)]:
            item = change.item
            if isinstance(item, SubJob):
                words.append("/" + item.job.job_id)
            else:
                words.append("job" if isinstance(item, Job) else item.granule_id)
        return words

    def check(self) -> None:
        """Check that histories have no gap, and that what is counted is there."""
        for name, job in self.jobs.items():
            log = self.logs[name]
            assert [change.revision for change in log] == list(range(1, job.revision + 1))
            below = [each for each in self.jobs.values() if self.is_below(each, job)]
            direct = [each for each in below if each.parent_job_id == job.job_id]
            counts = job.sub_jobs
            assert list(counts[:5]) == [sum(each.state == state for each in direct) for state in JobState]
            if job.parent_job_id is None:
                assert counts.tree_count == len(below)
                assert counts.tree_bytes == sum(map(job_bytes, below))
            last = {change.item.job.key: change.item.job for change in log if isinstance(change.item, SubJob)}
            for each in below:
                seen = last[each.key]
                assert (seen.state, seen.totals, seen.attempt, seen.message) == (
                    each.state,
                    each.totals,
                    each.attempt,
                    each.message,
                )

    def is_below(self, job: Job, above: Job) -> bool:
        """Return whether a job is a part of another, or of a part of it."""
        while job.parent_job_id is not None:
            job = self.jobs[key(job.parent_job_id)]
            if job is above:
                return True
        return False


def test_a_job_is_reported_with_its_sub_jobs_at_once() -> None:
    tree = Tree()
    merged = tree.take(told("a", told("b", told("c"), state=JobState.RUNNING), told("d")))
    tree.check()
    assert (merged.applied, merged.unchanged, merged.stale) == (4, 0, 0)
    assert tree.log("a") == ["job", "/b", "/c", "/d", "job"]
    assert tree.log("b") == ["job", "/c"]
    assert tree.state("a") is JobState.RUNNING
    assert tree.jobs[key("c")].parent_job_id == "b"


def test_all_jobs_above_are_told_of_a_change() -> None:
    tree = Tree(told("a", told("b", told("c"))))
    tree.take(only(granule("g", SUCCEEDED), key=key("c")))
    tree.check()
    assert tree.log("c")[-2:] == ["g", "job"]
    assert tree.log("b")[-2:] == ["/c", "job"]
    assert tree.log("a")[-3:] == ["/b", "/c", "job"]


def test_a_change_of_totals_alone_is_told_above_and_moves_no_state() -> None:
    tree = Tree(told("a", told("b")))
    tree.take(only(granule("g", STAGED), key=key("b")))
    before = tree.jobs[key("a")]
    tree.take(only(granule("h", STAGED), key=key("b")))
    tree.check()
    assert tree.log("a")[-1] == "/b"
    assert tree.jobs[key("a")].state is before.state is JobState.RUNNING


def test_a_granule_that_only_gets_a_message_is_nothing_to_those_above() -> None:
    tree = Tree(told("a", told("b")))
    tree.take(only(granule("g", STAGED), key=key("b")))
    revision = tree.jobs[key("a")].revision
    merged = tree.take(only(granule("g", message="half way"), key=key("b")))
    assert merged.applied == 1
    assert list(merged.jobs) == [key("b")]
    assert tree.jobs[key("a")].revision == revision


def test_a_report_that_says_what_is_known_makes_no_revision_anywhere() -> None:
    report = told("a", told("b", message="x"), told("c"))
    tree = Tree(report)
    merged = tree.take(report)
    assert (merged.jobs, merged.applied, merged.unchanged) == ({}, 0, 3)


def test_a_job_ends_when_its_granules_and_sub_jobs_have_and_re_opens_with_them() -> None:
    tree = Tree(told("a", told("b", granules_complete=True), granules_complete=True))
    assert tree.state("a") is JobState.SUCCEEDED
    tree.take(only(granule("g", PENDING), key=key("b")))
    assert tree.state("a") is JobState.PENDING
    tree.take(only(granule("g", SUCCEEDED), key=key("b")))
    assert tree.state("a") is JobState.SUCCEEDED
    tree.take(only(granule("h", FAILED), key=key("b")))
    assert tree.state("a") is JobState.FAILED
    tree.take(told("c", parent="a", state=JobState.RUNNING))
    assert tree.state("a") is JobState.RUNNING
    tree.check()


def test_a_job_that_is_not_complete_stays_open_when_its_sub_jobs_have_ended() -> None:
    tree = Tree(told("a", told("b", state=JobState.SUCCEEDED)))
    assert tree.state("a") is JobState.RUNNING


def test_a_reported_state_stands_whatever_the_sub_jobs_do() -> None:
    tree = Tree(told("a", told("b"), state=JobState.SUCCEEDED))
    tree.take(told("b", state=JobState.FAILED))
    assert tree.state("a") is JobState.SUCCEEDED
    assert tree.log("a")[-1] == "/b"


def test_a_sub_job_may_be_reported_later_and_a_parent_never_changes() -> None:
    tree = Tree(told("a"), told("z"))
    tree.take(told("b", parent="a"))
    tree.take(told("b", message="its parent need not be told again"))
    tree.check()
    for wrong in (told("b", parent="z"), told("a", parent="z"), told("z", told("b"))):
        with pytest.raises(ParentConflict):
            tree.take(wrong)
    assert tree.jobs[key("b")].parent_job_id == "a"


def test_a_parent_that_nobody_reported_is_not_found() -> None:
    with pytest.raises(JobNotFound, match="'a'"):
        Tree(told("b", parent="a"))
    with pytest.raises(JobNotFound):
        Tree(told("b", parent="b"))


def test_an_attempt_starts_anew_and_keeps_parent_and_sub_jobs() -> None:
    tree = Tree(told("a", told("b", told("c"), state=JobState.FAILED, message="broken")))
    tree.take(told("b", state=JobState.RUNNING, attempt=2))
    again = tree.jobs[key("b")]
    assert (again.parent_job_id, again.message, again.sub_jobs.direct) == ("a", None, 1)
    tree.check()


def test_a_tree_is_at_most_so_deep() -> None:
    tree = Tree(told("1"))
    for depth in range(2, MAX_TREE_DEPTH + 1):
        tree.take(told(str(depth), parent=str(depth - 1)))
    with pytest.raises(InvalidRequest, match=f"more than {MAX_TREE_DEPTH} jobs deep"):
        tree.take(told("too deep", parent=str(MAX_TREE_DEPTH)))
    tree.check()


def test_a_tree_has_at_most_so_many_jobs() -> None:
    tree = Tree(told("a", *(told(f"b{index}") for index in range(MAX_TREE_JOBS - 1))))
    tree.check()
    with pytest.raises(InvalidRequest, match=f"more than {MAX_TREE_JOBS} jobs"):
        tree.take(told("one more", parent="b1"))


def test_the_jobs_of_a_tree_together_take_at_most_so_many_bytes() -> None:
    third = "x" * (MAX_JOB_BYTES // 3)
    tree = Tree(told("a", told("b", told("c", message=third), message=third)))
    with pytest.raises(InvalidRequest, match="the fields of its tree take more than"):
        tree.take(told("a", message=third))
    tree.take(told("c", message=""))
    tree.take(told("a", message=third))
    tree.check()


_STATES = st.one_of(st.none(), st.sampled_from(list(JobState)))
_PARENTS: Mapping[str, str | None] = {"a": None, "b": "a", "c": "b", "d": "a", "e": "c"}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(sorted(_PARENTS)), _STATES, st.integers(1, 3), st.booleans()),
            st.tuples(st.sampled_from(sorted(_PARENTS)), st.sampled_from("gh"), st.integers(1, 4)),
        ),
        max_size=20,
    )
)
def test_whatever_is_reported_every_history_is_whole(steps: list[tuple[object, ...]]) -> None:
    tree = Tree(told("a", told("b", told("c", told("e"))), told("d")))
    for name, *step in steps:
        assert isinstance(name, str)
        if len(step) == 3:
            state, attempt, complete = step
            tree.take(told(name, state=state, attempt=attempt, granules_complete=complete))
        else:
            tree.take(only(granule(str(step[0]), list(type(PENDING))[int(str(step[1]))]), key=key(name)))
        tree.check()
