"""A proxy between a store and PostgreSQL that breaks at chosen moments."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Final, Literal, Self

from sqlalchemy import make_url

Moment = Literal["before the commit", "after the commit"]

_PROTOCOL_3: Final = 3
_NOTIFICATION: Final = b"A"


class Proxy:
    """Passes bytes on between clients and the server of a URL.

    `cut_commits` cuts connections at the COMMIT of a transaction that has inserted something: before the
    server hears of it, or when it has answered and the client has not heard yet. `stall` passes nothing on
    until `resume`; `cut` cuts all connections there are. `swallow` loses what the server says from then on,
    on every connection there is and will be, and `deafen` loses nothing but notifications, as a pooler does;
    both until `mend`, which brings nothing back.

    Attributes:
        url: the server's, by way of this proxy.
        commits_cut: how many commits were cut.
        connected: how many connections clients have made.
    """

    def __init__(self, url: str) -> None:
        target = make_url(url)
        self._target = (target.host or "127.0.0.1", target.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = target.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        self.commits_cut = 0
        self.connected = 0
        self.swallowing = self.deaf = False
        self._lock = threading.Lock()
        self._due: list[Moment] = []
        self._links: list[_Link] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._closed = False
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def cut_commits(self, *moments: Moment) -> None:
        """Cut the next commits, one for each of `moments`, in that order."""
        with self._lock:
            self._due += moments

    def cut(self) -> None:
        """Cut every connection there is."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def stall(self) -> None:
        """Pass nothing on until `resume`; connections stay open, and new ones hang."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass everything on again, what came meanwhile too."""
        self._flowing.set()

    def swallow(self) -> None:
        """Lose what the server says; to the client its connection is open and silent."""
        self.swallowing = True

    def deafen(self) -> None:
        """Lose notifications; everything else passes."""
        self.deaf = True

    def mend(self) -> None:
        """Lose nothing any more."""
        self.swallowing = self.deaf = False

    def close(self) -> None:
        """Cut everything, and listen no more."""
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(timeout=10)
        self.resume()
        self.cut()
        for link in self._links:
            link.join()

    def wait_while_stalled(self) -> None:
        """Return when bytes may flow."""
        self._flowing.wait()

    def take_due_cut(self) -> Moment | None:
        """Return the moment of the cut this commit is due for, and count it."""
        with self._lock:
            if not self._due:
                return None
            self.commits_cut += 1
            return self._due.pop(0)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self.connected += 1
            with self._lock:
                self._links.append(_Link(self, client, server))


class _Link:
    """One client's connection, and the one made for it to the server."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._cut_on_answer = threading.Event()
        self._greeted = threading.Event()
        self._wrote = False
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._threads = [threading.Thread(target=self._ask), threading.Thread(target=self._answer)]
        for thread in self._threads:
            thread.start()

    def cut(self) -> None:
        self._greeted.set()
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(timeout=10)
        self._client.close()
        self._server.close()

    def _ask(self) -> None:
        """Pass messages on to the server, one by one."""
        with suppress(OSError, EOFError):
            self._greet()
            while True:
                head, body = _message(self._client)
                if head[:1] == b"Q" and self._is_cut_before(body.rstrip(b"\0 ;").upper()):
                    break
                self._proxy.wait_while_stalled()
                self._server.sendall(head + body)
        self.cut()

    def _is_cut_before(self, words: bytes) -> bool:
        """Note what a statement means for the commit of its transaction; return whether to cut before it."""
        if words != b"COMMIT":
            self._wrote = (self._wrote or b"INSERT INTO" in words) and words != b"ROLLBACK"
            return False
        moment = self._proxy.take_due_cut() if self._wrote else None
        self._wrote = False
        if moment == "after the commit":
            self._cut_on_answer.set()
        return moment == "before the commit"

    def _greet(self) -> None:
        """Pass on what comes before the first typed message: requests for encryption, and the start."""
        while True:
            length = _exactly(self._client, 4)
            body = _exactly(self._client, struct.unpack("!i", length)[0] - 4)
            self._proxy.wait_while_stalled()
            self._server.sendall(length + body)
            if struct.unpack("!H", body[:2])[0] == _PROTOCOL_3:
                self._greeted.set()
                return
            # A request for encryption is answered by one byte; from the start on there are messages only.
            self._say(_exactly(self._server, 1))

    def _answer(self) -> None:
        """Pass messages on to the client."""
        self._greeted.wait()
        waiting = b""
        with suppress(OSError):
            while data := self._server.recv(65536):
                if self._cut_on_answer.is_set():
                    assert b"COMMIT\0" in data
                    break
                messages, waiting = _split(waiting + data)
                if self._proxy.deaf:
                    messages = [message for message in messages if message[:1] != _NOTIFICATION]
                self._say(b"".join(messages))
        self.cut()

    def _say(self, data: bytes) -> None:
        self._proxy.wait_while_stalled()
        if not self._proxy.swallowing:
            self._client.sendall(data)


def _exactly(end: socket.socket, size: int) -> bytes:
    """Return the next `size` bytes."""
    data = b""
    while len(data) < size:
        part = end.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _message(end: socket.socket) -> tuple[bytes, bytes]:
    """Return the next message: its type and length, and its body."""
    head = _exactly(end, 5)
    return head, _exactly(end, struct.unpack("!i", head[1:])[0] - 4)


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the whole messages at the beginning, and what is left."""
    messages = []
    start = 0
    while start + 5 <= len(data):
        end = start + 1 + int(struct.unpack_from("!i", data, start + 1)[0])
        if end > len(data):
            break
        messages.append(data[start:end])
        start = end
    return messages, data[start:]
