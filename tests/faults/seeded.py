"""Code with a mistake in it, and whether the tests that are to find it do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, Self

from faults.verdicts import ASSERTED, FILE, PASSED

ROOT: Final = Path(__file__).resolve().parents[2]
_COPIED: Final = ("jobstatus_grpc", "protos", "tests")
# Seconds after which a run is taken for stuck: many tests on the code as it is, a few on each mistake.
_LONGEST: Final = 400


class Edit(NamedTuple):
    """One text in place of another that stands in a file exactly once.

    Attributes:
        file: the file, from the package on.
        old: what stands there.
        new: the mistake.
    """

    file: str
    old: str
    new: str

    def apply(self, text: str) -> str:
        """Return the text of the file with the mistake in it.

        Raises:
            AssertionError: it no longer applies.
        """
        found = text.count(self.old)
        assert found == 1, f"no longer applies: stands {found} times in {self.file}: {self.old!r}"
        return text.replace(self.old, self.new)


class Bug(NamedTuple):
    """A mistake somebody could make.

    Attributes:
        name: what is wrong.
        edits: how it is made.
        caught_by: the tests that find it, each of which does, from `tests/` on.
    """

    name: str
    edits: Collection[Edit]
    caught_by: Collection[str]


def patched(bug: Bug, package: Path) -> Mapping[Path, str]:
    """Return the files of a package that the bug is in, with it.

    Raises:
        AssertionError: it no longer applies.
    """
    texts: dict[Path, str] = {}
    for edit in bug.edits:
        path = package / edit.file
        texts[path] = edit.apply(texts.get(path) or path.read_text())
    return texts


class Scratch:
    """A copy of the project. Use it as a context manager.

    Args:
        home: where it goes; does not exist yet.
        source: what is copied.
    """

    def __init__(self, home: Path, source: Path = ROOT) -> None:
        self.home = home
        self._source = source

    def __enter__(self) -> Self:
        self.home.mkdir()
        for name in _COPIED:
            # With what is compiled already: it is known by the time of its source, which stays.
            shutil.copytree(self._source / name, self.home / name)
        shutil.copy(self._source / "pyproject.toml", self.home)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.home)

    def seed(self, bug: Bug) -> None:
        """Put a mistake into it."""
        for path, text in patched(bug, self.home / "jobstatus_grpc").items():
            path.write_text(text)

    def verdicts(self, tests: Iterable[str]) -> Mapping[str, str]:
        """Run tests here, and return how each has ended.

        Raises:
            AssertionError: they could not be run, or not on this code.
        """
        file = self.home / "verdicts.json"
        file.unlink(missing_ok=True)
        run = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "faults.verdicts", "-p", "no:cacheprovider", "-q"]
            + [f"tests/{test}" for test in tests],
            cwd=self.home,
            env=self._environment(file),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        try:
            said, _ = run.communicate(timeout=_LONGEST)
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.communicate()
        assert file.exists(), said[-4000:]
        told = json.loads(file.read_text())
        assert Path(told["package"]).is_relative_to(self.home)
        assert told["verdicts"], said[-4000:]
        return dict(told["verdicts"])

    def _environment(self, file: Path) -> dict[str, str]:
        # With a PostgreSQL of their own, which they can stop.
        foreign = ("PYTEST_", "TEST_POSTGRES_URL")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        paths = [str(self.home / name) for name in ("", "protos", "tests")]
        return inherited | {"PYTHONPATH": os.pathsep.join(paths), FILE: str(file)}


def missed(bug: Bug, sound: Mapping[str, str], seeded: Mapping[str, str]) -> list[str]:
    """Return why a bug does not count as caught: each of its tests is to fail with it, and only with it.

    Args:
        bug: the bug.
        sound: how tests end on the code as it is.
        seeded: how they end on the code with the bug.
    """
    found = []
    for test in bug.caught_by:
        for verdicts, due, where in ((sound, PASSED, "as the code is"), (seeded, ASSERTED, "with the bug")):
            ends = {end for name, end in verdicts.items() if _is_of(name, test)} or {"not run"}
            if ends != {due}:
                found.append(f"{test}, {where}: {', '.join(sorted(ends))}; to be {due}")
    return found


def _is_of(name: str, test: str) -> bool:
    """Return whether a test that was run is the one named, or one of its parameters'."""
    return name.removeprefix("tests/").partition("[")[0] == test or name == f"tests/{test}"
