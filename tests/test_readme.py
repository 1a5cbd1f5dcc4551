"""The README's lines, run as they stand, in their order, against the server of `make run`."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import fields
from enum import Enum, auto
from pathlib import Path
from typing import Final, NamedTuple, Self
from uuid import uuid4

import grpc
import pytest
from credentials import Authority, Issuer
from moments import wait_until
from postgres import PostgresServer
from processes import PATIENCE, environment, run_command
from terminals import Terminal

from jobstatus import v1 as pb
from jobstatus_grpc import errors, status
from jobstatus_grpc.client import JobStatusClient, JobStatusRpcError
from jobstatus_grpc.config import CLIENT_SETTINGS, PREFIX, ServerConfig
from jobstatus_grpc.demo import JOB_ID, lines_to_try

ROOT: Final = Path(__file__).resolve().parent.parent
README: Final = (ROOT / "README.md").read_text()
BIN: Final = Path(sys.executable).parent
ADDRESS: Final = "127.0.0.1:50051"


class Way(Enum):
    """How a line of the page is meant to be run."""

    RUN = auto()  #: To its end.
    BESIDE = auto()  #: In another terminal; it ends with the next block that is run here.
    INTERRUPTED = auto()  #: Left with Ctrl-C, once it has shown something.
    MAKE = auto()  #: The start itself: make has the targets, and the server of the tests is its server.
    PRODUCTION = auto()  #: On a PostgreSQL.


class Expectation(NamedTuple):
    """What a line or block of the page does: which one, by a part of it; what it says, and how it ends."""

    part: str
    says: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (0,)
    way: Way = Way.RUN


# In the order of the page. grpcurl ends with 64 and the number of the code.
EXPECTATIONS: Final = (
    Expectation("make demo", way=Way.MAKE),
    Expectation("make run", way=Way.MAKE),
    Expectation('"job_id": "mine"', ("line 1: job mine is RUNNING", "3 applied")),
    Expectation("jobstatus watch mine", ("job mine is RUNNING", "to go on: "), (130,), Way.INTERRUPTED),
    Expectation('export PATH="$PWD/.venv/bin:$PATH"'),
    Expectation(f"{ADDRESS} list", ("jobstatus.v1.JobDocumentService", "jobstatus.v1.JobReportService")),
    Expectation("describe jobstatus.v1.JobStatusService", ("rpc WatchJob", "stream .jobstatus.v1.Watch")),
    Expectation("describe jobstatus.v1.Granule", ("message Granule {", "granule_id")),
    Expectation("grpc.health.v1.Health/Check", ('"SERVING"',)),
    Expectation('"page_size": 3', ('"next_page_token"', '"resume_token"', '"job_type": "recovery"')),
    Expectation("JobStatusService/ListJobs", ('"demo"',)),
    Expectation('"max_frames": 4', ('"snapshot"', '"changes"')),
    Expectation('"snapshot_only": true', ('"snapshot"', '"last": true')),
    Expectation("DELIVERY_LATEST", ('"snapshot"', '"changes"', '"granule"')),
    Expectation("DELIVERY_NONE", ('"snapshot"', '"changes"', '"last": true')),
    Expectation("JobStatusService/WaitJob", ('"done": true', '"resume_token"')),
    Expectation("BatchGetJobStatus", ('"job_id": "demo"', '"JOB_NOT_FOUND"')),
    Expectation('"nope"', ("NotFound", "JOB_NOT_FOUND", "ResourceInfo"), (64 + 5,)),
    Expectation('{"job_id": ""}', ("MISSING_PARAMETER_VALUE", "BadRequest", "is required"), (64 + 3,)),
    Expectation("JobReportService/ReportJob", ('"applied_count": 3', "JOB_STATE_PENDING")),
    Expectation(
        """'{"job_id": "restore-7"}' 127.0.0.1:50051 jobstatus.v1.JobStatusService/WatchJob""",
        ('"snapshot"', '"changes"', '"completed"', "JOB_STATE_FAILED", '"failures"', '"sample_granules"'),
        way=Way.BESIDE,
    ),
    Expectation("jobstatus watch restore-7", ("has ended: FAILED",), (1,), Way.BESIDE),
    Expectation("GRANULE_STATE_STAGED", ("JOB_STATE_RUNNING",)),
    Expectation("the archive refused", ("JOB_STATE_FAILED", '"applied_count": 2')),
    Expectation(
        '"JOB_VIEW_BASIC"',
        ('"failures"', '"AccessDenied"', '"the archive refused"', '"tile-2"', '"granule_count": 1'),
    ),
    Expectation('["GRANULE_STATE_FAILED"]', ('"AccessDenied"', '"the archive refused"', '"tile-2"')),
    Expectation("JobReportService/DeleteJob", ("{",)),
    Expectation(
        "client.report_job",
        ("4 snapshot 1 0\n", "4 completed 1 0\n", "ended: True\n", "copy-1 1\n", "copy-0 JOB_NOT_FOUND\n"),
    ),
    Expectation("pb.JobStatusServiceStub(channel)", ("pending_count: ", "failed_count: ")),
    Expectation("jobstatus get demo", ("demo in project default", "240 granules")),
    Expectation("get --state failed demo", ("demo in project default",)),
    Expectation("jobstatus list --state", ("copy-1", "SUCCEEDED")),
    Expectation("jobstatus list --limit", ("copy-1", "there are more: --page-token ")),
    # The attempt may just have ended.
    Expectation("jobstatus watch demo", ("job demo is ",), (130, 0, 1), Way.INTERRUPTED),
    Expectation(
        "jobstatus watch copy-1 mine", ("copy-1  job copy-1 is SUCCEEDED", "mine  job mine is RUNNING")
    ),
    Expectation("jobstatus watch copy-1 --json", ('"snapshot"', '"completed"')),
    Expectation("jobstatus wait copy-1", ("job copy-1 is SUCCEEDED: 1 granule: 1 succeeded\n",)),
    # As above: the attempt may have ended, and badly.
    Expectation("jobstatus wait demo", ("job demo is ", "240 granules"), (0, 1)),
    Expectation(
        "jobstatus verify demo", ("two watchers held the same revision", "all the same", "\nproved\n")
    ),
    Expectation('"job_id": "copy-2"', ("line 1: job copy-2 is FAILED",)),
    Expectation("jobstatus watch copy-2", ("has ended: FAILED", "no disk"), (1,)),
    Expectation('"job_id": "copy-3"', ("line 1: job copy-3 is PENDING", "2 applied")),
    Expectation(
        "jobstatus granule MOD09", ("copy-3 in project default", "tile-9.hdf  SUCCEEDED", "tile-9.met")
    ),
    Expectation("jobstatus import --format", ("is RUNNING", "4 granules: 1 pending, 2 succeeded, 1 failed")),
    Expectation(
        "tests/data/sdrs/sub_jobs.json", ("job ff8080826b45d4a5016b5036242c0025 is SUCCEEDED", "job zbxcm3Z_")
    ),
    Expectation("--format auto", ('"entities": {', '"sub_jobs": [{')),
    Expectation("import --every", ("job 26f6b565-xxxx-XXXX-xxxx-03f0bd975433 is SUCCEEDED",)),
    Expectation("jobstatus delete copy-2", ("deleted copy-2",)),
    Expectation("jobstatus get copy-2", ("JOB_NOT_FOUND",), (3,)),
    Expectation("export JOBSTATUS_DATABASE_URL=", way=Way.PRODUCTION),
    Expectation("jobstatus db upgrade", ("up to date",), way=Way.PRODUCTION),
    Expectation("jobstatus serve", way=Way.PRODUCTION),
)
# What the page shows of a line's output.
SHOWN: Final = {"jobstatus watch restore-7": "job restore-7 is PENDING", '"nope"': "ERROR:"}


class Step(NamedTuple):
    """A line of a shell block, or a Python block, and which block of the page it is in."""

    text: str
    python: bool
    block: int


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of a page: the language and the text."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def steps(page: str) -> list[Step]:
    """Return what a page tells its reader to run."""
    found = []
    for index, (language, text) in enumerate(blocks(page)):
        if language == "python":
            found.append(Step(text, True, index))
        elif language == "sh":
            found += [Step(line, False, index) for line in text.splitlines() if line.strip()]
    return found


def expected(step: Step) -> Expectation:
    """Return what is expected of a step; every step has exactly one expectation."""
    found = [each for each in EXPECTATIONS if each.part in step.text]
    assert len(found) == 1, f"{len(found)} expectations for: {step.text}"
    return found[0]


class Running:
    """A step under way, started as its reader would: in a shell, or in Python, with the commands at hand.

    What it says goes to a file, which can be looked at meanwhile. Used as a context manager it does not
    outlive its test.
    """

    def __init__(self, step: Step, cwd: Path = ROOT, **more: str) -> None:
        self.step = step
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", step.text] if step.python else ["bash", "-c", step.text],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=environment(**more) | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait(PATIENCE)
        self._output.close()

    def said(self) -> str:
        """Return what it has said so far."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and whatever it has started."""
        os.killpg(self.process.pid, number)

    def wait_for(self, words: str) -> None:
        """Return when it has said that."""

        def there() -> bool:
            assert words in self.said() or self.process.poll() is None, self.said()
            return words in self.said()

        wait_until(there, f"{self.step.text} says {words!r}")

    def finish(self) -> str:
        """Wait for its end, check how it ended and what it said, and return that."""
        self.process.wait(PATIENCE)
        said, wanted = self.said(), expected(self.step)
        assert self.process.returncode in wanted.statuses, f"{self.step.text}\n{said}"
        for words in wanted.says:
            assert words in said, f"{self.step.text}\n{said}"
        return said


