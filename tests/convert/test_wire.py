"""What is encoded by hand, against the generated code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobstatus import v1 as pb
from jobstatus_grpc.convert.answers import AnswerEncoder
from jobstatus_grpc.convert.frames import FrameEncoder
from jobstatus_grpc.convert.resources import granule_to_pb, job_to_pb, timestamp, totals_to_pb
from jobstatus_grpc.convert.wire import delimited, encode_granule, varint
from jobstatus_grpc.model import Change, Granule, GranuleState, ItemError, Job, JobState, Totals

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
# From 0001 to 9999, and close to where a number begins to take one byte more.
times = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999) | st.integers(-3_000_000, 3_000_000)
numbers = st.integers(1, 2**63 - 1) | st.integers(0, 62).flatmap(
    lambda bits: st.integers(max(1, 2**bits - 1), 2**bits)
)
counts = st.integers(0, 2**31 - 1)
errors = st.builds(ItemError, st.none() | texts, st.none() | texts)
granules = st.builds(
    Granule,
    texts,
    texts.filter(bool),
    st.sampled_from(GranuleState),
    st.none() | texts,
    st.integers(1, 2**31 - 1) | st.integers(1, 300),
    st.none() | errors,
    st.none() | texts,
    st.none() | times,
    st.none() | times,
    times,
    numbers,
)
jobs = st.builds(
    Job,
    project_id=texts,
    job_id=texts,
    system=st.none() | texts,
    job_type=st.none() | texts,
    state=st.sampled_from(JobState),
    native_state=st.none() | texts,
    attempt=st.integers(1, 2**31 - 1),
    description=st.none() | texts,
    message=st.none() | texts,
    error=st.none() | errors,
    create_time=times,
    begin_time=st.none() | times,
    end_time=st.none() | times,
    update_time=times,
    totals=st.builds(Totals, counts, counts, counts, counts, counts),
    # One at most: the order of more is nobody's promise.
    labels=st.dictionaries(texts, texts, max_size=1),
    revision=numbers,
)


@given(granules)
def test_a_granule_is_the_bytes_that_the_generated_code_makes(granule: Granule) -> None:
    assert encode_granule(granule) == granule_to_pb(granule).SerializeToString()


@pytest.mark.parametrize("size", [1, 127, 128, 16_383, 16_384, 512 * 1024])
def test_a_text_of_any_length_is_encoded(size: int) -> None:
    granule = Granule(
        "c" * size, "é" * size, GranuleState.STAGED, "n" * size, 1, None, "m" * size, 0, 0, 0, 1
    )
    assert encode_granule(granule) == granule_to_pb(granule).SerializeToString()


@given(st.integers(0, 2**63 - 1))
def test_a_number_is_read_as_it_was_written(number: int) -> None:
    field = varint(pb.Granule.REVISION_FIELD_NUMBER << 3) + varint(number)
    assert pb.Granule.FromString(field).revision == number


@given(st.binary(max_size=300))
def test_a_field_with_a_length_is_read_as_it_was_written(body: bytes) -> None:
    field = delimited(pb.WatchJobResponse.RESUME_TOKEN_FIELD_NUMBER, body)
    assert pb.WatchJobResponse.FromString(field).resume_token == body


@given(granules, numbers, times, st.none() | st.sampled_from(GranuleState))
def test_a_change_is_the_bytes_that_the_generated_code_makes(
    granule: Granule, revision: int, when: int, previous: GranuleState | None
) -> None:
    change = pb.Change(revision=revision, change_time=timestamp(when))
    change.granule.granule.CopyFrom(granule_to_pb(granule))
    if previous is not None:
        change.granule.previous_state = previous  # type: ignore[assignment]

    encoded = FrameEncoder().change(Change(revision, 0, when, granule, previous, Totals()))

    assert encoded == pb.Changes(changes=[change]).SerializeToString()


@given(jobs, st.lists(granules, max_size=5), st.binary(max_size=60), st.binary(min_size=1, max_size=60))
def test_an_answer_is_the_bytes_that_the_generated_code_makes(
    job: Job, page: list[Granule], next_page: bytes, resume: bytes
) -> None:
    answer = pb.GetJobStatusResponse(
        job=job_to_pb(job),
        granules=map(granule_to_pb, page),
        next_page_token=next_page,
        resume_token=resume,
    )
    encoded = AnswerEncoder().job_status(job, (), None, page, next_page, resume, None)
    assert encoded == answer.SerializeToString()


@given(jobs, st.lists(granules, max_size=5), st.booleans(), st.booleans(), st.binary(max_size=60))
def test_a_chunk_of_a_snapshot_says_what_the_generated_code_says(
    job: Job, page: list[Granule], first: bool, last: bool, token: bytes
) -> None:
    frame = pb.WatchJobResponse(revision=job.revision, totals=totals_to_pb(job.totals), resume_token=token)
    frame.snapshot.last = last
    frame.snapshot.granules.extend(map(granule_to_pb, page))
    if first:
        frame.snapshot.job.CopyFrom(job_to_pb(job))
    encoded = FrameEncoder().snapshot(job, () if first else None, page, last, token)
    assert pb.WatchJobResponse.FromString(encoded) == frame
