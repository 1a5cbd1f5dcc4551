"""What is planted in exceptions and never gets into a line of the log."""

from __future__ import annotations

import pytest

from jobstatus_grpc.redaction import told, without_secrets, words_of

DSN = "postgresql://jobs:hunter2@db.internal:5432/jobs?sslmode=require"


@pytest.mark.parametrize(
    "text",
    [
        f"could not connect to {DSN}",
        "FATAL: password=hunter2 host=db",
        "{'password': 'hunter2'}",
        'api_key="hunter2"',
        "authorization: Bearer hunter2hunter2",
        "bearer hunter2",
        "eyJhbGciOiJFUzI1NiJ9.hunter2.hunter2-x",
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nhunter2",
        "sqlite:///x?key=hunter2",
        "token=hunter2",
    ],
)
def test_secrets_are_nowhere(text: str) -> None:
    assert "hunter2" not in without_secrets(text)
    assert "hunter2" not in words_of(ValueError(text))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("(psycopg2.Error) oops\n[SQL: SELECT hunter2 FROM job]\n[parameters: {'a': 'hunter2'}]", "oops"),
        ("syntax error\nLINE 1: select hunter2", "syntax error"),
        ("insert into job values ('hunter2')", ""),
        ("UPDATE job SET hunter2 = 1", ""),
        ("cannot open /etc/jobstatus/hunter2.key: denied", "denied"),
        ("cannot open ../hunter2/hunter2.key", "cannot open"),
        ("cannot open C:\\keys\\hunter2", "cannot open"),
        ("host=hunter2 port=hunter2 user=hunter2 dbname=hunter2", "host="),
        ("connection to https://hunter2.internal/x failed", "failed"),
    ],
)
def test_statements_paths_and_addresses_are_not_in_the_words_of_exceptions(text: str, left: str) -> None:
    assert "hunter2" not in words_of(RuntimeError(text))
    assert left in words_of(RuntimeError(text))


@pytest.mark.parametrize(
    "text",
    [
        "line 3: 12 of 5/7 granules",
        "the job 'a/b' is PENDING",
        "waiting for the database postgresql://db.internal:5432/jobs",
        "cannot listen on 127.0.0.1:50051",
    ],
)
def test_what_is_no_secret_stays_in_lines(text: str) -> None:
    assert without_secrets(text) == text


def test_an_exception_is_told_with_its_causes_and_places_and_without_directories() -> None:
    def fail() -> None:
        try:
            raise OSError(2, "No such file", "/etc/hunter2/key.pem")
        except OSError as error:
            raise RuntimeError(f"no {DSN}") from error

    with pytest.raises(RuntimeError) as caught:
        fail()
    lines = told(caught.value).splitlines()
    assert lines[0] == "FileNotFoundError: [Errno 2] No such file: '[path]'"
    assert any(line.startswith("RuntimeError: no [url]") for line in lines)
    assert any("tests/test_redaction.py:" in line and line.endswith(" in fail") for line in lines)
    assert not any("hunter2" in line or " /" in line for line in lines)


def test_a_group_of_exceptions_is_told_whole() -> None:
    text = told(ExceptionGroup("several", [ValueError("password=hunter2"), KeyError("b")]))
    assert ("ValueError: password=[redacted]" in text, "KeyError" in text) == (True, True)
