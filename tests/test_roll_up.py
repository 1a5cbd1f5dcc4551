"""What reports make of the job itself: its own fields, and the state its granules give it."""

from __future__ import annotations

import pytest
from reports import FAILED, PENDING, STAGED, SUCCEEDED, UNWORDED, Ledger, granule, job, only, outcome

from jobstatus_grpc.model import GranuleState, ItemError, Job, JobState, Totals

RUNNING = JobState.RUNNING

DERIVED = [
    ((), False, JobState.PENDING),
    ((), True, JobState.SUCCEEDED),
    ((PENDING, PENDING), False, JobState.PENDING),
    ((PENDING, PENDING), True, JobState.PENDING),
    ((PENDING, STAGED), True, RUNNING),
    ((PENDING, SUCCEEDED), True, RUNNING),
    ((PENDING, FAILED), True, RUNNING),
    ((STAGED,), True, RUNNING),
    ((UNWORDED,), True, RUNNING),
    ((UNWORDED, SUCCEEDED), True, RUNNING),
    ((SUCCEEDED, SUCCEEDED), False, RUNNING),
    ((SUCCEEDED, FAILED), False, RUNNING),
    ((SUCCEEDED, SUCCEEDED), True, JobState.SUCCEEDED),
    ((SUCCEEDED, FAILED), True, JobState.FAILED),
    ((FAILED,), True, JobState.FAILED),
]


def granules(*states: GranuleState) -> list[object]:
    return [granule(f"g{index}", state) for index, state in enumerate(states)]


@pytest.mark.parametrize(("states", "complete", "expected"), DERIVED)
def test_a_state_nobody_reported_follows_the_granules(
    states: tuple[GranuleState, ...], complete: bool, expected: JobState
) -> None:
    reports = [granule(f"g{index}", state) for index, state in enumerate(states)]
    ledger = Ledger(job(*reports, granules_complete=complete))
    assert ledger.state is expected
    assert ledger.stands.native_state is None


def test_creating_a_job_is_its_revision_1_and_a_derived_state_its_last_change() -> None:
    merged = Ledger().take(job(granule("a", SUCCEEDED), granules_complete=True, system="orca"))
    first, _, last = merged.changes
    assert isinstance(first.item, Job)
    assert isinstance(last.item, Job)
    assert (first.revision, first.item.state, first.totals) == (1, JobState.PENDING, Totals())
    assert (last.revision, last.item.state, last.totals) == (3, JobState.SUCCEEDED, Totals(succeeded=1))
    assert merged.job == last.item


def test_a_job_has_its_defaults_until_more_is_reported() -> None:
    ledger = Ledger(job())
    assert ledger.stands == Job(
        project_id="default",
        job_id="restore-1",
        system=None,
        job_type=None,
        state=JobState.PENDING,
        native_state=None,
        attempt=1,
        description=None,
        message=None,
        error=None,
        create_time=2_000,
        begin_time=None,
        end_time=None,
        update_time=2_000,
        totals=Totals(),
        granules_complete=False,
        labels={},
        revision=1,
        state_reported=False,
        begin_time_reported=False,
        end_time_reported=False,
    )


def test_a_derived_state_that_stays_is_no_change_of_the_job() -> None:
    ledger = Ledger(job(granule("a", STAGED), granule("b")))
    merged = ledger.take(only(granule("a", SUCCEEDED)))
    assert [change.totals for change in merged.changes] == [Totals(pending=1, succeeded=1)]
    assert ledger.stands.totals == Totals(pending=1, succeeded=1)
    assert (ledger.stands.revision, ledger.stands.update_time) == (5, ledger.clock)


def test_the_derived_times_follow_the_derived_state() -> None:
    ledger = Ledger(job(granule("a"), granules_complete=True))
    assert (ledger.stands.begin_time, ledger.stands.end_time) == (None, None)
    ledger.take(only(granule("a", STAGED)))
    began = ledger.clock
    assert (ledger.stands.begin_time, ledger.stands.end_time) == (began, None)
    ledger.take(only(granule("a", FAILED)))
    assert (ledger.stands.begin_time, ledger.stands.end_time) == (began, ledger.clock)
    ledger.take(only(granule("a", STAGED, attempt=2)))
    assert (ledger.state, ledger.stands.begin_time, ledger.stands.end_time) == (RUNNING, began, None)
    ledger.take(only(granule("a", attempt=3)))
    assert (ledger.state, ledger.stands.begin_time) == (JobState.PENDING, None)


