"""The commands that bring documents in, follow those of other systems, and show jobs as documents."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from commands import Cli
from moments import wait_until
from processes import PATIENCE, ServerProcess, first_line, start_command
from shelf import DATA, data
from transfers import orca_document

from jobstatus import v1 as pb
from jobstatus_grpc.cli.given import Form
from jobstatus_grpc.client import JobStatusClient
from jobstatus_grpc.formats import AUTO, FORMATS
from jobstatus_grpc.parsing import MAX_BATCH_BYTES, MAX_BATCH_GRANULES


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ServerProcess(f"sqlite:///{tmp_path_factory.mktemp('cli')}/jobstatus.db") as started:
        yield started.address


@pytest.fixture
def cli(server: str) -> Cli:
    """Commands for a project of the test's own."""
    return Cli(server, uuid4().hex)


@pytest.fixture
def client(cli: Cli) -> Iterator[JobStatusClient]:
    with JobStatusClient(cli.server, cli.project) as made:
        yield made


def test_the_command_knows_the_forms_that_there_are() -> None:
    assert {form.value for form in Form} == {AUTO, *FORMATS}


def test_a_document_is_imported_and_again_without_effect(cli: Cli, client: JobStatusClient) -> None:
    file = str(DATA / "orca/recovery_current_form.json")
    (line,) = cli.lines("import", "--format", "orca", file)
    assert line.endswith(
        "200 granules: 27 pending, 19 staged, 143 succeeded, 11 failed (201 applied, 0 unchanged, 0 stale)"
    )
    (answer,) = cli.values("import", "--json", "-", stdin=Path(file).read_text())
    assert (answer["import"]["applied_count"], answer["import"]["unchanged_count"]) == (0, 201)
    (job,) = client.list()
    assert (job.job_id, job.granules_complete) == (answer["import"]["job_id"], True)


def test_a_document_says_what_is_true_now_even_if_it_was_otherwise(cli: Cli, client: JobStatusClient) -> None:
    def document(*words: str) -> str:
        entries = [{"granuleId": f"g{index}", "status": word} for index, word in enumerate(words)]
        return json.dumps({"asyncOperationId": "j", "granules": entries})

    cli.lines("import", "--format", "orca", "-", stdin=document("success", "error"))
    assert client.get("j").job.state == pb.JOB_STATE_FAILED
    cli.lines("import", "--format", "orca", "-", stdin=document("pending", "success"))
    page = client.get("j")
    assert page.job.state == pb.JOB_STATE_RUNNING
    assert [granule.attempt for granule in page.granules] == [2, 2]


def test_a_large_document_goes_in_batches_and_ends_only_with_the_last(
    cli: Cli, client: JobStatusClient
) -> None:
    # Ids as long as they may be: a batch of as many granules as allowed stays well under its bytes.
    assert MAX_BATCH_GRANULES * 1200 < MAX_BATCH_BYTES < 3 * 1024 * 1024
    count = 2 * MAX_BATCH_GRANULES + 1
    entries = [
        {"collectionId": "C" * 512, "granuleId": f"{number:0512d}", "status": "success"}
        for number in range(count)
    ]
    document = json.dumps({"asyncOperationId": "j", "granules": entries})
    (line,) = cli.lines("import", "--format", "orca", "-", stdin=document)
    assert f"{count} granules: {count} succeeded ({count + 1} applied" in line
    page = client.get("j", view=pb.JOB_VIEW_BASIC)
    assert (page.job.state, page.job.granules_complete) == (pb.JOB_STATE_SUCCEEDED, True)
    # Created, the granules, RUNNING, complete: had it ended in between there would be more.
    assert page.job.revision == count + 3


def test_a_document_that_is_wrong_is_refused_with_every_fault(cli: Cli, client: JobStatusClient) -> None:
    done = cli("import", "--format", "orca", "-", stdin='{"granules": [{"granuleId": 3}]}')
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        "error",
        "  $.asyncOperationId",
        "  $.granules[0].granuleId",
        "  $.granules[0].status",
    ]
    done = cli("import", "--format", "orca", str(DATA / "orca/not_found.json"))
    assert done.returncode == 2
    assert "No granules found for job id 'nope'" in done.stderr
    assert list(client.list()) == []


