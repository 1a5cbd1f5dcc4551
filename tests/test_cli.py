"""The `jobstatus` command as a person and a script use it, against a real server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from commands import Cli
from moments import wait_until
from processes import COMMAND, PATIENCE, ServerProcess, first_line, run_command, start_command
from terminals import Terminal

from jobstatus import v1 as pb
from jobstatus_grpc.cli.failures import OUR_FAULT, SERVER, exit_status
from jobstatus_grpc.client import BrokenPromise, JobStatusClient

DATA = Path(__file__).parent / "data" / "orca"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ServerProcess(f"sqlite:///{tmp_path_factory.mktemp('cli')}/jobstatus.db") as started:
        yield started.address


@pytest.fixture
def project() -> str:
    """A project of the test's own."""
    return uuid4().hex


@pytest.fixture
def client(server: str, project: str) -> Iterator[JobStatusClient]:
    with JobStatusClient(server, project) as made:
        yield made


@pytest.fixture
def cli(server: str, project: str) -> Cli:
    return Cli(server, project)


def granules(state: pb.GranuleState, *names: str, **fields: Any) -> list[pb.Granule]:
    return [pb.Granule(granule_id=name, state=state, **fields) for name in names]


ENDED = pb.Job(job_id="j", granules_complete=True)


def test_help_and_version_need_no_server() -> None:
    assert "watch" in run_command("--help").stdout
    assert run_command().stdout == run_command("--help").stdout
    assert run_command("--version").stdout.startswith("jobstatus ")


