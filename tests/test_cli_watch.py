"""`jobstatus watch` on a terminal, in a pipe, and for programs."""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from moments import wait_until
from processes import PATIENCE, ServerProcess, first_line, run_command, start_command
from reporting import FAILED, PENDING, STAGED, SUCCEEDED, granules
from terminals import Terminal

from jobstatus import v1 as pb
from jobstatus_grpc.client import JobStatusClient

CTRL_C = "\x03"
COLOUR = re.compile(rb"\x1b\[[0-9;]*(3[0-7]|9[0-7])m")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ServerProcess(f"sqlite:///{tmp_path_factory.mktemp('watch')}/jobstatus.db") as started:
        yield started.address


@pytest.fixture
def project() -> str:
    """A project of the test's own."""
    return uuid4().hex


@pytest.fixture
def client(server: str, project: str) -> Iterator[JobStatusClient]:
    with JobStatusClient(server, project) as made:
        yield made


def report(client: JobStatusClient, job_id: str, *reports: pb.Granule) -> None:
    client.report_job(pb.Job(job_id=job_id, granules_complete=True), reports)


def refused(*names: str) -> list[pb.Granule]:
    return granules(FAILED, *names, error=pb.ItemError(code="AccessDenied", reason="no way"))


def watching(*arguments: str, client: JobStatusClient, **more: Any) -> Terminal:
    project = ("--project-id", client.project_id)
    return Terminal("watch", *arguments, *project, server=client.addresses[0], **more)


def test_the_bar_moves_until_the_end_and_then_stands(client: JobStatusClient) -> None:
    report(client, "restore", *granules(PENDING, "a", "b", "d", "e"))
    with watching("restore", client=client) as terminal:
        terminal.wait_for("restore PENDING", "0 %", "0/4", "4 pending")
        client.report_granules("restore", granules(STAGED, "a", "b"))
        terminal.wait_for("RUNNING", "2 pending · 2 staged", "last report 0 s ago")
        client.report_granules("restore", granules(SUCCEEDED, "a"))
        client.report_granules("restore", refused("b"))
        terminal.wait_for("50 %", "2/4", "2 pending · 1 succeeded · 1 failed")
        terminal.wait_for("latest failures", "c/b  AccessDenied: no way")
        half = terminal.lines[0]
        assert half.count("█") == pytest.approx(half.count("▚"), abs=1)
        assert half.count("░") == pytest.approx(half.count("█") * 2, abs=2)
        client.report_granules("restore", granules(SUCCEEDED, "d", "e"))
        assert terminal.finish() == 1
        assert terminal.lines[0].startswith("restore FAILED")
        assert terminal.shows("100 %", "4/4", "3 succeeded · 1 failed", "no way")
        assert "░" not in terminal.lines[0]
        assert terminal.lines[-1] == "job restore has ended: FAILED, 4 granules: 3 succeeded, 1 failed"
        assert not terminal.cursor_hidden


def test_it_tells_how_fast_the_job_gets_on_and_how_long_it_will_take(client: JobStatusClient) -> None:
    report(client, "j", *granules(PENDING, *map(str, range(400))))
    with watching("j", client=client) as terminal:
        terminal.wait_for("0/400")
        for start in range(0, 200, 20):
            client.report_granules("j", granules(SUCCEEDED, *map(str, range(start, start + 20))))
            terminal.wait_for(f"{start + 20}/400")
        terminal.wait_for("/s, ", " left")
        found = re.search(r"([\d.]+)/s, (\d+) s left", terminal.lines[0])
        assert found is not None
        rate, left = float(found[1]), int(found[2])
        assert left == pytest.approx(200 / rate, abs=1 + 0.05 * 200 / rate)


def test_it_tells_why_granules_failed_as_the_server_counts_it(client: JobStatusClient) -> None:
    report(client, "j", *granules(PENDING, "a"), *refused(*map(str, range(30))))
    with watching("j", client=client) as terminal:
        terminal.wait_for("why granules failed", "    30  AccessDenied: no way", "latest failures")
        client.report_granules("j", granules(FAILED, "a", message="no disk"))
        assert terminal.finish() == 1
        assert terminal.shows("    30  AccessDenied: no way", "     1  no disk", "latest failures")


