"""`lakerunner serve` and `lakerunner key`."""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lakerunner.cli.options import Connection, Tls
from lakerunner.cli.screen import messages
from lakerunner.errors import ConfigurationError

if TYPE_CHECKING:
    from lakerunner.intake.writer import Writer
    from lakerunner.lake import Lake

_HTTP = "127.0.0.1:8080"


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


def _listener(protocol: str, schemes: str) -> Any:
    return typer.Option(
        metavar="URL",
        help=f"Receive {protocol}: {schemes}, with ?organization=NAME; may be given several times.",
        show_default=False,
    )


Http = Annotated[str, typer.Option("--http", metavar="HOST:PORT", help="Where to listen.")]
OtlpHttp = Annotated[
    str | None,
    typer.Option(
        "--otlp-http",
        metavar="HOST:PORT",
        help="Receive OTLP over HTTP, Loki pushes, remote write, _bulk and others, there and at "
        "--http.",
        show_default=False,
    ),
]
OtlpGrpc = Annotated[
    str | None,
    typer.Option(
        "--otlp-grpc", metavar="HOST:PORT", help="Receive OTLP over gRPC.", show_default=False
    ),
]
Syslog = Annotated[list[str] | None, _listener("syslog", "udp://HOST:PORT, tcp:// or tls://")]
Gelf = Annotated[list[str] | None, _listener("GELF", "udp://HOST:PORT, tcp:// or tls://")]
Fluent = Annotated[list[str] | None, _listener("Fluent forward", "tcp://HOST:PORT or tls://")]
Maintain = Annotated[
    bool, typer.Option("--maintain", help="Maintain the lake, too, all the while.")
]
Check = Annotated[bool, typer.Option("--check", help="Only read the settings and open the lake.")]
Workers = Annotated[
    int, typer.Option(min=1, metavar="N", help="Processes that answer, at the same addresses.")
]
CacheDirectory = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Keep copies of what is read there, for all processes of this machine.",
        show_default=False,
    ),
]


def serve(  # noqa: PLR0913 - each is an option of the command
    connection: Connection,
    *,
    http: Http = _HTTP,
    otlp_http: OtlpHttp = None,
    otlp_grpc: OtlpGrpc = None,
    syslog: Syslog = None,
    gelf: Gelf = None,
    fluent: Fluent = None,
    journal: JournalDirectory = None,
    maintain: Maintain = False,
    config: SettingsFile = None,
    check: Check = False,
    workers: Workers = 1,
    cache: CacheDirectory = None,
    tls: Tls,
) -> None:
    """Answer SQL and PromQL over HTTP, and receive telemetry, until stopped.

    Without settings, whoever reaches this machine's own address may read the rows of one
    organization; any other address needs settings that say who may ask. Ctrl-C or SIGTERM lets
    running requests end, and commits what has come; a second one ends at once.
    """
    from lakerunner.gateway import app, read_settings, running
    from lakerunner.maintenance import Maintainer

    listeners = {"syslog": syslog or [], "gelf": gelf or [], "fluent": fluent or []}
    receives = otlp_http is not None or otlp_grpc is not None or any(listeners.values())
    addresses = [read_address(text) for text in (http, otlp_http, otlp_grpc) if text]
    given = _settings(config, addresses, connection.organization, "write" if receives else "read")
    settings = read_settings(given)
    certificate = running.certificate_of(*tls)
    if workers > 1 and (receives or maintain):
        raise ConfigurationError("--workers only answer: let another process receive and maintain")
    writes = receives or maintain or (settings.audit.organization and settings.audit.lake is None)
    with (
        running.ended_by_second_signal(),
        connection.open(read_only=not writes, config=_cached(cache)) as opened,
        _writer(opened, journal) if receives else nullcontext() as writer,
    ):
        served = app(opened, settings, writer=writer)
        if check:
            served.state.serving.close()
            messages().print("the settings are good, and the lake can be opened")
            return
        with ExitStack() as stack:
            texts = [text for text in (http, otlp_http) if text]
            if workers > 1:
                served.state.serving.close()
                _run_workers(texts, workers, tls, None if cache else stack)
                return
            plan = running.Receiving(otlp_grpc, listeners)
            started = running.receivers(plan, served, writer, certificate)
            urls = [one.url for one in stack.enter_context(started)]
            if maintain:
                stack.enter_context(Maintainer(opened.store, opened.catalog))
            _run(served, texts, certificate, urls)
    if receives:
        messages().print("all that came is committed", style="dim")


def _cached(directory: Path | None) -> dict[str, Any]:
    return {} if directory is None else {"query_cache_directory": str(directory)}


def _run_workers(texts: list[str], number: int, tls: Tls, needs_cache: ExitStack | None) -> None:
    """Start processes that run this same command, with one cache for all of them."""
    from tempfile import TemporaryDirectory

    from lakerunner.gateway import running

    command = [sys.executable, "-c", "from lakerunner.cli import main; main()", *sys.argv[1:]]
    command += ["--workers", "1"]
    if needs_cache is not None:
        command += ["--cache", needs_cache.enter_context(TemporaryDirectory())]
    addresses = [read_address(text) for text in texts]
    told = f"{_told(texts, secure=tls.cert is not None)} with {number} processes"
    running.run_workers(command, addresses, number, lambda: messages().print(told, markup=False))


def _told(texts: list[str], further: Sequence[str] = (), *, secure: bool) -> str:
    scheme = "https" if secure else "http"
    urls = [*(f"{scheme}://{text}" for text in texts), *further]
    return f"listening on {' and '.join(urls)}"


def _writer(lake: "Lake", journal: Path | None) -> "Writer":
    from lakerunner.intake.settings import Acknowledge

    level = Acknowledge.COMMITTED if journal is None else Acknowledge.LOGGED
    return lake.writer(acknowledge=level, journal=journal)


def _run(served: Any, texts: list[str], certificate: Any, further: list[str]) -> None:
    from lakerunner.gateway import running

    told = _told(texts, further, secure=certificate is not None)
    addresses = [read_address(text) for text in texts]

    def listening() -> None:
        if not running.is_worker():
            messages().print(told, markup=False)

    running.run_http(served, addresses, certificate, listening)


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
