"""What the model makes of itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobstatus_grpc.model import MAX_ID_BYTES, MAX_TREE_JOBS, sub_job_id, text_bytes

ids = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=MAX_ID_BYTES).filter(
    lambda text: text_bytes(text) <= MAX_ID_BYTES
)
positions = st.integers(1, MAX_TREE_JOBS)


def test_a_sub_job_without_an_id_is_called_after_its_parent_and_its_place() -> None:
    assert sub_job_id("0000000062db92d7", 2) == "0000000062db92d7.2"


@given(ids, ids, positions, positions)
def test_the_id_of_a_sub_job_is_an_id_and_its_own(one: str, other: str, first: int, second: int) -> None:
    made = sub_job_id(one, first)
    assert made == sub_job_id(one, first) != one
    assert 0 < text_bytes(made) <= MAX_ID_BYTES
    if first != second:
        assert made != sub_job_id(one, second)


def test_a_long_parent_leaves_its_sub_jobs_apart_from_those_of_another() -> None:
    long = "x" * (MAX_ID_BYTES - 1)
    assert len({sub_job_id(long + last, place) for last in "ab" for place in (1, 10)}) == 4
    assert sub_job_id("x" * (MAX_ID_BYTES - 2), 9) == "x" * (MAX_ID_BYTES - 2) + ".9"