def test_of_several_files_each_job_is_told_and_what_is_refused_is_told_with_its_file(
    cli: Cli, client: JobStatusClient, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps([data("sfs_turbo/bind_ldap.json"), data("sdrs/sub_jobs.json")]))
    bad.write_text(json.dumps([{"job_id": "x", "status": 1}, orca_document("y", ["success"])]))
    done = cli("import", str(good), str(bad))
    assert done.returncode == 2
    told = [line.partition(" is ")[0] for line in done.stdout.splitlines()]
    assert told == [f"job {name}" for name in (*_ids(good), "y")]
    assert done.stderr.startswith(f"error: {bad}: $[0]")
    assert {job.job_id for job in client.list()} == {*_ids(good), "y"}
    done = cli("import", "--json", str(good), str(bad))
    answers = [json.loads(line)["import"] for line in done.stdout.splitlines()]
    assert [answer["path"] for answer in answers] == ["$[0]", "$[1]", "$[0]", "$[1]"]
    assert answers[2]["status"]["code"] == 3
    assert cli("import", "-", stdin="[]").stderr == "error: -: there is no job in it\n"


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_imported(
    cli: Cli, client: JobStatusClient, tmp_path: Path
) -> None:
    absent, broken, empty = tmp_path / "absent.json", tmp_path / "broken.json", tmp_path / "empty.json"
    broken.write_text("{")
    empty.write_text("[]")
    good = tmp_path / "good.json"
    good.write_text(json.dumps(data("sfs_turbo/bind_ldap.json")))
    done = cli("import", str(absent), str(broken), str(empty), str(good))
    assert done.returncode == 2
    assert [line.partition(": ")[2].partition(":")[0] for line in done.stderr.splitlines()] == [
        str(absent),
        str(broken),
        str(empty),
    ]
    assert [job.job_id for job in client.list()] == [data("sfs_turbo/bind_ldap.json")["job_id"]]


def _ids(file: Path) -> list[str]:
    return [document["job_id"] for document in json.loads(file.read_text())]


@pytest.mark.parametrize(
    "name", ["orca/recovery_seed_form", "sdrs/sub_jobs", "sfs_turbo/sub_jobs", "glacier/inventory_raw"]
)
def test_a_job_is_shown_as_the_document_it_was(cli: Cli, name: str) -> None:
    document = data(f"{name}.json")
    (answer,) = cli.values("import", "--json", str(DATA / f"{name}.json"))
    (shown,) = cli.values("get", answer["import"]["job_id"], "--format", "auto")
    assert list(shown) == list(document)
    assert sorted(map(str, shown)) == sorted(map(str, document))
    done = cli("get", "nope", "--format", "auto")
    assert (done.returncode, done.stdout) == (3, "")


def test_what_a_form_cannot_tell_is_named(cli: Cli) -> None:
    cli.lines("import", "-", stdin=json.dumps(orca_document("j", ["pending"])))
    done = cli("get", "j", "--format", "sdrs")
    assert (done.returncode, done.stdout) == (2, "")
    assert "NOT_REPRESENTABLE" in done.stderr
    assert "  granules: it has 1 (1 pending), and sdrs's jobs have none" in done.stderr


ENDS: Final[dict[str, tuple[list[Any], int]]] = {
    "orca": ([orca_document("j", [word, "success"]) for word in ("pending", "staged", "error")], 1),
    "sdrs": (
        [{"job_id": "j", "job_type": "t", "status": word} for word in ("INIT", "RUNNING", "SUCCESS")],
        0,
    ),
    "sfs-turbo": ([{"job_id": "j", "status": word} for word in ("waiting", "running", "failed")], 1),
    "glacier": (
        [{"JobId": "j", "Tier": None, "StatusCode": word} for word in ("InProgress", "Succeeded")],
        0,
    ),
}
STATES: Final = {"orca": 2, "sdrs": 1, "sfs-turbo": 1, "glacier": 2}


class Teller:
    """A command that prints a document, and the next one when it is told to.

    Args:
        directory: where it is kept.
    """

    def __init__(self, directory: Path) -> None:
        self._answer = directory / "answer"
        self._program = directory / "teller.py"
        self.turns = directory / "turns"
        self.turns.touch()
        self._program.write_text(
            "import pathlib, sys\n"
            f"pathlib.Path({str(self.turns)!r}).open('a').write('.')\n"
            f"answer = pathlib.Path({str(self._answer)!r}).read_text()\n"
            "sys.exit(answer.removeprefix('!')) if answer.startswith('!') else print(answer)\n"
        )
        self.tell("!not yet")

    def tell(self, answer: object) -> None:
        """Have it print something from now on; fail, with words, if that begins with `!`."""
        new = self._answer.with_suffix(".new")
        new.write_text(answer if isinstance(answer, str) else json.dumps(answer))
        new.rename(self._answer)

    @property
    def command(self) -> tuple[str, ...]:
        """How it is run."""
        return "--", sys.executable, str(self._program)

    def wait_for_turns(self, count: int) -> None:
        """Return when it has been asked so many more times, and has answered all but the last."""
        wanted = self.turns.stat().st_size + count
        wait_until(lambda: self.turns.stat().st_size >= wanted, "it has been asked again")


