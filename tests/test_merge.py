"""What reports of granules make of them."""

from __future__ import annotations

from typing import Any

import pytest
from reports import FAILED, PENDING, STAGED, SUCCEEDED, UNWORDED, Ledger, granule, job, only, outcome

from jobstatus_grpc.errors import InvalidRequest
from jobstatus_grpc.model import (
    MAX_GRANULE_BYTES,
    MAX_JOB_BYTES,
    Granule,
    GranuleState,
    ItemError,
    Job,
    JobState,
    Totals,
)
from jobstatus_grpc.sizes import granule_bytes, job_bytes

FORWARD = [
    (PENDING, STAGED),
    (PENDING, UNWORDED),
    (PENDING, SUCCEEDED),
    (PENDING, FAILED),
    (STAGED, SUCCEEDED),
    (STAGED, FAILED),
    (UNWORDED, SUCCEEDED),
    (UNWORDED, FAILED),
]
BACKWARD = [(after, before) for before, after in FORWARD]
OTHER_END = [(SUCCEEDED, FAILED), (FAILED, SUCCEEDED)]


def known(**fields: Any) -> Ledger:
    """Return a job that was reported with one granule."""
    return Ledger(job(granule(**fields)))


def test_a_granule_first_reported_is_as_reported() -> None:
    ledger = Ledger(
        job(
            granule(
                state=FAILED,
                native_state="error",
                attempt=3,
                error=ItemError("E1", "gone"),
                message="no such archive",
                request_time=5,
                end_time=6,
            )
        )
    )
    assert ledger.of() == Granule(
        "c",
        "g",
        FAILED,
        "error",
        3,
        ItemError("E1", "gone"),
        "no such archive",
        5,
        6,
        update_time=ledger.clock,
        revision=2,
    )


def test_a_granule_first_reported_without_a_state_is_pending() -> None:
    ledger = known(message="asked for")
    assert (ledger.of().state, ledger.of().attempt, ledger.of().message) == (PENDING, 1, "asked for")


def test_a_granule_first_reported_without_a_state_but_an_attempt_is_pending_in_it() -> None:
    assert (known(attempt=4).of().state, known(attempt=4).of().attempt) == (PENDING, 4)


def test_an_absent_attempt_is_the_first() -> None:
    assert known(state=STAGED).of().attempt == 1


def test_a_word_of_the_system_alone_is_a_state_without_counterpart() -> None:
    granule_ = known(native_state="PENDING_PAYMENT").of()
    assert (granule_.state, granule_.native_state) == (UNWORDED, "PENDING_PAYMENT")


@pytest.mark.parametrize(("before", "after"), FORWARD)
def test_a_greater_rank_moves(before: GranuleState, after: GranuleState) -> None:
    ledger = known(state=before)
    merged = ledger.take(only(granule(state=after)))
    assert outcome(merged) == {"applied": 1}
    assert (ledger.of().state, ledger.of().attempt) == (after, 1)
    assert merged.changes[0].previous_state == before


@pytest.mark.parametrize(("before", "after"), BACKWARD + OTHER_END)
def test_a_step_back_or_another_end_is_stale(before: GranuleState, after: GranuleState) -> None:
    ledger = known(state=before, native_state="word", message="first")
    stood = ledger.of()
    report = granule(state=after, native_state="other", message="late", error=ItemError("E"))
    merged = ledger.take(only(report))
    assert outcome(merged) == {"stale": 1}
    assert (ledger.of(), merged.changes, merged.granules) == (stood, [], {})


@pytest.mark.parametrize(("first", "last"), [(STAGED, UNWORDED), (UNWORDED, STAGED)])
def test_between_staged_and_a_word_that_is_not_ours_the_last_stands(
    first: GranuleState, last: GranuleState
) -> None:
    ledger = known(state=first, native_state="one")
    assert outcome(ledger.take(only(granule(state=last, native_state="two")))) == {"applied": 1}
    assert (ledger.of().state, ledger.of().native_state) == (last, "two")


