from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from postgres import PostgresServer

from faults.cables import Cables
from faults.findings import CAUGHT, FIGURE, PROPERTY, Findings, table
from faults.fleet import Fleet
from faults.trials import Trial

_FULL = Path(__file__).with_name("full")
# Seconds after which a trial is taken for stuck.
_LONGEST = 600


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the whole suite out unless it is asked for."""
    return True if collection_path == _FULL and not config.getoption("--full") else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give trials more time than tests: each waits for much, with a deadline of its own."""
    for item in items:
        if _FULL in item.path.parents:
            item.add_marker(pytest.mark.timeout(_LONGEST))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what the trials have found, and which seeded bugs were caught."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    told: dict[str, list[Any]] = {PROPERTY: [], FIGURE: [], CAUGHT: []}
    for report in reports:
        if getattr(report, "when", None) == "call":
            for name, value in report.user_properties:
                told.get(name, []).append(value)
    found = [*(table(told[PROPERTY]) if told[PROPERTY] else ()), *told[FIGURE]]
    for title, lines in (("faults", found), (f"{len(told[CAUGHT])} seeded bugs caught", told[CAUGHT])):
        if lines:
            terminalreporter.section(title)
            for line in lines:
                terminalreporter.write_line(line)


@pytest.fixture(scope="module")
def cables() -> Iterator[Cables]:
    """What lines that fail are made of."""
    with Cables() as made:
        yield made


@pytest.fixture(scope="module")
def postgres_database(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """The URL of a migrated, empty PostgreSQL database for all trials of a module."""
    name = f"jobstatus_{uuid4().hex}"
    postgres_server.create_database(name, postgres_template)
    yield postgres_server.url(name)
    postgres_server.start()
    postgres_server.drop_database(name)


@pytest.fixture(scope="module")
def fleet(
    postgres_database: str, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Three servers on one PostgreSQL, for all trials of a module."""
    home = tmp_path_factory.mktemp("fleet")
    with Fleet(postgres_database, home, postgres=postgres_server) as made:
        yield made


@pytest.fixture(scope="module")
def wired_fleet(
    postgres_database: str,
    postgres_server: PostgresServer,
    cables: Cables,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    """Three servers on one PostgreSQL, with cables on both sides, for all trials of a module."""
    home = tmp_path_factory.mktemp("fleet")
    with Fleet(postgres_database, home, postgres=postgres_server, cables=cables) as made:
        yield made


@pytest.fixture
def trial(tmp_path: Path, record_property: Callable[[str, object], None]) -> Callable[..., Trial]:
    """Makes a trial whose findings are told at the end of the run."""

    def publish(found: Findings) -> None:
        record_property(PROPERTY, found._asdict())

    return partial(Trial, home=tmp_path, publish=publish)
