"""`lakerunner serve` and `lakerunner key`."""

import logging
import time
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6, create_server, socket
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lakerunner.cli.options import Connection
from lakerunner.cli.screen import messages
from lakerunner.errors import ConfigurationError

if TYPE_CHECKING:
    from lakerunner.intake.writer import Writer
    from lakerunner.lake import Lake

_HTTP = "127.0.0.1:8080"
_DRAIN_SECONDS = 30


SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings of the gateway in YAML or JSON: who may ask, and how much.",
        show_default=False,
    ),
]
JournalDirectory = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Acknowledge what is received when it is on this disk, and not only when it is "
        "committed.",
        show_default=False,
    ),
]


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


def read_address(text: str) -> Address:
    """Read `HOST:PORT` or `:PORT`, which means all addresses of the machine.

    Raises:
        ConfigurationError: It is neither.

    Example:
        >>> read_address(":8080"), read_address("[::1]:80").host
        (Address(host='0.0.0.0', port=8080), '::1')
    """
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - of TCP
        raise ConfigurationError(f"{text!r} is no address; write HOST:PORT or :PORT")
    return Address(host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104 - as it was asked for


def serve(
    connection: Connection,
    *,
    http: Annotated[
        str, typer.Option("--http", metavar="HOST:PORT", help="Where to listen.")
    ] = _HTTP,
    otlp_http: Annotated[
        str | None,
        typer.Option(
            "--otlp-http",
            metavar="HOST:PORT",
            help="Receive logs, spans and metrics as OTLP over HTTP, there and at --http.",
            show_default=False,
        ),
    ] = None,
    journal: JournalDirectory = None,
    config: SettingsFile = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only read the settings and open the lake.")
    ] = False,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate chain in PEM.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key.")] = None,
) -> None:
    """Answer SQL and PromQL over HTTP, as Prometheus' API does, and receive OTLP, until stopped.

    Without settings, whoever reaches this machine's own address may read the rows of one
    organization; any other address needs settings that say who may ask. Ctrl-C or SIGTERM lets
    running requests end first.
    """
    from lakerunner.gateway import app

    addresses = [read_address(text) for text in (http, otlp_http) if text]
    receives = otlp_http is not None
    settings = _settings(
        config, addresses, connection.organization, "write" if receives else "read"
    )
    scheme = "https" if tls_cert else "http"
    urls = [f"{scheme}://{text}" for text in (http, otlp_http) if text]
    with (
        connection.open(read_only=not receives) as opened,
        _writer(opened, journal) if receives else nullcontext() as writer,
    ):
        served = app(opened, settings, writer=writer)
        if check:
            messages().print("the settings are good, and the lake can be opened")
            return
        _run(served, addresses, urls, tls_cert, tls_key)


def _writer(lake: "Lake", journal: Path | None) -> "Writer":
    from lakerunner.intake.settings import Acknowledge

    level = Acknowledge.COMMITTED if journal is None else Acknowledge.LOGGED
    return lake.writer(acknowledge=level, journal=journal)


def _run(
    served: Any, addresses: list[Address], urls: list[str], cert: Path | None, key: Path | None
) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        """Says so when it listens."""

        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                messages().print(f"listening on {' and '.join(urls)}", markup=False)

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = uvicorn.Config(
        served,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        ssl_certfile=cert,
        ssl_keyfile=key,
    )
    with ExitStack() as stack:
        Server(settings).run([stack.enter_context(_listening(one)) for one in addresses])


def _listening(address: Address) -> socket:
    family = AF_INET6 if ":" in address.host else AF_INET
    try:
        return create_server((address.host, address.port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {address.host}:{address.port}: {error.strerror}"
        ) from error


def _settings(config: Path | None, addresses: list[Address], organization: str, scope: str) -> Any:
    import msgspec

    if config is not None:
        try:
            return msgspec.yaml.decode(config.read_bytes())
        except OSError as error:
            raise ConfigurationError(f"{config}: {error.strerror}") from error
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"{config}: {error}") from error
    open_ones = [one.host for one in addresses if not _is_own(one.host)]
    if open_ones:
        raise ConfigurationError(
            f"{open_ones[0]} can be reached by others: say who may ask with --config, and make "
            "keys with `lakerunner key NAME`"
        )
    return {"access": {"anonymous": organization, "anonymous_scope": scope}}


def _is_own(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who uses it.", show_default=False)],
    *,
    organization: Annotated[
        list[str] | None,
        typer.Option("--organization", "--org", help="Whose rows; give it once for each."),
    ] = None,
    scope: Annotated[
        str, typer.Option(metavar="read|write|admin", help="What it allows.")
    ] = "read",
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="Until when it is good, such as now+90d.")
    ] = None,
) -> None:
    """Make an API key: print it, and what to put below `access: keys:` in the settings.

    The key itself is kept nowhere: whoever loses it makes another.
    """
    import msgspec

    from lakerunner.gateway import AccessScope, new_key
    from lakerunner.model.times import NANOS, to_nanoseconds

    if scope not in list(AccessScope):
        raise ConfigurationError(f"no such scope: {scope!r}; there are {', '.join(AccessScope)}")
    until = None
    if expires is not None:
        until_ns = to_nanoseconds(expires, now_ns=time.time_ns())
        until = datetime.fromtimestamp(until_ns // NANOS, UTC)
    organizations = tuple(organization or ["default"])
    made, kept = new_key(name, organizations, AccessScope(scope), until)
    print(made)
    messages().print("what to keep of it, in the settings of `lakerunner serve`:", style="dim")
    messages().print(msgspec.yaml.encode({"access": {"keys": [kept]}}).decode(), markup=False)