@pytest.fixture
def teller(tmp_path: Path) -> Teller:
    return Teller(tmp_path)


def following(cli: Cli, teller: Teller, *options: str) -> Any:
    """Start to follow what the teller prints."""
    options = ("--project-id", cli.project, "--every", "100ms", *options)
    return start_command("import", *options, *teller.command, server=cli.server)


def is_past(client: JobStatusClient, revision: int) -> bool:
    """Return whether the job has changed since that revision."""
    return client.get("j").job.revision > revision


def says(process: subprocess.Popen[str], words: str) -> bool:
    """Return whether the next line on standard error has these words."""
    return words in first_line(process.stderr)


def is_gone(child: Path) -> bool:
    """Return whether a process has ended, by its command line in /proc."""
    return not child.exists() or child.read_bytes() == b""


@pytest.mark.parametrize("form", list(ENDS))
@pytest.mark.parametrize("told", [True, False], ids=["told", "detected"])
def test_a_job_of_each_system_is_followed_to_its_end_and_watchers_see_it(
    cli: Cli, client: JobStatusClient, teller: Teller, form: str, told: bool
) -> None:
    documents, status = ENDS[form]
    teller.tell(documents[0])
    options = ("--format", form) if told else ()
    with following(cli, teller, "--until-done", *options) as process:
        updates = client.watch("j", wait_for_job=True)
        assert next(updates).job.state == STATES[form]
        assert first_line(process.stdout).startswith("job j is ")
        teller.wait_for_turns(2)
        for document in documents[1:]:
            before = client.get("j").job.revision
            teller.tell(document)
            wait_until(partial(is_past, client, before), "the change is in")
        kinds = [update.kind for update in updates]
        assert kinds[-1] == "completed"
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (status, "")
    # One line for each document that told something new, however often it was printed.
    assert len(out.splitlines()) == len(documents) - 1


def test_what_fails_is_said_in_a_line_and_tried_again(
    cli: Cli, client: JobStatusClient, teller: Teller
) -> None:
    good = {"job_id": "j", "status": "running"}
    answers = {
        "!the door is closed": "ended with status 1: the door is closed; the next try comes within 0.1 s",
        "": "has printed nothing; the next try",
        "{": f"error: {shlex.quote(teller.command[1])}: $: is not JSON: ",
        '{"job_id": "j", "status": 1}': "$.status: must be a string, is a number",
    }
    with following(cli, teller, "--until-done", "--format", "sfs-turbo") as process:
        for answer, words in answers.items():
            teller.tell(answer)
            wait_until(partial(says, process, words), words)
        teller.tell(good)
        wait_until(lambda: [job.job_id for job in client.list()] == ["j"], "the job is in")
        teller.tell([good | {"status": "success"}, {"job_id": 2, "status": "success"}])
        wait_until(lambda: client.get("j").job.state == pb.JOB_STATE_SUCCEEDED, "it has ended")
        teller.wait_for_turns(2)
        assert process.poll() is None, "a document that is not taken has not ended"
        teller.tell(good | {"status": "success"})
        assert process.wait(PATIENCE) == 0


def test_ctrl_c_ends_it_and_the_command_quietly(cli: Cli, teller: Teller, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    sleeper = ("--", "bash", "-c", f"sleep 1000 & echo $! > {pid}; wait")
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with start_command("import", "--every", "1s", *sleeper, server=cli.server) as process:
            wait_until(lambda: pid.exists() and pid.read_text().strip() != "", "the command runs")
            process.send_signal(number)
            out, err = process.communicate(timeout=PATIENCE)
            assert (process.returncode, out, err) == (status, "", "")
        child = Path(f"/proc/{pid.read_text().strip()}/cmdline")
        wait_until(partial(is_gone, child), "it is gone too")
        pid.unlink()


def test_a_command_that_is_not_there_ends_it_and_a_server_that_is_away_does_not(
    cli: Cli, teller: Teller
) -> None:
    done = cli("import", "--every", "1s", "--", "no-such-command")
    assert (done.returncode, done.stderr) == (
        2,
        "error: no-such-command cannot be run: No such file or directory\n",
    )
    teller.tell({"job_id": "j", "status": "running"})
    with start_command("import", "--every", "100ms", *teller.command, server="127.0.0.1:1") as process:
        assert "the next try comes within 0.1 s" in first_line(process.stderr)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