def test_between_two_words_that_are_not_ours_the_last_stands() -> None:
    ledger = known(native_state="PENDING_PAYMENT")
    ledger.take(only(granule(native_state="PAID")))
    assert (ledger.of().state, ledger.of().native_state) == (UNWORDED, "PAID")


def test_a_moved_state_takes_the_native_state_with_it_and_keeps_the_other_fields() -> None:
    ledger = known(state=STAGED, native_state="staged", message="on disk", request_time=5)
    ledger.take(only(granule(state=SUCCEEDED, end_time=9)))
    now = ledger.of()
    assert (now.native_state, now.message, now.request_time, now.end_time) == (None, "on disk", 5, 9)


def test_at_the_same_position_the_last_text_wins_and_what_is_absent_stays() -> None:
    ledger = known(state=STAGED, native_state="staged", message="one", request_time=5)
    assert outcome(ledger.take(only(granule(state=STAGED, message="two", end_time=8)))) == {"applied": 1}
    now = ledger.of()
    assert (now.native_state, now.message, now.request_time, now.end_time) == ("staged", "two", 5, 8)


def test_an_empty_text_replaces() -> None:
    ledger = known(state=STAGED, message="one", native_state="staged")
    ledger.take(only(granule(state=STAGED, message="", native_state="")))
    assert (ledger.of().message, ledger.of().native_state) == ("", "")


def test_what_is_known_already_is_unchanged_and_makes_no_revision() -> None:
    report = granule(state=FAILED, native_state="error", error=ItemError("E"), message="m", end_time=7)
    ledger = Ledger(job(report))
    stood, revision = ledger.of(), ledger.stands.revision
    merged = ledger.take(only(report))
    assert outcome(merged) == {"unchanged": 1}
    assert (ledger.of(), ledger.stands.revision, merged.changes, merged.granules) == (stood, revision, [], {})


@pytest.mark.parametrize("state", list(GranuleState))
def test_a_report_without_a_state_only_sets_fields(state: GranuleState) -> None:
    ledger = known(state=state, native_state="word", attempt=2)
    assert outcome(ledger.take(only(granule(message="news")))) == {"applied": 1}
    now = ledger.of()
    assert (now.state, now.native_state, now.attempt, now.message) == (state, "word", 2, "news")
    assert ledger.changes[-1].previous_state == state


def test_a_report_without_a_state_of_the_current_attempt_only_sets_fields() -> None:
    ledger = known(state=FAILED, attempt=2)
    assert outcome(ledger.take(only(granule(attempt=2, message="news")))) == {"applied": 1}
    assert (ledger.of().state, ledger.of().message) == (FAILED, "news")


def test_a_report_without_a_state_of_a_later_attempt_starts_it_as_pending() -> None:
    ledger = known(state=FAILED, native_state="error", message="old")
    assert outcome(ledger.take(only(granule(attempt=2, request_time=9)))) == {"applied": 1}
    now = ledger.of()
    assert now[2:9] == (PENDING, None, 2, None, None, 9, None)


def test_a_report_without_a_state_of_an_earlier_attempt_is_stale() -> None:
    ledger = known(state=STAGED, attempt=2)
    assert outcome(ledger.take(only(granule(attempt=1, message="late", end_time=3)))) == {"stale": 1}
    assert (ledger.of().message, ledger.of().end_time) == (None, None)


def test_a_lower_position_of_the_attempt_fills_times_still_unset_and_nothing_else() -> None:
    ledger = known(state=SUCCEEDED, native_state="success", end_time=9)
    late = granule(state=PENDING, native_state="pending", message="m", error=ItemError("E"), request_time=5)
    assert outcome(ledger.take(only(late._replace(end_time=4)))) == {"applied": 1}
    now = ledger.of()
    assert now[2:9] == (SUCCEEDED, "success", 1, None, None, 5, 9)


def test_a_lower_position_with_nothing_to_fill_is_stale() -> None:
    ledger = known(state=SUCCEEDED, request_time=5, end_time=9)
    assert outcome(ledger.take(only(granule(state=STAGED, request_time=6, end_time=7)))) == {"stale": 1}
    assert (ledger.of().request_time, ledger.of().end_time) == (5, 9)


