"""Encryption: what is shown in handshakes, while it changes, and whose certificates are taken."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import pytest
from credentials import Authority, Issuer
from moments import wait_until
from processes import ServerProcess, run_command
from rpcs import RPCS, aimed_at, call, refusal_of

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError

STREAMS: Final = 100


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Encrypted(ServerProcess):
    """A server whose certificate is one of an authority's; its log is in a file."""

    def __init__(self, database_url: str, authority: Authority, *arguments: str, **settings: str) -> None:
        super().__init__(database_url, *arguments, **(authority.serve() | settings))
        self.tls: grpc.ChannelCredentials = grpc.ssl_channel_credentials(authority.pem)
        self.log = (authority.home / "log").open("w")
        self.said = authority.home / "log"

    def __exit__(self, *told: object) -> None:
        super().__exit__(*told)
        assert self.log is not None
        self.log.close()

    def shown(self) -> str:
        """Return the certificate of a new handshake."""
        host, _, port = self.address.rpartition(":")
        return ssl.get_server_certificate((host, int(port)))


@pytest.fixture
def server(sqlite_url: str, authority: Authority) -> Iterator[Encrypted]:
    with Encrypted(sqlite_url, authority) as started:
        yield started


def first_of(pem: Path) -> str:
    """Return the first certificate of a file, as Python writes it."""
    return ssl.DER_cert_to_PEM_cert(
        ssl.PEM_cert_to_DER_cert(pem.read_text().partition("-----END")[0] + "-----END CERTIFICATE-----\n")
    )


def test_certificates_are_swapped_under_open_streams_and_none_drops(
    server: Encrypted, authority: Authority
) -> None:
    old = server.shown()
    new_cert, new_key = authority.issue("127.0.0.1", stem="new")
    expected = first_of(new_cert)

    def swap() -> None:
        new_cert.replace(authority.home / "server.pem")
        new_key.replace(authority.home / "server.key")
        wait_until(lambda: server.shown() == expected, "new handshakes see the new certificate")

    async def watch_through_the_swap() -> list[list[int]]:
        async with asyncio.TaskGroup() as group:
            # A connection each, so that each has had a handshake of its own.
            channels = [
                grpc.aio.secure_channel(server.address, server.tls, [("grpc.use_local_subchannel_pool", 1)])
                for _ in range(STREAMS)
            ]
            calls = [
                pb.JobStatusServiceStub(channel).WatchJob(pb.WatchJobRequest(job_id="j"))
                for channel in channels
            ]
            begun = [group.create_task(one.read()) for one in calls]
            await asyncio.wait(begun)
            await asyncio.to_thread(swap)
            with JobStatusClient(server.address, tls=server.tls) as client:
                await asyncio.to_thread(client.report_job, pb.Job(job_id="j", state=pb.JOB_STATE_SUCCEEDED))
            rest = [group.create_task(collect(one)) for one in calls]
        for channel in channels:
            await channel.close()
        return [[begun[index].result().revision, *task.result()] for index, task in enumerate(rest)]

    async def collect(one: Any) -> list[int]:
        revisions = []
        while (frame := await one.read()) is not grpc.aio.EOF:
            revisions.append(frame.revision)
        return revisions

    with JobStatusClient(server.address, tls=server.tls) as client:
        client.report_job(pb.Job(job_id="j"))
    assert old != expected
    assert asyncio.run(watch_through_the_swap()) == [[1, 2, 2]] * STREAMS


def test_broken_new_files_keep_the_old_certificate_and_the_log_says_so(
    server: Encrypted, authority: Authority
) -> None:
    old = server.shown()
    cert, key = authority.home / "server.pem", authority.home / "server.key"
    other_cert, _ = authority.issue("127.0.0.1", stem="other")

    def complaints() -> list[str]:
        server.shown()  # A handshake looks at once; without any it is some seconds later.
        lines = [json.loads(line) for line in server.said.read_text().splitlines() if line.startswith("{")]
        return [line["event"] for line in lines if line["level"] == "error"]

    def back() -> list[str]:
        server.shown()
        return [line for line in server.said.read_text().splitlines() if "read again" in line]

    def more(lines: Callable[[], list[str]], than: int) -> bool:
        return len(lines()) > than

    good = cert.read_bytes(), key.read_bytes()
    for file, content, words in (
        (cert, b"nonsense", "the certificate is not in PEM"),
        (cert, other_cert.read_bytes(), "the key is not the certificate's"),
        (key, b"", "the key is not an unencrypted private key in PEM"),
    ):
        count = len(complaints())
        file.write_bytes(content)
        wait_until(partial(more, complaints, count), "the log says so")
        assert complaints()[count:] == [
            f"tls_cert_file, tls_key_file: {words}; what was read before stays in use"
        ]
        assert server.shown() == old
        cert.write_bytes(good[0])
        key.write_bytes(good[1])
        wait_until(partial(more, back, count), "the good ones are back")
    cert.unlink()
    wait_until(lambda: any("No such file" in line for line in complaints()), "the log says so")
    assert server.shown() == old


def test_files_that_cannot_be_used_at_the_start_are_one_line_with_one_worker_and_with_several(
    sqlite_url: str, authority: Authority
) -> None:
    settings = authority.serve()
    authority.issue("127.0.0.1", stem="server")
    (authority.home / "server.key").write_bytes(b"")
    variables = {f"JOBSTATUS_{name.upper()}": value for name, value in settings.items()}
    for workers in ("1", "2"):
        arguments = ("serve", "--listen", "127.0.0.1:0", "--database-url", sqlite_url, "--log-level", "error")
        done = run_command(*arguments, "--workers", workers, env=variables)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines()[0] == (
            "error: tls_cert_file, tls_key_file: the key is not an unencrypted private key in PEM"
            " (CONFIG_INVALID)"
        )


