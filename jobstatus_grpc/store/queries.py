"""One statement that reads, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import Text

from jobstatus_grpc.store.rows import Row


class Query(NamedTuple):
    """A statement in the words of the driver, which saves SQLAlchemy's own, and its parameters."""

    statement: str
    parameters: Mapping[str, Any]


# Runs a query, and returns all its rows.
Ask = Callable[[Query], Sequence[Row]]


class JsonArray(GenericFunction[str]):
    """A JSON array of the values of columns."""

    type = Text()
    inherit_cache = True
    name = "json_array"


@compiles(JsonArray, "postgresql")
def _compile_for_postgres(element: JsonArray, compiler: Any, **given: Any) -> str:
    return f"json_build_array{compiler.process(element.clause_expr, **given)}"
