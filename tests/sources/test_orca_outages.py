"""What a source does while ORCA's database is away, or not as it should be."""

from __future__ import annotations

from bringing import bringing, states
from moments import wait_until
from orca import OrcaDatabase, orca_granules
from postgres import PostgresServer

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
