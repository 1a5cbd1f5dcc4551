"""What commands take of the file of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobstatus_grpc.config import client_settings, filed_settings

# Groups of commands that take some of a server's settings, by the names of their options.
_DATABASE = {"database_url": "database_url"}
_ORCA = _DATABASE | {
    "orca_url": "source_orca_url",
    "orca_secret_file": "source_orca_secret_file",
    "project_id": "source_orca_project_id",
    "interval": "source_orca_interval",
    "settle": "source_orca_settle",
}
_WITH_SETTINGS = {"db": {"upgrade": _DATABASE, "prune": _DATABASE}, "source": {"orca": _ORCA}}


def filed_options(command: str, variables: Mapping[str, str]) -> Mapping[str, Any]:
    """Return what the file of settings tells a command's options; of a group, by its commands.

    Raises:
        ConfigInvalid: the file cannot be read, or names what is wrong with it.
    """
    if command not in _WITH_SETTINGS:
        return client_settings(variables)
    found = {}
    for each, names in _WITH_SETTINGS[command].items():
        filed = filed_settings(variables, names.values())
        found[each] = {name: filed[key] for name, key in names.items() if key in filed}
    return found
