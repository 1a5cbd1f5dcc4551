"""What a source does while ORCA's database is away, or not as it should be."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from bringing import bringing, states
from moments import wait_until
from orca import READER, OrcaDatabase, orca_granules
from postgres import PostgresServer

from jobstatus_grpc.sources.orca_secret import read_secret
from jobstatus_grpc.store.base import JobStore


def test_a_source_goes_on_when_the_database_is_back(store: JobStore) -> None:
    server = PostgresServer()
    server.start()
    try:
        orca = OrcaDatabase(server)
        first, second, third = orca_granules("job", 3, 1)
        with orca.writer() as writer:
            writer.create(first)
        with bringing(store, orca):
            wait_until(lambda: "g-00000" in states(store), "the first granule has come")
            server.stop("immediate")
            server.start()
            with orca.writer() as writer:
                writer.create(second)
            wait_until(lambda: "g-00001" in states(store), "the second has come")
            orca.execute("alter table orca.recovery_file rename to lost")
            server.terminate_connections(orca.name)
            with orca.writer() as writer:
                orca.execute("alter table orca.lost rename to recovery_file")
                writer.create(third)
            wait_until(lambda: "g-00002" in states(store), "the third has come")
    finally:
        server.close()


def test_a_password_that_was_changed_is_read_again(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobstatus_grpc.sources.orca._REFUSED_INTERVAL", 0.2)
    server = PostgresServer()
    server.start()
    try:
        orca = OrcaDatabase(server)
        server.need_password(READER)
        first, second = orca_granules("job", 2, 1)
        secret = orca.secret(tmp_path / "secret.json")
        told = partial(read_secret, str(secret))
        with orca.writer() as writer, bringing(store, orca, told=told):
            writer.create(first)
            wait_until(lambda: "g-00000" in states(store), "the first granule has come")
            orca.execute(f"alter role {READER} password 'another'")
            server.terminate_connections(orca.name, f"usename = '{READER}'")
            writer.create(second)
            orca.secret(secret, user_password="another")
            wait_until(lambda: "g-00001" in states(store), "the second has come")
    finally:
        server.close()


def test_a_database_that_has_moved_is_found_by_its_secret(
    store: JobStore, postgres_server: PostgresServer
) -> None:
    server = PostgresServer()
    server.start()
    moved = OrcaDatabase(postgres_server)
    try:
        orca = OrcaDatabase(server)
        first, second = orca_granules("job", 2, 1)
        with orca.writer() as writer:
            writer.create(first)
        with bringing(store, orca, told=lambda: moved.url):
            wait_until(lambda: "g-00000" in states(store), "the first granule has come")
            server.stop("immediate")
            with moved.writer() as writer:
                writer.create(second)
            wait_until(lambda: "g-00001" in states(store), "the second has come")
    finally:
        server.close()
        moved.close()