def test_reported_times_stand_while_the_state_is_derived() -> None:
    ledger = Ledger(job(granule("a"), begin_time=5, end_time=6))
    assert (ledger.state, ledger.stands.begin_time, ledger.stands.end_time) == (JobState.PENDING, 5, 6)
    ledger.take(job(granule("a", SUCCEEDED), granules_complete=True))
    assert (ledger.state, ledger.stands.begin_time, ledger.stands.end_time) == (JobState.SUCCEEDED, 5, 6)


def test_derived_times_end_with_the_derived_state() -> None:
    ledger = Ledger(job(granule("a", SUCCEEDED), granules_complete=True))
    ledger.take(job(state=RUNNING))
    assert (ledger.state, ledger.stands.begin_time, ledger.stands.end_time) == (RUNNING, None, None)


def test_a_reported_state_has_no_derived_times() -> None:
    ledger = Ledger(job(granule("a", SUCCEEDED), state=JobState.SUCCEEDED))
    assert (ledger.stands.begin_time, ledger.stands.end_time) == (None, None)


@pytest.mark.parametrize("reported", list(JobState))
@pytest.mark.parametrize("derived", [(), (STAGED,), (SUCCEEDED,), (FAILED,)])
def test_a_job_whose_state_was_never_reported_takes_any(
    derived: tuple[GranuleState, ...], reported: JobState
) -> None:
    ledger = Ledger(job(*[granule(f"g{state}", state) for state in derived], granules_complete=True))
    merged = ledger.take(job(state=reported, native_state="word"))
    assert outcome(merged) == {"applied": 1}
    assert (ledger.state, ledger.stands.native_state, ledger.stands.state_reported) == (
        reported,
        "word",
        True,
    )


def test_a_job_never_reported_takes_no_state_of_an_earlier_attempt() -> None:
    ledger = Ledger(job(attempt=2))
    assert outcome(ledger.take(job(state=RUNNING))) == {"stale": 1}
    assert not ledger.stands.state_reported


def test_a_reported_state_stands_whatever_the_granules_do() -> None:
    ledger = Ledger(job(granule("a"), state=RUNNING, granules_complete=True))
    merged = ledger.take(only(granule("a", FAILED)))
    assert [type(change.item).__name__ for change in merged.changes] == ["Granule"]
    assert ledger.state is RUNNING


def test_a_reported_state_moves_only_forward() -> None:
    ledger = Ledger(job(state=JobState.PENDING))
    for state in (RUNNING, JobState.SUCCEEDED):
        assert outcome(ledger.take(job(state=state))) == {"applied": 1}
    for state in (JobState.PENDING, RUNNING, JobState.FAILED, JobState.UNSPECIFIED):
        assert outcome(ledger.take(job(state=state, message="late"))) == {"stale": 1}
    assert (ledger.state, ledger.stands.message) == (JobState.SUCCEEDED, None)


def test_a_word_of_the_system_alone_is_a_state_without_counterpart() -> None:
    ledger = Ledger(job(native_state="PENDING_PAYMENT"))
    assert (ledger.state, ledger.stands.state_reported) == (JobState.UNSPECIFIED, True)
    ledger.take(job(state=RUNNING))
    ledger.take(job(native_state="PAUSED"))
    assert (ledger.state, ledger.stands.native_state) == (JobState.UNSPECIFIED, "PAUSED")


def test_a_lower_position_of_the_attempt_fills_the_jobs_unset_times_and_nothing_else() -> None:
    ledger = Ledger(job(state=JobState.SUCCEEDED, end_time=9))
    late = job(state=RUNNING, begin_time=5, end_time=6, message="late", labels={"a": "b"}, system="orca")
    assert outcome(ledger.take(late)) == {"applied": 1}
    now = ledger.stands
    assert (now.state, now.begin_time, now.end_time) == (JobState.SUCCEEDED, 5, 9)
    assert (now.message, now.labels, now.system) == (None, {}, None)
    assert outcome(ledger.take(late)) == {"stale": 1}


def test_a_moved_state_takes_the_native_state_with_it() -> None:
    ledger = Ledger(job(state=RUNNING, native_state="RUNNING", message="half"))
    ledger.take(job(state=JobState.SUCCEEDED))
    assert (ledger.stands.native_state, ledger.stands.message) == (None, "half")


