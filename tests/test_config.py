from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from processes import run_command

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
        "JOBSTATUS_INSECURE": "no",
        "JOBSTATUS_DATABASE_URL": "postgresql://u:p@h:5432/d",
        "JOBSTATUS_DEMO": "No",
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
        "JOBSTATUS_TLS_CERT_FILE": "server.pem",
        "JOBSTATUS_TLS_KEY_FILE": " server.key ",
        "JOBSTATUS_TLS_CLIENT_CA_FILE": "ca.pem",
        "JOBSTATUS_PRINCIPALS_FILE": "principals.toml",
        "JOBSTATUS_JWT_KEYS_FILE": "keys.json",
        "JOBSTATUS_JWT_ISSUER": "https://i.example",
        "JOBSTATUS_JWT_AUDIENCE": "a",
        "JOBSTATUS_JWT_PROJECTS_CLAIM": "https://i.example/projects",
        "JOBSTATUS_JWT_LEEWAY": "0",
        "JOBSTATUS_REFLECTION": "off",
        "JOBSTATUS_ADMIN_LISTEN": "9464",
        "JOBSTATUS_SOURCE_ORCA_URL": "postgresql://u:p@h/orca",
        "JOBSTATUS_SOURCE_ORCA_PROJECT_ID": "daac",
        "JOBSTATUS_SOURCE_ORCA_INTERVAL": "0.5",
        "JOBSTATUS_SOURCE_ORCA_SETTLE": "0",
        "JOBSTATUS_LOG_CALLS": "Failed",
        "JOBSTATUS_LOG_LEVEL": "DEBUG",
        "JOBSTATUS_LOG_FORMAT": " json ",
    }
    assert ServerConfig.from_environment(environ) == ServerConfig(
        listen="0.0.0.0:1",
        insecure=False,
        database_url="postgresql://u:p@h:5432/d",
        demo=False,
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
        tls_cert_file="server.pem",
        tls_key_file="server.key",
        tls_client_ca_file="ca.pem",
        principals_file="principals.toml",
        jwt_keys_file="keys.json",
        jwt_issuer="https://i.example",
        jwt_audience="a",
        jwt_projects_claim="https://i.example/projects",
        jwt_leeway=0.0,
        reflection=False,
        admin_listen="127.0.0.1:9464",
        source_orca_url="postgresql://u:p@h/orca",
        source_orca_project_id="daac",
        source_orca_interval=0.5,
        source_orca_settle=0.0,
        log_calls="failed",
        log_level="debug",
        log_format="json",
    )


def test_an_override_goes_before_the_environment_even_before_a_bad_one() -> None:
    environ = {"JOBSTATUS_LISTEN": "nonsense", "JOBSTATUS_DEMO": "true"}
    config = ServerConfig.from_environment(environ, listen="127.0.0.1:2", demo=False, read_threads=9)
    assert (config.listen, config.demo, config.read_threads) == ("127.0.0.1:2", False, 9)


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
    assert ServerConfig.from_environment({}, listen=listen, insecure=True).listen == listen


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


SECURE = {
    "tls_cert_file": "server.pem",
    "tls_key_file": "server.key",
    "jwt_keys_file": "keys.json",
    "jwt_issuer": "i",
    "jwt_audience": "a",
}


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "host:1", "[::ffff:10.0.0.1]:1"])
def test_others_are_served_encrypted_and_asked_who_they_are_or_by_express_wish_not(listen: str) -> None:
    assert list(faults({}, listen=listen)) == ["tls_cert_file", "jwt_keys_file"]
    tls = {name: value for name, value in SECURE.items() if name.startswith("tls")}
    assert list(faults({}, listen=listen, **tls)) == ["jwt_keys_file"]
    tokens = {name: value for name, value in SECURE.items() if name.startswith("jwt")}
    assert list(faults({}, listen=listen, **tokens)) == ["tls_cert_file"]
    assert ServerConfig.from_environment({}, listen=listen, **SECURE).authenticates
    assert not ServerConfig.from_environment({}, listen=listen, insecure=True).authenticates


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1"])
def test_this_host_is_served_as_it_comes(listen: str) -> None:
    assert not ServerConfig.from_environment({}, listen=listen).authenticates


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"tls_cert_file": "c"}, ["tls_key_file"]),
        ({"tls_key_file": "k"}, ["tls_cert_file"]),
        ({"tls_client_ca_file": "c"}, ["tls_cert_file"]),
        ({"principals_file": "p"}, ["tls_client_ca_file"]),
        ({"jwt_keys_file": "k"}, ["jwt_issuer", "jwt_audience"]),
        ({"jwt_issuer": "i", "jwt_audience": "a"}, ["jwt_keys_file", "jwt_keys_file"]),
        ({"demo": True, **SECURE}, ["demo"]),
    ],
)
def test_settings_that_need_each_other_are_missed(given: dict[str, object], missing: list[str]) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        ServerConfig.from_environment({}, **given)
    assert [fault.field for fault in caught.value.violations] == missing


