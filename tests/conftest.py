from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

# Starting a process as another user forks, and gRPC's handlers crash a child forked while it is at work. It
# reads this when it is imported.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

from faces import FACES, MakeClient
from pooler import Pooler
from postgres import PostgresServer
from processes import ServerProcess

from jobstatus_grpc.client import JobStatusClient
from jobstatus_grpc.store import open_store, upgrade
from jobstatus_grpc.store.base import JobStore

# A shell has what it runs in the background ignore Ctrl-C, and so would every command started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Time is measured elsewhere: two slow cores are no finding.
settings.register_profile(
    "here", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pooler", action="store_true", help="reach PostgreSQL through PgBouncer")
    parser.addoption("--interop", action="store_true", help="run tests/interop, in its own environment")
    parser.addoption("--full", action="store_true", help="run the whole fault suite, tests/faults/full too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a pooler cannot pass on."""
    if config.getoption("--pooler"):
        left_out = [item for item in items if item.get_closest_marker("session")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A running PostgreSQL server."""
    server = PostgresServer(os.environ.get("TEST_POSTGRES_URL"))
    with ExitStack() as stack:
        stack.callback(server.close)
        server.start()
        if request.config.getoption("--pooler"):
            pooler = Pooler(server.port)
            stack.callback(pooler.close)
            server.front = pooler.port
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a migrated, empty database."""
    name = f"jobstatus_template_{uuid4().hex}"
    postgres_server.create_database(name)
    upgrade(postgres_server.direct_url(name))
    yield name
    postgres_server.start()
    postgres_server.drop_database(name)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """The URL of a migrated, empty PostgreSQL database of the test's own."""
    name = f"jobstatus_{uuid4().hex}"
    postgres_server.create_database(name, postgres_template)
    yield postgres_server.url(name)
    postgres_server.start()
    postgres_server.drop_database(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/jobstatus.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated, empty database of the test's own."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    url = str(request.getfixturevalue("sqlite_url"))
    store = open_store(url)
    store.prepare()
    store.close()
    return url


@pytest.fixture
def store(database_url: str) -> Iterator[JobStore]:
    """A store on `database_url`, prepared."""
    opened = open_store(database_url)
    try:
        opened.prepare()
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A running server on a database of its own, for all tests of a module that leave it as it is."""
    if request.param == "sqlite":
        with ServerProcess(f"sqlite:///{tmp_path_factory.mktemp('database')}/jobstatus.db") as server:
            yield server
        return
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    name = f"jobstatus_{uuid4().hex}"
    postgres.create_database(name, request.getfixturevalue("postgres_template"))
    with ServerProcess(postgres.url(name)) as server:
        yield server
    postgres.drop_database(name)


@pytest.fixture
def shared_client(shared_server: ServerProcess) -> Iterator[JobStatusClient]:
    """A client of the shared server."""
    with JobStatusClient(shared_server.address) as client:
        yield client


@pytest.fixture(params=FACES)
def make_client(request: pytest.FixtureRequest) -> MakeClient:
    """What makes a client: one of threads, one of event loops."""
    return FACES[request.param]


@pytest.fixture
def job_id(request: pytest.FixtureRequest) -> str:
    """A job's id that no other test uses."""
    return str(request.node.name)