def test_another_end_fills_no_times() -> None:
    ledger = known(state=SUCCEEDED)
    assert outcome(ledger.take(only(granule(state=FAILED, request_time=5, end_time=9)))) == {"stale": 1}
    assert (ledger.of().request_time, ledger.of().end_time) == (None, None)


def test_an_earlier_attempt_is_stale_and_fills_no_times() -> None:
    ledger = known(state=STAGED, attempt=2)
    late = granule(state=SUCCEEDED, attempt=1, request_time=5, end_time=9)
    assert outcome(ledger.take(only(late))) == {"stale": 1}
    assert outcome(ledger.take(only(late._replace(attempt=None)))) == {"stale": 1}
    assert ledger.of()[2:9] == (STAGED, None, 2, None, None, None, None)


@pytest.mark.parametrize("state", list(GranuleState))
@pytest.mark.parametrize("before", list(GranuleState))
def test_a_later_attempt_starts_empty_in_any_state(before: GranuleState, state: GranuleState) -> None:
    error = ItemError("E", "why")
    full = granule(state=before, native_state="word", error=error, message="m", request_time=5, end_time=9)
    ledger = Ledger(job(full))
    merged = ledger.take(only(granule(state=state, attempt=3)))
    assert outcome(merged) == {"applied": 1}
    assert ledger.of()[2:9] == (state, None, 3, None, None, None, None)
    assert merged.changes[0].previous_state == before


def test_a_present_but_empty_error_removes_the_error() -> None:
    ledger = known(state=FAILED, error=ItemError("E", "why"))
    assert outcome(ledger.take(only(granule(state=FAILED, error=ItemError())))) == {"applied": 1}
    assert ledger.of().error is None
    assert outcome(ledger.take(only(granule(state=FAILED, error=ItemError())))) == {"unchanged": 1}


def test_an_error_replaces_the_error_as_a_whole() -> None:
    ledger = known(state=FAILED, error=ItemError("E", "why"))
    ledger.take(only(granule(state=FAILED, error=ItemError(None, "because"))))
    assert ledger.of().error == ItemError(None, "because")


def test_a_granule_first_reported_with_an_empty_error_has_none() -> None:
    assert known(state=FAILED, error=ItemError()).of().error is None


def test_what_a_system_tells_to_be_empty_becomes_so_and_nothing_else_does() -> None:
    told = job(state=JobState.FAILED, job_type="copy", begin_time=5, end_time=9, description="mine")
    emptied = job(state=JobState.FAILED, emptied=frozenset({"job_type", "end_time"}))
    after = Ledger(told, emptied).stands
    assert (after.job_type, after.begin_time, after.end_time, after.description) == (None, 5, None, "mine")
    assert (after.begin_time_reported, after.end_time_reported) == (True, False)


def test_the_document_of_a_granule_lasts_until_a_report_replaces_or_removes_it() -> None:
    ledger = known(state=STAGED)
    revisions = set()
    for document, lasting in [("{}", "{}"), (None, "{}"), ("[]", "[]"), ("", None), ("{}", "{}")]:
        assert outcome(ledger.take(only(granule(state=STAGED, document=document)))) == {"unchanged": 1}
        assert ledger.of().document == lasting
        revisions.add((ledger.of().revision, ledger.stands.revision))
    assert len(revisions) == 1
    ledger.take(only(granule(state=STAGED, attempt=2)))
    assert ledger.of().document is None


@pytest.mark.parametrize(("before", "after"), BACKWARD + OTHER_END)
def test_the_truth_of_a_system_that_would_be_refused_is_the_next_attempt(
    before: GranuleState, after: GranuleState
) -> None:
    ledger = known(state=before, attempt=4, message="old")
    merged = ledger.take(only(granule(state=after), authoritative=True))
    assert outcome(merged) == {"applied": 1}
    assert ledger.of()[2:9] == (after, None, 5, None, None, None, None)