def test_an_override_goes_before_a_variable_and_a_variable_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text(
        'workers = 2\nread_threads = 3\nwrite_threads = 5\nnotify = false\nchange_retention = "36h"\n'
    )
    environ = {"JOBSTATUS_CONFIG": str(file), "JOBSTATUS_READ_THREADS": "7", "JOBSTATUS_WORKERS": "4"}
    config = ServerConfig.from_environment(environ, workers=6)
    assert (config.workers, config.read_threads, config.write_threads) == (6, 7, 5)
    assert (config.notify, config.change_retention, config.poll_interval) == (False, 129_600.0, 1.0)
    other = tmp_path / "other.toml"
    other.write_text("write_threads = 9")
    assert ServerConfig.from_environment(environ, config=str(other)).write_threads == 9


def test_a_file_of_the_usual_name_is_read_where_the_server_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ServerConfig.from_environment({}) == ServerConfig()
    (tmp_path / "jobstatus.toml").write_text("read_threads = 9")
    assert ServerConfig.from_environment({}).read_threads == 9


def test_unknown_keys_and_bad_values_of_a_file_are_faults_all_at_once(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text(
        'max_waches = 1\nworkers = "many"\nlisten = ["a"]\n[more]\nx = 1\n[client]\nserver = "h:1"\n'
    )
    assert faults({}, config=str(file)) == {
        "max_waches": "is no setting; is it max_watches?",
        "more": "is no setting",
        "workers": "'many' is not a number from 1 to 256",
        "listen": "is not a text, a number or a truth value",
    }


def test_a_file_that_cannot_be_read_is_a_fault_and_repeats_nothing(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    assert faults({"JOBSTATUS_CONFIG": str(file)}) == {str(file): "there is no such file"}
    for content, words in (
        (b'database_url = "postgresql://u:hunter2@h/d\n', "wrong at line 1, column 43"),
        (b"hunter2", "wrong at end of document"),
        (b"x = hunter2", "wrong at line 1, column 5"),
        (b"x = [", "wrong at end of document"),
        (b"\xff", "it is not UTF-8"),
    ):
        file.write_bytes(content)
        assert faults({}, config=str(file)) == {str(file): f"is not TOML: {words}"}


def test_the_command_shows_what_counts_without_secrets_and_its_words_are_a_file_of_settings(
    tmp_path: Path,
) -> None:
    file = tmp_path / "some.toml"
    file.write_text('workers = 2\nread_threads = 3\nlisten = "127.0.0.1:1"\n')
    url = "postgresql://user:hunter2@db:5432/jobs?password=hunter2"
    environ = {"JOBSTATUS_CONFIG": str(file), "JOBSTATUS_WORKERS": "4", "JOBSTATUS_DATABASE_URL": url}
    done = run_command("config", env=environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert "hunter2" not in done.stdout
    file.write_text(done.stdout)
    expected = ServerConfig(
        listen="127.0.0.1:1", workers=4, read_threads=3, database_url="postgresql://db:5432/jobs"
    )
    assert ServerConfig.from_environment({}, config=str(file)) == expected
    done = run_command("config", "--config", str(file), env={"JOBSTATUS_WORKERS": "none"})
    assert (done.returncode, done.stdout) == (2, "")


def test_the_commands_that_look_after_the_database_find_it_in_the_file_too(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text(f'database_url = "sqlite:///{tmp_path}/jobs.db"\n')
    for command in (("upgrade",), ("prune", "--jobs-older-than", "7d")):
        done = run_command("db", *command, env={"JOBSTATUS_CONFIG": str(file)})
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "jobs.db").exists()
    file.write_text("database_url = []")
    done = run_command("db", "upgrade", env={"JOBSTATUS_CONFIG": str(file)})
    assert (done.returncode, "database_url: is not a text" in done.stderr) == (2, True)


def test_variables_that_are_no_settings_are_faults_but_for_what_kubernetes_tells() -> None:
    environ = {
        "JOBSTATUS_MAX_WACHES": "1",
        "JOBSTATUS_SERVER": "h:1",
        "JOBSTATUS_TOKEN": "t",
        "JOBSTATUS_GONE": "",
        "JOBSTATUS_PORT": "tcp://10.0.0.1:50051",
        "JOBSTATUS_PORT_50051_TCP": "tcp://10.0.0.1:50051",
        "JOBSTATUS_PORT_50051_TCP_ADDR": "10.0.0.1",
        "JOBSTATUS_SERVICE_HOST": "10.0.0.1",
        "JOBSTATUS_SERVICE_PORT": "50051",
        "JOBSTATUS_SERVICE_PORT_GRPC": "50051",
        "JOBSTATUS_ADMIN_SERVICE_HOST": "10.0.0.2",
        "PATH": "/bin",
    }
    assert faults(environ) == {"JOBSTATUS_MAX_WACHES": "is no setting; is it JOBSTATUS_MAX_WATCHES?"}
