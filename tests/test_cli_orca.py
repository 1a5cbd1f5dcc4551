"""The command that brings in the jobs of an ORCA database, as a person sees it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from bringing import bringing, states
from moments import wait_until
from orca import ERROR, PENDING, SUCCESS, OrcaDatabase, orca_granules
from postgres import PostgresServer
from processes import run_command
from terminals import Terminal

from jobstatus_grpc.sources.orca import Standing
from jobstatus_grpc.store.base import JobStore


def test_a_person_sees_how_far_the_back_fill_is_and_leaves_with_ctrl_c(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    orca = OrcaDatabase(postgres_server)
    orca.fill(3, 3_000, 1)
    given = ("--database-url", postgres_url, "--orca-url", orca.url)
    with Terminal("source", "orca", *given) as terminal:
        terminal.wait_for("live: ")
        assert b"filling in" in terminal.written
        terminal.type("\x03")
        assert terminal.finish() == 0
    orca.close()


def test_the_command_says_what_is_wrong_with_what_it_was_given(
    postgres_server: PostgresServer, sqlite_url: str, tmp_path: Path
) -> None:
    orca = OrcaDatabase(postgres_server)

    def refusal(*arguments: str) -> str:
        done = run_command("source", "orca", "--database-url", sqlite_url, *arguments)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        return done.stderr.splitlines()[-1]

    assert "--orca-url URL or --orca-secret-file FILE" in refusal()
    assert "--orca-url: is not postgresql://" in refusal("--orca-url", "mysql://root:secret@host/db")
    secret = orca.secret(tmp_path / "secret.json", user_password="", host=None)
    assert "--orca-secret-file: has no host, user_password" in refusal("--orca-secret-file", str(secret))
    missing = orca.secret(tmp_path / "missing.json", user_database="nowhere")
    assert 'database "nowhere" does not exist' in refusal("--orca-secret-file", str(missing))
    orca.execute("drop table orca.recovery_file")
    assert "is no ORCA database: no table orca.recovery_file" in refusal("--orca-url", orca.url)
    orca.close()


def test_a_source_that_waits_for_another_one_says_so_once(
    postgres_server: PostgresServer, store: JobStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    orca = OrcaDatabase(postgres_server)
    works, waits = "ORCA's jobs are brought in from", "another source brings in ORCA's jobs"

    def told(words: str) -> int:
        return sum(words in line for line in caplog.messages)

    with ExitStack() as stack:
        with bringing(store, orca):
            wait_until(lambda: told(works) == 1, "one works")
            turns: list[Standing] = []
            stack.enter_context(bringing(store, orca, turns.append))
            wait_until(lambda: len(turns) > 2, "the other one has looked more than once")
            assert (told(works), told(waits)) == (1, 1)
        wait_until(lambda: told(works) == 2, "the other one has taken over")
    orca.close()


def test_the_comparison_tells_what_differs(
    postgres_server: PostgresServer, store: JobStore, database_url: str, tmp_path: Path
) -> None:
    orca = OrcaDatabase(postgres_server)
    secret = str(orca.secret(tmp_path / "secret.json"))
    given = ("source", "orca", "--database-url", database_url, "--project-id", "daac")
    first, second, third = orca_granules("job", 3, 1)
    third = third._replace(files=("f-0", "f-1"))
    with orca.writer() as writer:
        writer.create(first, PENDING)
        writer.create(third, PENDING)
        writer.update(third, "f-0", ERROR, "lost")
        with bringing(store, orca):
            wait_until(lambda: "g-00002" in states(store), "it is there")
        done = run_command(*given, "--orca-secret-file", secret, "--compare")
        assert (done.returncode, done.stdout) == (0, "1 job compared: no difference\n"), done.stderr
        writer.update(first, "f-0", SUCCESS)
        writer.create(second)
        orca.execute("update orca.recovery_file set error_message = 'gone' where error_message = 'lost'")
        orca.execute("update orca.recovery_file set filename = 'f-2' where filename = 'f-1'")
    done = run_command(*given, "--orca-secret-file", secret, "--compare")
    assert done.returncode == 1
    assert "job/c/g-00000: state is 'SUCCEEDED' in ORCA, here 'PENDING'" in done.stdout
    assert "job/c/g-00001: has not been brought in" in done.stdout
    assert (
        "job/c/g-00002: file 'f-0': error is 'gone' in ORCA, here 'lost'; "
        "file 'f-2': is not here; file 'f-1': is not in ORCA\n" in done.stdout
    )
    assert "1 job compared: 3 differences" in done.stdout
    orca.close()


def test_the_command_takes_the_settings_of_a_server(
    postgres_server: PostgresServer, store: JobStore, database_url: str, tmp_path: Path
) -> None:
    orca = OrcaDatabase(postgres_server)
    (granule,) = orca_granules("job", 1, 1)
    with orca.writer() as writer:
        writer.create(granule)
    with bringing(store, orca):
        wait_until(lambda: "g-00000" in states(store), "it is there")
    file = tmp_path / "settings.toml"
    file.write_text(
        f'database_url = "{database_url}"\nsource_orca_url = "{orca.url}"\nsource_orca_project_id = "daac"\n'
    )
    compared: list[str] = []
    for variables in ({}, {"JOBSTATUS_SOURCE_ORCA_PROJECT_ID": "other"}, {"JOBSTATUS_PROJECT_ID": "other"}):
        done = run_command("source", "orca", "--compare", env={"JOBSTATUS_CONFIG": str(file)} | variables)
        compared.append(done.stdout.splitlines()[-1])
    assert compared == [
        "1 job compared: no difference",
        "1 job compared: 1 difference",
        "1 job compared: no difference",
    ]
    file.write_text("source_orca_interval = [1]\nsource_orca_settle = []\n")
    done = run_command("source", "orca", env={"JOBSTATUS_CONFIG": str(file)})
    assert done.returncode == 2
    assert done.stderr.startswith("error: source_orca_interval: is not a text")
    assert "source_orca_settle: is not a text" in done.stderr
    orca.close()
