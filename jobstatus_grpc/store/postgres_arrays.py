"""Columns of values as the text of PostgreSQL's arrays.

One literal a column is made, and parsed, in a fraction of the time that psycopg2's lists take.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def array_literal(values: Iterable[str | int | None]) -> str:
    """Return the values, which are all numbers, all booleans or all texts, as the text of an array.

    Raises:
        ValueError: a text contains NUL, which PostgreSQL's texts cannot.
    """
    column = list(values)
    nulls = column.count(None)
    if nulls == len(column):
        elements = ",".join(["NULL"] * nulls)
    elif isinstance(next(value for value in column if value is not None), int):
        elements = str(column)[1:-1].replace("None", "NULL")
    elif nulls:
        elements = ",".join("NULL" if value is None else _quoted([value]) for value in column)
    else:
        elements = _quoted(column)
    return "{" + elements + "}"


def _quoted(texts: Sequence[Any]) -> str:
    """Return the elements of an array of texts, all escaped at once."""
    joined = "\0".join(texts)
    if joined.count("\0") >= len(texts):
        raise ValueError("a text contains NUL")
    return '"' + joined.replace("\\", "\\\\").replace('"', '\\"').replace("\0", '","') + '"'
