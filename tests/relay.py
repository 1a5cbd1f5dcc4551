"""What stands between clients and a server, and fails."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self


class Relay:
    """Passes bytes on between clients and the server at an address. Use it as a context manager.

    `cut` cuts all connections there are. `stall` passes nothing on until `resume`, and connections stay open:
    to both sides the other one is silent.

    Attributes:
        address: its own `host:port`.
        connected: how many connections clients have made.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connected = 0
        self._flowing = threading.Event()
        self._flowing.set()
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(timeout=10)
        self.resume()
        self.cut()
        for thread in self._threads:
            thread.join(timeout=10)
        self._listener.close()

    def cut(self) -> None:
        """Cut every connection there is."""
        with self._lock:
            for end in self._ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        """Pass nothing on until `resume`."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass everything on again, what came meanwhile too."""
        self._flowing.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=10)
            except OSError:  # The server is down: so is what is behind this address.
                client.close()
                continue
            server.settimeout(None)
            self.connected += 1
            with self._lock:
                self._ends |= {client, server}
            for ends in ((client, server), (server, client)):
                self._threads.append(threading.Thread(target=self._pass_on, args=ends))
                self._threads[-1].start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._ends.discard(source)
        source.close()
