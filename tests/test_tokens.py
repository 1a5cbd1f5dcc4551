from __future__ import annotations

from collections.abc import Callable, Collection

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jobstatus_grpc.errors import InvalidRequest, PageTokenInvalid, ResumeTokenInvalid
from jobstatus_grpc.model import GranuleKey, GranuleState, JobKey, JobState, Position
from jobstatus_grpc.tokens import GranulePagePoint, JobFilter, ResumePoint, Tokens

STORE_ID = bytes(range(16))
SECRET = bytes(range(100, 132))
TOKENS = Tokens(STORE_ID, SECRET)
KEY = JobKey("default", "job-1")
POINT = ResumePoint(7, Position(12, -(2**63)))
PAGE_POINT = GranulePagePoint(7, GranuleKey("c", "g-1"))
FILTER = JobFilter("default", [JobState.FAILED], "orca", "restore", {"team": "ice"})
RESUME_TOKEN = TOKENS.resume_token(KEY, POINT)
GRANULE_TOKEN = TOKENS.granule_page_token(KEY, [GranuleState.FAILED], PAGE_POINT)
JOB_TOKEN = TOKENS.job_page_token(FILTER, 41)

Read = Callable[[bytes], object]
READERS: list[tuple[bytes, Read]] = [
    (RESUME_TOKEN, lambda token: TOKENS.read_resume_token(KEY, token)),
    (GRANULE_TOKEN, lambda token: TOKENS.read_granule_page_token(KEY, [GranuleState.FAILED], token)),
    (JOB_TOKEN, lambda token: TOKENS.read_job_page_token(FILTER, token)),
]

ids = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128)
keys = st.builds(JobKey, ids, ids)
int64 = st.integers(-(2**63), 2**63 - 1)
points = st.builds(ResumePoint, int64, st.builds(Position, int64, int64))
page_points = st.builds(GranulePagePoint, int64, st.builds(GranuleKey, ids | st.just(""), ids))
granule_states = st.lists(st.sampled_from(GranuleState))
filters = st.builds(
    JobFilter, ids, st.lists(st.sampled_from(JobState)), st.text(), st.text(), st.dictionaries(ids, st.text())
)
each_kind = pytest.mark.parametrize(("token", "read"), READERS, ids=["resume", "granules", "jobs"])


def words(error: InvalidRequest) -> str:
    (violation,) = error.violations
    return violation.description


@given(keys, points)
def test_a_resume_token_gives_its_point_back(key: JobKey, point: ResumePoint) -> None:
    assert TOKENS.read_resume_token(key, TOKENS.resume_token(key, point)) == point


@given(keys, granule_states, page_points)
def test_a_granule_page_token_gives_its_point_back(
    key: JobKey, states: list[GranuleState], point: GranulePagePoint
) -> None:
    token = TOKENS.granule_page_token(key, states, point)
    assert TOKENS.read_granule_page_token(key, list(reversed(states)) * 2, token) == point


@given(filters, int64)
def test_a_job_page_token_gives_its_point_back(job_filter: JobFilter, before: int) -> None:
    token = TOKENS.job_page_token(job_filter, before)
    shuffled = job_filter._replace(labels=dict(reversed(list(job_filter.labels.items()))))
    assert TOKENS.read_job_page_token(shuffled, token) == before


def test_another_process_with_the_same_identity_reads_the_token() -> None:
    assert Tokens(STORE_ID, SECRET).read_resume_token(KEY, RESUME_TOKEN) == POINT


@each_kind
def test_every_flipped_bit_is_refused(token: bytes, read: Read) -> None:
    for bit in range(8 * len(token)):
        damaged = bytearray(token)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidRequest):
            read(bytes(damaged))


@each_kind
def test_a_token_cut_short_or_prolonged_is_refused(token: bytes, read: Read) -> None:
    for wrong in [token[:length] for length in range(len(token))] + [token + b"\0", b"\0" + token, token * 2]:
        with pytest.raises(InvalidRequest):
            read(wrong)


@given(st.binary(max_size=80))
def test_random_bytes_are_refused(data: bytes) -> None:
    for _, read in READERS:
        with pytest.raises(InvalidRequest):
            read(data)


