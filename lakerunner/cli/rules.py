"""Options that say whose input is and how it is read, for the commands that take input."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from lakerunner.errors import ConfigurationError

_RULES = "Whose it is, and how it is read"

Profiles = Annotated[
    Path | None,
    typer.Option(
        "--profiles",
        metavar="FILE",
        help="Storage profiles, a YAML file: which bucket is whose, and how it is reached.",
        rich_help_panel=_RULES,
        show_default=False,
    ),
]
PrefixMappings = Annotated[
    list[str] | None,
    typer.Option(
        "--prefix-mapping",
        metavar="URL=ORGANIZATION",
        help="Whose the objects below a prefix are; give it once for each. "
        "The longest prefix counts.",
        rich_help_panel=_RULES,
        show_default=False,
    ),
]
MappingFile = Annotated[
    Path | None,
    typer.Option(
        "--mapping",
        metavar="FILE",
        help="Which fields of the records mean what, a YAML or JSON file.",
        rich_help_panel=_RULES,
        show_default=False,
    ),
]


def read_rules(profiles: Path | None, prefixes: list[str] | None) -> dict[str, Any] | None:
    """Rules of ownership for `lakerunner.open`; None without any.

    Raises:
        ConfigurationError: A prefix mapping has no `=`.

    Example:
        >>> read_rules(None, ["s3://raw/apps/=acme"])
        {'prefixes': {'s3://raw/apps/': 'acme'}}
    """
    rules: dict[str, Any] = {} if profiles is None else {"profiles": profiles}
    mapped: dict[str, str] = {}
    for each in prefixes or ():
        url, separator, organization = each.rpartition("=")
        if not (url and separator):
            raise ConfigurationError(f"--prefix-mapping {each!r} is not of the form URL=NAME")
        if url in mapped:
            raise ConfigurationError(f"--prefix-mapping: '{url}' is mapped twice")
        mapped[url] = organization
    if mapped:
        rules["prefixes"] = mapped
    return rules or None


def read_mapping_file(path: Path | None) -> dict[str, Any] | None:
    """A source mapping for `Lake.ingest`, not yet checked; None without a file.

    Raises:
        ConfigurationError: The file cannot be read, or holds no mapping.
    """
    if path is None:
        return None
    try:
        # YAML is a superset of JSON.
        return msgspec.yaml.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise ConfigurationError(f"--mapping: {path} cannot be read: {error.strerror}") from None
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"--mapping: {path}: {error}") from error
