"""Cables: what is cut, stalled, delayed, half closed or lost really is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from moments import wait_until

from faults.cables import Cable, Cables

SHORT = 0.3


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says everything again."""

    def serve(client: socket.socket) -> None:
        with suppress(OSError), closing(client):
            while data := client.recv(65536):
                client.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def cable(echo: int) -> Iterator[Cable]:
    with Cables() as cables:
        yield cables.lay("127.0.0.1", echo)


@pytest.fixture
def client(cable: Cable) -> Iterator[socket.socket]:
    """A client's connection through the cable, that has been used."""
    with closing(socket.create_connection((cable.host, cable.port), timeout=5)) as made:
        assert said(made, b"first") == b"first"
        yield made


def said(client: socket.socket, words: bytes, seconds: float = 5) -> bytes:
    """Return what comes back; nothing if that is nothing, for so long."""
    client.settimeout(seconds)
    client.sendall(words)
    with suppress(TimeoutError):
        return client.recv(65536)
    return b""


def test_a_cut_resets_both_ends(cable: Cable, client: socket.socket) -> None:
    assert len(cable.ports) == 1
    assert cable.cut() == 1
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert cable.ports == set()


def test_what_is_stalled_comes_later_and_in_order(cable: Cable, client: socket.socket) -> None:
    cable.stall()
    assert said(client, b"one ", SHORT) == b""
    client.sendall(b"two")
    cable.mend()
    received = b""
    while len(received) < 7:
        received += client.recv(16)
    assert received == b"one two"


def test_what_is_delayed_takes_that_long_each_way(cable: Cable, client: socket.socket) -> None:
    cable.delay(SHORT, SHORT / 3)
    begun = time.monotonic()
    assert said(client, b"hello") == b"hello"
    assert time.monotonic() - begun > 4 / 3 * SHORT
    cable.mend()


def test_who_talks_to_somebody_that_is_gone_is_told_so(cable: Cable, client: socket.socket) -> None:
    cable.delay(SHORT)
    client.sendall(b"one")
    time.sleep(3 * SHORT)
    client.sendall(b"two")
    time.sleep(1.5 * SHORT)
    # One has come and was not read, two is on its way back: the client's host answers it with a reset.
    client.close()
    wait_until(lambda: cable.ports == set(), "the server's side has ended", 5)


def test_half_closed_for_the_client_its_end_comes_to_nobody_else(cable: Cable, client: socket.socket) -> None:
    assert cable.half_close("client") == 1
    assert client.recv(1) == b""
    client.sendall(b"does anybody hear?")
    assert len(cable.ports) == 1
    cable.mend()
    assert cable.ports == set()


def test_half_closed_for_the_server_the_client_hears_nothing(cable: Cable, client: socket.socket) -> None:
    assert cable.half_close("server") == 1
    assert said(client, b"hello?", SHORT) == b""
    cable.mend()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_only_who_said_something_is_not_heard_any_more(cable: Cable, client: socket.socket) -> None:
    with closing(socket.create_connection((cable.host, cable.port), timeout=5)) as other:
        assert said(other, b"listen jobstatus") == b"listen jobstatus"
        assert cable.deaden(b"listen jobstatus") == 1
        assert said(client, b"hello") == b"hello"
        assert said(other, b"hello", SHORT) == b""
