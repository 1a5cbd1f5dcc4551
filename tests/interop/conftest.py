from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import ServerProcess

from jobstatus_grpc.client import JobStatusClient


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave these out unless they are asked for: what they need is not installed with the rest."""
    return None if config.getoption("--interop") else True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A running server."""
    with ServerProcess(f"sqlite:///{tmp_path_factory.mktemp('interop')}/jobstatus.db") as started:
        yield started


@pytest.fixture
def client(server: ServerProcess) -> Iterator[JobStatusClient]:
    """A client for it."""
    with JobStatusClient(server.address) as made:
        yield made
