"""Options and arguments that several commands share, and how they open a lake."""

from typing import Annotated, Any

import msgspec
import typer

import lakerunner
from lakerunner.errors import ConfigurationError
from lakerunner.lake import Lake
from lakerunner.model.signal import Signal, read_signal

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
    return lakerunner.open(
        url,
        catalog=catalog,
        organization=organization,
        storage_options=read_storage_options(storage_options),
        **settings,
    )


def read_signal_option(value: str) -> Signal:
    """The value of `--signal`.

    Raises:
        typer.BadParameter: There is no such signal.
    """
    try:
        return read_signal(value)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from None


SIGNALS = "|".join(Signal)


SignalName = Annotated[
    Signal | None,
    typer.Option(
        "--signal",
        parser=read_signal_option,
        metavar=SIGNALS,
        help="What it is; told from the content if not given.",
        show_default=False,
    ),
]
FormatName = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Its format; told from name and content if not given.",
        show_default=False,
    ),
]
Workers = Annotated[
    int, typer.Option(min=1, help="Processes that read and write, one for each core at most.")
]


def read_params(params: list[str] | None) -> dict[str, Any] | None:
    """Read `name=value` texts; a value that is JSON of its own is read as such, all else is text.

    Raises:
        ConfigurationError: One has no `=`.

    Example:
        >>> read_params(["level=ERROR", "code=500", 'ids=["a", "b"]', 'text="500"'])
        {'level': 'ERROR', 'code': 500, 'ids': ['a', 'b'], 'text': '500'}
    """
    return dict(map(_read_param, params)) if params else None


def _read_param(param: str) -> tuple[str, Any]:
    name, separator, value = param.partition("=")
    if not (name and separator):
        raise ConfigurationError(f"--param {param!r} is not of the form NAME=VALUE")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value
