"""What holds for every report there can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st
from reports import JOB, Ledger, fold, job, only

from jobstatus_grpc.errors import JobNotFound
from jobstatus_grpc.merge import Merged, merge_reports
from jobstatus_grpc.model import (
    Change,
    Details,
    Granule,
    GranuleKey,
    GranuleReport,
    GranuleState,
    ItemError,
    Job,
    JobDocument,
    JobReport,
    JobState,
    Report,
    Totals,
)

# Small sets of values, so that reports meet.
texts = st.sampled_from(["", "x", "ü"])
times = st.integers(1, 3)
attempts = st.integers(1, 3)
errors = st.builds(ItemError, st.none() | texts, st.none() | texts)
complete = st.none() | st.booleans()
details = st.builds(Details, st.just("sdrs"), st.dictionaries(st.just("resource_id"), texts))
words = st.dictionaries(st.sampled_from("ab"), texts, max_size=2)


def granules_named(names: Sequence[str]) -> st.SearchStrategy[GranuleReport]:
    return st.builds(
        GranuleReport,
        collection_id=st.just("c"),
        granule_id=st.sampled_from(names),
        state=st.none() | st.sampled_from(GranuleState),
        native_state=st.none() | texts,
        attempt=st.none() | attempts,
        error=st.none() | errors,
        message=st.none() | texts,
        request_time=st.none() | times,
        end_time=st.none() | times,
        document=st.none() | texts,
        files=st.just(()),
    )


jobs = st.builds(
    JobReport,
    project_id=st.just(JOB.project_id),
    job_id=st.just(JOB.job_id),
    system=st.none() | texts,
    job_type=st.none() | texts,
    state=st.none() | st.sampled_from(JobState),
    native_state=st.none() | texts,
    attempt=st.none() | attempts,
    description=st.none() | texts,
    message=st.none() | texts,
    error=st.none() | errors,
    begin_time=st.none() | times,
    end_time=st.none() | times,
    granules_complete=complete,
    labels=st.none() | words,
    parent_job_id=st.none(),
    details=st.none() | details,
    document=st.none() | texts,
    sub_jobs=st.just(()),
    emptied=st.just(frozenset[str]()),
)
one_granule = st.lists(granules_named(["g"]), min_size=1, max_size=6)
many_granules = st.lists(granules_named(["g1", "g2", "g3"]), max_size=5)
distinct_granules = st.lists(
    granules_named(["g1", "g2", "g3"]), max_size=3, unique_by=lambda report: report.granule_id
)
reports = st.builds(Report, st.just(JOB), st.none() | jobs, many_granules, st.booleans())
histories = st.lists(reports, max_size=6)


def taken(first: Report, others: Sequence[Report]) -> Ledger:
    """Return a job that was created with nothing, then reported so."""
    return Ledger(job(), first, *others)


def undocumented(granules: Mapping[GranuleKey, Granule]) -> dict[GranuleKey, Granule]:
    """Return granules as a history has them."""
    return {key: granule._replace(document=None) for key, granule in granules.items()}


@given(st.data(), one_granule)
def test_state_and_attempt_do_not_depend_on_the_order_of_reports(
    data: st.DataObject, delivered: list[GranuleReport]
) -> None:
    rank = {GranuleState.UNSPECIFIED: 1, GranuleState.PENDING: 0, GranuleState.STAGED: 1}

    def position(order: Sequence[GranuleReport]) -> tuple[int, int]:
        granule = Ledger(job(), *map(only, order)).of()
        return granule.attempt, rank.get(granule.state, 2)

    assert position(delivered) == position(data.draw(st.permutations(delivered)))


@given(one_granule, st.booleans())
def test_the_reports_of_a_granule_mean_the_same_in_one_report_as_one_by_one(
    delivered: list[GranuleReport], authoritative: bool
) -> None:
    together = Ledger(job(), only(*delivered, authoritative=authoritative))
    alone = Ledger(job(), *(only(report, authoritative=authoritative) for report in delivered))
    assert together.of()._replace(update_time=0) == alone.of()._replace(
        update_time=0, revision=together.of().revision
    )


@given(histories, st.none() | jobs, distinct_granules, st.booleans())
def test_a_report_delivered_again_changes_nothing(
    before: list[Report], told: JobReport | None, granules: list[GranuleReport], authoritative: bool
) -> None:
    ledger = Ledger(job(), *before)
    report = Report(JOB, told, granules, authoritative)
    ledger.take(report)
    stood, job_stood, kept = dict(ledger.granules), ledger.stands, ledger.kept
    merged = ledger.take(report)
    assert (merged.applied, list(merged.changes), dict(merged.granules)) == (0, [], {})
    assert dict(merged.documents) == {}
    assert (ledger.granules, ledger.stands, ledger.kept) == (stood, job_stood, kept)


@given(histories)
def test_the_changes_fold_to_the_granules_and_the_totals(delivered: list[Report]) -> None:
    ledger = Ledger(job(), *delivered)
    assert undocumented(fold(ledger.changes)) == undocumented(ledger.granules)
    assert ledger.changes[-1].totals == ledger.stands.totals
    assert ledger.stands.revision == len(ledger.changes)


@given(histories)
def test_the_last_change_of_the_job_tells_the_job_but_for_its_granules(delivered: list[Report]) -> None:
    ledger = Ledger(job(), *delivered)
    told = [change.item for change in ledger.changes if isinstance(change.item, Job)][-1]

    def own(item: Job) -> Job:
        return item._replace(totals=Totals(), revision=0, update_time=0)

    assert own(told) == own(ledger.stands)


@given(histories, reports)
def test_every_item_is_counted_once_and_applied_means_written(delivered: list[Report], last: Report) -> None:
    ledger = Ledger(job(), *delivered)
    merged = ledger.take(last)
    assert merged.applied + merged.unchanged + merged.stale == len(last.granules) + (last.job is not None)
    assert bool(merged.applied) == bool(merged.changes)


@given(histories)
def test_a_derived_state_is_what_the_granules_say(delivered: list[Report]) -> None:
    now = Ledger(job(), *delivered).stands
    if now.state_reported:
        return
    open_count = now.totals.pending + now.totals.staged + now.totals.unspecified
    moved = sum(now.totals) > now.totals.pending
    if now.granules_complete and not open_count:
        assert now.state is (JobState.FAILED if now.totals.failed else JobState.SUCCEEDED)
        assert now.end_time is not None
    else:
        assert now.state is (JobState.RUNNING if moved else JobState.PENDING)
        assert now.end_time_reported or now.end_time is None
    assert now.begin_time_reported or (now.begin_time is None) == (now.state is JobState.PENDING)


@given(histories, reports)
def test_nothing_moves_to_a_lower_position(delivered: list[Report], last: Report) -> None:
    rank = (1, 0, 1, 2, 2)
    ledger = Ledger(job(), *delivered)
    before = dict(ledger.granules)
    ledger.take(last)
    for key, was in before.items():
        now = ledger.granules[key]
        assert (now.attempt, rank[now.state]) >= (was.attempt, rank[was.state])


@given(st.none() | reports, st.lists(reports, min_size=1, max_size=6))
def test_reports_merged_together_are_as_if_each_had_come_alone(
    first: Report | None, others: Sequence[Report]
) -> None:
    before, alone = Ledger(), Ledger()
    if first is not None:
        before, alone = taken(first, []), taken(first, [])
    outcomes: list[Merged | type[Exception]] = []
    changes: list[Change] = []
    for report in others:
        if alone.job is None and report.job is None:
            outcomes.append(JobNotFound)
            continue
        alone.clock = 9_000
        merged = alone.take(report)
        outcomes.append(merged)
        changes += merged.changes
    jobs = {} if before.job is None else {before.job.key: before.job}
    together = merge_reports(jobs, {JOB: before.granules}, others, 10_000, 10_000, {JOB: before.kept})
    assert [each if isinstance(each, Merged) else type(each) for each in together.outcomes] == outcomes
    changed = together.logs.get(JOB, [])
    assert (together.jobs.get(JOB, before.job), changed) == (alone.job, changes)
    moved = {each.item.key: each.item for each in changed if isinstance(each.item, Granule)}
    found = undocumented({**before.granules, **moved})
    assert found == undocumented(alone.granules)
    documents = {key: granule.document for key, granule in before.granules.items()}
    documents |= together.granule_documents.get(JOB, {})
    assert {key: documents.get(key) for key in found} == {
        key: granule.document for key, granule in alone.granules.items()
    }
    assert together.documents.get(JOB, before.kept) == alone.kept


@given(histories, jobs)
def test_details_make_a_revision_where_they_change_and_a_document_never_does(
    delivered: list[Report], last: JobReport
) -> None:
    ledger = Ledger(job(), *delivered)
    before, attempt = ledger.kept, ledger.stands.attempt
    alone = JobReport(*JOB, details=last.details, document=last.document)
    merged = ledger.take(Report(JOB, alone, ()))
    changed = last.details is not None and last.details != before.details
    assert (merged.applied, len(merged.changes)) == (changed, changed)
    assert ledger.kept == JobDocument(
        before.details if last.details is None else last.details,
        before.document if last.document is None else last.document,
    )
    ledger.take(Report(JOB, JobReport(*JOB, attempt=attempt + 1), ()))
    assert ledger.kept == JobDocument()
    assert ledger.stands.details_bytes == 0
