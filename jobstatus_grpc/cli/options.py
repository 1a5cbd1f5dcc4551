"""What the commands can be told."""

from __future__ import annotations

from typing import Annotated, Final

import typer

SERVER: Final = "127.0.0.1:50051"

Server = Annotated[
    str,
    typer.Option(
        "--server",
        envvar="JOBSTATUS_SERVER",
        metavar="HOST:PORT,…",
        help="Which server to ask; or several of one database, of which any may answer.",
    ),
]
Project = Annotated[
    str,
    typer.Option(
        "--project-id", envvar="JOBSTATUS_PROJECT_ID", metavar="ID", help="The project; empty means default."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, one value a line, in protobuf's form.")]
JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.")]
Source = Annotated[str, typer.Argument(metavar="FILE", help="The file; - is standard input.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database-url", metavar="URL", help="sqlite:///FILE or postgresql://…"),
]
ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config", metavar="FILE", help="The file of settings; otherwise ./jobstatus.toml, if it is there."
    ),
]
States = Annotated[
    list[str] | None,
    typer.Option("--state", "--states", metavar="STATE,…", help="Only those in one of these states."),
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Only jobs with this label.")
]

AwaitedEnd = Annotated[
    str,
    typer.Option(
        "--until",
        metavar="terminal|any-failure|SHARE",
        help="Until the job's end, the first failed granule, or a share of the granules, as 0.9.",
    ),
]
AtMost = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", min=0, help="How long at most; without it for ever."),
]
Unreported = Annotated[
    bool, typer.Option("--wait-for-job", help="Wait also for a job that nobody has reported yet.")
]

Listen = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where to listen.")]
Insecure = Annotated[
    bool | None,
    typer.Option("--insecure", help="Serve others too without encryption, or without asking who calls."),
]
Demo = Annotated[
    bool | None, typer.Option("--demo/--no-demo", help="Keep a demonstration job going, named demo.")
]
Workers = Annotated[str | None, typer.Option(metavar="N", help="How many processes serve.")]
TlsCertFile = Annotated[str | None, typer.Option(metavar="FILE", help="The server's certificate, in PEM.")]
TlsKeyFile = Annotated[str | None, typer.Option(metavar="FILE", help="Its private key, in PEM.")]
SourceOrcaUrl = Annotated[
    str | None,
    typer.Option("--source-orca-url", metavar="URL", help="Bring in the jobs of this ORCA database."),
]
SourceOrcaSecretFile = Annotated[
    str | None,
    typer.Option(
        "--source-orca-secret-file", metavar="FILE", help="The same, named by the JSON of ORCA's secret."
    ),
]
LogLevel = Annotated[str | None, typer.Option(metavar="LEVEL", help="debug, info, warning, error.")]
LogFormat = Annotated[str | None, typer.Option(metavar="FORMAT", help="json, console or auto.")]

OrcaUrl = Annotated[
    str,
    typer.Option(
        envvar="JOBSTATUS_SOURCE_ORCA_URL",
        metavar="URL",
        help="ORCA's database, postgresql://…, by a role that may read its tables.",
    ),
]
OrcaSecretFile = Annotated[
    str,
    typer.Option(
        envvar="JOBSTATUS_SOURCE_ORCA_SECRET_FILE",
        metavar="FILE",
        help="The JSON of ORCA's secret, which names its database and a role.",
    ),
]
OrcaProject = Annotated[
    str,
    typer.Option(
        "--project-id",
        envvar="JOBSTATUS_SOURCE_ORCA_PROJECT_ID",
        metavar="ID",
        help="The project of its jobs; empty means default.",
    ),
]
OrcaInterval = Annotated[
    float,
    typer.Option(
        envvar="JOBSTATUS_SOURCE_ORCA_INTERVAL",
        min=0.05,
        metavar="SECONDS",
        help="How often open jobs are read.",
    ),
]
OrcaSettle = Annotated[
    float,
    typer.Option(
        envvar="JOBSTATUS_SOURCE_ORCA_SETTLE",
        min=0.0,
        metavar="SECONDS",
        help="For how long no granule comes to a complete job.",
    ),
]

Tls = Annotated[
    bool,
    typer.Option(
        "--tls/--no-tls", envvar="JOBSTATUS_TLS", help="Encrypt; --ca-file and --cert-file mean it too."
    ),
]
CaFile = Annotated[
    str,
    typer.Option(
        envvar="JOBSTATUS_CA_FILE", metavar="FILE", help="The server's authorities; else the system's."
    ),
]
CertFile = Annotated[
    str, typer.Option(envvar="JOBSTATUS_CERT_FILE", metavar="FILE", help="The client's own certificate.")
]
KeyFile = Annotated[str, typer.Option(envvar="JOBSTATUS_KEY_FILE", metavar="FILE", help="Its private key.")]
TokenFile = Annotated[
    str,
    typer.Option(
        envvar="JOBSTATUS_TOKEN_FILE",
        metavar="FILE",
        help="Where the bearer token is, read for each call; or JOBSTATUS_TOKEN is the token.",
    ),
]
