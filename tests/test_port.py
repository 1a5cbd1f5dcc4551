"""The port that several processes share: who gets it, and who does not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
from hosts import needs_ipv6

from jobstatus_grpc.errors import ListenFailed
from jobstatus_grpc.port import HeldPort

ANY = "127.0.0.1:0"


def number(address: str) -> int:
    """Return the port of an address."""
    return int(address.rpartition(":")[2])


def listening(port: int, host: str = "127.0.0.1", *, share: bool = False) -> socket.socket:
    """Return a socket that listens.

    Raises:
        OSError: it may not.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, reuse_port=share)


@pytest.fixture
def held() -> Iterator[HeldPort]:
    with HeldPort(ANY) as made:
        yield made


def test_those_who_share_can_listen_and_their_connections_reach_them(held: HeldPort) -> None:
    with listening(number(held.listen), share=True) as one, listening(number(held.listen), share=True):
        one.setblocking(False)
        reached = 0
        # To which of both one goes is chance.
        while not reached:
            with socket.create_connection(("127.0.0.1", number(held.listen))):
                try:
                    one.accept()[0].close()
                except BlockingIOError:
                    continue
                reached += 1


def test_while_nobody_listens_connections_are_refused(held: HeldPort) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", number(held.listen)))


@pytest.mark.parametrize("sharers", [0, 2])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_who_does_not_share_cannot_have_it_whether_somebody_listens_or_not(
    held: HeldPort, sharers: int, host: str
) -> None:
    with ExitStack() as stack:
        for _ in range(sharers):
            stack.enter_context(listening(number(held.listen), share=True))
        with pytest.raises(OSError, match="in use"):
            listening(number(held.listen), host)
        with pytest.raises(ListenFailed, match="another server"):
            HeldPort(held.listen)


@pytest.mark.parametrize("share", [False, True])
def test_what_somebody_listens_on_is_taken_even_by_one_who_would_share(share: bool) -> None:
    with listening(0, share=share) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ListenFailed, match=place):
            HeldPort(place)


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "[::]"])
def test_all_of_the_host_is_taken_if_one_address_is(wildcard: str) -> None:
    with listening(0) as taken, pytest.raises(ListenFailed):
        HeldPort(f"{wildcard}:{taken.getsockname()[1]}")


def test_of_many_who_ask_at_once_one_gets_it() -> None:
    together = threading.Barrier(4)

    def ask(listen: str) -> HeldPort | None:
        together.wait(30)
        try:
            return HeldPort(listen)
        except ListenFailed:
            return None

    won = 0
    with ThreadPoolExecutor(4) as pool:
        for _ in range(100):
            with HeldPort(ANY) as free:
                listen = free.listen
            had = [port for port in pool.map(ask, [listen] * 4) if port is not None]
            for port in had:
                port.close()
            # All may fail, each for the sake of another; two that succeed would share their clients.
            assert len(had) <= 1
            won += len(had)
    assert won


def test_it_is_free_when_it_is_let_go(held: HeldPort) -> None:
    held.close()
    with listening(number(held.listen)), pytest.raises(ListenFailed):
        HeldPort(held.listen)
    HeldPort(held.listen).close()


@pytest.mark.parametrize("share", [False, True])
def test_connections_of_a_server_that_has_just_ended_are_not_in_the_way(share: bool) -> None:
    with listening(0, share=share) as before:
        port = before.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        # Who closes first has the connection for another minute.
        before.accept()[0].close()
        with closing(client):
            assert client.recv(1) == b""
    with HeldPort(f"127.0.0.1:{port}") as held, listening(port, share=True):
        assert held.addresses == (f"127.0.0.1:{port}",)


@pytest.mark.parametrize(
    ("host", "hosts"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        pytest.param("[::1]", ["[::1]"], marks=needs_ipv6),
        pytest.param("localhost", ["[::1]", "127.0.0.1"], marks=needs_ipv6),
        pytest.param("0.0.0.0", ["[::]"], marks=needs_ipv6),
        pytest.param("[::]", ["[::]"], marks=needs_ipv6),
    ],
)
def test_any_port_is_one_port_at_every_address_of_the_host(host: str, hosts: list[str]) -> None:
    with HeldPort(f"{host}:0") as held:
        port = number(held.listen)
        assert port
        assert held.listen == f"{host}:{port}"
        assert list(held.addresses) == [f"{name}:{port}" for name in hosts]
        for name in hosts:
            with pytest.raises(OSError, match="in use"):
                listening(port, name.strip("[]"))


@needs_ipv6
def test_a_name_is_taken_if_one_of_its_addresses_is_and_leaves_nothing_held() -> None:
    with listening(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenFailed):
            HeldPort(f"localhost:{port}")
        listening(port, "::1").close()


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid", "[2001:db8::1]"])
def test_what_is_not_of_this_host_is_told_so(host: str) -> None:
    with pytest.raises(ListenFailed) as caught:
        HeldPort(f"{host}:1234")
    assert str(caught.value).startswith(f"cannot listen on {host}:1234")
