"""What reports of files make of them, and of their granule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import FAILED, JOB, PENDING, STAGED, SUCCEEDED, UNWORDED, Ledger, granule, job, only, outcome

from jobstatus_grpc.errors import InvalidRequest
from jobstatus_grpc.merge import merge_reports
from jobstatus_grpc.model import (
    MAX_FILES_BYTES,
    MAX_GRANULE_BYTES,
    MAX_GRANULE_FILES,
    FileReport,
    FileTally,
    Granule,
    GranuleFile,
    GranuleKey,
    GranuleReport,
    GranuleState,
    ItemError,
    JobState,
    Report,
)
from jobstatus_grpc.sizes import file_bytes

_ORDER = (PENDING, STAGED, FAILED, SUCCEEDED)


def files_of(ledger: Ledger, name: str = "g") -> Mapping[str, GranuleFile]:
    """Return all files of a granule: a ledger forgets none."""
    files = ledger.of(name).files
    assert files is not None
    return files.named


def states(ledger: Ledger) -> dict[str, GranuleState]:
    return {name: file.state for name, file in files_of(ledger).items()}


def known(*files: FileReport, **fields: Any) -> Ledger:
    """Return a job that was reported with one granule, its files and other fields."""
    return Ledger(job(granule(files=files, **fields)))


def told(*files: FileReport, **fields: Any) -> Report:
    return only(granule(files=files, **fields))


def test_a_file_first_reported_is_as_reported() -> None:
    error = ItemError("E1", "gone")
    ledger = known(FileReport("a", FAILED, "error", "s3://b/a", error, 3, 5, 6))
    assert files_of(ledger) == {
        "a": GranuleFile("a", FAILED, "error", "s3://b/a", error, 3, 5, 6, ledger.clock)
    }


def test_a_file_first_reported_without_a_state_is_pending() -> None:
    assert states(known(FileReport("a"), FileReport("b", native_state="?"))) == {"a": PENDING, "b": UNWORDED}


@pytest.mark.parametrize(
    ("of_files", "state"),
    [
        ([SUCCEEDED, FAILED, STAGED, PENDING], PENDING),
        ([SUCCEEDED, FAILED, STAGED], STAGED),
        ([SUCCEEDED, FAILED, UNWORDED], STAGED),
        ([SUCCEEDED, FAILED], FAILED),
        ([SUCCEEDED, SUCCEEDED], SUCCEEDED),
    ],
)
def test_a_granule_is_the_least_of_its_files(of_files: Sequence[GranuleState], state: GranuleState) -> None:
    reports = [FileReport(f"f{number}", each, "word") for number, each in enumerate(of_files)]
    ledger = known(*reports, state=SUCCEEDED, native_state="success")
    assert (ledger.of().state, ledger.of().native_state) == (state, None)


def test_a_state_reported_for_a_granule_with_files_is_ignored_and_its_other_fields_are_taken() -> None:
    ledger = known(FileReport("a", STAGED))
    assert outcome(ledger.take(told(state=FAILED, native_state="error"))) == {"unchanged": 1}
    assert outcome(ledger.take(told(state=FAILED, message="slow", request_time=4))) == {"applied": 1}
    now = ledger.of()
    assert (now.state, now.native_state, now.message, now.request_time) == (STAGED, None, "slow", 4)


def test_a_granule_with_a_state_follows_the_files_it_gets() -> None:
    ledger = Ledger(
        job(granule(state=FAILED, native_state="error", error=ItemError("E"), attempt=3, end_time=7))
    )
    merged = ledger.take(told(FileReport("a"), FileReport("b", SUCCEEDED, attempt=2)))
    assert merged.changes[0].previous_state is FAILED
    now = ledger.of()
    assert (now.state, now.native_state, now.attempt, now.error, now.end_time) == (
        PENDING,
        None,
        2,
        None,
        None,
    )


def test_a_changed_file_is_a_change_of_its_granule_whose_state_stays() -> None:
    ledger = known(FileReport("a", PENDING), FileReport("b", PENDING))
    merged = ledger.take(told(FileReport("a", SUCCEEDED)))
    (change,) = merged.changes
    assert (outcome(merged), change.previous_state, ledger.of().state) == ({"applied": 1}, PENDING, PENDING)
    assert (ledger.of().revision, ledger.of().update_time) == (change.revision, ledger.clock)
    assert [file.update_time for file in files_of(ledger).values()] == [ledger.clock, ledger.clock - 1_000]


def test_files_that_are_not_told_stay() -> None:
    ledger = known(FileReport("a", SUCCEEDED), FileReport("b", STAGED))
    ledger.take(told(FileReport("c", SUCCEEDED)))
    assert states(ledger) == {"a": SUCCEEDED, "b": STAGED, "c": SUCCEEDED}


@pytest.mark.parametrize("late", [FileReport("a", STAGED), FileReport("a", FAILED), FileReport("a", PENDING)])
def test_a_step_back_or_another_end_of_a_file_is_stale(late: FileReport) -> None:
    ledger = known(FileReport("a", SUCCEEDED, attempt=2))
    stood = ledger.of()
    for attempt in (None, 1, 2):
        merged = ledger.take(told(late._replace(attempt=attempt, error=ItemError("late"))))
        assert (outcome(merged), merged.changes, ledger.of()) == ({"stale": 1}, [], stood)


def test_a_lower_position_fills_the_times_of_a_file() -> None:
    ledger = known(FileReport("a", SUCCEEDED, end_time=9))
    ledger.take(told(FileReport("a", STAGED, request_time=2, end_time=3)))
    file = files_of(ledger)["a"]
    assert (file.state, file.request_time, file.end_time) == (SUCCEEDED, 2, 9)


def test_a_later_attempt_of_a_file_begins_empty_and_takes_the_granule_with_it() -> None:
    file = FileReport("a", FAILED, "error", "s3://b/a", ItemError("E"), None, 5, 6)
    ledger = known(file, FileReport("b", SUCCEEDED, end_time=7), message="given up")
    assert (ledger.of().state, ledger.of().error, ledger.of().end_time) == (FAILED, ItemError("E"), 7)
    ledger.take(told(FileReport("a", attempt=2)))
    empty = GranuleFile("a", PENDING, None, None, None, 2, None, None, ledger.clock)
    assert files_of(ledger)["a"] == empty
    now = ledger.of()
    assert (now.state, now.attempt, now.message, now.error, now.end_time) == (PENDING, 2, None, None, None)
    assert files_of(ledger)["b"].attempt == 1


def test_a_truth_takes_a_file_back_as_its_next_attempt() -> None:
    ledger = known(FileReport("a", SUCCEEDED), FileReport("b", SUCCEEDED))
    back = only(granule(files=[FileReport("a", PENDING, "pending")]), authoritative=True)
    assert outcome(ledger.take(back)) == {"applied": 1}
    assert (ledger.of().state, ledger.of().attempt) == (PENDING, 2)
    assert [file.attempt for file in files_of(ledger).values()] == [2, 1]
    assert outcome(ledger.take(back)) == {"unchanged": 1}


def test_a_granule_tells_why_a_file_has_failed_until_none_is_failed() -> None:
    ledger = known(FileReport("a", PENDING), FileReport("b", FAILED, error=ItemError("B")))
    assert (ledger.of().state, ledger.of().error) == (PENDING, ItemError("B"))
    ledger.take(told(FileReport("a", FAILED, error=ItemError("A"))))
    assert (ledger.of().state, ledger.of().error) == (FAILED, ItemError("A"))
    ledger.take(told(FileReport("a", SUCCEEDED, attempt=2)))
    assert (ledger.of().state, ledger.of().error) == (FAILED, ItemError("A"))
    ledger.take(told(FileReport("b", SUCCEEDED, attempt=2)))
    assert (ledger.of().state, ledger.of().error) == (SUCCEEDED, None)


def test_the_times_of_a_granule_follow_its_files() -> None:
    ledger = known(FileReport("a", SUCCEEDED, request_time=5, end_time=30), FileReport("b", request_time=4))
    assert (ledger.of().request_time, ledger.of().end_time) == (4, None)
    ledger.take(told(FileReport("b", SUCCEEDED, end_time=20)))
    assert (ledger.of().request_time, ledger.of().end_time) == (4, 30)


def test_what_is_told_of_the_granule_itself_stands_until_its_files_say_otherwise() -> None:
    own = {"error": ItemError("own"), "request_time": 1, "end_time": 99}
    ledger = known(FileReport("a", FAILED, None, None, ItemError("A"), 1, 5, 30), **own)
    assert (ledger.of().error, ledger.of().request_time, ledger.of().end_time) == (ItemError("own"), 1, 99)
    ledger.take(told(FileReport("a", restore_destination="d")))
    assert (ledger.of().request_time, ledger.of().end_time) == (1, 99)


def test_what_is_told_of_another_attempt_than_that_of_the_files_is_stale() -> None:
    ledger = known(FileReport("a", STAGED, attempt=2))
    for attempt in (1, 3):
        merged = ledger.take(told(attempt=attempt, message="of another"))
        assert (outcome(merged), ledger.of().message) == ({"stale": 1}, None)
    merged = ledger.take(told(FileReport("a", STAGED, attempt=3), attempt=3, message="of this"))
    assert (outcome(merged), ledger.of().message) == ({"applied": 1}, "of this")


def test_a_job_follows_granules_that_follow_files() -> None:
    ledger = Ledger(job(granule(files=[FileReport("a"), FileReport("b")]), granules_complete=True))
    states = [ledger.state]
    for files in (
        [FileReport("a", SUCCEEDED), FileReport("b", STAGED)],
        [FileReport("b", SUCCEEDED)],
        [FileReport("c")],
    ):
        ledger.take(told(*files))
        states.append(ledger.state)
    assert states == [JobState.PENDING, JobState.RUNNING, JobState.SUCCEEDED, JobState.PENDING]


def test_a_granule_has_no_more_files_than_it_may() -> None:
    files = [FileReport(f"{number}") for number in range(MAX_GRANULE_FILES)]
    ledger = known(*files)
    with pytest.raises(InvalidRequest, match="would have more than 1000"):
        ledger.take(only(granule("other"), granule(files=[FileReport("one more")])))
    assert len(files_of(ledger)) == MAX_GRANULE_FILES


def test_the_files_of_a_granule_take_no_more_than_they_may_and_do_not_count_as_the_granule() -> None:
    empty = file_bytes(files_of(known(FileReport("a", restore_destination="")))["a"])
    room = MAX_FILES_BYTES - empty
    assert room > MAX_GRANULE_BYTES
    ledger = known(FileReport("a", restore_destination="x" * room))
    with pytest.raises(InvalidRequest, match="would take more than 524288 bytes"):
        ledger.take(told(FileReport("a", restore_destination="x" * (room + 1))))
    ledger.take(told(FileReport("a", restore_destination="")))
    ledger.take(told(FileReport("b", restore_destination="x" * (room - empty))))


texts = st.none() | st.sampled_from(["", "x", "ü"])
times = st.none() | st.integers(1, 3)
errors = st.none() | st.builds(ItemError, texts, texts)
files = st.builds(
    FileReport,
    file_name=st.sampled_from("abc"),
    state=st.none() | st.sampled_from(GranuleState),
    native_state=texts,
    restore_destination=texts,
    error=errors,
    attempt=st.none() | st.integers(1, 3),
    request_time=times,
    end_time=times,
)
granules = st.builds(
    GranuleReport,
    collection_id=st.just("c"),
    granule_id=st.sampled_from(["g1", "g2"]),
    state=st.none() | st.sampled_from(GranuleState),
    native_state=texts,
    attempt=st.none() | st.integers(1, 3),
    error=errors,
    message=texts,
    request_time=times,
    end_time=times,
    document=texts,
    files=st.lists(files, max_size=3, unique_by=lambda file: file.file_name),
)
reports = st.builds(Report, st.just(JOB), st.none(), st.lists(granules, max_size=3), st.booleans())
histories = st.lists(reports, max_size=6)


def known_only(known: Mapping[GranuleKey, Granule], reports: Sequence[Report]) -> dict[GranuleKey, Granule]:
    """Return granules as a store reads them: with those of their files alone that are reported."""
    wanted = {
        (each.key, file.file_name) for report in reports for each in report.granules for file in each.files
    }
    found = {}
    for key, held in known.items():
        files = held.files
        if files is not None:
            named = {name: file for name, file in files.named.items() if (key, name) in wanted}
            held = held._replace(files=files._replace(named=named))
        found[key] = held
    return found


@given(histories)
def test_a_tally_is_what_its_files_come_to(delivered: list[Report]) -> None:
    for held in Ledger(job(), *delivered).granules.values():
        if held.files is None:
            continue
        tally, of_files = held.files, list(held.files.named.values())
        counts = [0] * 4
        for file in of_files:
            counts[_ORDER.index(STAGED if file.state is UNWORDED else file.state)] += 1
        attempt, size = max(file.attempt for file in of_files), sum(map(file_bytes, of_files))
        assert tally[:6] == (*counts, attempt, size)
        least = next(state for state, count in zip(_ORDER, counts, strict=True) if count)
        assert (held.state, held.attempt, held.native_state) == (least, attempt, None)
        assert tally.total == len(of_files)


@given(st.data(), st.lists(files, min_size=1, max_size=6))
def test_state_and_attempt_do_not_depend_on_the_order_of_reports_of_files(
    data: st.DataObject, delivered: list[FileReport]
) -> None:
    rank = (1, 0, 1, 2, 2)

    def positions(order: Sequence[FileReport]) -> dict[str, tuple[int, int]]:
        ledger = Ledger(job(), *map(told, order))
        return {name: (file.attempt, rank[file.state]) for name, file in files_of(ledger).items()}

    assert positions(delivered) == positions(data.draw(st.permutations(delivered)))


@given(histories, st.lists(granules, max_size=2, unique_by=lambda each: each.granule_id), st.booleans())
def test_a_report_of_files_delivered_again_changes_nothing(
    before: list[Report], last: list[GranuleReport], authoritative: bool
) -> None:
    ledger = Ledger(job(), *before)
    report = only(*last, authoritative=authoritative)
    ledger.take(report)
    stood = dict(ledger.granules)
    merged = ledger.take(report)
    assert (merged.applied, list(merged.changes), dict(merged.granules)) == (0, [], {})
    assert ledger.granules == stood


@given(histories, st.lists(reports, min_size=1, max_size=3))
def test_a_merge_needs_to_know_but_the_files_reported_and_tells_each_that_changed(
    before: list[Report], last: list[Report]
) -> None:
    ledger = Ledger(job(), *before)
    stood = dict(ledger.granules)
    known = {JOB: known_only(stood, last)}
    jobs = {JOB: ledger.stands}
    group = merge_reports(jobs, known, last, 99, 99_000)
    ledger.clock = 98_000
    for report in last:
        ledger.take(report)
        ledger.clock = 98_000
    written = group.granule_files.get(JOB, {})
    for key, now in ledger.granules.items():
        old = stood[key].files if key in stood else None
        if now.files is None or old == now.files:
            assert key not in written
            continue
        tally = written[key]
        assert tally._replace(named={}) == now.files._replace(named={})
        was = FileTally().named if old is None else old.named
        assert dict(tally.named) == {
            name: file for name, file in now.files.named.items() if was.get(name) != file
        }