@each_kind
def test_a_token_of_another_kind_is_refused(token: bytes, read: Read) -> None:
    for other, _ in READERS:
        if other != token:
            with pytest.raises(InvalidRequest, match="is not a"):
                read(other)


@given(keys, keys, points)
def test_a_resume_token_of_another_job_is_refused(key: JobKey, other: JobKey, point: ResumePoint) -> None:
    assume(key != other)
    with pytest.raises(ResumeTokenInvalid, match="does not belong to this job"):
        TOKENS.read_resume_token(other, TOKENS.resume_token(key, point))


def test_ids_that_read_the_same_in_one_row_are_not_confused() -> None:
    token = TOKENS.resume_token(JobKey("ab", "c"), POINT)
    with pytest.raises(ResumeTokenInvalid):
        TOKENS.read_resume_token(JobKey("a", "bc"), token)


@given(granule_states, granule_states)
def test_a_granule_page_token_of_other_states_is_refused(
    states: list[GranuleState], other: list[GranuleState]
) -> None:
    assume(set(states) != set(other))
    with pytest.raises(PageTokenInvalid, match="does not belong to this request"):
        TOKENS.read_granule_page_token(KEY, other, TOKENS.granule_page_token(KEY, states, PAGE_POINT))


@pytest.mark.parametrize(
    "other",
    [
        FILTER._replace(project_id="p"),
        FILTER._replace(states=()),
        FILTER._replace(states=[JobState.FAILED, JobState.PENDING]),
        FILTER._replace(system=""),
        FILTER._replace(job_type="other"),
        FILTER._replace(system="orcarestore", job_type=""),
        FILTER._replace(labels={}),
        FILTER._replace(labels={"team": "ice", "a": "b"}),
        FILTER._replace(labels={"tea": "mice"}),
    ],
)
def test_a_job_page_token_of_another_filter_is_refused(other: JobFilter) -> None:
    with pytest.raises(PageTokenInvalid, match="does not belong to this request"):
        TOKENS.read_job_page_token(other, JOB_TOKEN)


@given(filters, filters)
def test_no_two_filters_share_a_job_page_token(one: JobFilter, other: JobFilter) -> None:
    def meaning(job_filter: JobFilter) -> tuple[object, ...]:
        states: Collection[JobState] = job_filter.states
        return (*job_filter._replace(states=frozenset(states), labels={}), dict(job_filter.labels))

    same = meaning(one) == meaning(other)
    assert (TOKENS.job_page_token(one, 1) == TOKENS.job_page_token(other, 1)) is same


def test_a_token_of_another_store_is_refused_in_its_own_words() -> None:
    for store in [Tokens(bytes(16), SECRET), Tokens(bytes(16), bytes(32))]:
        with pytest.raises(ResumeTokenInvalid, match="belongs to another store"):
            store.read_resume_token(KEY, RESUME_TOKEN)
        with pytest.raises(PageTokenInvalid, match="belongs to another store"):
            store.read_granule_page_token(KEY, [GranuleState.FAILED], GRANULE_TOKEN)
        with pytest.raises(PageTokenInvalid, match="belongs to another store"):
            store.read_job_page_token(FILTER, JOB_TOKEN)


def test_a_token_made_without_the_secret_is_refused() -> None:
    forged = Tokens(STORE_ID, bytes(32)).resume_token(KEY, POINT)
    with pytest.raises(ResumeTokenInvalid, match="damaged"):
        TOKENS.read_resume_token(KEY, forged)


def test_the_error_names_the_field_and_the_reason() -> None:
    with pytest.raises(ResumeTokenInvalid) as resume:
        TOKENS.read_resume_token(KEY, b"hello")
    assert (resume.value.violations[0].field, words(resume.value)) == (
        "resume_token",
        "is not a resume token",
    )
    assert resume.value.reason == "RESUME_TOKEN_INVALID"
    with pytest.raises(PageTokenInvalid) as page:
        TOKENS.read_job_page_token(FILTER, b"hello")
    assert (page.value.violations[0].field, words(page.value)) == (
        "page_token",
        "is not a page token of this call",
    )
    assert page.value.reason == "PAGE_TOKEN_INVALID"
