"""OTLP over gRPC, and the log service for clients of log platforms, handed to a writer.

Statuses and what goes with them are those of https://opentelemetry.io/docs/specs/otlp/#otlpgrpc.
The services can be added to anybody's gRPC server.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from lakerunner.errors import ConfigurationError, MissingExtraError
from lakerunner.gateway.credentials import AccessScope
from lakerunner.gateway.problems import Problem, problem_of
from lakerunner.gateway.serving import Serving, read_settings
from lakerunner.intake.payloads import payload_of
from lakerunner.intake.protocols.log_service import METHOD, SERVICE, read_send_logs
from lakerunner.intake.protocols.messages import rpc_status
from lakerunner.model.signal import Signal

try:
    import grpc
except ImportError as error:
    raise MissingExtraError(
        "gRPC needs grpcio; run: pip install 'lakerunner[gateway]'", missing="grpc"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lakerunner.gateway.serving import GatewaySettings
    from lakerunner.intake.payloads import Payload
    from lakerunner.intake.writer import Writer
    from lakerunner.lake import Lake

_COLLECTOR = "opentelemetry.proto.collector"
_OTLP = {
    f"{_COLLECTOR}.logs.v1.LogsService": Signal.LOGS,
    f"{_COLLECTOR}.trace.v1.TraceService": Signal.SPANS,
    f"{_COLLECTOR}.metrics.v1.MetricsService": Signal.METRICS,
}
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.UNAVAILABLE,
}
_MAY_PASS = frozenset({429, 503, 504})
_OPTIONS = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.so_reuseport", 0),
)


class GrpcServer(NamedTuple):
    """A server, and where it listens.

    Attributes:
        server: To be started, and stopped.
        port: Of its address.
    """

    server: grpc.Server
    port: int


def grpc_services(
    lake: Lake,
    settings: GatewaySettings | Mapping[str, Any] | None = None,
    *,
    writer: Writer,
    serving: Serving | None = None,
) -> tuple[grpc.GenericRpcHandler, ...]:
    """The services, for `grpc.Server.add_generic_rpc_handlers`.

    Who may send is told as in HTTP, from metadata instead of headers.

    Args:
        lake: Whose rows they become.
        settings: See `GatewaySettings`.
        writer: Takes what is sent. It stays the caller's to close, after the server has ended.
        serving: What they share with the HTTP interface of the same process.

    Raises:
        ConfigurationError: A setting is unknown or wrong.
    """
    shared = serving or Serving(lake, read_settings(settings))

    def service(name: str, method: str, read: Callable[[bytes], Payload]) -> Any:
        def call(data: bytes, context: grpc.ServicerContext) -> bytes:
            return _received(shared, writer, f"/{name}/{method}", read, data, context)

        handler = grpc.unary_unary_rpc_method_handler(call)
        return grpc.method_handlers_generic_handler(name, {method: handler})

    otlp = [
        service(name, "Export", partial(payload_of, signal=signal))
        for name, signal in _OTLP.items()
    ]
    return (*otlp, service(SERVICE, METHOD, read_send_logs))


def grpc_server(
    address: str,
    services: tuple[grpc.GenericRpcHandler, ...],
    *,
    threads: int = 32,
    message_bytes: int = 16 * 1024 * 1024,
    tls: tuple[Path, Path] | None = None,
) -> GrpcServer:
    """A server of these services, bound and not started.

    Args:
        address: `HOST:PORT`; port 0 for any that is free.
        services: See `grpc_services`.
        threads: Calls that are worked on at the same time; twice as many may wait.
        message_bytes: How long a message may be, decompressed.
        tls: Files of the certificate chain and its key, in PEM; they are read anew for each
            connection once they have changed.

    Raises:
        ConfigurationError: The address cannot be listened on, or a file cannot be read.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="lakerunner-grpc")
    options = [*_OPTIONS, ("grpc.max_receive_message_length", message_bytes)]
    server = grpc.server(
        pool,
        options=options,
        maximum_concurrent_rpcs=3 * threads,
        compression=grpc.Compression.NoCompression,
    )
    server.add_generic_rpc_handlers(services)
    try:
        if tls is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, _credentials(*tls))
    except RuntimeError as error:
        raise ConfigurationError(f"cannot listen on {address}: {error}") from error
    return GrpcServer(server, port)


def _credentials(chain: Path, key: Path) -> grpc.ServerCredentials:
    """Credentials that follow their files."""

    def read() -> tuple[bytes, bytes]:
        try:
            return key.read_bytes(), chain.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{error.filename}: {error.strerror}") from error

    last = read()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal last
        now = read()
        if now == last:
            return None
        last = now
        return grpc.ssl_server_certificate_configuration([now])

    first = grpc.ssl_server_certificate_configuration([last])
    return grpc.dynamic_ssl_server_credentials(first, fetch)


def _received(
    serving: Serving,
    writer: Writer,
    route: str,
    read: Callable[[bytes], Payload],
    data: bytes,
    context: grpc.ServicerContext,
) -> bytes:
    headers = {name: text for name, text in context.invocation_metadata() if isinstance(text, str)}
    status = 200
    try:
        caller = serving.admit(headers, {}, AccessScope.WRITE)
        payload = read(data)
        writer.write(payload, organization=caller.organization)
    except Exception as error:
        problem = problem_of(error)
        status = problem.status
        if status not in _CODES:
            serving.log.exception("a request failed")
        _abort(context, problem)
    finally:
        serving.telemetry.request("POST", route, status)
    return b""  # an empty answer: all of it was taken


def _abort(context: grpc.ServicerContext, problem: Problem) -> NoReturn:
    code = _CODES.get(problem.status, grpc.StatusCode.INTERNAL)
    if problem.status in _MAY_PASS:
        details = rpc_status(code.value[0], problem.message, problem.retry_after or 1.0)
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
    context.abort(code, problem.message)
    raise AssertionError  # for type checkers: `abort` has raised
