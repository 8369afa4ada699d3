"""What several commands share: groups of options, and how a command spells them out."""

import inspect
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_type_hints

import typer

from lakerunner.cli.output import Output
from lakerunner.cli.screen import hushed
from lakerunner.cli.settings import own_settings
from lakerunner.errors import ConfigurationError
from lakerunner.model.signal import Signal, read_signal

if TYPE_CHECKING:
    from collections.abc import Callable

    from lakerunner.lake import Lake

_LAKE = "Connection"

Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        help="Say nothing on stderr but errors: no progress, no statistics, no notes.",
        rich_help_panel=_LAKE,
    ),
]
LakeUrl = Annotated[
    str,
    typer.Argument(
        metavar="LAKE",
        help="The lake: a directory or a URL such as s3://bucket/lake. May be left out where "
        "LAKERUNNER_LAKE or the settings name one.",
        show_default=False,
    ),
]
Organization = Annotated[
    str,
    typer.Option(
        "--organization",
        "--org",
        help="Whose rows.",
        envvar="LAKERUNNER_ORGANIZATION",
        rich_help_panel=_LAKE,
    ),
]
OneOrganization = Annotated[
    str | None,
    typer.Option(
        "--organization",
        "--org",
        help="Whose segments; those of all if not given.",
        rich_help_panel=_LAKE,
        show_default=False,
    ),
]
CatalogUrl = Annotated[
    str | None,
    typer.Option(
        "--catalog",
        metavar="URL",
        help="Where the catalog is, if not where the lake puts it by itself.",
        envvar="LAKERUNNER_CATALOG",
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
    """Read `key=value` texts, over those of the settings.

    Raises:
        ConfigurationError: One has no `=`, or broken JSON.

    Example:
        >>> read_storage_options(["key=0123", "anon=true", 'client_kwargs={"verify": false}'])
        {'key': '0123', 'anon': True, 'client_kwargs': {'verify': False}}
    """
    return {**own_settings().storage_options, **dict(map(_read_option, options or ()))}


def _read_option(option: str) -> tuple[str, Any]:
    import msgspec

    key, separator, value = option.partition("=")
    if not (key and separator):
        raise ConfigurationError(f"--storage-option {option!r} is not of the form KEY=VALUE")
    if value in {"true", "false", "null"} or value.startswith(("{", "[")):
        try:
            return key, msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"--storage-option {key}: {error}") from error
    return key, value


class Connection(NamedTuple):
    """A lake, and whose rows of it are meant."""

    lake: LakeUrl
    organization: Organization = "default"
    catalog: CatalogUrl = None
    storage_option: StorageOptions = None

    def open(self, **settings: Any) -> "Lake":
        """Open the lake, to read only unless `settings` of `lakerunner.open` say otherwise.

        Raises:
            ConfigurationError: It is to be read, and there is none in the directory it names.
        """
        import lakerunner

        return lakerunner.open(
            self.lake,
            catalog=self.catalog,
            organization=self.organization,
            storage_options=read_storage_options(self.storage_option),
            **{"read_only": True, **settings},
        )


class Everyone(NamedTuple):
    """A lake, and one organization of it or all: what maintenance is about."""

    lake: LakeUrl
    organization: OneOrganization = None
    catalog: CatalogUrl = None
    storage_option: StorageOptions = None

    def open(self, **settings: Any) -> "Lake":
        """Open the whole lake; see `Connection.open`."""
        whole = Connection(self.lake, "default", self.catalog, self.storage_option)
        return whole.open(**settings)

    def bound(self, opened: "Lake") -> "Lake":
        """The same lake bound to the organization, if one is named."""
        return opened if self.organization is None else opened.for_organization(self.organization)


class Range(NamedTuple):
    """From when until when."""

    start: Annotated[
        str | None,
        typer.Option("--start", help="Only from this time on, such as now-1h.", show_default=False),
    ] = None
    end: Annotated[
        str | None, typer.Option("--end", help="Only before this time.", show_default=False)
    ] = None


class Tls(NamedTuple):
    """How connections are kept from others."""

    cert: Annotated[
        Path | None,
        typer.Option(
            "--tls-cert", metavar="FILE", help="Certificate chain in PEM.", show_default=False
        ),
    ] = None
    key: Annotated[
        Path | None,
        typer.Option("--tls-key", metavar="FILE", help="Its private key.", show_default=False),
    ] = None
    clients: Annotated[
        Path | None,
        typer.Option(
            "--tls-clients",
            metavar="FILE",
            help="Certificates that sign those of clients, for `access: subjects:`.",
            show_default=False,
        ),
    ] = None


class Shown(NamedTuple):
    """How an answer is written, and where."""

    output: Annotated[
        Output,
        typer.Option(
            "--output",
            "-o",
            help="How the answer is written; json is one list, jsonl an object a line.",
            envvar="LAKERUNNER_OUTPUT",
        ),
    ] = Output.TABLE
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Where it is written; - is stdout, as without it.",
            show_default=False,
        ),
    ] = None


