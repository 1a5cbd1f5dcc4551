"""Which keys of a document a message of the contract has fields for, and the way there and back.

What a shape has no place for, be it an unknown key or a known one with another type than the system
documents, is kept as JSON text by its key, where the message has a field for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

from jobstatus_grpc.json_text import dump
from jobstatus_grpc.model import DetailValue

_WHOLE_LIMIT: Final = 2**63


class Kind(Enum):
    """What a field without parts holds."""

    TEXT = "a text"
    WHOLE = "a whole number of 64 bits"
    TEXTS = "texts by names"


class Shape(NamedTuple):
    """What an object is made of.

    Attributes:
        fields: by the keys of the document.
        others: the field that keeps everything else; empty if the message has none.
        sparse: whether a key that tells nothing is left out also where the form writes nulls.
    """

    fields: Mapping[str, Field]
    others: str = ""
    sparse: bool = False


class ListOf(NamedTuple):
    """An array of objects of one shape."""

    shape: Shape


What: TypeAlias = "Kind | Shape | ListOf"


class Field(NamedTuple):
    """A field of a message."""

    name: str
    what: What = Kind.TEXT


class Held(NamedTuple):
    """What of a value a field holds.

    Attributes:
        value: as the message has it; `None` if nothing.
        whole: whether that is all the value tells.
    """

    value: DetailValue | None
    whole: bool = True


_NOTHING: Final = Held(None)
_UNHELD: Final = Held(None, whole=False)


def read_shape(shape: Shape, source: Mapping[str, Any]) -> tuple[dict[str, DetailValue], bool]:
    """Return the fields of an object, and whether they are all it tells."""
    found: dict[str, DetailValue] = {}
    rest: dict[str, DetailValue] = {}
    whole = True
    for key, value in source.items():
        field = shape.fields.get(key)
        held = _UNHELD if field is None else _read(field.what, value)
        if field is not None and held.value is not None:
            found[field.name] = held.value
        if not held.whole:
            rest[key] = dump(value)
            whole = False
    if rest and shape.others:
        found[shape.others] = rest
        whole = True
    return found, whole


def _read(what: What, value: Any) -> Held:
    if value is None:
        return _NOTHING
    if isinstance(what, Shape):
        return Held(*read_shape(what, value)) if isinstance(value, dict) else _UNHELD
    if isinstance(what, ListOf):
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            return _UNHELD
        parts = [read_shape(what.shape, item) for item in value]
        return Held([fields for fields, _ in parts] or None, all(whole for _, whole in parts))
    if what is Kind.TEXT:
        return Held(value) if isinstance(value, str) else _UNHELD
    if what is Kind.WHOLE:
        fits = (
            isinstance(value, int) and not isinstance(value, bool) and -_WHOLE_LIMIT <= value < _WHOLE_LIMIT
        )
        return Held(value) if fits else _UNHELD
    texts = isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
    return Held(dict(value) or None) if texts else _UNHELD


def write_shape(shape: Shape, fields: Mapping[str, Any], nulls: bool) -> dict[str, Any]:
    """Return the object that `fields` tell of.

    Args:
        shape: of the object.
        fields: as the message has them.
        nulls: whether a key that tells nothing is null, or left out.
    """
    nulls = nulls and not shape.sparse
    found: dict[str, Any] = {}
    for key, field in shape.fields.items():
        value = fields.get(field.name)
        if value is not None:
            found[key] = _write(field.what, value, nulls)
        elif nulls:
            found[key] = None
    for key, text in fields.get(shape.others, {}).items():
        found[key] = overlaid(json.loads(text), found.get(key))
    return found


def _write(what: What, value: Any, nulls: bool) -> Any:
    if isinstance(what, Shape):
        return write_shape(what, value, nulls)
    if isinstance(what, ListOf):
        return [write_shape(what.shape, item, nulls) for item in value]
    return value


def overlaid(base: Any, told: Any) -> Any:
    """Return `base` with everything that `told` tells in its place."""
    if told is None:
        return base
    if isinstance(base, dict) and isinstance(told, dict):
        return base | {
            key: overlaid(base.get(key), value)
            for key, value in told.items()
            if value is not None or key not in base
        }
    if isinstance(base, list) and isinstance(told, list) and len(base) == len(told):
        return [overlaid(one, other) for one, other in zip(base, told, strict=True)]
    return told


def patched(source: Any, then: Any, now: Any) -> Any:
    """Return `source` with what has changed between `then` and `now`, and otherwise as it is.

    Args:
        source: a value of a document.
        then: what it told, as the form writes it.
        now: what there is to tell, written alike; a key it does not have is left out.
    """
    if then == now:
        return source
    if not (isinstance(source, dict) and isinstance(then, dict) and isinstance(now, dict)):
        return now
    result = dict(source)
    for key in then | now:
        if then.get(key) == now.get(key):
            continue
        if key in now:
            result[key] = patched(source.get(key), then.get(key), now[key])
        else:
            result.pop(key, None)
    return result
