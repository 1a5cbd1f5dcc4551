"""Who may call what: every rpc of the descriptors, with bad credentials and with good ones."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from credentials import SCOPES, Issuer
from faces import MakeClient
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from moments import wait_until
from processes import COMMAND, ServerProcess, environment, first_line
from rpcs import RPCS, aimed_at, call, path_of, refusal_of

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError
from jobstatus_grpc.security.access import SCOPE_OF

UNAUTHENTICATED: Final = grpc.StatusCode.UNAUTHENTICATED
DENIED: Final = grpc.StatusCode.PERMISSION_DENIED
OURS: Final = "ours"


def names(rpcs: Any) -> list[str]:
    return [rpc.name for rpc in rpcs]


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def nowhere(issuer: Issuer) -> Iterator[grpc.Channel]:
    """A channel to a server whose database does not answer: what looks for it, is UNAVAILABLE."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://nobody@127.0.0.1:{taken.getsockname()[1]}/none"
        variables = {f"JOBSTATUS_{name.upper()}": value for name, value in issuer.settings.items()}
        command = [COMMAND, "serve", "--listen", "127.0.0.1:0", "--database-url", url]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, encoding="utf-8", env=environment(**variables)
        ) as process:
            try:
                address = first_line(process.stdout).removeprefix("listening on ")
                with grpc.insecure_channel(address) as channel:
                    yield channel
            finally:
                process.kill()


@pytest.fixture
def server(database_url: str, issuer: Issuer) -> Iterator[ServerProcess]:
    with ServerProcess(database_url, **issuer.settings) as started:
        yield started


@pytest.fixture
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as made:
        yield made


def stranger(home: Path) -> Issuer:
    """Return an issuer that nobody trusts."""
    home.mkdir(exist_ok=True)
    return Issuer(home)


Bad = Callable[[Issuer, Path], str]
BAD: Final[dict[str, Bad]] = {
    "none": lambda issuer, home: "",
    "garbage": lambda issuer, home: "Bearer garbage",
    "empty": lambda issuer, home: "Bearer ",
    "dots": lambda issuer, home: "Bearer ..",
    "another scheme": lambda issuer, home: "Basic c29tZWJvZHk6c2VjcmV0",
    "no algorithm": lambda issuer, home: f"Bearer {issuer.unsigned()}",
    "public key as secret": lambda issuer, home: f"Bearer {issuer.swapped()}",
    "wrong key": lambda issuer, home: f"Bearer {stranger(home / 'other').token()}",
    "changed": lambda issuer, home: f"Bearer {issuer.token()[:-8]}AAAAAAAA",
    "without signature": lambda issuer, home: f"Bearer {issuer.token().rpartition('.')[0]}.",
    "expired": lambda issuer, home: f"Bearer {issuer.token(seconds=-60)}",
    "not yet valid": lambda issuer, home: f"Bearer {issuer.token(nbf=int(time.time()) + 60)}",
    "wrong audience": lambda issuer, home: f"Bearer {issuer.token(aud='elsewhere')}",
    "wrong issuer": lambda issuer, home: f"Bearer {issuer.token(iss='https://elsewhere.example')}",
    "no end": lambda issuer, home: f"Bearer {issuer.token(exp=None)}",
    "no audience": lambda issuer, home: f"Bearer {issuer.token(aud=None)}",
    "nobody": lambda issuer, home: f"Bearer {issuer.token(sub=None)}",
    "scopes of no kind": lambda issuer, home: f"Bearer {issuer.token(scope=7)}",
    "20 KB": lambda issuer, home: f"Bearer {issuer.token(padding='x' * 15_000)}",
}


def test_every_rpc_of_the_descriptors_has_a_scope_and_every_scope_an_rpc() -> None:
    assert {path_of(rpc) for rpc in RPCS} == set(SCOPE_OF)
    assert set(SCOPE_OF.values()) == set(SCOPES)


@pytest.mark.parametrize("rpc", RPCS, ids=names(RPCS))
@pytest.mark.parametrize("credentials", BAD)
def test_bad_credentials_reach_neither_handler_nor_store(
    nowhere: grpc.Channel, issuer: Issuer, tmp_path: Path, credentials: str, rpc: MethodDescriptor
) -> None:
    authorization = BAD[credentials](issuer, tmp_path)
    # The second says nothing a handler takes, and the third is no message: nobody has looked.
    for request in (aimed_at(rpc, OURS), b"", b"\xff\xff\xff"):
        error = refusal_of(nowhere, rpc, request, authorization)
        reason = {"none": "CREDENTIALS_MISSING", "expired": "CREDENTIALS_EXPIRED"}
        assert (error.code, error.reason) == (
            UNAUTHENTICATED,
            reason.get(credentials, "CREDENTIALS_INVALID"),
        ), request
        assert not error.metadata
        assert error.request_id


