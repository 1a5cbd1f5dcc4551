"""The house: who may import whom, who reads the environment, and how large things may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from processes import environment

_ROOT: Final = Path(__file__).resolve().parent.parent
_PACKAGE: Final = "jobstatus_grpc"

_MAX_FILE_LINES: Final = 450
_MAX_FUNCTION_LINES: Final = 45
_NAMELESS: Final = {"utils", "util", "common", "helpers", "helper", "manager", "managers", "misc"}

_PURE: Final = ("digest", "model", "errors", "merge", "pace", "sizes", "tokens")
_WATCHING: Final = (
    *(
        "alarms",
        "arrivals",
        "coalescing",
        "deliveries",
        "feeds",
        "limits",
        "listening",
        "snapshots",
        "stalls",
    ),
    *("streams", "unheard", "waits", "watch"),
    *("reports", "retention"),
)
_DOCUMENTS: Final = ("exports", "imports", "parsing", "transfers")
_READING: Final = ("batches", "cache", "reads")
_CLIENT_CORE: Final = (
    *(
        "client.core",
        "client.documents",
        "client.durations",
        "client.errors",
        "client.queries",
        "client.reports",
    ),
    *("client.servers", "client.steps", "client.updates", "client.watching"),
)
_DATABASES: Final = ("sqlalchemy", "psycopg2", "alembic", "sqlite3")
# Of the standard library only this is somebody's own.
_RESTRICTED: Final = ("sqlite3",)


class Rule(NamedTuple):
    """What a room may import: of ours, and of others; the standard library is free."""

    ours: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


# By module, the longest name that fits. A room that has no rule may not be.
_RULES: Final[Mapping[str, Rule]] = {
    "": Rule(),
    **dict.fromkeys(_PURE, Rule(_PURE)),
    "store": Rule((*_PURE, "store"), _DATABASES),
    "store.base": Rule((*_PURE, "store.values")),
    "store.values": Rule(_PURE),
    "json_text": Rule(("errors",)),
    "formats": Rule(("model", "errors", "json_text", "formats")),
    **dict.fromkeys(_WATCHING, Rule((*_PURE, "store.base", "batches", "reads", *_WATCHING))),
    "batches": Rule(("errors",)),
    "cache": Rule(("pace", "store.base")),
    "reads": Rule((*_PURE, "store.base", "coalescing", *_READING)),
    "convert": Rule(
        ("digest", "model", "errors", "json_text", "pace", "convert"), ("jobstatus", "google.protobuf")
    ),
    "parsing": Rule(("errors", "model", "json_text", "formats")),
    "transfers": Rule(("errors",)),
    "imports": Rule(("errors", "model", "parsing", "reports", "store.base")),
    "exports": Rule(("errors", "model", "formats", "store.base")),
    "bringing": Rule(("config",)),
    "sources.process": Rule(("errors", "sources", "store", "telemetry")),
    "sources": Rule(("errors", "model", "sizes", "formats", "store.base", "sources"), ("sqlalchemy",)),
    "status": Rule(("errors",), ("grpc", "google.protobuf", "google.rpc", "structlog")),
    "servicer": Rule(
        (*_PURE, *_WATCHING, *_DOCUMENTS, "formats", "reads", "convert", "status", "store.base"),
        ("grpc", "jobstatus", "google.protobuf"),
    ),
    "config": Rule(("config", "errors")),
    "security": Rule(("config", "errors", "security"), ("cryptography", "google.protobuf", "grpc", "jwt")),
    "redaction": Rule(),
    "telemetry": Rule(("errors", "redaction"), ("structlog",)),
    "metrics": Rule((), ("prometheus_client",)),
    "admin": Rule(("errors",)),
    "operation": Rule(("admin", "config", "metrics", "telemetry")),
    "transport": Rule(("config", "streams")),
    "leaving": Rule(),
    "port": Rule(("errors",)),
    "supervisor": Rule(("admin", "config", "errors", "leaving", "metrics", "port", "telemetry")),
    "worker": Rule(("config", "errors", "leaving", "server")),
    "health": Rule(("errors", "store.base"), ("grpc", "grpc_health")),
    "client": Rule(("client",), ("grpc", "jobstatus", "google.protobuf")),
    # What both faces share knows neither of them, nor any connection.
    **dict.fromkeys(_CLIENT_CORE, Rule(_CLIENT_CORE, ("grpc", "jobstatus", "google.protobuf"))),
    "client.credentials": Rule((), ("grpc",)),
    "client.errors": Rule(("errors",), ("grpc", "google.protobuf", "google.rpc")),
    "verify": Rule(("client", "errors", "verify"), ("grpc", "jobstatus", "google.protobuf")),
    "demo": Rule(("client",), ("grpc", "jobstatus", "google.protobuf")),
    "server": Rule(
        (
            *_PURE,
            *_WATCHING,
            *_DOCUMENTS,
            *("reads", "store", "convert", "status", "servicer", "config", "telemetry", "health", "demo"),
            *("bringing", "leaving", "metrics", "operation", "security", "transport"),
        ),
        ("grpc", "grpc_reflection", "jobstatus", "uvloop"),
    ),
    "cli": Rule(
        (
            *(
                "cli",
                "client",
                "config",
                "convert",
                "errors",
                "formats",
                "model",
                "redaction",
                "retention",
                "server",
            ),
            *("sources", "store", "supervisor", "telemetry", "verify"),
        ),
        ("grpc", "jobstatus", "google.protobuf", "rich", "typer"),
    ),
}
# The command hands the environment to the configuration, which calls it so too, and asks what the terminal
# can do.
_ENVIRONMENT_READERS: Final = ("config", "cli", "cli.calling", "cli.watching", "supervisor")

# Rooms that others are written against: what they promise has to be said.
_INTERFACES: Final = (
    *(
        "batches",
        "cache",
        *(
            "client.aio",
            "client.blocking",
            "client.core",
            "client.documents",
            "client.errors",
            "client.queries",
        ),
        *("client.reports", "client.servers", "client.steps", "client.updates", "client.watching"),
        *("config", "config.files", "config.values"),
        "convert.details",
        "convert.faults",
        "convert.reports",
        "convert.requests",
        "convert.resources",
        "convert.wire",
        *("admin", "metrics", "operation", "redaction"),
        "demo",
        *("errors", "errors.base", "errors.missing"),
        "feeds",
        "formats",
        "formats.base",
    ),
    *("exports", "imports", "parsing", "transfers", "convert.documents"),
    *("coalescing", "deliveries", "health", "json_text", "reads", "reports", "retention", "snapshots"),
    *(
        "port",
        "store",
        "store.base",
        "store.values",
        "supervisor",
        "tokens",
        "verify",
        "verify.checker",
        "verify.minutes",
    ),
    *("security.bearer", "security.certificates", "security.door", "security.keys"),
    *("security.principals", "security.rereading"),
    "bringing",
    *("sources.holding", "sources.orca", "sources.orca_comparison", "sources.orca_database"),
    *("sources.orca_following", "sources.orca_jobs", "sources.orca_secret", "sources.orca_stored"),
    "sources.orca_values",
    *("verify.probe", "verify.record", "verify.stream", "watch", "worker"),
)


class Module(NamedTuple):
    """A file of ours, as the rules see it."""

    name: str
    path: str
    tree: ast.Module


def modules() -> list[Module]:
    """Return everything the package has."""
    found = []
    for path in sorted((_ROOT / _PACKAGE).rglob("*.py")):
        parts = path.relative_to(_ROOT / _PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, str(path.relative_to(_ROOT)), ast.parse(path.read_text())))
    return found


_MODULES: Final = modules()
_NAMES: Final = {module.name for module in _MODULES}


def rule_of(name: str) -> tuple[str, Rule | None]:
    """Return the rule for a module, and the name it stands under."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in _RULES:
            return prefix, _RULES[prefix]
    return name, None


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield what a module imports, anywhere in it: the line, and the full name of the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, "." * node.level + (node.module or "")
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield node.lineno, full if _is_module(full) else str(node.module)


