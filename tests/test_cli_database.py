"""The commands that work on a database, where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from processes import run_command


@pytest.mark.parametrize(
    "command",
    [
        ("db", "upgrade"),
        ("db", "prune", "--changes-older-than", "7d"),
    ],
)
def test_a_database_that_does_not_answer_is_told_in_one_line_that_says_why(command: tuple[str, ...]) -> None:
    done = run_command(*command, "--database-url", "postgresql://jobstatus:hunter2@127.0.0.1:1/jobstatus")
    assert (done.returncode, done.stdout) == (4, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the database does not answer: ")
    assert "Connection refused" in line
    assert line.endswith(" (STORE_UNAVAILABLE)")
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "command",
    [
        ("db", "upgrade"),
        ("db", "prune", "--changes-older-than", "7d"),
        ("serve", "--listen", "127.0.0.1:0", "--log-level", "error"),
    ],
)
def test_a_file_that_is_no_database_is_told_and_left_as_it_is(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("These are notes, and no database.\n" * 100)
    done = run_command(*command, "--database-url", f"sqlite:///{file}")
    assert done.returncode == 2
    assert done.stderr == "error: the database's file is not one of SQLite's (SCHEMA_MISMATCH)\n"
    assert file.read_text() == "These are notes, and no database.\n" * 100
