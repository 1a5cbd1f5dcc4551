"""The least of a gRPC client: as much HTTP/2 as it takes to hold server streams and count what comes.

A client of grpc.aio takes more of a processor for a frame than the server does (24 µs against 18 where they
were compared), so the most a server can do would be the most its client can. This one takes a quarter of
that: it decodes no headers, only sees streams end, and keeps of a stream its counts and the last message.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from typing import Final, cast

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_ENABLE_PUSH, _INITIAL_WINDOW_SIZE = 2, 4
_CANCEL: Final = 8
_HEAD: Final = struct.Struct(">HBBBI")
_HEAD_BYTES: Final = 9
_PREFIX_BYTES: Final = 5

LARGEST_WINDOW: Final = 2**31 - 1
_DEFAULT_WINDOW: Final = 2**16 - 1
# How much of the connection's window is used up before it is given back.
_RETURNED_BYTES: Final = 4 * 1024 * 1024

OnMessage = Callable[["WireStream", bytes, float], None]
OnEnd = Callable[["WireStream"], None]


class WireStream:
    """What has come on one server stream.

    Attributes:
        frames: how many messages.
        received: how many bytes, with what gRPC puts before each.
        last: the last message.
        first_time: when the first came, by `time.time()`; 0 for never.
        last_time: when the last did.
        ended: whether the server has ended it, or this client.
        reading: whether its window is given back; a stream that is not read fills up.
    """

    __slots__ = (
        "_missing",
        "_parts",
        "connection",
        "ended",
        "first_time",
        "frames",
        "last",
        "last_time",
        "number",
        "on_end",
        "on_message",
        "reading",
        "received",
        "unreturned",
    )

    def __init__(
        self, connection: WireConnection, number: int, on_message: OnMessage | None, on_end: OnEnd | None
    ) -> None:
        self.connection = connection
        self.number = number
        self.on_message = on_message
        self.on_end = on_end
        self.frames = 0
        self.received = 0
        self.last = b""
        self.first_time = self.last_time = 0.0
        self.ended = False
        self.reading = True
        self.unreturned = 0
        self._parts: list[bytes] = []
        self._missing = 0

    def take(self, data: bytes, now: float) -> None:
        """Take the payload of a DATA frame."""
        self.received += len(data)
        if not self.first_time:
            self.first_time = now
        if len(data) < self._missing:
            self._parts.append(data)
            self._missing -= len(data)
            return
        if self._parts:
            data = b"".join((*self._parts, data))
            self._parts.clear()
        self._missing = start = 0
        while len(data) - start >= _PREFIX_BYTES:
            stop = start + _PREFIX_BYTES + int.from_bytes(data[start + 1 : start + _PREFIX_BYTES], "big")
            if stop > len(data):
                # What is to come before there is any use in looking again.
                self._missing = stop - len(data)
                break
            self.frames += 1
            self.last = data[start + _PREFIX_BYTES : stop]
            self.last_time = now
            if self.on_message is not None:
                self.on_message(self, self.last, now)
            start = stop
        if start < len(data):
            self._parts.append(data[start:])

    def cancel(self) -> None:
        """Leave, as a caller does who has enough."""
        if not self.ended:
            self.connection.reset(self)

    def resume(self) -> None:
        """Read again, after `reading` was taken away."""
        self.reading = True
        self.connection.give_back(self)


class WireConnection(asyncio.Protocol):
    """One connection with any number of streams of one method.

    Args:
        authority: the server's `host:port`.
        path: the method, as in `/package.Service/Method`.
        window: how many bytes of a stream the server may send unread.
        token: what the caller shows; empty for nothing.
    """

    def __init__(self, authority: str, path: str, window: int = LARGEST_WINDOW, token: str = "") -> None:
        self._window = window
        self._headers = b"".join(
            (
                b"\x83\x86",  # POST, http
                b"\x04" + _string(path),
                b"\x01" + _string(authority),
                b"\x0f\x10" + _string("application/grpc"),
                b"\x00" + _string("te") + _string("trailers"),
                b"\x0f\x08" + _string(f"Bearer {token}") if token else b"",
            )
        )
        self.streams: dict[int, WireStream] = {}
        self._next = 1
        self._rest = b""
        self._unreturned = 0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by descent.
        settings = struct.pack(">HIHI", _ENABLE_PUSH, 0, _INITIAL_WINDOW_SIZE, self._window)
        update = struct.pack(">I", LARGEST_WINDOW - _DEFAULT_WINDOW)
        self._write(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, update))

    def connection_lost(self, exc: Exception | None) -> None:
        for number in list(self.streams):
            self._end(number)

    def open(
        self, request: bytes, on_message: OnMessage | None = None, on_end: OnEnd | None = None
    ) -> WireStream:
        """Begin a stream."""
        stream = self.streams[self._next] = WireStream(self, self._next, on_message, on_end)
        self._next += 2
        message = b"\0" + len(request).to_bytes(4, "big") + request
        self._write(
            _frame(_HEADERS, _END_HEADERS, stream.number, self._headers)
            + _frame(_DATA, _END_STREAM, stream.number, message)
        )
        return stream

    def reset(self, stream: WireStream) -> None:
        """Tell the server that a stream is wanted no more."""
        self._write(_frame(_RST_STREAM, 0, stream.number, struct.pack(">I", _CANCEL)))
        self._end(stream.number)

    def give_back(self, stream: WireStream) -> None:
        """Let the server send as much again as the stream has read."""
        if stream.unreturned and not stream.ended:
            update = struct.pack(">I", stream.unreturned)
            stream.unreturned = 0
            self._write(_frame(_WINDOW_UPDATE, 0, stream.number, update))

    def close(self) -> None:
        """Close the connection, and with it all its streams."""
        assert self._transport is not None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        now = time.time()
        if self._rest:
            data = self._rest + data
        start, end = 0, len(data)
        while end - start >= _HEAD_BYTES:
            high, low, kind, flags, number = _HEAD.unpack_from(data, start)
            stop = start + _HEAD_BYTES + (high << 8 | low)
            if stop > end:
                break
            if kind == _DATA:
                self._take_data(number, data[start + _HEAD_BYTES : stop], now)
            else:
                self._take_control(kind, flags, number, data[start + _HEAD_BYTES : stop])
            start = stop
        self._rest = data[start:]

    def _take_data(self, number: int, payload: bytes, now: float) -> None:
        self._unreturned += len(payload)
        if self._unreturned >= _RETURNED_BYTES:
            self._write(_frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._unreturned)))
            self._unreturned = 0
        stream = self.streams.get(number)
        if stream is None:
            return  # Cancelled, and on its way already.
        stream.take(payload, now)
        if self._window != LARGEST_WINDOW:
            stream.unreturned += len(payload)
            if stream.reading and stream.unreturned > self._window // 2:
                self.give_back(stream)

    def _take_control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == _PING and not flags & _ACK:
            self._write(_frame(_PING, _ACK, 0, payload))
        elif kind == _SETTINGS and not flags & _ACK:
            self._write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _RST_STREAM or (kind == _HEADERS and flags & _END_STREAM):
            self._end(number)
        elif kind == _GOAWAY:
            self.close()

    def _end(self, number: int) -> None:
        stream = self.streams.pop(number, None)
        if stream is not None:
            stream.ended = True
            if stream.on_end is not None:
                stream.on_end(stream)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    length = len(payload)
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, number) + payload


def _string(text: str) -> bytes:
    """Return a header's text as HPACK has it, neither compressed nor remembered."""
    data = text.encode()
    if len(data) < 0x7F:
        return bytes((len(data),)) + data
    rest, length = len(data) - 0x7F, bytearray((0x7F,))
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*length, rest)) + data