def test_sub_jobs_have_bars_of_their_own_below_their_job(client: JobStatusClient) -> None:
    parts = [pb.Job(job_id=f"part-{number}") for number in range(3)]
    client.report_job(pb.Job(job_id="whole", granules_complete=True, sub_jobs=parts))
    with watching("whole", client=client) as terminal:
        terminal.wait_for("whole    PENDING", "sub-jobs: 3 PENDING", "  part-0", "  part-2")
        report(client, "part-1", *granules(PENDING, "a", "b"))
        client.report_granules("part-1", granules(SUCCEEDED, "a"))
        terminal.wait_for("whole    RUNNING", "2 PENDING", "1 RUNNING", "50 %", "1/2")
        (line,) = [line for line in terminal.lines if "part-1" in line]
        assert line.startswith("  part-1 RUNNING")
        assert line.count("█") == pytest.approx(line.count("░"), abs=1)
        assert line.count("█") > 5
        client.report_job(pb.Job(job_id="deep", parent_job_id="part-2", state=pb.JOB_STATE_FAILED))
        terminal.wait_for("    deep")
        assert [line.split()[0] for line in terminal.lines if "deep" in line or "part-2" in line] == [
            "part-2",
            "deep",
        ]
        report(client, "part-0", *granules(SUCCEEDED, "a"))
        report(client, "part-1", *granules(SUCCEEDED, "b"))
        client.report_job(pb.Job(job_id="part-2", granules_complete=True))
        assert terminal.finish() == 1
        assert terminal.shows("whole    FAILED", "2 SUCCEEDED, 1 FAILED", "job whole has ended: FAILED")


@pytest.mark.parametrize("lines", [12, 20])
def test_of_many_sub_jobs_those_are_shown_that_get_on_as_many_as_the_terminal_has_room_for(
    client: JobStatusClient, lines: int
) -> None:
    ended = [pb.Job(job_id=f"ended-{number:02}", state=pb.JOB_STATE_SUCCEEDED) for number in range(40)]
    late = [pb.Job(job_id=f"late-{number}", state=pb.JOB_STATE_RUNNING) for number in range(3)]
    client.report_job(pb.Job(job_id="whole", granules_complete=True, sub_jobs=[*ended, *late]))
    client.report_granules("whole", [*refused("a", "b", "c", "d"), *granules(PENDING, "e")])
    with watching("whole", client=client, lines=lines) as terminal:
        terminal.wait_for("late-0", "late-1", "late-2", " more", "latest failures", "c/d  AccessDenied")
        shown = terminal.lines
        assert len(shown) < lines
        assert shown[0].startswith("whole")
        (more,) = [line for line in shown if line.endswith(" more")]
        held = sum(line.startswith("  ended-") for line in shown)
        assert more == f"  and {40 - held} SUCCEEDED more"
        client.report_job(pb.Job(job_id="late-0", state=pb.JOB_STATE_SUCCEEDED))
        wait_until(lambda: not terminal.shows("late-0"), "what has ended makes room")
        terminal.wait_for("late-1", "late-2", more)


def test_a_pipe_tells_of_sub_jobs_by_their_names(client: JobStatusClient, server: str) -> None:
    client.report_job(pb.Job(job_id="whole", sub_jobs=[pb.Job(job_id="part")]))
    words = ("watch", "whole", "--project-id", client.project_id)
    with start_command(*words, server=server) as watch:
        assert first_line(watch.stdout).startswith("job whole is PENDING")
        client.report_job(pb.Job(job_id="part", state=pb.JOB_STATE_RUNNING))
        assert first_line(watch.stdout).endswith("#3  sub-job part is RUNNING, attempt 1, 0 granules")
        watch.kill()


def test_a_granule_that_is_tried_again_is_no_failure_any_more(client: JobStatusClient) -> None:
    report(client, "j", *granules(PENDING, "open"), *refused("a", "b"))
    with watching("j", client=client) as terminal:
        terminal.wait_for("c/a  AccessDenied", "c/b  AccessDenied")
        client.report_granules("j", granules(STAGED, "a", "b", attempt=2))
        terminal.wait_for("2 staged")
        assert not terminal.shows("latest failures")


def test_it_keeps_its_place_while_the_server_is_away(tmp_path: Path) -> None:
    with (
        ServerProcess(f"sqlite:///{tmp_path}/jobstatus.db") as server,
        JobStatusClient(server.address, "p", connect_timeout=30) as client,
    ):
        report(client, "j", *granules(PENDING, "a", "b"), *refused("x"))
        with watching("j", client=client) as terminal:
            terminal.wait_for("1/3", "no way")
            server.kill()
            terminal.wait_for("1/3", "trying again", "no way")
            server.start()
            client.report_granules("j", granules(SUCCEEDED, "a"))
            terminal.wait_for("2/3", "no way")
            assert not terminal.shows("trying again")
            client.report_granules("j", granules(SUCCEEDED, "b"))
            assert terminal.finish() == 1
            assert terminal.shows("100 %")