def test_plain_text_is_not_understood_where_there_is_encryption(server: Encrypted) -> None:
    with (
        JobStatusClient(server.address, connect_timeout=0.5) as client,
        pytest.raises(JobStatusRpcError) as caught,
    ):
        list(client.list())
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


def mutual(authority: Authority, issuer: Issuer | None = None) -> dict[str, str]:
    """Return the settings of a server that takes an authority's clients."""
    (authority.home / "principals.toml").write_text(
        '[principals."reporter.example"]\nscopes = ["jobstatus.report"]\nprojects = ["mine"]\n'
        '[principals."127.0.0.1"]\nscopes = ["jobstatus.read"]\nprojects = ["*"]\n'
    )
    return {
        "tls_client_ca_file": str(authority.file),
        "principals_file": str(authority.home / "principals.toml"),
    } | (issuer.settings if issuer else {})


def channel_of(server: Encrypted, files: tuple[Path, Path] | None, authority: Authority) -> grpc.Channel:
    """Return a channel of a client with this certificate."""
    cert, key = [file.read_bytes() for file in files] if files else (None, None)
    tls = grpc.ssl_channel_credentials(authority.pem, key, cert)
    return grpc.secure_channel(server.address, tls)


def test_clients_are_known_by_the_names_in_their_certificates(
    sqlite_url: str, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "foreign").mkdir()
    foreign = Authority(tmp_path / "foreign")
    rpc = {each.name: each for each in RPCS}
    probe = authority.issue("127.0.0.1", stem="probe")
    server = Encrypted(sqlite_url, authority, **mutual(authority))
    server.tls = grpc.ssl_channel_credentials(authority.pem, probe[1].read_bytes(), probe[0].read_bytes())
    with server:
        with channel_of(server, authority.issue("reporter.example", stem="reporter"), authority) as channel:
            assert call(channel, rpc["ReportJob"], aimed_at(rpc["ReportJob"], "mine"))
            error = refusal_of(channel, rpc["ReportJob"], aimed_at(rpc["ReportJob"], "theirs"))
            assert error.reason == "PROJECT_FORBIDDEN"
            assert (
                refusal_of(channel, rpc["ListJobs"], aimed_at(rpc["ListJobs"], "mine")).reason
                == "SCOPE_MISSING"
            )
            # There is nobody who takes tokens, and a bad one is not made up for by a good certificate.
            error = refusal_of(channel, rpc["ReportJob"], aimed_at(rpc["ReportJob"], "mine"), "Bearer x")
            assert error.reason == "CREDENTIALS_INVALID"
        with channel_of(server, probe, authority) as channel:
            (listed,) = call(channel, rpc["ListJobs"], aimed_at(rpc["ListJobs"], "mine"))
            assert [job.job_id for job in listed.jobs] == ["j"]
        with channel_of(server, authority.issue("unknown.example", stem="unknown"), authority) as channel:
            for each in RPCS:
                error = refusal_of(channel, each, aimed_at(each, "mine"))
                assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")
        for files in (None, foreign.issue("reporter.example", stem="reporter")):
            with channel_of(server, files, authority) as channel:
                error = refusal_of(channel, rpc["ListJobs"], aimed_at(rpc["ListJobs"], "mine"))
                assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "")


def test_a_token_counts_before_a_certificate_and_either_will_do(
    sqlite_url: str, authority: Authority
) -> None:
    issuer = Issuer(authority.home)
    rpc = next(each for each in RPCS if each.name == "ListJobs")
    probe = authority.issue("127.0.0.1", stem="probe")
    server = Encrypted(sqlite_url, authority, **mutual(authority, issuer))
    server.tls = grpc.ssl_channel_credentials(authority.pem, probe[1].read_bytes(), probe[0].read_bytes())
    with server, grpc.secure_channel(server.address, server.tls) as channel:
        assert call(channel, rpc, aimed_at(rpc, "any"))
        assert call(channel, rpc, aimed_at(rpc, "any"), f"Bearer {issuer.token('any')}")
        error = refusal_of(channel, rpc, aimed_at(rpc, "any"), f"Bearer {issuer.token('other')}")
        assert error.reason == "PROJECT_FORBIDDEN"


def test_principals_that_change_count_for_open_connections(sqlite_url: str, authority: Authority) -> None:
    rpc = next(each for each in RPCS if each.name == "ListJobs")
    probe = authority.issue("127.0.0.1", stem="probe")
    server = Encrypted(sqlite_url, authority, **mutual(authority))
    server.tls = grpc.ssl_channel_credentials(authority.pem, probe[1].read_bytes(), probe[0].read_bytes())
    file = authority.home / "principals.toml"
    with server, grpc.secure_channel(server.address, server.tls) as channel:
        assert call(channel, rpc, aimed_at(rpc, "any"))
        file.write_text(file.read_text().replace('["*"]', '["mine"]'))

        def reason() -> str:
            try:
                call(channel, rpc, aimed_at(rpc, "any"))
            except JobStatusRpcError as error:
                return error.reason
            return ""

        wait_until(lambda: reason() == "PROJECT_FORBIDDEN", "the file is read again")
        file.write_text("nonsense")
        end = time.monotonic() + 2
        while time.monotonic() < end:
            assert reason() == "PROJECT_FORBIDDEN"
