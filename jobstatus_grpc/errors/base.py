"""What all errors are, and one fault of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

MISSING: Final = "MISSING_PARAMETER_VALUE"
INVALID: Final = "INVALID_PARAMETER_VALUE"


class Violation(NamedTuple):
    """One fault of a request: where it is, what is wrong, and `MISSING` or `INVALID`."""

    field: str
    description: str
    reason: str = INVALID


class JobStatusError(Exception):
    """Something went wrong that has a name.

    Attributes:
        reason: UPPER_SNAKE, stable, for programs.
        metadata: the variable words of the message, by name.
        words: the message where it has none of those.
    """

    reason = "INTERNAL"
    words = ""

    def __init__(self, message: str = "", metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message or self.words)
        self.metadata: Mapping[str, str] = metadata or {}
