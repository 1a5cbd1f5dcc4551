"""The commands against a server that is encrypted and asks who calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import grpc
import pytest
from credentials import Authority, Issuer
from processes import ServerProcess, run_command

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, tls_from_files, token_from_file

REPORT: Final = '{"report_job": {"job": {"job_id": "made", "granules_complete": true}}}\n'
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "report": ("report", "-"),
    "get": ("get", "j"),
    "list": ("list",),
    "watch": ("watch", "j"),
    "wait": ("wait", "j"),
    "verify": ("verify", "j", "--for", "1", "--watchers", "2"),
    "import": ("import", "--format", "orca", "tests/data/orca/recovery_v6_form.json"),
    "delete": ("delete", "j"),
}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.fixture
def server(sqlite_url: str, authority: Authority, issuer: Issuer) -> Iterator[ServerProcess]:
    made = ServerProcess(sqlite_url, **authority.serve(), **issuer.settings)
    made.tls = grpc.ssl_channel_credentials(authority.pem)
    with made:
        with JobStatusClient(made.address, tls=made.tls, credentials=issuer.token) as client:
            client.report_job(pb.Job(job_id="j", granules_complete=True))
        yield made


def test_every_command_goes_the_way_it_is_told(
    server: ServerProcess, authority: Authority, issuer: Issuer, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(f"{issuer.token()}\n")
    way = ("--ca-file", str(authority.file), "--token-file", str(token))
    for name, words in COMMANDS.items():
        done = run_command(*words, *way, server=server.address, stdin=REPORT)
        assert (name, done.returncode, done.stderr) == (name, 0, "")


def test_the_environment_and_the_file_of_settings_tell_the_way_too(
    server: ServerProcess, authority: Authority, issuer: Issuer, tmp_path: Path
) -> None:
    variables = {"JOBSTATUS_CA_FILE": str(authority.file), "JOBSTATUS_TOKEN": issuer.token()}
    done = run_command("get", "j", server=server.address, env=variables)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "token").write_text(issuer.token())
    file = tmp_path / "settings.toml"
    file.write_text(
        f'[client]\nserver = "{server.address}"\n'
        f'ca_file = "{authority.file}"\ntoken_file = "{tmp_path}/token"\n'
    )
    done = run_command("get", "j", env={"JOBSTATUS_CONFIG": str(file)})
    assert (done.returncode, done.stderr) == (0, "")
    # A variable goes before the file, and an option before both.
    bad = {"JOBSTATUS_CONFIG": str(file), "JOBSTATUS_TOKEN_FILE": str(file)}
    assert run_command("get", "j", env=bad).stderr == f"error: {file} holds no token\n"
    done = run_command("get", "j", "--token-file", str(tmp_path / "token"), env=bad)
    assert (done.returncode, done.stderr) == (0, "")
    file.write_text("[client]\nservr = 'x'\n")
    done = run_command("get", "j", env={"JOBSTATUS_CONFIG": str(file)})
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2,
        "error: client.servr: is no setting; is it server? (CONFIG_INVALID)",
    )


def test_what_is_wrong_on_the_way_is_told_with_what_to_do(
    server: ServerProcess,
    authority: Authority,
    issuer: Issuer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ca = ("--ca-file", str(authority.file))
    told: dict[str, tuple[Callable[[], str], tuple[str, ...]]] = {
        "CREDENTIALS_MISSING": (issuer.token, ()),
        "CREDENTIALS_INVALID": (lambda: "garbage", ("--token-file", "token")),
        "CREDENTIALS_EXPIRED": (lambda: issuer.token(seconds=-9), ("--token-file", "token")),
        "SCOPE_MISSING": (lambda: issuer.token(scope="jobstatus.report"), ("--token-file", "token")),
        "PROJECT_FORBIDDEN": (lambda: issuer.token("mine"), ("--token-file", "token")),
    }
    monkeypatch.chdir(tmp_path)
    for reason, (token, words) in told.items():
        (tmp_path / "token").write_text(token())
        done = run_command("get", "j", *ca, *words, server=server.address)
        first, *rest = done.stderr.splitlines()
        assert (done.returncode, done.stdout, reason in first) == (2, "", True)
        assert rest[-1].startswith("hint: ")
        assert token() not in done.stderr
    assert "hint: is a server running" in run_command("get", "j", server=server.address).stderr
    done = run_command("get", "j", "--tls", server=server.address)
    error, hint = done.stderr.splitlines()
    assert (done.returncode, "CERTIFICATE_VERIFY_FAILED" in error) == (4, True)
    assert "and encrypted? --tls, --ca-file" in hint
    for words, error in (
        (("--token-file", "none"), "error: none: No such file or directory"),
        (("--ca-file", "none"), "error: none: No such file or directory"),
        (("--cert-file", str(authority.file)), "error: a client's certificate and its key go together"),
    ):
        done = run_command("get", "j", *words, server=server.address)
        assert (done.returncode, done.stderr.startswith(error)) == (2, True), done.stderr


def test_a_token_in_a_file_is_read_for_each_call(
    server: ServerProcess, authority: Authority, issuer: Issuer, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(issuer.token(seconds=-9))
    tls = tls_from_files(str(authority.file))
    with JobStatusClient(server.address, tls=tls, credentials=token_from_file(str(file))) as client:
        with pytest.raises(Exception, match="CREDENTIALS_EXPIRED"):
            client.get("j")
        file.write_text(issuer.token())
        assert client.get("j").job.job_id == "j"