def run_in_order(all_steps: Sequence[Step], started: ExitStack) -> dict[str, str]:
    """Run steps as the page says, and return what each said, by the part that names it."""
    said: dict[str, str] = {}
    beside: list[Running] = []
    for step, following in zip(all_steps, [*all_steps[1:], None], strict=True):
        wanted = expected(step)
        running = started.enter_context(Running(step))
        if wanted.way is not Way.RUN:
            running.wait_for("\n")
        if wanted.way is Way.BESIDE:
            beside.append(running)
            continue
        if wanted.way is Way.INTERRUPTED:
            running.signal(signal.SIGINT)
        said[wanted.part] = running.finish()
        if following is None or following.block != step.block:
            said |= {expected(other.step).part: other.finish() for other in beside}
            beside.clear()
    return said


def plain(text: str) -> list[str]:
    """Return the lines of an output without what differs from run to run."""
    text = re.sub(r"\d\d:\d\d:\d\dZ", "TIME", text)
    return re.sub(r'"request_id":"\w+"', '"request_id":""', text).rstrip().splitlines()


def recipe(target: str) -> list[str]:
    """Return the words of a target's command in the Makefile."""
    found = re.search(rf"^{target}:.*\n\t(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    return shlex.split(found[1].replace("$(BIN)", str(BIN)))


@contextmanager
def serving(line: str, cwd: Path, **more: str) -> Iterator[Running]:
    """Run a server that ends well at SIGTERM."""
    with closing(socket.socket()) as probe:
        if probe.connect_ex(("127.0.0.1", 50051)) == 0:
            pytest.fail(
                "port 50051 is taken by somebody else, and the README's lines are for a server there: "
                "stop it (is it a make run of your own?) and try again"
            )
    with Running(Step(line, False, 0), cwd, **more) as server:
        server.wait_for("listening on ")
        yield server
        server.signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0, server.said()


def demo_is_under_way(client: JobStatusClient) -> bool:
    """Return whether the demonstration job has granules that moved."""
    try:
        totals = client.get(JOB_ID, view=pb.JOB_VIEW_BASIC).job.totals
    except JobStatusRpcError:
        return False
    return totals.staged_count + totals.succeeded_count > 0


def test_every_line_of_the_readme_is_expected_and_every_expectation_is_a_line() -> None:
    assert [expected(step) for step in steps(README)] == [*EXPECTATIONS]


def test_make_run_is_the_server_the_readme_talks_to() -> None:
    assert recipe("run") == [
        str(BIN / "jobstatus"),
        *("serve", "--listen", ADDRESS, "--database-url", "sqlite:///jobstatus.db", "--demo"),
    ]
    for step in steps(README):
        words = shlex.split(step.text) if not step.python else []
        if words[:1] == ["make"]:
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), step.text