@pytest.mark.parametrize("rpc", RPCS, ids=names(RPCS))
def test_a_missing_scope_and_a_foreign_project_reach_neither_handler_nor_store(
    nowhere: grpc.Channel, issuer: Issuer, rpc: MethodDescriptor
) -> None:
    needed = SCOPE_OF[path_of(rpc)]
    for scope in (" ".join(set(SCOPES) - {needed}), "", needed.upper(), None):
        error = refusal_of(nowhere, rpc, aimed_at(rpc, OURS), f"Bearer {issuer.token(OURS, scope=scope)}")
        assert (error.code, error.reason) == (DENIED, "SCOPE_MISSING")
        assert error.metadata == {"scope": needed}
    for projects in (["others"], [""], [], "others", ["ours "], None):
        error = refusal_of(nowhere, rpc, aimed_at(rpc, OURS), f"Bearer {issuer.token(projects=projects)}")
        assert (error.code, error.reason) == (DENIED, "PROJECT_FORBIDDEN")
        assert error.metadata == {"project_id": OURS}
    # Nothing named is the default project, not anybody's.
    error = refusal_of(nowhere, rpc, aimed_at(rpc, ""), f"Bearer {issuer.token(OURS)}")
    assert (error.reason, error.metadata) == ("PROJECT_FORBIDDEN", {"project_id": "default"})


@pytest.mark.parametrize("rpc", RPCS, ids=names(RPCS))
@pytest.mark.parametrize(
    "claims",
    [
        {"projects": [OURS, "another"]},
        {"projects": ["*"]},
        {"projects": f"another {OURS}"},
        {"aud": ["elsewhere", "jobstatus.example"]},
        {"scope": None, "scp": list(SCOPES)},
    ],
)
def test_good_credentials_get_as_far_as_the_store(
    nowhere: grpc.Channel, issuer: Issuer, rpc: MethodDescriptor, claims: dict[str, Any]
) -> None:
    error = refusal_of(nowhere, rpc, aimed_at(rpc, OURS), f"bearer {issuer.token(**claims)}")
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


