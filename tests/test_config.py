from __future__ import annotations

from dataclasses import fields

import pytest

from jobstatus_grpc.config import ServerConfig
from jobstatus_grpc.errors import ConfigInvalid


def faults(environ: dict[str, str], **overrides: object) -> dict[str, str]:
    with pytest.raises(ConfigInvalid) as caught:
        ServerConfig.from_environment(environ, **overrides)
    for violation in caught.value.violations:
        assert f"{violation.field}: {violation.description}" in str(caught.value)
    return {violation.field: violation.description for violation in caught.value.violations}


def test_nothing_said_is_the_default() -> None:
    assert (
        ServerConfig.from_environment({"JOBSTATUS_LISTEN": "", "PATH": "/bin"}, demo=None) == ServerConfig()
    )


def test_the_defaults_are_values_an_operator_could_give() -> None:
    defaults = ServerConfig()
    settings = {setting.name: getattr(defaults, setting.name) for setting in fields(defaults)}
    assert ServerConfig.from_environment({}, **settings) == defaults


def test_every_setting_is_read_from_the_environment() -> None:
    environ = {
        "JOBSTATUS_LISTEN": "0.0.0.0:1",
        "JOBSTATUS_DATABASE_URL": "postgresql://u:p@h:5432/d",
        "JOBSTATUS_DEMO": "Yes",
        "JOBSTATUS_WORKERS": "2",
        "JOBSTATUS_DRAIN_SECONDS": "0",
        "JOBSTATUS_DRAIN_SPREAD": "0",
        "JOBSTATUS_MAX_STREAM_AGE": "0.5",
        "JOBSTATUS_MAX_CONNECTION_AGE": "1.5",
        "JOBSTATUS_MAX_WATCHES": "4",
        "JOBSTATUS_MAX_WATCHES_PER_PROJECT": "5",
        "JOBSTATUS_WRITE_TIMEOUT": "2.5",
        "JOBSTATUS_READ_THREADS": "1",
        "JOBSTATUS_WRITE_THREADS": "2",
        "JOBSTATUS_POLL_INTERVAL": "1e-1",
        "JOBSTATUS_NOTIFY": "off",
        "JOBSTATUS_MAX_WAITING_REPORTS": "3",
        "JOBSTATUS_CHANGE_RETENTION": "36h",
        "JOBSTATUS_JOB_RETENTION": " 30d ",
        "JOBSTATUS_LOG_LEVEL": "DEBUG",
        "JOBSTATUS_LOG_FORMAT": " json ",
    }
    assert ServerConfig.from_environment(environ) == ServerConfig(
        listen="0.0.0.0:1",
        database_url="postgresql://u:p@h:5432/d",
        demo=True,
        workers=2,
        drain_seconds=0.0,
        drain_spread=0.0,
        max_stream_age=0.5,
        max_connection_age=1.5,
        max_watches=4,
        max_watches_per_project=5,
        write_timeout=2.5,
        read_threads=1,
        write_threads=2,
        poll_interval=0.1,
        notify=False,
        max_waiting_reports=3,
        change_retention=129_600.0,
        job_retention=2_592_000.0,
        log_level="debug",
        log_format="json",
    )


def test_an_override_goes_before_the_environment_even_before_a_bad_one() -> None:
    environ = {"JOBSTATUS_LISTEN": "nonsense", "JOBSTATUS_DEMO": "true"}
    config = ServerConfig.from_environment(environ, listen="h:2", demo=False, read_threads=9)
    assert (config.listen, config.demo, config.read_threads) == ("h:2", False, 9)


def test_an_unknown_override_is_a_programmers_error() -> None:
    with pytest.raises(TypeError, match="no such settings: listn"):
        ServerConfig.from_environment({}, listn="h:2")


def test_every_fault_is_named_at_once_and_where_it_was_said() -> None:
    found = faults(
        {"JOBSTATUS_DEMO": "perhaps", "JOBSTATUS_READ_THREADS": "0", "JOBSTATUS_LOG_LEVEL": "loud"},
        listen="nowhere",
        drain_seconds=-1,
    )
    assert found == {
        "listen": "'nowhere' is not host:port",
        "JOBSTATUS_DEMO": "'perhaps' is neither true nor false",
        "drain_seconds": "'-1' is not a number of seconds from 0",
        "JOBSTATUS_READ_THREADS": "'0' is not a number from 1 to 256",
        "JOBSTATUS_LOG_LEVEL": "'loud' is none of debug, info, warning, error",
    }


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:0", "[::1]:50051", "[::]:65535", "localhost:1", "a-b.example:2", "[fe80::1%eth0]:5"]
)
def test_a_place_to_listen_is_taken(listen: str) -> None:
    assert ServerConfig.from_environment({}, listen=listen).listen == listen