LimitRows = Annotated[
    int, typer.Option("--limit-rows", min=1, help="Rows of a table that are shown.")
]


def read_signal_option(value: str) -> Signal:
    """The value of `--signal`.

    Raises:
        typer.BadParameter: There is no such signal.
    """
    try:
        return read_signal(value)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from None


class Content(NamedTuple):
    """What input is, where it does not tell by itself."""

    signal: Annotated[
        Signal | None,
        typer.Option(
            "--signal",
            parser=read_signal_option,
            metavar="|".join(Signal),
            help="What it is; told from the content if not given.",
            show_default=False,
        ),
    ] = None
    input_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Its format; told from name and content if not given.",
            show_default=False,
        ),
    ] = None


Workers = Annotated[
    int, typer.Option(min=1, help="Processes that read and write, one for each core at most.")
]


class Rules(NamedTuple):
    """Whose input is, and how it is read."""

    profiles: Annotated[
        Path | None,
        typer.Option(
            "--profiles",
            metavar="FILE",
            help="Storage profiles, a YAML file: which bucket is whose, and how it is reached.",
            rich_help_panel="Whose it is, and how it is read",
            show_default=False,
        ),
    ] = None
    prefix_mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--prefix-mapping",
            metavar="URL=ORGANIZATION",
            help="Whose the objects below a prefix are; give it once for each. "
            "The longest prefix counts.",
            rich_help_panel="Whose it is, and how it is read",
            show_default=False,
        ),
    ] = None
    mapping: Annotated[
        Path | None,
        typer.Option(
            "--mapping",
            metavar="FILE",
            help="Which fields of the records mean what, a YAML or JSON file.",
            rich_help_panel="Whose it is, and how it is read",
            show_default=False,
        ),
    ] = None

    @property
    def ownership(self) -> dict[str, Any] | None:
        """Rules of ownership for `lakerunner.open`; None without any.

        Raises:
            ConfigurationError: A prefix mapping has no `=`.

        Example:
            >>> Rules(prefix_mapping=["s3://raw/apps/=acme"]).ownership
            {'prefixes': {'s3://raw/apps/': 'acme'}}
        """
        rules: dict[str, Any] = {} if self.profiles is None else {"profiles": self.profiles}
        mapped: dict[str, str] = {}
        for each in self.prefix_mapping or ():
            url, separator, organization = each.rpartition("=")
            if not (url and separator):
                raise ConfigurationError(f"--prefix-mapping {each!r} is not of the form URL=NAME")
            if url in mapped:
                raise ConfigurationError(f"--prefix-mapping: '{url}' is mapped twice")
            mapped[url] = organization
        if mapped:
            rules["prefixes"] = mapped
        return rules or None

    def fields(self) -> dict[str, Any] | None:
        """A source mapping for `Lake.ingest`, not yet checked; None without a file.

        Raises:
            ConfigurationError: The file cannot be read, or holds no mapping.
        """
        import msgspec

        path = self.mapping
        if path is None:
            return None
        try:
            # YAML is a superset of JSON.
            return msgspec.yaml.decode(path.read_bytes(), type=dict[str, Any])
        except OSError as error:
            raise ConfigurationError(
                f"--mapping: {path} cannot be read: {error.strerror}"
            ) from None
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise ConfigurationError(f"--mapping: {path}: {error}") from error


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
    import msgspec

    name, separator, value = param.partition("=")
    if not (name and separator):
        raise ConfigurationError(f"--param {param!r} is not of the form NAME=VALUE")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


_GROUPS = (Connection, Everyone, Range, Shown, Content, Rules, Tls)


def spelled(function: "Callable[..., None]") -> "Callable[..., None]":
    """A command whose groups of options are spelled out one by one, which is what Typer reads.

    Args:
        function: Its parameters are options, or groups of them, such as `Connection`.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        group = parameter.annotation
        if group not in _GROUPS:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[parameter.name] = group
        hints = get_type_hints(group, include_extras=True)
        for name in group._fields:
            default = group._field_defaults.get(name, inspect.Parameter.empty)
            parameters.append(_option(name, hints[name], default))
    parameters.append(_option("quiet", Quiet, default=False))

    @wraps(function)
    def command(**given: Any) -> None:
        with hushed(given.pop("quiet")):
            for name, group in groups.items():
                given[name] = group(*(given.pop(field) for field in group._fields))
            function(**given)

    del command.__wrapped__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # no stubs
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
