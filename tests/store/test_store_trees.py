"""Jobs that are parts of jobs: kept, read, told above, and deleted together."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest
import trees
from processes import environment
from reports import STAGED, SUCCEEDED, granule, only
from sqlalchemy import func, select
from stored import connected, count_rows, first_position, history, walk_jobs
from trees import key, told, tree

from jobstatus_grpc.errors import InvalidRequest, JobNotFound, NotARoot, ParentConflict
from jobstatus_grpc.model import (
    MAX_TREE_DEPTH,
    Job,
    JobState,
    SubJob,
    Totals,
    WholeJob,
)
from jobstatus_grpc.store import schema
from jobstatus_grpc.store.base import GranuleQuery, JobQuery, JobStore, ReportResult


def shape(jobs: Sequence[WholeJob]) -> list[object]:
    """Return the ids of jobs, each followed by those of its parts."""
    return [
        part
        for each in jobs
        for part in (each.job.job_id, *([shape(each.sub_jobs)] if each.sub_jobs else []))
    ]


def about(store: JobStore, name: str, url: str) -> list[str]:
    """Return what a job's history is about: `job`, a granule's name, or `/` and a sub-job's id."""
    job_pk = store.read_job(key(name)).job_pk
    words = ["job"]
    for change in history(store, job_pk, first_position(url, job_pk)):
        item = change.item
        if isinstance(item, SubJob):
            words.append("/" + item.job.job_id)
        else:
            words.append("job" if isinstance(item, Job) else item.granule_id)
    return words


def test_a_tree_is_kept_in_the_order_it_was_reported(store: JobStore) -> None:
    store.report(tree("a", told("z", told("y"), told("b")), told("c")))
    store.report(tree("aa", parent="z"))
    stored, sub_jobs = store.read_tree(key("a"))
    assert shape(sub_jobs) == ["z", ["y", "b", "aa"], "c"]
    assert stored.job.sub_jobs.direct == 2
    assert shape(store.read_tree(key("z"))[1]) == ["y", "b", "aa"]
    assert store.read_tree(key("y"))[1] == ()
    page = store.read_page(key("a"), GranuleQuery(10))
    assert page.sub_jobs == sub_jobs
    with store.open_snapshot(key("z")) as snapshot:
        assert shape(snapshot.sub_jobs) == ["y", "b", "aa"]


def test_a_report_of_a_part_is_told_to_all_above_and_named_in_the_answer(
    store: JobStore, database_url: str
) -> None:
    store.report(tree("a", told("b", told("c")), told("d")))
    result = store.report(only(granule("g", STAGED), key=key("c")))
    rows = {name: store.read_job(key(name)) for name in "abc"}
    assert result.root == key("a")
    assert result.grown == {key(name): stored.job_pk for name, stored in rows.items()}
    assert (result.totals, result.state) == (Totals(staged=1), JobState.RUNNING)
    assert result.position == rows["c"].position
    assert about(store, "c", database_url) == ["job", "g", "job"]
    assert about(store, "b", database_url) == ["job", "/c", "/c", "job"]
    assert about(store, "a", database_url) == ["job", "/b", "/c", "/d", "/b", "/c", "job"]
    assert about(store, "d", database_url) == ["job"]


def test_a_sub_job_in_a_history_is_what_it_was_then(store: JobStore, database_url: str) -> None:
    store.report(tree("a"))
    told_first = tree("b", parent="a", message="first", labels={"k": "ü"}, system="sdrs")
    job_pk = store.read_job(key("a")).job_pk
    start = store.read_job(key("a")).position
    stood = []
    for report in (told_first, only(granule("g", SUCCEEDED), key=key("b")), tree("b", state=JobState.FAILED)):
        store.report(report)
        stood.append(store.read_job(key("b")).job)
    seen = [c.item.job for c in history(store, job_pk, start) if isinstance(c.item, SubJob)]
    assert [each._replace(sub_jobs=seen[0].sub_jobs) for each in stood] == seen


def test_a_parent_is_told_once_and_stays(store: JobStore, database_url: str) -> None:
    store.report(tree("a", told("b")))
    store.report(tree("z"))
    before = store.read_heads([store.read_job(key(name)).job_pk for name in "abz"])
    for wrong in (tree("b", parent="z"), tree("z", parent="a"), tree("z", told("b")), tree("new", told("b"))):
        with pytest.raises(ParentConflict):
            store.report(wrong)
    with pytest.raises(JobNotFound, match="nobody"):
        store.report(tree("new", parent="nobody"))
    with pytest.raises(JobNotFound):
        store.read_job(key("new"))
    assert store.read_heads(list(before)) == before
    assert store.report(tree("b", message="without its parent")).applied == 1


def test_a_tree_has_its_limits_and_nothing_beyond_them_is_kept(store: JobStore) -> None:
    store.report(tree("1"))
    for depth in range(2, MAX_TREE_DEPTH + 1):
        store.report(tree(str(depth), parent=str(depth - 1)))
    with pytest.raises(InvalidRequest, match="deep"):
        store.report(tree("9", parent="8"))
    with pytest.raises(JobNotFound):
        store.read_job(key("9"))
    wide = [told(f"w{index}") for index in range(1_000 - MAX_TREE_DEPTH)]
    store.report(tree("1", *wide))
    with pytest.raises(InvalidRequest, match="more than 1000 jobs"):
        store.report(tree("one more", parent="w5"))
    assert store.read_job(key("1")).job.sub_jobs.tree_count == 999