@pytest.mark.timeout(300)
def test_the_lines_of_the_readme_do_what_it_says(tmp_path: Path) -> None:
    to_run = [step for step in steps(README) if expected(step).way not in (Way.MAKE, Way.PRODUCTION)]
    with (
        serving(shlex.join(recipe("run")), tmp_path),
        JobStatusClient(ADDRESS) as client,
        ExitStack() as started,
    ):
        wait_until(lambda: demo_is_under_way(client), "the demonstration job is under way")
        said = run_in_order(to_run, started)
        for step in steps((ROOT / "docs/watch.md").read_text()):
            proof = started.enter_context(Running(step))
            assert proof.process.wait(PATIENCE) == 0, proof.said()
            assert proof.said() == "revision 4: 1 granules, nothing missed\n"
    for part, begin in SHOWN.items():
        (shown,) = [
            text for language, text in blocks(README) if language == "text" and text.startswith(begin)
        ]
        assert plain(said[part]) == plain(shown)


def test_one_command_leads_from_a_clone_to_a_bar_that_moves() -> None:
    venv = BIN.parent
    make = ("make", "-o", f"{venv}/.installed", f"VENV={venv}", "demo")
    with Terminal(program=make, cwd=ROOT) as terminal:
        terminal.wait_for("demo RUNNING", "/240")

        def bar() -> str:
            # Above it may stand what the server has said.
            return next((line for line in terminal.lines if "demo RUNNING" in line), "")

        before = bar()
        wait_until(lambda: bar() not in ("", before), "the bar moves")
        assert "█" in bar() or "▒" in bar()
        terminal.type("\x03")
        terminal.finish()
        assert terminal.shows("to go on: jobstatus watch demo")
    with closing(socket.socket()) as probe:
        assert probe.connect_ex(("127.0.0.1", 50051)) != 0, "the server is left behind"