@pytest.mark.parametrize(("before", "after"), [*FORWARD, (STAGED, UNWORDED), (UNWORDED, STAGED)])
def test_the_truth_of_a_system_that_is_not_refused_stays_in_the_current_attempt(
    before: GranuleState, after: GranuleState
) -> None:
    ledger = known(state=before, attempt=4, message="kept")
    ledger.take(only(granule(state=after), authoritative=True))
    assert (ledger.of().state, ledger.of().attempt, ledger.of().message) == (after, 4, "kept")


def test_the_truth_of_a_system_at_the_same_state_only_sets_fields() -> None:
    ledger = known(state=FAILED, attempt=4)
    assert outcome(ledger.take(only(granule(state=FAILED), authoritative=True))) == {"unchanged": 1}
    assert outcome(ledger.take(only(granule(state=FAILED, message="m"), authoritative=True))) == {
        "applied": 1
    }
    assert (ledger.of().attempt, ledger.of().message) == (4, "m")


def test_the_truth_of_a_system_at_an_attempt_already_left_is_stale() -> None:
    ledger = known(state=STAGED, attempt=4)
    late = granule(state=FAILED, attempt=3)
    assert outcome(ledger.take(only(late, authoritative=True))) == {"stale": 1}


def test_reports_of_one_granule_in_one_report_are_merged_one_after_the_other() -> None:
    ledger = Ledger(job())
    steps = [granule(state=PENDING), granule(state=STAGED), granule(state=PENDING), granule(state=SUCCEEDED)]
    merged = ledger.take(only(*steps))
    assert outcome(merged) == {"applied": 3, "stale": 1}
    items = [change.item for change in merged.changes if isinstance(change.item, Granule)]
    assert [item.state for item in items] == [PENDING, STAGED, SUCCEEDED]
    assert [change.previous_state for change in merged.changes] == [None, PENDING, STAGED, None]
    assert [change.totals for change in merged.changes[:3]] == [
        Totals(pending=1),
        Totals(staged=1),
        Totals(succeeded=1),
    ]
    assert list(merged.granules.values()) == [items[-1]]


def test_every_change_carries_the_commit_and_the_time_of_its_transaction() -> None:
    ledger = Ledger()
    merged = ledger.take(job(granule("a"), granule("b", STAGED)))
    assert {(change.commit_id, change.change_time) for change in merged.changes} == {(2_000, 2_000)}
    assert [change.revision for change in merged.changes] == [1, 2, 3, 4]


def test_the_job_is_logged_first_when_new_and_last_when_its_derived_state_changed() -> None:
    ledger = Ledger()
    kinds = [type(change.item) for change in ledger.take(job(granule("a", STAGED), granule("b"))).changes]
    assert kinds == [Job, Granule, Granule, Job]
    merged = ledger.take(job(granule("b", STAGED), description="d"))
    assert [type(change.item) for change in merged.changes] == [Granule, Job]


def test_a_granule_that_grows_beyond_its_limit_is_refused_by_its_place_in_the_report() -> None:
    ledger = known(native_state="x" * 10_000)
    small = granule("a", message="fits")
    with pytest.raises(InvalidRequest) as refused:
        ledger.take(only(small, granule(message="y" * 10_000), granule("b", message="z" * MAX_GRANULE_BYTES)))
    assert [violation.field for violation in refused.value.violations] == ["granules[1]", "granules[2]"]


def test_a_granule_of_exactly_its_limit_is_taken() -> None:
    room = MAX_GRANULE_BYTES - granule_bytes(known(message="").of())
    assert granule_bytes(known(message="é" * (room // 2) + "x" * (room % 2)).of()) == MAX_GRANULE_BYTES
    with pytest.raises(InvalidRequest):
        known(message="x" * (room + 1))


def test_a_job_of_exactly_its_limit_is_taken_and_a_greater_one_refused() -> None:
    room = MAX_JOB_BYTES - job_bytes(Ledger(job(description="")).stands)
    assert job_bytes(Ledger(job(description="x" * room)).stands) == MAX_JOB_BYTES
    with pytest.raises(InvalidRequest) as refused:
        Ledger(job(description="x" * (room + 1)))
    assert refused.value.violations[0].field == "job"