def test_help_loads_neither_grpc_nor_the_store() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", COMMAND, "--help"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in loaded
    assert loaded.isdisjoint({"grpc", "sqlalchemy", "google.protobuf", "rich"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("get",), "Missing argument"),
        (("get", "j", "--state", "lost"), "'lost' is not one of unspecified, pending"),
        (("list", "--label", "team"), "'team' is not KEY=VALUE"),
        (("watch", "j", "--resume-token", "!"), "not base64"),
        (("report", "/nowhere/reports.jsonl"), "/nowhere/reports.jsonl: No such file"),
        (("import",), "Missing argument"),
        (("import", "x.json", "--format", "csv"), "'--format': 'csv' is not one of 'auto'"),
        (("import", "x.json", "--until-done"), "it takes --every"),
        (("import", "--every", "soon", "--", "true"), "'soon' is not an interval like 10s"),
        (("import", "--every", "0s", "--", "true"), "'0s' is not an interval like 10s"),
        (("get", "j", "--format", "orca", "--granules"), "a document is all of the job"),
        (("db", "upgrade", "--database-url", "mysql://host/db"), "sqlite:///FILE or postgresql://"),
        (("serve", "--listen", "nowhere"), "nowhere"),
    ],
)
def test_a_command_that_cannot_be_understood_says_why_and_leaves_with_2(
    cli: Cli, arguments: tuple[str, ...], words: str
) -> None:
    done = cli(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert words in done.stderr


def test_a_server_that_is_not_there_leaves_with_4_and_a_hint() -> None:
    done = run_command("get", "j", "--server", "127.0.0.1:1")
    assert done.returncode == 4
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert hint == (
        "hint: is a server running at 127.0.0.1:1? Start one: jobstatus serve --listen 127.0.0.1:1; "
        "to one that encrypts, --tls or --ca-file"
    )


@pytest.mark.parametrize("server", ["127.0.0.1", "http://127.0.0.1:1"])
def test_an_address_of_another_kind_has_a_hint_of_its_own(server: str) -> None:
    done = run_command("get", "j", "--server", server)
    assert done.returncode == 4
    assert f"hint: a server's address is HOST:PORT, as 127.0.0.1:50051; this was '{server}'" in done.stderr


@pytest.mark.parametrize("command", ["get", "watch", "delete"])
def test_a_job_that_is_not_there_leaves_with_3(cli: Cli, command: str) -> None:
    done = cli(command, "nope")
    assert done.returncode == 3
    assert f"error: no job 'nope' in project '{cli.project}' (JOB_NOT_FOUND)\nhint: " in done.stderr


def test_get_shows_a_job_and_why_granules_failed(cli: Cli, client: JobStatusClient) -> None:
    job = pb.Job(job_id="j", system="orca", job_type="recovery", labels={"team": "a"}, message="slow")
    error = pb.ItemError(code="AccessDenied", reason="no way")
    client.report_job(job, granules(pb.GRANULE_STATE_SUCCEEDED, "a"))
    client.report_granules("j", granules(pb.GRANULE_STATE_FAILED, *"bcde", collection_id="C", error=error))
    client.report_granules("j", granules(pb.GRANULE_STATE_FAILED, "f", message="no disk"))
    client.report_granules("j", granules(pb.GRANULE_STATE_FAILED, "g", "h"))
    lines = cli.lines("get", "j")
    assert lines[:6] == [
        f"job          j in project {cli.project}",
        "kind         orca recovery",
        "state        RUNNING, attempt 1, revision 10",
        "granules     8 granules: 1 succeeded, 7 failed, more to come",
        "message      slow",
        "labels       team=a",
    ]
    assert lines[-6:] == [
        "",
        "why granules failed",
        "  4  AccessDenied: no way  C/b, C/c, C/d …",
        "  2  no reason given       g, h",
        "  1  no disk               f",
        "each of them: jobstatus get j --state failed",
    ]


def test_get_counts_ten_reasons_and_the_rest_together(cli: Cli, client: JobStatusClient) -> None:
    reports = [
        pb.Granule(
            granule_id=f"g{number}", state=pb.GRANULE_STATE_FAILED, message=f"reason {number % 13:02d}"
        )
        for number in range(27)
    ]
    client.report_job(ENDED, reports)
    shown = [" ".join(line.split()) for line in cli.lines("get", "j")[-12:-1]]
    assert shown[0] == "3 reason 00 g0, g13, g26"
    assert shown[9] == "2 reason 09 g22, g9"
    assert shown[10] == "6 3 other reasons"


def test_get_shows_as_many_granules_as_asked_for(cli: Cli, client: JobStatusClient) -> None:
    names = [f"g{number:04d}" for number in range(1200)]
    client.report_job(ENDED, granules(pb.GRANULE_STATE_FAILED, *names))
    client.report_granules("j", granules(pb.GRANULE_STATE_PENDING, "open"))
    shown = [line.split() for line in cli.lines("get", "j", "--state", "failed") if line.startswith("  ")]
    assert shown == [[name, "FAILED"] for name in names]
    job, *rest = cli.values("get", "j", "--json", "--granules")
    assert job["job"]["totals"]["failed_count"] == 1200
    assert [value["granule"]["granule_id"] for value in rest] == [*names, "open"]
    assert len(cli.values("get", "j", "--json", "--states", "pending,staged")) == 2
    assert len(cli.values("get", "j", "--json")) == 1


def test_a_terminal_gets_tables_with_heads_and_colours(cli: Cli, client: JobStatusClient) -> None:
    client.report_job(
        ENDED, granules(pb.GRANULE_STATE_FAILED, "a", error=pb.ItemError(reason="no [b]way[/b]"))
    )
    client.report_granules("j", granules(pb.GRANULE_STATE_SUCCEEDED, "b"))
    for arguments, words in (
        (("get", "j"), ("█", "▚", "COUNT", "REASON", "no [b]way[/b]")),
        (("get", "j", "--granules"), ("GRANULE", "WHY", "SUCCEEDED", "no [b]way[/b]")),
        (("list",), ("KIND", "UPDATED", "2 granules: 1 succeeded, 1 failed")),
    ):
        for no_colour in ("", "1"):
            project = ("--project-id", cli.project)
            with Terminal(*arguments, *project, server=cli.server, NO_COLOR=no_colour) as terminal:
                assert terminal.finish() == 0
                assert terminal.shows(*words)
                assert bool(re.search(rb"\x1b\[[0-9;]*3[12]m", terminal.written)) is not bool(no_colour)


def test_a_list_goes_on_where_it_ended(cli: Cli, client: JobStatusClient) -> None:
    for number in range(120):
        client.report_job(pb.Job(job_id=f"j{number:03d}", labels={"half": str(number % 2)}))
    assert len(cli.lines("list")) == 120
    first = cli("list", "--limit", "50", "--label", "half=0")
    assert [line.split()[0] for line in first.stdout.splitlines()] == [
        f"j{n:03d}" for n in range(118, 18, -2)
    ]
    hint = first.stderr.split()
    assert hint[:4] == ["there", "are", "more:", "--page-token"]
    rest = cli("list", "--label", "half=0", *hint[3:])
    assert [line.split()[0] for line in rest.stdout.splitlines()] == [f"j{n:03d}" for n in range(18, -2, -2)]
    assert (first.returncode, rest.returncode, rest.stderr) == (0, 0, "")
    with Terminal("list", "--project-id", cli.project, server=cli.server, lines=200) as terminal:
        assert terminal.finish() == 0
        assert terminal.shows("j119", "j020", "there are more: --page-token ")
        assert not terminal.shows("j019")


def test_list_shows_the_jobs_that_match(cli: Cli, client: JobStatusClient) -> None:
    client.report_job(pb.Job(job_id="a", system="orca", job_type="recovery", labels={"team": "x=y"}))
    client.report_job(pb.Job(job_id="b", system="sdrs", state=pb.JOB_STATE_FAILED))
    assert [line.split()[:2] for line in cli.lines("list")] == [["b", "sdrs"], ["a", "orca/recovery"]]
    for filters in (
        ("--state", "pending"),
        ("--system", "orca"),
        ("--job-type", "recovery"),
        ("--label", "team=x=y"),
    ):
        assert [value["job"]["job_id"] for value in cli.values("list", "--json", *filters)] == ["a"]
    assert cli.lines("list", "--project-id", uuid4().hex) == []


def test_a_report_is_sent_when_its_line_is_read(server: str, client: JobStatusClient) -> None:
    with start_command("report", "-", "--project-id", client.project_id, server=server) as process:
        assert process.stdin is not None
        process.stdin.write('\n{"report_job": {"job": {"job_id": "j", "granulesComplete": true}}}\n')
        process.stdin.flush()
        words = "job j is SUCCEEDED at revision 2, 0 granules (1 applied, 0 unchanged, 0 stale)"
        assert first_line(process.stdout) == f"line 2: {words}"
        assert client.get("j").job.revision == 2
        process.stdin.write('{"reportGranules": {"jobId": "j", "granules": [{"granuleId": "a"}]}}\n')
        process.stdin.flush()
        assert first_line(process.stdout).startswith("line 3: job j is ")
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "at column 3; a line is a report"),
        ("[]", "a line must be"),
        ('{"report_jobs": {}}', "there is no report 'report_jobs'"),
        ('{"report_job": 3}', "report_job must be an object"),
        ('{"report_job": {"job": {"job_idd": "j"}}}', 'has no field named "job_idd"'),
        ('{"report_job": {}, "report_job": {}}', "a key is there more than once"),
        ('{"report_job": {"job": {"attempt": NaN}}}', "NaN is not JSON"),
        ('{"report_job": {"x": ' + "[" * 5000 + "]" * 5000 + "}}", "it is nested too deep"),
        ('{"report_job": {"job": {"job_id": ""}}}', "job.job_id"),
    ],
)
def test_a_bad_line_is_named_and_those_before_it_have_been_sent(
    cli: Cli, client: JobStatusClient, line: str, words: str
) -> None:
    good = '{"report_job": {"job": {"job_id": "%s"}}}'
    done = cli("report", "-", stdin=f"{good % 'first'}\n{line}\n{good % 'third'}\n")
    assert done.returncode == 2
    assert done.stderr.startswith("error: line 2: ")
    assert words in done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert [job.job_id for job in client.list()] == ["first"]


