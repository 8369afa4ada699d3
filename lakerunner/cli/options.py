"""Options and arguments that several commands share, and how they open a lake."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

import lakerunner
from lakerunner.catalog.default import CATALOG_NAME
from lakerunner.errors import ConfigurationError
from lakerunner.lake import Lake
from lakerunner.registry import split_scheme
from lakerunner.store.urls import absolute_path

_LAKE = "Connection"

LakeUrl = Annotated[
    str,
    typer.Argument(
        metavar="LAKE",
        help="The lake: a directory or a URL such as s3://bucket/lake.",
        show_default=False,
    ),
]
Organization = Annotated[
    str, typer.Option("--organization", "--org", help="Whose rows.", rich_help_panel=_LAKE)
]
CatalogUrl = Annotated[
    str | None,
    typer.Option(
        "--catalog",
        metavar="URL",
        help="Where the catalog is, if not where the lake puts it by itself.",
        rich_help_panel=_LAKE,
        show_default=False,
    ),
]
StorageOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--storage-option",
        metavar="KEY=VALUE",
        help="A credential or endpoint in fsspec's words; give it once for each. "
        "Values that are true, false, null, a JSON object or a JSON list are read as such.",
        rich_help_panel=_LAKE,
        show_default=False,
    ),
]


def read_storage_options(options: list[str] | None) -> dict[str, Any]:
    """Read `key=value` texts.

    Raises:
        ConfigurationError: One has no `=`, or broken JSON.

    Example:
        >>> read_storage_options(["key=0123", "anon=true", 'client_kwargs={"verify": false}'])
        {'key': '0123', 'anon': True, 'client_kwargs': {'verify': False}}
    """
    return dict(map(_read_option, options or ()))


def _read_option(option: str) -> tuple[str, Any]:
    key, separator, value = option.partition("=")
    if not (key and separator):
        raise ConfigurationError(f"--storage-option {option!r} is not of the form KEY=VALUE")
    if value in {"true", "false", "null"} or value.startswith(("{", "[")):
        try:
            return key, msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"--storage-option {key}: {error}") from error
    return key, value


def open_lake(
    url: str,
    catalog: str | None,
    organization: str,
    storage_options: list[str] | None,
    **settings: Any,
) -> Lake:
    """Open the lake that a command line names, to read only unless `settings` say otherwise.

    Args:
        url: The lake.
        catalog: Value of `--catalog`.
        organization: Value of `--organization`.
        storage_options: Values of `--storage-option`.
        settings: Further arguments of `lakerunner.open`.

    Raises:
        ConfigurationError: It is to be read, and there is none in the directory it names.
    """
    settings = {"read_only": True, **settings}
    own_catalog = catalog is None and split_scheme(url)[0] == "file"
    # The library takes what is not there for an empty lake; at a prompt it is a typing error.
    if (
        settings["read_only"]
        and own_catalog
        and not Path(absolute_path(url), CATALOG_NAME).exists()
    ):
        raise ConfigurationError(f"there is no lake at {url}; `lakerunner ingest` makes one")
    return lakerunner.open(
        url,
        catalog=catalog,
        organization=organization,
        storage_options=read_storage_options(storage_options),
        **settings,
    )
