"""What an operator can set. Nothing else in the server reads the environment, or the file of settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jobstatus_grpc.config import values
from jobstatus_grpc.config.files import read_settings, text_of, unknown_key
from jobstatus_grpc.config.values import age as age
from jobstatus_grpc.errors import ConfigInvalid, Violation

PREFIX: Final = "JOBSTATUS_"
FILE_VARIABLE: Final = f"{PREFIX}CONFIG"
CLIENT_TABLE: Final = "client"
"""What the commands that call a server are told in the same file."""

CLIENT_SETTINGS: Final = ("server", "project_id", "tls", "ca_file", "cert_file", "key_file", "token_file")

# What Kubernetes tells containers of a service that has our name.
_INJECTED: Final = re.compile(r"_SERVICE_(HOST|PORT\w*)$|_PORT(_\d+_\w+)?$")

_MAX_THREADS: Final = 256
_MAX_WORKERS: Final = 256


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """What a server needs to know to start.

    Attributes:
        listen: where to listen, `host:port` or `[IPv6]:port`; port 0 lets the system choose one.
        insecure: whether others than this host may call without encryption, or without saying who they are.
        database_url: `sqlite:///FILE` or `postgresql://…`. May hold a password, so it is not in the `repr`;
            show `shown_database_url`.
        demo: whether to run a demonstration job.
        workers: how many processes serve, on the one port. Limits and threads are each process's own.
        drain_seconds: how long calls may go on after the server was told to stop, in seconds.
        drain_spread: over how long the streams are sent away then, in seconds; at most half of
            `drain_seconds`. Few streams go faster.
        max_stream_age: how long a stream lives at most, in seconds.
        max_connection_age: how long a connection takes new calls, in seconds. It is closed when its last
            stream has reached its own age, or a little later if that stream's client does not read.
        max_watches: how many watches a process serves at once.
        max_watches_per_project: how many of them may be of one project.
        max_transfers: how many documents a process takes in and gives out at once.
        write_timeout: how long a watch waits for a client that does not read, and a document for one that
            neither reads nor sends its next part, in seconds.
        read_threads: how many reads of the database go on at once, besides the one for many callers.
        write_threads: how many writes of the database go on at once.
        poll_interval: how often the database is asked for news, in seconds.
        notify: whether processes tell each other of commits through PostgreSQL's NOTIFY. Without it
            they find them by asking.
        max_waiting_reports: how many reports of one job may wait for their turn, in a process.
        change_retention: for how long the changes of jobs are kept, in seconds; 0 is for ever. A watch that
            was left for longer goes on with a new snapshot. A week is longer than a long weekend.
        job_retention: for how long jobs are kept that have ended, from their last report on, in seconds; 0 is
            for ever, which is the default: a job is deleted because somebody asked for it.
        tls_cert_file: the server's certificate and those between it and its authority, in PEM; empty for no
            encryption.
        tls_key_file: its private key, in PEM, without a pass phrase.
        tls_client_ca_file: the authorities of the clients' certificates, in PEM; with it, every client needs
            one.
        principals_file: who the names in clients' certificates are, and what they may do.
        jwt_keys_file: the public keys that bearer tokens are signed with, in PEM or as a JSON Web Key Set;
            empty to take no tokens.
        jwt_issuer: what the tokens' `iss` has to be.
        jwt_audience: what their `aud` has to be, or to contain.
        jwt_projects_claim: which of their claims lists the projects.
        jwt_leeway: how many seconds the clocks of their issuer and of the server may differ.
        reflection: whether the server describes its services to everybody.
        admin_listen: where metrics and probes are answered over HTTP, `host:port`, or a port alone for this
            host; empty for nowhere.
        source_orca_url: an ORCA database, `postgresql://…`, whose jobs are brought in; may hold a password,
            so it is not in the `repr` either. Empty for none.
        source_orca_secret_file: the JSON of ORCA's secret, which names its database, in place of the URL.
        source_orca_project_id: of which project the jobs are.
        source_orca_interval: how often open jobs are read there, in seconds.
        source_orca_settle: for how long no granule comes before a job is complete, in seconds.
        log_calls: which calls have a line in the log: `all`, `failed`, `none`, or `auto`: all in JSON, those
            that failed on a console.
        log_level: `debug`, `info`, `warning` or `error`.
        log_format: `json`, `console`, or `auto`: console on a terminal, else JSON.
    """

    listen: str = "127.0.0.1:50051"
    insecure: bool = False
    database_url: str = field(default="sqlite:///jobstatus.db", repr=False)
    demo: bool = False
    workers: int = 1
    drain_seconds: float = 5.0
    drain_spread: float = 2.0
    max_stream_age: float = 1800.0
    max_connection_age: float = 3600.0
    max_watches: int = 20_000
    max_watches_per_project: int = 5_000
    max_transfers: int = 16
    write_timeout: float = 30.0
    read_threads: int = 4
    write_threads: int = 4
    poll_interval: float = 1.0
    notify: bool = True
    max_waiting_reports: int = 1000
    change_retention: float = 7 * 86400.0
    job_retention: float = 0.0
    tls_cert_file: str = ""
    tls_key_file: str = ""
    tls_client_ca_file: str = ""
    principals_file: str = ""
    jwt_keys_file: str = ""
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_projects_claim: str = "projects"
    jwt_leeway: float = 5.0
    reflection: bool = True
    admin_listen: str = ""
    source_orca_url: str = field(default="", repr=False)
    source_orca_secret_file: str = ""
    source_orca_project_id: str = "default"
    source_orca_interval: float = 1.0
    source_orca_settle: float = 60.0
    log_calls: str = "auto"
    log_level: str = "info"
    log_format: str = "auto"

    @property
    def shown_database_url(self) -> str:
        """The database's URL without user, password and options."""
        return values.shown_url(self.database_url)

    @property
    def shown_source_orca_url(self) -> str:
        """The URL of ORCA's database, without user, password and options; empty if there is none."""
        return values.shown_url(self.source_orca_url) if self.source_orca_url else ""

    @property
    def has_source(self) -> bool:
        """Whether jobs are brought in from an ORCA database."""
        return bool(self.source_orca_url or self.source_orca_secret_file)

    @property
    def authenticates(self) -> bool:
        """Whether callers are asked who they are."""
        return bool(self.jwt_keys_file or self.principals_file)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **overrides: object) -> ServerConfig:
        """Return the configuration: an override, else a variable, else what the file says, else the default.

        The file is the override `config`, else `JOBSTATUS_CONFIG`, else `jobstatus.toml` if that is there.

        Args:
            environ: the environment; the variable of `listen` is `JOBSTATUS_LISTEN`, and so on. An empty
                variable is as good as none.
            **overrides: by the names of the attributes; `None` is as good as none.

        Raises:
            ConfigInvalid: names every bad value and every unknown key of the file and the environment, and
                repeats no URL.
        """
        path = str(overrides.pop("config", None) or environ.get(FILE_VARIABLE) or "")
        if unknown := overrides.keys() - _READERS.keys():
            raise TypeError(f"no such settings: {', '.join(sorted(unknown))}")
        filed = read_settings(path)
        faults = [
            Violation(key, unknown_key(key, _READERS))
            for key in filed
            if key not in (*_READERS, CLIENT_TABLE)
        ]
        faults += _unknown_variables(environ)
        found: dict[str, Any] = {}
        for name, read in _READERS.items():
            place, given = _given(name, environ, filed, overrides)
            if given is None:
                continue
            try:
                found[name] = read(text_of(given).strip())
            except ValueError as error:
                faults.append(Violation(place, str(error)))
        config = cls(**found)
        # Of what cannot be read, nothing follows.
        faults += [] if faults else _disagreements(config)
        if faults:
            raise ConfigInvalid(faults)
        return config