def test_every_fault_of_a_report_has_a_line(cli: Cli) -> None:
    done = cli("report", "-", stdin='{"report_job": {"job": {}, "granules": [{}]}}')
    assert done.returncode == 2
    error, *faults = done.stderr.splitlines()
    assert error.startswith("error: line 1: ")
    assert [fault.split(":")[0] for fault in faults] == ["  job.job_id", "  granules[0].granule_id"]


def test_reports_are_answered_as_json(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "reports.jsonl"
    file.write_text('{"report_job": {"job": {"job_id": "j"}, "granules": [{"granule_id": "a"}]}}\n')
    (answer,) = cli.values("report", "--json", str(file))
    assert answer["report_job"]["applied_count"] == 2
    assert answer["report_job"]["totals"]["pending_count"] == 1


def many_reports(tmp_path: Path) -> Path:
    """Return a file of 300 reports, large enough to be worth a bar."""
    file = tmp_path / "reports.jsonl"
    lines = ['{"report_job": {"job": {"job_id": "j"}, "granules": [{"granule_id": "a"}]}}']
    lines += [
        json.dumps(
            {"report_granules": {"job_id": "j", "granules": [{"granule_id": f"{n}", "message": "x" * 1000}]}}
        )
        for n in range(299)
    ]
    file.write_text("\n".join(lines))
    return file


def test_many_reports_are_summed_up(cli: Cli, tmp_path: Path) -> None:
    file = str(many_reports(tmp_path))
    lines = cli.lines("report", file)
    assert len(lines) == 301
    assert lines[-1] == "300 reports: 301 applied, 0 unchanged, 0 stale"
    assert cli.lines("report", file)[-1] == "300 reports: 0 applied, 301 unchanged, 0 stale"


def test_a_large_input_has_a_bar_on_a_terminal(cli: Cli, tmp_path: Path) -> None:
    file = many_reports(tmp_path)
    with file.open() as source:
        for arguments, stdin in (((str(file),), None), (("-",), source.fileno())):
            words = ("report", *arguments, "--project-id", cli.project)
            with Terminal(*words, server=cli.server, stdin=stdin) as terminal:
                assert terminal.finish() == 0
                assert terminal.shows("100%", "300 reports: ")
                assert not terminal.shows("line 1:")
                shown = [int(share) for share in re.findall(rb"(\d+)%", terminal.written)]
                assert shown == sorted(shown)
                assert any(0 < share < 100 for share in shown)


@pytest.mark.parametrize("command", [("get", "j", "--granules"), ("watch", "j"), ("watch", "j", "--json")])
def test_a_reader_that_leaves_ends_a_command_quietly(
    cli: Cli, client: JobStatusClient, command: tuple[str, ...]
) -> None:
    names = [f"g{number:05d}" for number in range(9000)]
    client.report_job(ENDED, granules(pb.GRANULE_STATE_FAILED, *names))
    with start_command(*command, "--project-id", cli.project, server=cli.server) as process:
        assert process.stdout is not None
        first_line(process.stdout)
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 141


def test_delete_deletes(cli: Cli, client: JobStatusClient) -> None:
    client.report_job(ENDED)
    assert cli.lines("delete", "j") == ["deleted j"]
    assert list(client.list()) == []


def test_a_database_is_upgraded_and_served(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobstatus.db"
    for _ in range(2):
        assert run_command("db", "upgrade", "--database-url", url).stdout == "the schema is up to date\n"
    with ServerProcess(url, "--demo", "--log-level", "warning") as server:
        with JobStatusClient(server.address) as client:
            wait_until(
                lambda: [job.job_id for job in client.list()] == ["demo"], "the demonstration has begun"
            )
        assert server.terminate() == 0


def test_a_port_that_is_taken_is_told_in_one_line(server: str, tmp_path: Path) -> None:
    done = run_command("serve", "--listen", server, "--database-url", f"sqlite:///{tmp_path}/other.db")
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr


def test_a_fault_of_the_command_itself_is_told_without_a_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(KeyError) as caught:
        dict[str, int]()["nowhere"]
    assert exit_status(caught.value) == OUR_FAULT
    said = capsys.readouterr().err
    assert said.startswith("error: KeyError: 'nowhere'\nhint: ")
    assert "Traceback" not in said
    log = Path(re.findall(r"with (\S+\.log)", said)[0])
    assert log.read_text().startswith("KeyError: 'nowhere'\n  ")
    assert " in test_a_fault_of_the_command_itself" in log.read_text()
    log.unlink()


def test_a_server_that_breaks_its_promises_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(BrokenPromise("W3", 4, "revision 6 came next")) == SERVER
    error, hint = capsys.readouterr().err.splitlines()
    assert error == (
        "error: the promise that no change is missing (W3) is broken after revision 4: revision 6 came next"
    )
    assert hint.startswith("hint: jobstatus verify")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_commands(shell: str) -> None:
    words = {"COMP_WORDS": "jobstatus wa", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "jobstatus wa"}
    action = {"_TYPER_COMPLETE_FISH_ACTION": "get-args"} if shell == "fish" else {}
    done = run_command(env={"_JOBSTATUS_COMPLETE": f"complete_{shell}", **words, **action})
    assert {"watch", "wait"} <= set(re.findall(r"\w+", done.stdout))
    assert "serve" not in done.stdout
