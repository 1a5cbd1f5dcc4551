"""Columns of values on their way into PostgreSQL, and back as they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from postgres import PostgresServer

from jobstatus_grpc.store.postgres_arrays import array_literal

# Everything a text may be: what means something inside of arrays and strings, more often.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
tricky = st.sampled_from(
    ["", "NULL", "null", "{}", '"', "\\", '\\"', "'", ",", " a ", "%s", "\n", "é", "{a,b}"]
)
columns = st.one_of(
    st.tuples(st.just("text"), st.lists(st.none() | texts | tricky, max_size=6)),
    st.tuples(st.just("text"), st.lists(texts | tricky, max_size=6)),
    st.tuples(st.just("bigint"), st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=6)),
    st.tuples(st.just("boolean"), st.lists(st.none() | st.booleans(), max_size=6)),
)


@pytest.fixture(scope="module")
def cursor(postgres_server: PostgresServer) -> Iterator[Any]:
    connection = psycopg2.connect(postgres_server.url("postgres"))
    yield connection.cursor()
    connection.close()


@given(column=columns)
def test_a_column_comes_back_as_it_was(cursor: Any, column: tuple[str, list[Any]]) -> None:
    kind, values = column
    cursor.execute(f"select cast(%s as {kind}[])", (array_literal(values),))
    assert cursor.fetchone()[0] == values


def test_a_text_with_nul_is_refused_and_never_becomes_two() -> None:
    for values in (["a\0b"], ["a", "\0"], [None, "a\0b"]):
        with pytest.raises(ValueError, match="NUL"):
            array_literal(values)
