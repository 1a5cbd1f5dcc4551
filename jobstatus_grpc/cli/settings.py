"""The command that shows the configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields

from jobstatus_grpc.cli.terminal import say
from jobstatus_grpc.config import ServerConfig


def show_settings(variables: Mapping[str, str], config: str | None) -> int:
    """Write what `serve` would take, in the form of the file of settings; secrets are left out."""
    settings = ServerConfig.from_environment(variables, config=config)
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name.endswith("_url"):
            value = getattr(settings, f"shown_{field.name}")
        say(f"{field.name} = {json.dumps(value, ensure_ascii=False)}")
    return 0
