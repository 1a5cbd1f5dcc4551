"""Bugs to be seeded: all apply to the code as it is, and the tests that are to catch them are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from faults.bugs import BUGS
from faults.seeded import ROOT, Bug, Edit, patched

PACKAGE = ROOT / "jobstatus_grpc"


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_bug_applies_to_the_code_and_its_tests_are_there(bug: Bug) -> None:
    for path, text in patched(bug, PACKAGE).items():
        compile(text, str(path), "exec")
        assert text != path.read_text()
    assert bug.caught_by
    for test in bug.caught_by:
        file, _, name = test.partition("[")[0].partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE), test


def test_no_two_bugs_have_one_name_or_one_mistake() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 12
    assert len({tuple(bug.edits) for bug in BUGS}) == len(BUGS)


@pytest.mark.parametrize(("old", "times"), [("a", 2), ("d", 0)])
def test_a_bug_whose_place_is_gone_or_not_the_only_one_says_so(tmp_path: Path, old: str, times: int) -> None:
    (tmp_path / "m.py").write_text("a = b = a\n")
    with pytest.raises(AssertionError, match=rf"no longer applies: stands {times} times in m.py: '{old}'"):
        patched(Bug("moved", [Edit("m.py", old, "c")], []), tmp_path)


def test_edits_of_one_file_are_made_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("a = b\n")
    bug = Bug("two", [Edit("m.py", "a", "c"), Edit("m.py", "c = b", "c = d")], [])
    assert patched(bug, tmp_path) == {tmp_path / "m.py": "c = d\n"}
