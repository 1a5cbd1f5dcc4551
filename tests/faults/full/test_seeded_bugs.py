"""Known mistakes, each made in a copy of the code, and each found by the tests that are there for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from faults.bugs import BUGS
from faults.findings import CAUGHT
from faults.seeded import Bug, Edit, Scratch, missed
from faults.verdicts import PASSED

# Tests of bugs mostly wait for what does not come.
_AT_ONCE = 3

Verdicts = Mapping[str, str]

HARMLESS = Bug(
    "harmless", [Edit("feeds.py", "_KEPT_CHANGES: Final = 50_000", "_KEPT_CHANGES: Final = 50_001")], []
)
UNREADABLE = Bug("unreadable", [Edit("feeds.py", "class Feed:", "class Feed")], [])
UNRUNNABLE = Bug(
    "unrunnable", [Edit("feeds.py", "        self._asked = True\n        if", "        if nothing and")], []
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    """A copy of the code as it is."""
    with Scratch(tmp_path_factory.mktemp("sound") / "copy") as scratch:
        yield scratch


@pytest.fixture(scope="module")
def as_it_is(request: pytest.FixtureRequest, sound: Scratch) -> Verdicts:
    """How all tests that are to catch the chosen bugs end on the code as it is."""
    return sound.verdicts(dict.fromkeys(test for bug in chosen(request) for test in bug.caught_by))


@pytest.fixture(scope="module")
def seeded(
    request: pytest.FixtureRequest,
    sound: Scratch,
    as_it_is: Verdicts,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mapping[str, Future[Verdicts]]]:
    """How the tests of each chosen bug end on the code with it."""
    home = tmp_path_factory.mktemp("seeded")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield {bug.name: pool.submit(run_seeded, bug, home, sound.home) for bug in chosen(request)}
        pool.shutdown(cancel_futures=True)


def chosen(request: pytest.FixtureRequest) -> Sequence[Bug]:
    """Return the bugs that are to be tried in this run."""
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    return [call.params["bug"] for call in calls if call is not None and "bug" in call.params]


def run_seeded(bug: Bug, home: Path, source: Path) -> Verdicts:
    """Make a bug in a copy, and return how the tests that are to catch it end there."""
    with Scratch(home / bug.name, source) as scratch:
        scratch.seed(bug)
        return scratch.verdicts(bug.caught_by)


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_seeded_bug_is_caught(
    bug: Bug,
    as_it_is: Verdicts,
    seeded: Mapping[str, Future[Verdicts]],
    record_property: Callable[[str, object], None],
) -> None:
    assert missed(bug, as_it_is, seeded[bug.name].result()) == []
    record_property(CAUGHT, f"{bug.name}, by {', '.join(bug.caught_by)}")


def test_what_is_no_bug_or_breaks_everything_is_not_taken_for_caught(sound: Scratch, tmp_path: Path) -> None:
    test = "test_feeds.py::test_a_look_that_comes_during_a_read_leads_to_another_one[sqlite]"
    found = []
    for bug in (HARMLESS, UNRUNNABLE):
        bug = bug._replace(caught_by=[test])
        found += missed(bug, {f"tests/{test}": PASSED}, run_seeded(bug, tmp_path, sound.home))
    assert len(found) == 2
    assert found[0].startswith(f"{test}, with the bug: passed")
    assert found[1].startswith(f"{test}, with the bug: broke: NameError")
    with pytest.raises(AssertionError, match="SyntaxError"):
        run_seeded(UNREADABLE._replace(caught_by=[test]), tmp_path, sound.home)
    with pytest.raises(AssertionError, match="not found"):
        sound.verdicts(["test_feeds.py::test_nothing"])
