"""Known mistakes, each made in a copy of the code, and each found by the tests that are there for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from postgres import PostgresServer

from faults.bugs import BUGS
from faults.seeded import Bug, Edit, Scratch, missed

EVERY_BUG = pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])

Verdicts = Mapping[str, str]
Seed = Callable[[Bug], Verdicts]


@pytest.fixture(scope="module")
def sound(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scratch]:
    """A copy of the code as it is, in which everything has been run that the chosen bugs need."""
    with Scratch(tmp_path_factory.mktemp("sound") / "copy", postgres_server.url("postgres")) as scratch:
        yield scratch


@pytest.fixture(scope="module")
def as_it_is(request: pytest.FixtureRequest, sound: Scratch) -> Verdicts:
    """How all tests end, on the code as it is, that the chosen bugs are to be caught by."""
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    bugs = [call.params["bug"] for call in calls if call is not None and "bug" in call.params]
    return sound.verdicts(dict.fromkeys(test for bug in bugs for test in bug.caught_by))


@pytest.fixture
def seed(sound: Scratch, postgres_server: PostgresServer, tmp_path: Path) -> Seed:
    """Puts a bug into a copy, and returns how the tests that are to catch it end there."""

    def run(bug: Bug) -> Verdicts:
        with Scratch(tmp_path / "copy", postgres_server.url("postgres"), sound.home) as scratch:
            scratch.seed(bug)
            return scratch.verdicts(bug.caught_by)

    return run


@EVERY_BUG
def test_a_seeded_bug_is_caught(bug: Bug, as_it_is: Verdicts, seed: Seed) -> None:
    assert missed(bug, as_it_is, seed(bug)) == []
