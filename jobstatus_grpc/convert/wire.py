"""Granules as bytes, written by hand: the bytes the generated code makes, in a quarter of its time.

Granules are most of what this service sends, and their encoding is most of what a read costs besides gRPC
itself. What is not sent by the thousand is left to the generated code.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from jobstatus import v1 as pb
from jobstatus_grpc.convert.resources import timestamp
from jobstatus_grpc.model import Granule, GranuleState, ItemError

_DELIMITED: Final = 2
# Numbers below this take one byte, and below that two.
_ONE_BYTE: Final = 0x80
_TWO_BYTES: Final = 0x4000
# What comes again and again is remembered, up to so many of a kind, if it is short.
_REMEMBERED: Final = 4096
_WORD_CHARS: Final = 64

_BYTES: Final = [bytes((number,)) for number in range(_ONE_BYTE)]


def varint(number: int) -> bytes:
    """Return a number, not negative, in protobuf's base 128."""
    if number < _ONE_BYTE:
        return _BYTES[number]
    if number < _TWO_BYTES:
        return bytes((number & 0x7F | 0x80, number >> 7))
    encoded = bytearray()
    while number >= _ONE_BYTE:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_COLLECTION_ID: Final = pb.Granule.COLLECTION_ID_FIELD_NUMBER
_GRANULE_ID: Final = pb.Granule.GRANULE_ID_FIELD_NUMBER
_STATE: Final = varint(pb.Granule.STATE_FIELD_NUMBER << 3)
_NATIVE_STATE: Final = pb.Granule.NATIVE_STATE_FIELD_NUMBER
_ATTEMPT: Final = varint(pb.Granule.ATTEMPT_FIELD_NUMBER << 3)
_ERROR: Final = pb.Granule.ERROR_FIELD_NUMBER
_MESSAGE: Final = pb.Granule.MESSAGE_FIELD_NUMBER
_REQUEST_TIME: Final = pb.Granule.REQUEST_TIME_FIELD_NUMBER
_END_TIME: Final = pb.Granule.END_TIME_FIELD_NUMBER
_UPDATE_TIME: Final = pb.Granule.UPDATE_TIME_FIELD_NUMBER
_REVISION: Final = varint(pb.Granule.REVISION_FIELD_NUMBER << 3)
_CHANGE_REVISION: Final = varint(pb.Change.REVISION_FIELD_NUMBER << 3)
_PREVIOUS_STATE: Final = varint(pb.GranuleChange.PREVIOUS_STATE_FIELD_NUMBER << 3)


def delimited(field: int, body: bytes) -> bytes:
    """Return a field that has a length: a text, bytes or a message."""
    return _head(field, len(body)) + body


def encode_granules(field: int, granules: Iterable[Granule]) -> bytes:
    """Return granules as a reader gets them, each as this field of the message it is in."""
    parts: list[bytes] = []
    for granule in granules:
        encoded = encode_granule(granule)
        parts += _head(field, len(encoded)), encoded
    return b"".join(parts)


def encode_granule(granule: Granule) -> bytes:
    """Return a granule as a reader gets it: the bytes of a `Granule`."""
    collection, name, state, native, attempt, error, message, request, end, update, revision, _, _ = granule
    encoded_name = name.encode()
    return b"".join(
        (
            b"" if not collection else _collection(collection),
            _head(_GRANULE_ID, len(encoded_name)),
            encoded_name,
            _standing(state, native, attempt),
            b"" if error is None else _error(error),
            b"" if message is None else delimited(_MESSAGE, message.encode()),
            b"" if request is None else _time(_REQUEST_TIME, request),
            b"" if end is None else _time(_END_TIME, end),
            _time(_UPDATE_TIME, update),
            # Not remembered: of a large job no two are the same.
            _REVISION,
            varint(revision),
        )
    )


def encode_granule_change(
    granule: Granule, revision: int, change_time: int, previous: GranuleState | None
) -> bytes:
    """Return a change of a granule as a watcher gets it: the bytes of a `Change`."""
    changed = delimited(pb.GranuleChange.GRANULE_FIELD_NUMBER, encode_granule(granule))
    if previous is not None:
        changed += _PREVIOUS_STATE + varint(previous)
    return b"".join(
        (
            _CHANGE_REVISION,
            varint(revision),
            _time(pb.Change.CHANGE_TIME_FIELD_NUMBER, change_time),
            delimited(pb.Change.GRANULE_FIELD_NUMBER, changed),
        )
    )


def _error(error: ItemError) -> bytes:
    return delimited(_ERROR, pb.ItemError(code=error.code, reason=error.reason).SerializeToString())


@lru_cache(_REMEMBERED)
def _collection(collection: str) -> bytes:
    return delimited(_COLLECTION_ID, collection.encode())


def _standing(state: GranuleState, native: str | None, attempt: int) -> bytes:
    """Return how a granule stands: fields that follow each other, and of which few are different."""
    if native is None or len(native) <= _WORD_CHARS:
        return _usual_standing(state, native, attempt)
    return _encode_standing(state, native, attempt)


def _encode_standing(state: GranuleState, native: str | None, attempt: int) -> bytes:
    word = b"" if native is None else delimited(_NATIVE_STATE, native.encode())
    return _STATE + varint(state) + word + _ATTEMPT + varint(attempt)


_usual_standing: Final = lru_cache(_REMEMBERED)(_encode_standing)


@lru_cache(_REMEMBERED)
def _time(field: int, microseconds: int) -> bytes:
    return delimited(field, timestamp(microseconds).SerializeToString())


@lru_cache(_REMEMBERED)
def _head(field: int, length: int) -> bytes:
    return varint(field << 3 | _DELIMITED) + varint(length)