def _is_module(full: str) -> bool:
    """Return whether a name is a module's: of ours we know, of others only where packages share a name."""
    return full.removeprefix(f"{_PACKAGE}.") in _NAMES or full.startswith("google.")


def within(name: str, allowed: tuple[str, ...]) -> bool:
    """Return whether `name` is one of `allowed`, or inside it."""
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


def import_breaches(module: Module) -> list[str]:
    """Return what a module imports against the rules: file, line, and rule."""
    room, rule = rule_of(module.name)
    if rule is None:
        return [f"{module.path}:1: there is no rule for {room}: who may it import?"]
    found = []
    for line, name in imports(module.tree):
        if name.startswith(_PACKAGE):
            allowed = within(name.removeprefix(_PACKAGE).removeprefix("."), rule.ours)
        elif name.split(".")[0] in sys.stdlib_module_names - set(_RESTRICTED):
            allowed = True
        else:
            allowed = within(name, rule.others)
        if not allowed:
            only = ", ".join((*rule.ours, *rule.others)) or "nothing but the standard library"
            found.append(f"{module.path}:{line}: imports {name}, but {room} may import only: {only}")
    return found


def evasions(module: Module) -> list[str]:
    """Return where a module imports by other means than an import, or reads the environment."""
    found = []
    for node in ast.walk(module.tree):
        place = f"{module.path}:{getattr(node, 'lineno', 0)}"
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            name = next((alias.name for alias in node.names if alias.name in ("environ", "getenv")), "")
        if name in ("__import__", "import_module"):
            found.append(f"{place}: {name} hides an import from these rules")
        if name in ("environ", "environb", "getenv") and module.name not in _ENVIRONMENT_READERS:
            found.append(f"{place}: reads the environment, but only {', '.join(_ENVIRONMENT_READERS)} may")
    return found