def test_the_lines_that_the_server_prints_to_try_are_among_the_readmes(tmp_path: Path) -> None:
    with serving(shlex.join(recipe("run")), tmp_path) as server:
        for line in lines_to_try(ADDRESS):
            server.wait_for(f"{line}\n")
    assert lines_to_try(ADDRESS)
    assert set(lines_to_try(ADDRESS)) <= {step.text for step in steps(README)}


def test_the_lines_for_production_serve_from_a_postgresql(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    export, upgrade, serve = (step for step in steps(README) if expected(step).way is Way.PRODUCTION)
    (settings,) = [text for language, text in blocks(README) if language == "toml" and "listen" in text]
    (tmp_path / "jobstatus.toml").write_text(settings)
    issuer, authority = Issuer(tmp_path), Authority(tmp_path)
    authority.serve()
    with Running(Step(f'{export.text}; printf %s "$JOBSTATUS_DATABASE_URL"', False, 0)) as shown:
        assert shown.process.wait(PATIENCE) == 0
        config = ServerConfig.from_environment({"JOBSTATUS_DATABASE_URL": shown.said()})
    assert config.database_url.startswith("postgresql://")

    name = f"jobstatus_{uuid4().hex}"
    postgres_server.create_database(name)
    ours = postgres_server.url(name)
    try:
        with Running(upgrade, JOBSTATUS_DATABASE_URL=ours) as upgrading:
            upgrading.finish()
        with (
            serving(serve.text, tmp_path, JOBSTATUS_DATABASE_URL=ours) as server,
            JobStatusClient(
                ADDRESS, tls=grpc.ssl_channel_credentials(authority.pem), credentials=issuer.token
            ) as client,
        ):
            assert "listening on 0.0.0.0:50051\n" in server.said()
            assert client.report_job(pb.Job(job_id="j")).revision == 1
    finally:
        postgres_server.drop_database(name)


def test_other_pages_have_no_shell_lines_that_nobody_runs() -> None:
    for path in sorted((ROOT / "docs").glob("*.md")):
        assert [text for language, text in blocks(path.read_text()) if language in ("sh", "console")] == []


def test_links_between_pages_lead_somewhere() -> None:
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_table_of_settings_is_the_configuration() -> None:
    rows = re.findall(
        r"^\| `JOBSTATUS_(\w+)` \| (?:`(--[\w-]+)` )?\| (?:`([^`]*)` )?\|", README, re.MULTILINE
    )
    assert [name.lower() for name, _, _ in rows] == [setting.name for setting in fields(ServerConfig)]
    told = {f"{PREFIX}{name}": default for name, _, default in rows}
    assert ServerConfig.from_environment(told) == ServerConfig()
    serve_options = set(re.findall(r"--[a-z-]+", run_command("serve", "--help").stdout))
    assert {option for _, option, _ in rows if option} == serve_options - {"--help", "--no-demo", "--config"}


def test_the_table_of_the_clients_settings_is_what_the_commands_understand() -> None:
    rows = re.findall(r"^\| `(JOBSTATUS_\w+)` \| (?:`(--[\w-]+)` )?\| [^`|]*[^|]*\|$", README, re.MULTILINE)
    told = run_command("get", "--help").stdout
    options = [option for name, option in rows if option in told or name == "JOBSTATUS_TOKEN"]
    assert [option.removeprefix("--").replace("-", "_") for option in options if option] == [*CLIENT_SETTINGS]
    assert all(
        name in re.sub(r"\s+", " ", told) for name, _ in rows if name.endswith(("TOKEN", "_FILE", "SERVER"))
    )


def test_the_table_of_errors_has_every_reason_a_caller_can_get() -> None:
    rows = re.findall(r"^\| ([A-Z_]+) \| ([A-Z_]+) \|", README, re.MULTILINE)
    told = {("INTERNAL", "INTERNAL"), ("INVALID_ARGUMENT", errors.MISSING)}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.JobStatusError):
            row = next((status._TABLE[base] for base in kind.__mro__ if base in status._TABLE), None)
            if row is not None and kind.reason != errors.JobStatusError.reason:
                told.add((row.code.name, kind.reason))
    assert set(rows) == told
    assert len(rows) == len(told)


def test_the_tree_of_files_is_the_house() -> None:
    (tree,) = [
        text for language, text in blocks(README) if language == "text" and "jobstatus_grpc/\n" in text
    ]
    named = re.findall(
        r"(?<![\w.])(\w+(?:\.py|/(?= |$)))", tree.partition("jobstatus_grpc/\n")[2], re.MULTILINE
    )
    rooms = {
        path.name + "/" * path.is_dir()
        for path in (ROOT / "jobstatus_grpc").iterdir()
        if not path.name.startswith("_") and (path.is_dir() or path.suffix == ".py")
    }
    assert set(named) - {"tests/", "test_readme.py"} == rooms
