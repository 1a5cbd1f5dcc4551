"""Commands for one server and project."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from processes import run_command


class Cli:
    """Runs commands on one server and project."""

    def __init__(self, server: str, project: str) -> None:
        self.server = server
        self.project = project

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return run_command(
            *arguments, server=self.server, stdin=stdin, env={"JOBSTATUS_PROJECT_ID": self.project}
        )

    def lines(self, *arguments: str, stdin: str = "") -> list[str]:
        done = self(*arguments, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def values(self, *arguments: str, stdin: str = "") -> list[Any]:
        return [json.loads(line) for line in self.lines(*arguments, stdin=stdin)]