def client_settings(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return what the file of settings tells the commands that call a server.

    Raises:
        ConfigInvalid: names every unknown key and bad value of theirs.
    """
    table = read_settings(environ.get(FILE_VARIABLE, "")).get(CLIENT_TABLE, {})
    if not isinstance(table, dict):
        raise ConfigInvalid([Violation(CLIENT_TABLE, "is not a table")])
    found, faults = {}, []
    for key, value in table.items():
        try:
            found[key] = text_of(value)
            if key not in CLIENT_SETTINGS:
                raise ValueError(unknown_key(key, CLIENT_SETTINGS))
        except ValueError as error:
            faults.append(Violation(f"{CLIENT_TABLE}.{key}", str(error)))
    if faults:
        raise ConfigInvalid(faults)
    return found


def filed_settings(environ: Mapping[str, str], names: Iterable[str]) -> Mapping[str, str]:
    """Return what the file of settings tells a command that is no server, of the settings of these names.

    Raises:
        ConfigInvalid: the file cannot be read, or names every value of theirs that is none.
    """
    filed = read_settings(environ.get(FILE_VARIABLE, ""))
    found, faults = {}, []
    for name in names:
        try:
            if name in filed:
                found[name] = text_of(filed[name])
        except ValueError as error:
            faults.append(Violation(name, str(error)))
    if faults:
        raise ConfigInvalid(faults)
    return found


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[Violation]:
    known = {PREFIX + name.upper() for name in (*_READERS, *CLIENT_SETTINGS, "config", "token")}
    for name, value in environ.items():
        if name.startswith(PREFIX) and value and name not in known and not _INJECTED.search(name):
            yield Violation(name, unknown_key(name, known))


def _given(
    name: str, environ: Mapping[str, str], filed: Mapping[str, Any], overrides: Mapping[str, object]
) -> tuple[str, object]:
    """Return where a setting is given, and what; `None` if nowhere."""
    variable = PREFIX + name.upper()
    if (given := overrides.get(name)) is not None:
        return name, given
    if text := environ.get(variable):
        return variable, text
    return name, filed.get(name)


def _disagreements(config: ServerConfig) -> Iterator[Violation]:
    """Yield what settings that are well each for itself are not together."""
    for name, others in _NEEDED.items():
        for other in others:
            if getattr(config, name) and not getattr(config, other):
                yield Violation(other, f"is missing, and {name} needs it")
    if config.source_orca_url and config.source_orca_secret_file:
        yield Violation("source_orca_url", "is given, and source_orca_secret_file too: give one of them")
    if config.demo and (config.authenticates or config.tls_cert_file):
        yield Violation("demo", "is for a server without tls_cert_file and without authentication")
    if config.insecure or values.is_loopback(config.listen):
        return
    if not config.tls_cert_file:
        words = f"is missing, and {config.listen} is open to others (or set insecure)"
        yield Violation("tls_cert_file", words)
    if not config.authenticates:
        words = f"is missing, or principals_file, and {config.listen} is open to others (or set insecure)"
        yield Violation("jwt_keys_file", words)


# What each setting makes no sense without.
_NEEDED: Final = {
    "tls_cert_file": ("tls_key_file",),
    "tls_key_file": ("tls_cert_file",),
    "tls_client_ca_file": ("tls_cert_file",),
    "principals_file": ("tls_client_ca_file",),
    "jwt_keys_file": ("jwt_issuer", "jwt_audience"),
    "jwt_issuer": ("jwt_keys_file",),
    "jwt_audience": ("jwt_keys_file",),
}

_READERS: Final[dict[str, Callable[[str], object]]] = {
    "listen": values.listen,
    "insecure": values.boolean,
    "database_url": values.database_url,
    "demo": values.boolean,
    "workers": values.count(_MAX_WORKERS),
    "drain_seconds": values.seconds(zero=True),
    "drain_spread": values.seconds(zero=True),
    "max_stream_age": values.seconds(zero=False),
    "max_connection_age": values.seconds(zero=False),
    "max_watches": values.count(1_000_000),
    "max_watches_per_project": values.count(1_000_000),
    "max_transfers": values.count(1_000),
    "write_timeout": values.seconds(zero=False),
    "read_threads": values.count(_MAX_THREADS),
    "write_threads": values.count(_MAX_THREADS),
    "poll_interval": values.seconds(zero=False),
    "notify": values.boolean,
    "max_waiting_reports": values.count(1_000_000),
    "change_retention": values.retention,
    "job_retention": values.retention,
    "tls_cert_file": values.words,
    "tls_key_file": values.words,
    "tls_client_ca_file": values.words,
    "principals_file": values.words,
    "jwt_keys_file": values.words,
    "jwt_issuer": values.words,
    "jwt_audience": values.words,
    "jwt_projects_claim": values.words,
    "jwt_leeway": values.seconds(zero=True),
    "reflection": values.boolean,
    "admin_listen": values.admin_listen,
    "source_orca_url": values.source_url,
    "source_orca_secret_file": values.words,
    "source_orca_project_id": values.words,
    "source_orca_interval": values.seconds(zero=False),
    "source_orca_settle": values.seconds(zero=True),
    "log_calls": values.one_of("auto", "all", "failed", "none"),
    "log_level": values.one_of("debug", "info", "warning", "error"),
    "log_format": values.one_of("auto", "json", "console"),
}
