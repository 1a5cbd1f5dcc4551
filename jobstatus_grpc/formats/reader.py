"""One document on its way into a report, and what is wrong with it so far."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final, cast

from jobstatus_grpc import json_text
from jobstatus_grpc.errors import MISSING, InvalidRequest, Violation
from jobstatus_grpc.formats.base import Entry
from jobstatus_grpc.json_text import kind, member
from jobstatus_grpc.model import MAX_ID_BYTES

# Beyond these nobody reads on; those that a hostile text can have would take gigabytes.
_MAX_FAULTS: Final = 10_000

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Reader:
    """Collects the faults of a document, so that all are named at once."""

    def __init__(self, entry: Entry) -> None:
        self.violations: list[Violation] = []
        if entry.marked:
            self.violations += islice(json_text.faults(entry.value, entry.path), _MAX_FAULTS)
        # What is wrong with the JSON itself need not be told again as what is wrong with the job.
        self.unreadable = {violation.field for violation in self.violations}

    def fault(self, path: str, description: str) -> None:
        """Note a fault."""
        self._note(Violation(path, description))

    def missing(self, path: str, description: str = "is missing") -> None:
        """Note that something has to be there."""
        self._note(Violation(path, description, MISSING))

    def _note(self, violation: Violation) -> None:
        if violation.field not in self.unreadable:
            self.violations.append(violation)
        if len(self.violations) >= _MAX_FAULTS:
            self.check()

    def check(self) -> None:
        """Raise InvalidRequest with all faults, if there are any."""
        if self.violations:
            raise InvalidRequest(self.violations)

    def limit(self, text: str, limit: int, path: str, share: str = "") -> None:
        """Note that what is kept as `text` of the value at `path` takes more than `limit` bytes."""
        if len(text.encode(errors="surrogatepass")) > limit:
            self.fault(path, f"takes more than {limit} bytes {share}".rstrip())

    def mapping(self, value: Any, path: str) -> dict[str, Any] | None:
        """Return an object; `None`, and a fault, if it is none."""
        if isinstance(value, dict):
            return value
        self.fault(path, f"must be an object, is {kind(value)}")
        return None

    def text(self, source: Mapping[str, Any], key: str, path: str) -> str | None:
        """Return a text that may be empty, null or absent, all of which tell nothing."""
        value = source.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, str) and "\0" not in value:
            return value
        contains_nul = "must not contain a NUL character"
        self.fault(member(path, key), contains_nul if isinstance(value, str) else _not_text(value))
        return None

    def word(self, source: Mapping[str, Any], key: str, path: str) -> str | None:
        """Return a name or a word that must be there: 1 to 512 bytes without control characters."""
        if key not in source:
            self.missing(member(path, key))
            return None
        value = source[key]
        if value == "":
            self.missing(member(path, key), "must not be empty")
            return None
        fault = _word_fault(value)
        if fault is not None:
            self.fault(member(path, key), fault)
            return None
        return cast(str, value)


def _word_fault(value: Any) -> str | None:
    """Return what keeps `value` from being a name or a word."""
    if not isinstance(value, str):
        return _not_text(value)
    # Nearly all are printable ASCII, and this tells it without encoding or searching.
    if value.isascii() and value.isprintable() and len(value) <= MAX_ID_BYTES:
        return None
    if _CONTROL.search(value):
        return "must not contain control characters"
    size = len(value.encode(errors="surrogatepass"))
    return f"must be at most {MAX_ID_BYTES} bytes, is {size}" if size > MAX_ID_BYTES else None


def _not_text(value: Any) -> str:
    return f"must be a string, is {kind(value)}"