def test_several_jobs_have_a_bar_each(client: JobStatusClient) -> None:
    report(client, "first", *granules(PENDING, "a"))
    report(client, "second", *granules(PENDING, "b"))
    with watching("first", "second", "later", "--wait-for-job", client=client) as terminal:
        terminal.wait_for("first  PENDING", "second PENDING", "later  waiting")
        client.report_granules("first", refused("a"))
        terminal.wait_for("first  c/a  AccessDenied")
        client.report_granules("second", granules(SUCCEEDED, "b"))
        report(client, "later", *granules(SUCCEEDED, "d"))
        assert terminal.finish() == 1
        assert terminal.lines[-3:] == [
            "job first has ended: FAILED, 1 granule: 1 failed",
            "job second has ended: SUCCEEDED, 1 granule: 1 succeeded",
            "job later has ended: SUCCEEDED, 1 granule: 1 succeeded",
        ]


def go_on(lines: list[str]) -> list[str]:
    """Return the words of the command that goes on, after its name."""
    text = "".join(lines)
    return shlex.split(text[text.index("to go on: ") :])[4:]


def test_an_interrupted_view_stays_and_tells_how_to_go_on(client: JobStatusClient) -> None:
    report(client, "restore", *granules(PENDING, "a", "b"))
    with watching("restore", client=client, columns=200) as terminal:
        terminal.wait_for("0/2")
        client.report_granules("restore", granules(SUCCEEDED, "a"))
        terminal.wait_for("1/2")
        terminal.type(CTRL_C)
        assert terminal.finish() == 130
        assert terminal.shows("restore RUNNING", "1/2", "to go on: jobstatus watch restore --resume-token")
        assert not terminal.cursor_hidden
        words = go_on(terminal.lines[2:])
    client.report_granules("restore", granules(SUCCEEDED, "b"))
    with watching(*words[1:], client=client) as again:
        assert again.finish() == 0
        assert again.shows("restore SUCCEEDED", "2/2")
    lines = run_command(*words).stdout.splitlines()
    assert [line.split("  ")[1] for line in lines[:-1]] == ["#6", "#7"]


def test_a_command_that_is_terminated_leaves_the_terminal_as_it_was(client: JobStatusClient) -> None:
    report(client, "j", *granules(PENDING, "a"))
    with watching("j", client=client) as terminal:
        terminal.wait_for("0/1")
        assert terminal.cursor_hidden
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.finish() == 143
        assert not terminal.cursor_hidden
        assert terminal.shows("j PENDING", "to go on: ")


def test_names_and_reasons_have_no_power_over_the_terminal(client: JobStatusClient) -> None:
    name = "a\u202e[bold]\u200b"
    error = pb.ItemError(reason="\x1b]0;owned\x07")
    report(client, "j\x7f".replace("\x7f", "\u202e"), *granules(FAILED, name, error=error))
    with watching("j\u202e", client=client) as terminal:
        assert terminal.finish() == 1
        assert terminal.shows(r"j\u202e", r"a\u202e[bold]\u200b", r"\x1b]0;owned\x07")
        assert b"\x1b]0" not in terminal.written
        assert "\u202e" not in terminal.written.decode()


def test_colours_are_for_terminals_that_want_them(client: JobStatusClient) -> None:
    report(client, "j", *granules(SUCCEEDED, "a"), *refused("b"))
    with watching("j", client=client) as terminal:
        assert terminal.finish() == 1
        assert COLOUR.search(terminal.written)
    with watching("j", client=client, NO_COLOR="1") as terminal:
        assert terminal.finish() == 1
        assert not COLOUR.search(terminal.written)
        assert terminal.shows("█", "▚")
    with watching("j", client=client, TERM="dumb") as terminal:
        assert terminal.finish() == 1
        assert b"\x1b" not in terminal.written
        assert terminal.lines[-1].startswith("job j has ended: FAILED")


def test_a_small_terminal_shows_what_fits(client: JobStatusClient) -> None:
    report(
        client, "j", *granules(PENDING, "open"), *refused(*(f"a-rather-long-name-{n:03}" for n in range(50)))
    )
    with watching("j", client=client, columns=60, lines=8) as terminal:
        terminal.wait_for("j RUNNING", "latest failures", "name-049")
        assert len(terminal.lines) <= 8
        client.report_granules("j", granules(SUCCEEDED, "open"))
        assert terminal.finish() == 1


