"""TCP lines that fail: between clients and a server, or between a server and its database."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

Side = Literal["client", "server"]

T = TypeVar("T")

_RECEIVED: Final = 64 * 1024
# What of a connection's beginning is kept, to tell connections from each other.
_REMEMBERED: Final = 8 * 1024
# How many pieces of a connection may be held at a time, in one direction.
_WAITING: Final = 64
# Closes with a reset, and not with an orderly end.
_RESET: Final = struct.pack("ii", 1, 0)


class Cables:
    """Any number of cables, carried by one thread. Use it as a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cables", daemon=True)
        self._cables: list[Cable] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for cable in self._cables:
            self.run(cable.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def lay(self, host: str, port: int) -> Cable:
        """Return a new cable to an address."""
        cable = Cable(self, host, port)
        self.run(cable.open())
        self._cables.append(cable)
        return cable

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns that runs where the cables are."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)


class Cable:
    """Passes bytes on between clients and an address, until it is told to fail. Made by `Cables`.

    Attributes:
        host: where clients connect.
        port: where clients connect.
        connected: how many connections clients have made.
    """

    def __init__(self, cables: Cables, host: str, port: int) -> None:
        self.host, self.port = "127.0.0.1", 0
        self.connected = 0
        self._cables = cables
        self._target = (host, port)
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._delay: tuple[float, float] = (0.0, 0.0)
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def address(self) -> str:
        """Where clients connect, as `HOST:PORT`."""
        return f"{self.host}:{self.port}"

    @property
    def ports(self) -> set[int]:
        """The ports from which its connections to the address come."""
        return self._cables.run(self._ports())

    def cut(self, chance: float = 1.0) -> int:
        """Reset every connection, or each with a chance; return how many those were."""
        return self._cables.run(self._cut(chance))

    def stall(self) -> None:
        """Pass nothing on until `mend`; connections stay open, and new ones hang."""
        self._cables.run(self._stall())

    def delay(self, seconds: float, spread: float = 0.0) -> None:
        """Hold everything up for so long, give or take `spread`, in each direction, until `mend`."""
        self._cables.run(self._set_delay(seconds, spread))

    def half_close(self, towards: Side) -> int:
        """End every connection for one side, and tell the other nothing; return how many those were.

        What the other side still says is lost, until `mend`, as on its way to a host that is gone.
        """
        return self._cables.run(self._half_close(towards))

    def deaden(self, saying: bytes) -> int:
        """Lose, until `mend`, all that passes on the connections whose client has said these bytes.

        Returns how many those are.
        """
        return self._cables.run(self._deaden(saying))

    def mend(self) -> None:
        """Pass everything on again, what has waited too; reset the connections that have lost something."""
        self._cables.run(self._mend())

    async def open(self) -> None:
        """Begin to take connections."""
        self._server = await asyncio.start_server(self._take, self.host, 0, limit=_RECEIVED)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Cut everything, and take no more connections."""
        assert self._server is not None
        self._server.close()
        await self._mend()
        tasks = [task for link in self._links for task in link.tasks]
        await self._cut(1.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def hold(self, due: float) -> None:
        """Return when bytes that came at a moment may be passed on."""
        seconds, spread = self._delay
        if seconds:
            wait = due + random.uniform(seconds - spread, seconds + spread)
            await asyncio.sleep(wait - asyncio.get_running_loop().time())
        await self._flowing.wait()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        try:
            onward = await asyncio.open_connection(*self._target, limit=_RECEIVED)
        except OSError:
            _reset(writer)
            return
        link = _Link(self, (reader, writer), onward)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    async def _ports(self) -> set[int]:
        return {port for link in self._links if (port := link.port)}

    async def _cut(self, chance: float) -> int:
        return _each(self._links, lambda link: random.random() < chance, _Link.cut)

    async def _stall(self) -> None:
        self._flowing.clear()

    async def _set_delay(self, seconds: float, spread: float) -> None:
        self._delay = (seconds, spread)

    async def _half_close(self, towards: Side) -> int:
        return _each(self._links, lambda _: True, lambda link: link.half_close(towards))

    async def _deaden(self, saying: bytes) -> int:
        return _each(self._links, lambda link: saying in link.said, _Link.deaden)

    async def _mend(self) -> None:
        _each(self._links, lambda link: link.lost, _Link.cut)
        self._delay = (0.0, 0.0)
        self._flowing.set()


class _Link:
    """One client's connection, and the one made for it.

    Attributes:
        said: what the client said first.
        lost: whether it passes nothing on any more.
        tasks: what passes bytes on.
    """

    def __init__(
        self,
        cable: Cable,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.said = b""
        self.tasks: list[asyncio.Task[None]] = []
        self._cable = cable
        self._ends = {"client": client, "server": server}
        self.lost = False
        for _, writer in self._ends.values():
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def port(self) -> int:
        """The port from which it goes on; 0 if it is closed."""
        writer = self._ends["server"][1]
        return 0 if writer.is_closing() else int(writer.get_extra_info("sockname")[1])

    async def run(self) -> None:
        """Pass bytes on until both sides have ended."""
        self.tasks = [
            asyncio.create_task(self._carry("client", "server")),
            asyncio.create_task(self._carry("server", "client")),
        ]
        try:
            await asyncio.gather(*self.tasks, return_exceptions=True)
        finally:
            self.cut()

    def cut(self) -> None:
        """Reset both connections."""
        for _, writer in self._ends.values():
            _reset(writer)

    def half_close(self, towards: Side) -> None:
        """End what goes towards one side, and lose all else that is on its way."""
        with suppress(OSError, RuntimeError):
            self._ends[towards][1].write_eof()
        self.deaden()

    def deaden(self) -> None:
        """Lose everything from now on."""
        self.lost = True

    async def _carry(self, source: Side, goal: Side) -> None:
        """Take in what one side says, and have it passed on when its time has come."""
        reader = self._ends[source][0]
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=_WAITING)
        passing = asyncio.create_task(self._pass_on(waiting, self._ends[goal][1]))
        try:
            with suppress(OSError):
                while data := await reader.read(_RECEIVED):
                    if source == "client" and len(self.said) < _REMEMBERED:
                        self.said += data
                    await waiting.put((asyncio.get_running_loop().time(), data))
            await waiting.put((asyncio.get_running_loop().time(), b""))
            await passing
        finally:
            passing.cancel()

    async def _pass_on(
        self, waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        """Pass on what waits, and at the end that it was the end."""
        data = b"the beginning"
        while data:
            due, data = await waiting.get()
            await self._cable.hold(due)
            try:
                if data and not self.lost:
                    writer.write(data)
                    await writer.drain()
                elif not self.lost:
                    writer.write_eof()
            except (OSError, RuntimeError):
                # As the host would on which nobody takes it any more.
                self.lost = True
                self.cut()


def _each(links: set[_Link], chosen: Callable[[_Link], bool], do: Callable[[_Link], None]) -> int:
    found = [link for link in links if chosen(link)]
    for link in found:
        do(link)
    return len(found)


def _reset(writer: asyncio.StreamWriter) -> None:
    taken = writer.get_extra_info("socket")
    if taken is not None:
        with suppress(OSError):
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
