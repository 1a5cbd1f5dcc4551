"""Requests as nobody should send them: real ones, spoiled, and ones that are only of the right shape."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from rpcs import RPCS, aimed_at, path_of

DOCUMENTED: Final = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    # What watches and waits end with here, if nothing else ends them.
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}
_PATIENCE: Final = 2.0
_TOGETHER: Final = 32
_TEXTS: Final = (
    "",
    "j",
    "default",
    "x" * 512,
    "x" * 513,
    "a\0b",
    "a\nb",
    "\u2028",
    "\U0001f600" * 128,
    "%s%n",
    "'; DROP TABLE job; --",
    "../../etc/passwd",
)
_NUMBERS: Final = (0, 1, -1, 2, 10_001, 2**31 - 1, -(2**31), 2**53, 2**63 - 1, -(2**63))


def requests(seed: int) -> Iterator[tuple[MethodDescriptor, bytes]]:
    """Yield calls without end, the same for the same seed."""
    chance = random.Random(seed)
    while True:
        rpc = chance.choice(RPCS)
        real = aimed_at(rpc, chance.choice(("", "p")), "j") if chance.random() < 0.5 else None
        message = real or filled(GetMessageClass(rpc.input_type)(), chance)
        data: bytes = message.SerializeToString()
        yield rpc, spoiled(data, chance) if chance.random() < 0.7 else data


def filled(message: Any, chance: random.Random, depth: int = 0) -> Message:
    """Set fields of a message to anything of their types."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.5 or depth > 4:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[chance.choice(_TEXTS)] = chance.choice(_TEXTS)
        elif field.message_type is not None:
            for _ in range(chance.randint(1, 3) if field.is_repeated else 1):
                inner = getattr(message, field.name)
                filled(inner.add() if field.is_repeated else inner, chance, depth + 1)
        else:
            values = [_value(field, chance) for _ in range(chance.randint(1, 3))]
            if field.is_repeated:
                getattr(message, field.name).extend(values)
            else:
                setattr(message, field.name, values[0])
    whole: Message = message
    return whole


def _value(field: FieldDescriptor, chance: random.Random) -> Any:
    kinds = FieldDescriptor
    if field.cpp_type == kinds.CPPTYPE_STRING:
        text = chance.choice(_TEXTS)
        return (
            text if field.type == kinds.TYPE_STRING else chance.choice((text.encode(), chance.randbytes(40)))
        )
    if field.cpp_type == kinds.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if field.cpp_type in (kinds.CPPTYPE_DOUBLE, kinds.CPPTYPE_FLOAT):
        return chance.choice((0.0, -1.0, 0.5, 1.0, 2.0, 1e308, float("nan"), float("inf")))
    bits = 31 if field.cpp_type in (kinds.CPPTYPE_INT32, kinds.CPPTYPE_ENUM, kinds.CPPTYPE_UINT32) else 63
    least = 0 if field.cpp_type in (kinds.CPPTYPE_UINT32, kinds.CPPTYPE_UINT64) else -(2**bits)
    return chance.choice([number for number in _NUMBERS if least <= number < 2**bits])


def spoiled(data: bytes, chance: random.Random) -> bytes:
    """Return bytes with some of them changed, lost, doubled or made up."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randint(0, len(changed))
        way = chance.randint(0, 6)
        if way == 0 and changed:
            changed[place % len(changed)] ^= 1 << chance.randint(0, 7)
        elif way == 1:
            del changed[place:]
        elif way == 2:
            changed[place:place] = chance.randbytes(chance.randint(1, 20))
        elif way == 3:
            changed += changed[place:]
        elif way == 4:
            # A field that says it is longer than there is, or than can be.
            changed[place:place] = bytes((chance.randint(1, 15) << 3 | 2, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F))
        elif way == 5:
            # Messages in messages in messages.
            changed[place:place] = bytes((0x0A,)) + bytes((0x0A, 0x7F)) * chance.randint(1, 200)
        else:
            changed[place:place] = bytes((chance.randint(1, 31) << 3, *(0xFF,) * 9, 0x01))
    return bytes(changed[:100_000])


def send(address: str, calls: Sequence[tuple[MethodDescriptor, bytes]]) -> Counter[grpc.StatusCode]:
    """Send calls, many at once; return how often each code came.

    Raises:
        AssertionError: an undocumented one did; names the call.
    """
    return asyncio.run(_send(address, calls))


async def _send(address: str, calls: Sequence[tuple[MethodDescriptor, bytes]]) -> Counter[grpc.StatusCode]:
    found: Counter[grpc.StatusCode] = Counter()
    waiting = iter(calls)

    async def go_on(channel: Any) -> None:
        for rpc, data in waiting:
            code, words = await _ask(channel, rpc, data)
            found[code] += 1
            assert code in DOCUMENTED, f"{rpc.full_name} {data!r} {code} {words}"

    async with grpc.aio.insecure_channel(address) as channel, asyncio.TaskGroup() as group:
        for _ in range(_TOGETHER):
            group.create_task(go_on(channel))
    return found


async def _ask(channel: Any, rpc: MethodDescriptor, data: bytes) -> tuple[grpc.StatusCode, str]:
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    method = kinds[rpc.client_streaming, rpc.server_streaming](path_of(rpc), None, None)
    call = method(iter([data]) if rpc.client_streaming else data, timeout=_PATIENCE)
    try:
        if not rpc.server_streaming:
            await call
        elif await call.read() is not grpc.aio.EOF:
            call.cancel()
            return grpc.StatusCode.OK, ""
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""
