"""JSON that others wrote, read with limits: in size, depth, numbers and names. Pure.

What Python's reader takes and JSON does not have, or what would not come out as it went in, is marked where
it stands, so that whoever reads a part of a text can name the faults of that part alone.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from jobstatus_grpc.errors import InvalidRequest, Violation

MAX_TEXT_BYTES: Final = 64 * 1024 * 1024
MAX_DEPTH: Final = 64
#: Objects and arrays of one text. They take many times the memory of their brackets.
MAX_CONTAINERS: Final = 2_000_000

# As many digits as Python reads without being told to.
_MAX_DIGITS: Final = 4300
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False)
_LONGEST_QUOTE: Final = 200
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")
# Everything that opens or closes nothing; a string that never ends reaches to the end.
_NO_BRACKETS: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[^"\[\]{}]++', re.DOTALL)
# A list of documents has a few levels of its own.
_MAX_TEXT_DEPTH: Final = MAX_DEPTH + 4


class Loaded(NamedTuple):
    """A text that could be read.

    Attributes:
        value: what it says.
        marked: whether `faults` would find something in it.
    """

    value: Any
    marked: bool


class _Object(dict[str, Any]):
    """A JSON object that had some of its keys more than once."""

    repeated: tuple[str, ...] = ()


class _Unreadable(NamedTuple):
    """Stands for a value that Python reads and JSON does not have, or the other way about."""

    fault: str


def load(text: str | bytes) -> Loaded:
    """Read a JSON text.

    Args:
        text: as UTF-8 if bytes; a byte order mark is not part of it.

    Raises:
        InvalidRequest: it is none, or beyond `MAX_TEXT_BYTES`, `MAX_CONTAINERS` or, by far, `MAX_DEPTH`.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise _refusal(f"takes more than {MAX_TEXT_BYTES} bytes")
    try:
        plain = (text.decode() if isinstance(text, bytes) else text).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise _refusal(f"is not UTF-8 at byte {error.start}") from None
    return _loaded(plain, _is_flat(plain))


def _is_flat(text: str) -> bool:
    """Return whether `text` is certain to be nested at most `MAX_DEPTH` levels deep.

    Without recursion, so that what is nested deeper than a reader's stack never reaches the reader. Each
    round takes away one level of all that is well nested, or two.

    Raises:
        InvalidRequest: it is nested deeper than any list of documents, or has too many objects and arrays.
    """
    brackets = _NO_BRACKETS.sub("", text)
    if len(brackets) > 2 * MAX_CONTAINERS:
        raise _refusal(f"has more than {MAX_CONTAINERS} objects and arrays")
    rounds = 0
    while "[]" in brackets or "{}" in brackets:
        if rounds == _MAX_TEXT_DEPTH:
            raise _refusal(f"is nested more than {MAX_DEPTH} levels deep")
        rounds += 1
        brackets = brackets.replace("[]", "").replace("{}", "")
    if len(brackets) - len(brackets.lstrip("[{")) > _MAX_TEXT_DEPTH:
        raise _refusal(f"is nested more than {MAX_DEPTH} levels deep")
    return 2 * rounds <= MAX_DEPTH


def _loaded(text: str, flat: bool) -> Loaded:
    marks: list[object] = []

    def mark(fault: str) -> _Unreadable:
        marks.append(fault)
        return _Unreadable(fault)

    def integer(digits: str) -> int | _Unreadable:
        long = len(digits) > _MAX_DIGITS
        return mark(f"has more than {_MAX_DIGITS} digits") if long else int(digits)

    def number(digits: str) -> float | _Unreadable:
        value = float(digits)
        return value if math.isfinite(value) else mark("is too great a number")

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        plain = dict(pairs)
        if len(plain) == len(pairs):
            return plain
        marked = _Object(plain)
        marked.repeated = tuple(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        marks.append(marked)
        return marked

    try:
        value = json.loads(
            text,
            object_pairs_hook=mapping,
            parse_constant=lambda word: mark(f"{word} is not JSON"),
            parse_int=integer,
            parse_float=number,
        )
    except json.JSONDecodeError as error:
        raise _refusal(f"is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    halves = _SURROGATE_ESCAPE.search(text) or _SURROGATE.search(text)
    return Loaded(value, bool(marks or halves) or not flat)


def _refusal(description: str) -> InvalidRequest:
    return InvalidRequest([Violation("$", description)])


def faults(value: Any, path: str) -> Iterator[Violation]:
    """Yield what is wrong with a loaded value, wherever it stands in it, in the order of the text.

    Args:
        value: all of what was loaded, or a part of it.
        path: where it stands.
    """
    stack: list[tuple[str, Any, int]] = [(path, value, 1)]
    while stack:
        here, value, depth = stack.pop()
        if isinstance(value, _Unreadable):
            yield Violation(here, value.fault)
        elif isinstance(value, str):
            if _SURROGATE.search(value):
                yield Violation(here, "must not contain half a surrogate pair")
        elif isinstance(value, dict | list) and depth > MAX_DEPTH:
            yield Violation(cut(here), f"is nested more than {MAX_DEPTH} levels deep")
        elif isinstance(value, dict | list):
            yield from _faults_of_keys(value, here)
            # The last pushed is the first looked at: faults come in the order of the text.
            stack.extend(reversed([(inner, held, depth + 1) for inner, held in _held(here, value)]))


def _faults_of_keys(value: Any, path: str) -> Iterator[Violation]:
    if isinstance(value, _Object):
        for key in value.repeated:
            yield Violation(member(path, key), "is there more than once")
    if isinstance(value, dict):
        for key in value:
            if _SURROGATE.search(key):
                yield Violation(member(path, key), "its name must not contain half a surrogate pair")


def _held(path: str, value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield what stands in `value` and may itself hold a fault, with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, dict | list | str | _Unreadable):
                yield member(path, key), inner
    else:
        for index, inner in enumerate(value):
            if isinstance(inner, dict | list | str | _Unreadable):
                yield f"{path}[{index}]", inner


def member(path: str, key: str) -> str:
    """Return the path of a key of the object at `path`: plain text whatever the document calls its keys."""
    return f"{path}.{key}" if _PLAIN_KEY.fullmatch(key) else f"{path}[{cut(json.dumps(key))}]"


def cut(text: str) -> str:
    """Return so much of a text as fits into a sentence."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def kind(value: Any) -> str:
    """Return what JSON calls `value`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return "a string"
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, list) else "a number"


def dump(value: Any) -> str:
    """Return `value` as a JSON text in one line, and as UTF-8 can carry it."""
    return _ENCODER.encode(value)