def test_reports_of_one_tree_are_taken_together_and_others_after_them(store: JobStore) -> None:
    store.report(tree("a", told("b", told("c"))))
    store.report(tree("other"))
    outcomes = store.report_all(
        [
            only(granule("g", STAGED), key=key("c")),
            only(granule("g", STAGED), key=key("other")),
            only(granule("h"), key=key("nobody")),
            tree("d", parent="b"),
            only(granule("g", SUCCEEDED), granule("h", STAGED), key=key("c")),
            tree("d", parent="a"),
        ]
    )
    kinds = [type(outcome).__name__ for outcome in outcomes]
    assert kinds == [
        *("ReportResult", "ReportResult", "JobNotFound", "ReportResult", "ReportResult", "ParentConflict"),
    ]
    results = [outcome for outcome in outcomes if isinstance(outcome, ReportResult)]
    assert [result.totals for result in results] == [
        Totals(staged=1),
        Totals(staged=1),
        Totals(),
        Totals(staged=1, succeeded=1),
    ]
    assert shape(store.read_tree(key("a"))[1]) == ["b", ["c", "d"]]


def test_the_parts_of_a_job_are_listed_by_their_parent_and_roots_by_their_project(store: JobStore) -> None:
    store.report(tree("a", *(told(f"b{index}", state=JobState(1 + index % 4)) for index in range(7))))
    store.report(tree("c", parent="b1"))
    store.report(tree("z"))
    names = [[job.job_id for job in page] for page in walk_jobs(store, JobQuery("p", 3, parent_job_id="a"))]
    assert names == [["b6", "b5", "b4"], ["b3", "b2", "b1"], ["b0"]]
    assert [job.job_id for page in walk_jobs(store, JobQuery("p", 3)) for job in page] == ["z", "a"]
    failed = JobQuery("p", 9, states=[JobState.FAILED], parent_job_id="a")
    assert [job.job_id for page in walk_jobs(store, failed) for job in page] == ["b3"]
    with pytest.raises(JobNotFound):
        store.list_jobs(JobQuery("p", 3, parent_job_id="nobody"))


def test_only_a_whole_tree_is_deleted_and_its_ids_are_free_at_once(
    store: JobStore, database_url: str
) -> None:
    store.report(tree("a", told("b", told("c"))))
    store.report(only(granule("g"), key=key("c")))
    job_pks = [store.read_job(key(name)).job_pk for name in "abc"]
    with pytest.raises(NotARoot, match="part of job 'a'"):
        store.delete_job(key("c"))
    assert store.delete_job(key("a")) == job_pks[0]
    assert store.read_heads(job_pks) == {}
    for name in "abc":
        with pytest.raises(JobNotFound):
            store.read_job(key(name))
    again = store.report(tree("c"))
    assert again.job_pk not in job_pks
    while store.purge():
        pass
    for job_pk in job_pks:
        assert set(count_rows(database_url, job_pk).values()) == {0}
    assert store.read_job(key("c")).job_pk == again.job_pk


def test_trees_that_have_ended_are_pruned_whole(store: JobStore) -> None:
    store.report(tree("a", told("b", state=JobState.SUCCEEDED), state=JobState.SUCCEEDED))
    store.report(tree("z", told("y", state=JobState.SUCCEEDED)))
    later = store.read_clock() + 1
    assert store.prune_jobs(later).removed == 1
    with pytest.raises(JobNotFound):
        store.read_job(key("b"))
    assert store.read_job(key("y")).job.state is JobState.SUCCEEDED


def test_processes_that_report_a_whole_tree_at_once_neither_block_nor_skip(
    store: JobStore, database_url: str
) -> None:
    # A tree of 1,000 jobs: chains as deep as may be, and the rest below the root.
    chains = [[f"{chain}-{depth}" for depth in range(2, MAX_TREE_DEPTH + 1)] for chain in range(8)]
    wide = [f"wide-{index}" for index in range(1_000 - 1 - 8 * (MAX_TREE_DEPTH - 1))]
    store.report(tree("root", *map(told, wide)))
    for chain in chains:
        report = told(chain[-1])
        for name in reversed(chain[:-1]):
            report = told(name, report)
        store.report(tree("root", report))
    names = [name for chain in chains for name in chain[-2:]] + wide[:4]
    command = [sys.executable, trees.__file__, database_url]
    running = [subprocess.Popen([*command, str(first), "1", *names], env=environment()) for first in range(8)]
    assert [each.wait(120) for each in running] == [0] * 8
    job, change = schema.job.c, schema.change.c
    counting = select(change.job_pk, func.count(), func.max(change.revision)).group_by(change.job_pk)
    with connected(database_url) as connection:
        heads = connection.execute(select(job.job_pk, job.revision, job.job_id)).all()
        logs = {job_pk: (count, last) for job_pk, count, last in connection.execute(counting)}
    assert len(heads) == 1_000
    for job_pk, revision, name in heads:
        assert logs[job_pk] == (revision, revision), name
    root = store.read_job(key("root"))
    seen = history(store, root.job_pk, first_position(database_url, root.job_pk))
    counted = [each for each in seen if isinstance(each.item, SubJob) and any(each.item.job.totals)]
    assert len(counted) >= 8 * len(names)
