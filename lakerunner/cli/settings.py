"""What the command line takes from the environment and from a small file of its own."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from lakerunner.errors import ConfigurationError, did_you_mean

_PATHS = ("lakerunner.toml", "~/.config/lakerunner/config.toml")


class OwnSettings(NamedTuple):
    """Defaults of the options that every command has.

    Attributes:
        lake: The lake, where a command names none.
        organization: Whose rows.
        catalog: URL of the catalog.
        output: How answers are written.
        storage_options: Credentials and endpoints, in fsspec's words.
    """

    lake: str | None = None
    organization: str | None = None
    catalog: str | None = None
    output: str | None = None
    storage_options: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it


def settings_file() -> Path | None:
    """The file that counts: `LAKERUNNER_CONFIG`, else `lakerunner.toml` here, else the user's own.

    Raises:
        ConfigurationError: The one that `LAKERUNNER_CONFIG` names is not there.
    """
    named = os.environ.get("LAKERUNNER_CONFIG")
    if named is not None:
        path = Path(named).expanduser()
        if named and not path.is_file():
            raise ConfigurationError(f"LAKERUNNER_CONFIG: there is no file {named}")
        return path if named else None
    home = os.environ.get("XDG_CONFIG_HOME")
    own = _PATHS[1] if not home else f"{home}/lakerunner/config.toml"
    return next((path for each in (_PATHS[0], own) if (path := _expanded(each)).is_file()), None)


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no home
        return Path(path)


def own_settings() -> OwnSettings:
    """What the settings file says; the environment is over it.

    Raises:
        ConfigurationError: The file cannot be read, or has a setting that there is not.
    """
    path = settings_file()
    said = {} if path is None else _read(path)
    lake = os.environ.get("LAKERUNNER_LAKE") or said.get("lake")
    return OwnSettings(**{**said, "lake": lake})


def _read(path: Path) -> dict[str, Any]:
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    for name, value in said.items():
        if name not in OwnSettings._fields:
            hint = did_you_mean(name, OwnSettings._fields, "there are")
            raise ConfigurationError(f"{path}: no setting {name!r}{hint}")
        if not isinstance(value, dict if name == "storage_options" else str):
            raise ConfigurationError(f"{path}: {name} has a value of the wrong kind")
    return said