@pytest.mark.parametrize(
    "listen",
    [
        "50051",
        ":50051",
        "h:",
        "h:x",
        "h:-1",
        "h:65536",
        "h:٣",
        "::1:50051",
        "[::g]:1",
        "[]:1",
        "a b:1",
        "h/x:1",
    ],
)
def test_a_bad_place_to_listen_is_a_fault(listen: str) -> None:
    assert list(faults({"JOBSTATUS_LISTEN": listen})) == ["JOBSTATUS_LISTEN"]


SECONDS = ["max_stream_age", "max_connection_age", "write_timeout", "poll_interval"]


@pytest.mark.parametrize("name", ["drain_seconds", "drain_spread", *SECONDS])
@pytest.mark.parametrize("text", ["x", "-1", "nan", "inf", "-inf"])
def test_bad_seconds_are_a_fault(name: str, text: str) -> None:
    assert list(faults({}, **{name: text})) == [name]


@pytest.mark.parametrize("name", SECONDS)
def test_no_seconds_at_all_are_a_fault_where_something_would_spin(name: str) -> None:
    assert faults({}, **{name: 0}) == {name: "'0' is not a number of seconds above 0"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("90", 90), ("15m", 900), ("1.5h", 5400), ("36500d", 3_153_600_000), ("0", 0), ("0d", 0)],
)
def test_a_time_to_keep_things_is_a_duration_or_for_ever(text: str, seconds: float) -> None:
    config = ServerConfig.from_environment({}, change_retention=text, job_retention=text)
    assert (config.change_retention, config.job_retention) == (seconds, seconds)


def test_changes_are_kept_for_a_week_and_jobs_for_ever_unless_said_otherwise() -> None:
    assert (ServerConfig().change_retention, ServerConfig().job_retention) == (7 * 24 * 3600, 0)


@pytest.mark.parametrize("text", ["x", "-1d", "1 d", "1w", "d", "1d2h", "1e9", "59s", "0.5m", "36501d", "٣d"])
def test_a_bad_time_to_keep_things_is_a_fault(text: str) -> None:
    found = faults({}, change_retention=text, job_retention=text)
    assert list(found) == ["change_retention", "job_retention"]
    assert repr(text) in found["job_retention"]


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "257", "٣"])
def test_a_bad_count_is_a_fault(text: str) -> None:
    names = ["workers", "read_threads", "write_threads"]
    assert list(faults({}, **dict.fromkeys(names, text))) == names


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///jobstatus.db", "sqlite:///jobstatus.db"),
        ("sqlite:////var/lib/jobs.db", "sqlite:////var/lib/jobs.db"),
        ("postgresql://user:hunter2@db:5432/jobs", "postgresql://db:5432/jobs"),
        ("postgresql://user:hunter2@db/jobs?sslmode=require&password=hunter2", "postgresql://db/jobs"),
        ("postgresql://user:hunter2%40%2F@[::1]:5432/jobs", "postgresql://[::1]:5432/jobs"),
        ("postgresql:///jobs?host=/run/postgresql", "postgresql:///jobs"),
    ],
)
def test_a_database_url_is_taken_and_shown_without_its_password(url: str, shown: str) -> None:
    config = ServerConfig.from_environment({}, database_url=url)
    assert config.database_url == url
    assert config.shown_database_url == shown
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:hunter2@db/jobs",
        "postgres://user:hunter2@db/jobs",
        "postgresql:user:hunter2@db/jobs",
        "postgresql://user:hunter2@db",
        "postgresql://user:hunter2@db/",
        "postgresql://user:hunter2/@db/jobs",
        "postgresql://user:hunter2?@db/jobs",
        "postgresql://user:1?hunter2@db/jobs",
        "postgresql://user:1/hunter2@db/jobs",
        "postgresql://user:hunter2@x@db/jobs",
        "postgresql://user:[hunter2@db/jobs",
        "postgresql://db:hunter2/jobs",
        "hunter2",
    ],
)
def test_a_bad_database_url_is_a_fault_and_is_not_repeated(url: str) -> None:
    found = faults({"JOBSTATUS_DATABASE_URL": url})
    assert list(found) == ["JOBSTATUS_DATABASE_URL"]
    assert "hunter" not in str(found)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:jobs?mode=memory&cache=shared&uri=true",
        "sqlite:///jobs?mode=memory&uri=true",
        "sqlite://host/file",
        "sqlite:jobs.db",
    ],
)
def test_sqlite_needs_a_file_and_is_told_why(url: str) -> None:
    assert (
        "every process and every thread must see the same one" in faults({}, database_url=url)["database_url"]
    )
