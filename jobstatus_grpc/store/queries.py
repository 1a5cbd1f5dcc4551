"""One statement that reads, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jobstatus_grpc.store.rows import Row


class Query(NamedTuple):
    """A statement in the words of the driver, which saves SQLAlchemy's own, and its parameters."""

    statement: str
    parameters: Mapping[str, Any]


# Runs a query, and returns all its rows.
Ask = Callable[[Query], Sequence[Row]]