def test_a_later_attempt_of_a_job_starts_empty_but_for_what_it_keeps() -> None:
    full = job(
        granule("a", FAILED),
        system="sdrs",
        job_type="copy",
        state=JobState.FAILED,
        native_state="FAIL",
        description="d",
        message="m",
        error=ItemError("E", "why"),
        begin_time=5,
        end_time=9,
        granules_complete=True,
        labels={"owner": "me"},
    )
    ledger = Ledger(full)
    created = ledger.stands.create_time
    ledger.take(job(state=RUNNING, attempt=2))
    now = ledger.stands
    assert (now.system, now.job_type, now.labels, now.create_time) == (
        "sdrs",
        "copy",
        {"owner": "me"},
        created,
    )
    assert (now.state, now.attempt, now.totals) == (RUNNING, 2, Totals(failed=1))
    emptied = (now.native_state, now.description, now.message, now.error, now.begin_time, now.end_time)
    assert (emptied, now.granules_complete) == ((None,) * 6, False)
    assert ledger.of("a").attempt == 1


def test_a_later_attempt_without_a_state_derives_it_again() -> None:
    ledger = Ledger(job(granule("a", SUCCEEDED), state=JobState.FAILED, granules_complete=True))
    ledger.take(job(attempt=2))
    assert (ledger.state, ledger.stands.attempt, ledger.stands.state_reported) == (RUNNING, 2, False)
    ledger.take(job(granules_complete=True))
    assert (ledger.state, ledger.stands.attempt) == (JobState.SUCCEEDED, 2)


def test_a_report_without_a_state_of_the_current_attempt_sets_fields_of_an_earlier_one_is_stale() -> None:
    ledger = Ledger(job(state=RUNNING, attempt=2))
    assert outcome(ledger.take(job(attempt=2, message="m"))) == {"applied": 1}
    assert outcome(ledger.take(job(attempt=1, message="late", begin_time=3))) == {"stale": 1}
    assert (ledger.state, ledger.stands.message, ledger.stands.begin_time) == (RUNNING, "m", None)


@pytest.mark.parametrize("state", [JobState.PENDING, RUNNING, JobState.UNSPECIFIED, JobState.FAILED])
def test_the_truth_of_a_system_that_a_job_would_refuse_is_its_next_attempt(state: JobState) -> None:
    ledger = Ledger(job(state=JobState.SUCCEEDED, attempt=4))
    ledger.take(job(state=state, authoritative=True))
    assert (ledger.state, ledger.stands.attempt) == (state, 5)


@pytest.mark.parametrize("state", list(JobState))
def test_the_truth_of_a_system_is_no_new_attempt_of_a_job_never_reported(state: JobState) -> None:
    ledger = Ledger(job(granule("a", FAILED), granules_complete=True, attempt=4))
    ledger.take(job(state=state, authoritative=True))
    assert (ledger.state, ledger.stands.attempt) == (state, 4)


def test_a_derived_state_opens_again_by_itself() -> None:
    ledger = Ledger(job(granule("a", SUCCEEDED), granules_complete=True))
    merged = ledger.take(only(granule("b")))
    assert [type(change.item).__name__ for change in merged.changes] == ["Granule", "Job"]
    assert (ledger.state, ledger.stands.end_time) == (RUNNING, None)


def test_a_reported_state_opens_again_only_by_a_later_attempt() -> None:
    ledger = Ledger(job(granule("a", SUCCEEDED), state=JobState.SUCCEEDED))
    assert outcome(ledger.take(only(granule("b", STAGED)))) == {"applied": 1}
    assert (ledger.state, ledger.stands.totals) == (JobState.SUCCEEDED, Totals(staged=1, succeeded=1))
    ledger.take(job(state=RUNNING, attempt=2))
    assert ledger.state is RUNNING


def test_granules_complete_may_be_taken_back() -> None:
    ledger = Ledger(job(granule("a", SUCCEEDED), granules_complete=True))
    ledger.take(job(granules_complete=False))
    assert ledger.state is RUNNING


def test_labels_replace_all_labels_and_none_are_no_news() -> None:
    ledger = Ledger(job(labels={"a": "1", "b": "2"}))
    ledger.take(job(labels={"c": "3"}))
    assert ledger.stands.labels == {"c": "3"}
    assert outcome(ledger.take(job(labels={}))) == {"unchanged": 1}
    assert ledger.stands.labels == {"c": "3"}


def test_a_job_reported_as_it_is_known_makes_no_revision() -> None:
    report = job(
        granule("a", STAGED), state=RUNNING, native_state="r", labels={"a": "1"}, description="", begin_time=4
    )
    ledger = Ledger(report)
    stood = ledger.stands
    merged = ledger.take(report)
    assert outcome(merged) == {"unchanged": 2}
    assert (merged.changes, ledger.stands) == ([], stood)