def size_breaches(path: Path) -> list[str]:
    """Return what has grown too large in a file."""
    text = path.read_text()
    shown = path.relative_to(_ROOT)
    found = [
        f"{shown}:{node.lineno}: {node.name} takes {lines} lines, more than {_MAX_FUNCTION_LINES}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > _MAX_FUNCTION_LINES
    ]
    if text.count("\n") > _MAX_FILE_LINES:
        found.append(f"{shown}: takes {text.count(chr(10))} lines, more than {_MAX_FILE_LINES}")
    return found


def undocumented(module: Module) -> Iterator[str]:
    """Yield the public classes, functions and methods of a module that say nothing about themselves.

    What a class inherits is documented where it is declared, and a name that begins with a line is its own
    module's affair.
    """
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _silent(module, node)
            if not {base.id for base in node.bases if isinstance(base, ast.Name)} & {
                "JobStore",
                "NewsSource",
            }:
                for member in node.body:
                    if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                        yield from _silent(module, member)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _silent(module, node)


def _silent(module: Module, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    if not node.name.startswith("_") and not ast.get_docstring(node):
        yield f"{module.path}:{node.lineno}: {node.name} has no docstring"


def made_up(name: str, source: str) -> Module:
    """Return a module that is not there."""
    return Module(name, f"{_PACKAGE}/{name.replace('.', '/')}.py", ast.parse(source))


def test_every_room_imports_only_what_it_may() -> None:
    assert [breach for module in _MODULES for breach in import_breaches(module)] == []


def test_every_rule_is_for_a_room_that_is_there() -> None:
    rooms = {rule_of(name)[0] for name in _NAMES}
    assert sorted(_RULES.keys() - rooms) == []
    assert sorted(one for rule in _RULES.values() for one in rule.ours if one not in _NAMES) == []


@pytest.mark.parametrize(
    ("name", "source", "breach"),
    [
        ("watch", "import asyncio\nfrom sqlalchemy import text", "_grpc/watch.py:2: imports sqlalchemy"),
        ("streams", "def f():\n    import grpc.aio", "jobstatus_grpc/streams.py:2: imports grpc.aio"),
        ("model", "import jobstatus.v1", "jobstatus_grpc/model.py:1: imports jobstatus.v1"),
        ("feeds", "from jobstatus import v1 as pb", "jobstatus_grpc/feeds.py:1: imports jobstatus"),
        ("reads", "from jobstatus_grpc.store import open_store", "reads.py:1: imports jobstatus_grpc.store"),
        ("servicer", "from jobstatus_grpc.store import sql", "imports jobstatus_grpc.store.sql"),
        ("store.base", "import sqlite3", "jobstatus_grpc/store/base.py:1: imports sqlite3"),
        ("formats.sdrs", "from jobstatus_grpc import merge", "imports jobstatus_grpc.merge"),
        ("convert.frames", "from google.rpc import status_pb2", "imports google.rpc.status_pb2"),
        ("client", "from jobstatus_grpc.model import Job", "imports jobstatus_grpc.model"),
        ("client.core", "from jobstatus_grpc.client import aio", "imports jobstatus_grpc.client.aio"),
        ("health", "from . import store", "jobstatus_grpc/health.py:1: imports ."),
        ("attic", "", "jobstatus_grpc/attic.py:1: there is no rule for attic"),
    ],
)  # fmt: skip
def test_a_made_up_breach_is_named_with_its_file_line_and_rule(name: str, source: str, breach: str) -> None:
    found = import_breaches(made_up(name, source))
    assert len(found) == 1
    assert breach in found[0]
    assert name == "attic" or "may import only: " in found[0]


def test_nobody_evades_these_rules_and_only_configuration_and_command_read_the_environment() -> None:
    assert [breach for module in _MODULES for breach in evasions(module)] == []


@pytest.mark.parametrize(
    ("source", "breach"),
    [
        ("import os\nos.environ['HOME']", "jobstatus_grpc/server.py:2: reads the environment"),
        ("import os\nos.getenv('HOME')", "jobstatus_grpc/server.py:2: reads the environment"),
        ("from os import environ as e", "jobstatus_grpc/server.py:1: reads the environment"),
        ("__import__('sqlalchemy')", "jobstatus_grpc/server.py:1: __import__ hides an import"),
        ("import importlib\nimportlib.import_module('x')", "server.py:2: import_module hides an import"),
    ],
)
def test_a_made_up_evasion_is_named(source: str, breach: str) -> None:
    (found,) = evasions(made_up("server", source))
    assert breach in found


@pytest.mark.parametrize("arguments", [["--help"], ["watch", "--help"], ["--version"]])
def test_a_command_that_only_talks_loads_neither_grpc_nor_a_database(arguments: list[str]) -> None:
    heavy = ["grpc", "sqlalchemy", "alembic", "psycopg2", "google.protobuf", "jobstatus", "rich", "structlog"]
    program = (
        "import sys\n"
        "from jobstatus_grpc.cli import run\n"
        f"run({arguments!r})\n"
        f"print([name for name in {heavy!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment()
    )
    assert done.stdout.splitlines()[-1] == "[]"


def loaded_with(name: str) -> set[str]:
    """Return what of others is loaded with a module of ours, through whichever of ours."""
    known = {module.name: module for module in _MODULES}
    ours, others = [name], set()
    for one in ours:
        for _, full in imports(known[one].tree):
            inner = full.removeprefix(f"{_PACKAGE}.")
            if inner != full and inner not in ours:
                ours.append(inner)
            elif inner == full:
                others.add(full.split(".")[0])
    return others - sys.stdlib_module_names


def test_the_supervisor_of_several_processes_is_never_one_that_loads_grpc() -> None:
    assert loaded_with("supervisor") == {"prometheus_client", "structlog"}
    assert {"grpc", "sqlalchemy", "uvloop"} <= loaded_with("worker")


def test_nothing_has_grown_too_large() -> None:
    ours = [
        path
        for path in sorted((_ROOT / _PACKAGE).rglob("*.py"))
        if "versions" not in path.parts  # A migration is as long as its tables have columns.
    ]
    assert [breach for path in ours for breach in size_breaches(path)] == []


def test_what_has_grown_too_large_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys.modules[__name__], "_ROOT", tmp_path)
    path = tmp_path / "long.py"
    path.write_text("x = 1\n\n\ndef long() -> None:\n" + "    print()\n" * 500)
    assert size_breaches(path) == [
        "long.py:4: long takes 501 lines, more than 45",
        "long.py: takes 504 lines, more than 450",
    ]


def test_every_file_is_named_for_what_is_in_it() -> None:
    paths = [*(_ROOT / _PACKAGE).rglob("*"), *(_ROOT / "tests").rglob("*")]
    assert [path for path in paths if path.stem.removeprefix("test_") in _NAMELESS] == []


def test_interfaces_say_what_they_promise() -> None:
    known = {module.name: module for module in _MODULES}
    assert [silent for name in _INTERFACES for silent in undocumented(known[name])] == []
    silent = made_up("errors", "class A:\n    def b(self): ...\n    def _c(self): ...\ndef d(): ...\n")
    assert [line.partition(": ")[2] for line in undocumented(silent)] == [
        "A has no docstring",
        "b has no docstring",
        "d has no docstring",
    ]