def test_a_pipe_gets_a_line_for_each_change(client: JobStatusClient) -> None:
    report(client, "j", *granules(PENDING, "a"))
    project = ("--project-id", client.project_id)
    with start_command("watch", "j", *project, server=client.addresses[0]) as process:
        assert first_line(process.stdout) == "job j is PENDING: attempt 1, revision 2, 1 granule: 1 pending"
        client.report_granules("j", refused("a"))
        out, err = process.communicate(timeout=PATIENCE)
    lines = [re.sub(r"^\d\d:\d\d:\d\dZ", "TIME", line) for line in out.splitlines()]
    assert lines == [
        "TIME  #3  c/a  PENDING -> FAILED  AccessDenied: no way",
        "TIME  #4  job is FAILED, attempt 1",
        "job j has ended: FAILED, 1 granule: 1 failed",
    ]
    assert (process.returncode, err) == (1, "")


def run(client: JobStatusClient, *arguments: str) -> tuple[int, list[str], str]:
    done = run_command(*("watch", *arguments, "--project-id", client.project_id), server=client.addresses[0])
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_lines_of_several_jobs_say_of_which_they_are(client: JobStatusClient) -> None:
    for job_id in ("one", "two"):
        report(client, job_id, *granules(SUCCEEDED, "a"))
    status, lines, err = run(client, "one", "two")
    assert (status, err) == (0, "")
    assert sorted(lines) == [
        "one  job one has ended: SUCCEEDED, 1 granule: 1 succeeded",
        "one  job one is SUCCEEDED: attempt 1, revision 3, 1 granule: 1 succeeded",
        "two  job two has ended: SUCCEEDED, 1 granule: 1 succeeded",
        "two  job two is SUCCEEDED: attempt 1, revision 3, 1 granule: 1 succeeded",
    ]


def test_programs_get_an_object_for_each_update(client: JobStatusClient) -> None:
    report(client, "j", *granules(PENDING, "a"))
    status, (line,), _ = run(client, "j", "--json", "--snapshot-only")
    snapshot = json.loads(line)
    assert (status, snapshot["kind"], snapshot["begins"], snapshot["whole"]) == (0, "snapshot", True, True)
    assert snapshot["granules"][0]["granule_id"] == "a"
    assert (snapshot["job"]["job_id"], snapshot["totals"]["pending_count"]) == ("j", 1)
    client.report_granules("j", granules(SUCCEEDED, "a"))
    status, lines, _ = run(client, "j", "--json", "--resume-token", snapshot["resume_token"])
    updates = [json.loads(line) for line in lines]
    assert [change["revision"] for update in updates for change in update.get("changes", ())] == ["3", "4"]
    assert (updates[-1]["kind"], updates[-1]["job"]["state"]) == ("completed", "JOB_STATE_SUCCEEDED")
    assert {update["job_id"] for update in updates} == {"j"}


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["half", "--until", "0.5"], 0, "job half is RUNNING"),
        (["half", "--until", "any-failure", "--timeout", "0.3"], 5, "job half is RUNNING"),
        (["limping", "--until", "any-failure"], 1, "job limping is RUNNING"),
        (["half", "--timeout", "0.3"], 5, "job half is RUNNING"),
        (["half", "failed", "--timeout", "0.3"], 5, "failed  job failed has ended"),
        (["failed"], 1, "job failed has ended: FAILED"),
        (["failed", "--snapshot-only"], 0, "job failed is FAILED"),
        (["half", "failed", "--until", "0.5"], 1, "half  job half is RUNNING"),
        (["nobody"], 3, ""),
        (["nobody", "failed"], 3, "failed  job failed has ended"),
        (["nobody", "--wait-for-job", "--timeout", "0.3"], 5, ""),
        (["half", "--until", "1.5"], 2, ""),
        (["half", "half"], 2, ""),
        (["half", "failed", "--resume-token", "AAAA"], 2, ""),
        (["half", "--resume-token", "!"], 2, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_exit_status_tells_how_it_ended(
    client: JobStatusClient, arguments: list[str], status: int, words: str
) -> None:
    report(client, "half", *granules(PENDING, "a"), *granules(SUCCEEDED, "b"))
    report(client, "limping", *granules(PENDING, "a"), *refused("b"))
    report(client, "failed", *refused("b"))
    found, lines, err = run(client, *arguments)
    assert found == status, err
    assert any(line.startswith(words) for line in lines) or not words
    if status == 5:
        assert "to go on: jobstatus watch " in err
    elif status in (2, 3):
        assert err.startswith("error: ")
    else:
        assert err == ""


def test_a_server_that_is_not_there_is_told_in_a_sentence() -> None:
    with Terminal("watch", "j", "--server", "127.0.0.1:1") as terminal:
        assert terminal.finish() == 4
        assert terminal.shows("error: failed to connect", "hint: is a server running at 127.0.0.1:1?")
        assert not terminal.shows("Traceback")