def test_a_method_that_is_not_there_is_told_to_everybody(nowhere: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        nowhere.unary_unary("/jobstatus.v1.JobStatusService/Forget", None, None)(b"", timeout=30)  # type: ignore[arg-type]
    assert JobStatusRpcError.of(caught.value).code is grpc.StatusCode.UNIMPLEMENTED


def test_health_is_open_and_reflection_follows_its_setting(
    nowhere: grpc.Channel, sqlite_url: str, issuer: Issuer
) -> None:
    stub: Any = health_pb2_grpc.HealthStub(nowhere)
    assert stub.Check(health_pb2.HealthCheckRequest(service="liveness"), timeout=30).status == 1
    assert len(ProtoReflectionDescriptorDatabase(nowhere).get_services()) >= 4
    with (
        ServerProcess(sqlite_url, reflection="off", **issuer.settings) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        assert JobStatusRpcError.of(caught.value).code is grpc.StatusCode.UNIMPLEMENTED


def test_of_two_projects_neither_learns_anything_of_the_other(channel: grpc.Channel, issuer: Issuer) -> None:
    mine, theirs = (f"Bearer {issuer.token(project)}" for project in ("mine", "theirs"))
    rpc = {each.name: each for each in RPCS}
    for project, authorization in (("mine", mine), ("theirs", theirs)):
        for job_id in ("j", f"only-{project}"):
            report = aimed_at(rpc["ReportJob"], project, job_id)
            report.granules.add(granule_id="a")
            report.granules.add(granule_id="b")
            call(channel, rpc["ReportJob"], report, authorization)
    # Whether it is there or not, what they are told is the same but for what they have said themselves.
    for each in RPCS:
        told = [
            refusal_of(channel, each, aimed_at(each, "mine", job_id), theirs)
            for job_id in ("j", "only-mine", "nothing")
        ]
        assert {(error.code, error.reason, error.message) for error in told} == {
            (DENIED, "PROJECT_FORBIDDEN", "the credentials are not for project 'mine'")
        }
        assert all(error.metadata == {"project_id": "mine"} for error in told)
    # In their own project what is mine is not there.
    for each in RPCS:
        if "job_id" in each.input_type.fields_by_name and each.name != "WaitJob":
            told = [
                refusal_of(channel, each, aimed_at(each, "theirs", name), theirs)
                for name in ("only-mine", "x")
            ]
            assert {error.reason for error in told} == {"JOB_NOT_FOUND"}
            assert told[0].message.replace("only-mine", "x") == told[1].message
    (listed,) = call(channel, rpc["ListJobs"], aimed_at(rpc["ListJobs"], "theirs"), theirs)
    assert sorted(job.job_id for job in listed.jobs) == ["j", "only-theirs"]
    (batch,) = call(
        channel,
        rpc["BatchGetJobStatus"],
        pb.BatchGetJobStatusRequest(project_id="theirs", job_ids=["only-mine"]),
        theirs,
    )
    assert batch.results[0].status.code == grpc.StatusCode.NOT_FOUND.value[0]


def test_the_tokens_of_one_project_are_garbage_in_another(channel: grpc.Channel, issuer: Issuer) -> None:
    mine, theirs = (f"Bearer {issuer.token(project)}" for project in ("mine", "theirs"))
    rpc = {each.name: each for each in RPCS}
    for project, authorization in (("mine", mine), ("theirs", theirs)):
        for job_id in ("j", "k"):
            report = aimed_at(rpc["ReportJob"], project, job_id)
            report.granules.add(granule_id="a")
            report.granules.add(granule_id="b")
            call(channel, rpc["ReportJob"], report, authorization)

    def ask(name: str, project: str, authorization: str, **fields: Any) -> Any:
        request = aimed_at(rpc[name], project)
        for field, value in fields.items():
            setattr(request, field, value)
        if name == "WaitJob":
            request.timeout.seconds = 0
        return call(channel, rpc[name], request, authorization)

    def told(name: str, **fields: Any) -> tuple[grpc.StatusCode, str, str]:
        request = aimed_at(rpc[name], "theirs")
        for field, value in fields.items():
            setattr(request, field, value)
        error = refusal_of(channel, rpc[name], request, theirs)
        return error.code, error.reason, error.message

    (page,) = ask("GetJobStatus", "mine", mine, page_size=1)
    (jobs,) = ask("ListJobs", "mine", mine, page_size=1)
    frames = ask("WatchJob", "mine", mine, snapshot_only=True)
    (waited,) = ask("WaitJob", "mine", mine)
    assert page.next_page_token
    assert jobs.next_page_token
    stolen = [
        ("GetJobStatus", "page_token", page.next_page_token),
        ("ListJobs", "page_token", jobs.next_page_token),
        ("WatchJob", "resume_token", page.resume_token),
        ("WatchJob", "resume_token", frames[-1].resume_token),
        ("WatchJob", "resume_token", waited.resume_token),
    ]
    for name, field, token in stolen:
        assert token
        damaged = token[:-1] + bytes([token[-1] ^ 1])
        assert told(name, **{field: token}) == told(name, **{field: damaged})
        assert told(name, **{field: token})[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_a_stream_ends_when_its_token_expires_and_not_before(channel: grpc.Channel, issuer: Issuer) -> None:
    rpc = {each.name: each for each in RPCS}
    forever = f"Bearer {issuer.token()}"
    call(channel, rpc["ReportJob"], aimed_at(rpc["ReportJob"], "p"), forever)
    claims = issuer.claims(seconds=3)
    short = f"Bearer {issuer.token(exp=claims['exp'])}"
    for name in ("WatchJob", "WaitJob"):
        error = refusal_of(channel, rpc[name], aimed_at(rpc[name], "p"), short)
        assert (error.code, error.reason) == (UNAUTHENTICATED, "CREDENTIALS_EXPIRED")
        assert claims["exp"] <= time.time() < claims["exp"] + 10
        # Now it is remembered, and has expired.
        error = refusal_of(channel, rpc["GetJobStatus"], aimed_at(rpc["GetJobStatus"], "p"), short)
        assert error.reason == "CREDENTIALS_EXPIRED"


def test_a_watch_goes_on_through_tokens_that_expire(
    server: ServerProcess, issuer: Issuer, make_client: MakeClient
) -> None:
    given: list[str] = []

    def credentials() -> str:
        given.append(issuer.token(seconds=2))
        return given[-1]

    with JobStatusClient(server.address, credentials=issuer.token) as writer:
        writer.report_job(pb.Job(job_id="j"))
        with make_client(server.address, credentials=credentials) as client:
            revisions = []
            for update in client.watch("j"):
                revisions.append(update.revision)
                if len(given) < 4:
                    time.sleep(0.3)
                    writer.report_granules("j", [pb.Granule(granule_id=f"{len(revisions)}")])
                else:
                    writer.report_job(pb.Job(job_id="j", state=pb.JOB_STATE_SUCCEEDED))
    assert sorted(set(revisions)) == list(range(1, max(revisions) + 1))


def test_keys_that_change_count_at_once_for_old_tokens_too_and_broken_ones_change_nothing(
    sqlite_url: str, tmp_path: Path
) -> None:
    issuer = Issuer(tmp_path)
    old = issuer.token()
    with (
        ServerProcess(sqlite_url, **issuer.settings) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        rpc = next(each for each in RPCS if each.name == "ListJobs")

        def taken(token: str) -> bool:
            try:
                call(channel, rpc, aimed_at(rpc, "p"), f"Bearer {token}")
            except JobStatusRpcError as error:
                if error.reason != "CREDENTIALS_INVALID":
                    raise
                return False
            return True

        assert taken(old)
        issuer.file.write_text("-----BEGIN PUBLIC KEY-----\nnone\n-----END PUBLIC KEY-----\n")
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert taken(old)
        issuer.renew()
        wait_until(lambda: taken(issuer.token()), "the new key is known")
        assert not taken(old)


def test_workers_ask_who_calls_too(sqlite_url: str, issuer: Issuer) -> None:
    rpc = next(each for each in RPCS if each.name == "ListJobs")
    with ServerProcess(sqlite_url, workers="2", **issuer.settings) as server:
        for _ in range(8):
            with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                assert refusal_of(channel, rpc, aimed_at(rpc, "p")).code is UNAUTHENTICATED
                assert call(channel, rpc, aimed_at(rpc, "p"), f"Bearer {issuer.token('p')}")
