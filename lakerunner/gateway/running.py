"""A process that serves: HTTP, gRPC and listeners around one lake, until it is told to end.

The first SIGTERM or Ctrl-C lets running requests end, writes what has come, and commits it; the
second one ends the process where it stands. What was acknowledged is safe either way.

Several processes may answer at the same addresses: the first one listens, the others inherit its
sockets, and it starts those anew that end.
"""

from __future__ import annotations

import logging
import os
import signal as signals
import socket
import ssl
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import uvicorn
from cryptography import x509
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from lakerunner.errors import ConfigurationError
from lakerunner.gateway.listeners import fluent_listener, gelf_listener, syslog_listener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import FrameType

    from starlette.applications import Starlette
    from starlette.types import ASGIApp

    from lakerunner.intake.writer import Writer

_DRAIN_SECONDS = 30
_RELOAD_TICKS = 20  # of a tenth of a second
_SIGNALS = (signals.SIGINT, signals.SIGTERM)
_HANDED_ON = "LAKERUNNER_SOCKETS"
_FIRST_FD = 3  # of those that systemd hands on
_SHORT_SECONDS, _MOST_SHORT = 5.0, 5
_LISTENERS = {"syslog": syslog_listener, "gelf": gelf_listener, "fluent": fluent_listener}


class Certificate:
    """A certificate from files, which is read again when they change.

    Args:
        chain: File of the certificate chain, in PEM.
        key: File of its private key, in PEM.
        clients: File of the certificates by which those of clients are checked, in PEM; None:
            clients are asked for none.

    Raises:
        ConfigurationError: They cannot be read, or do not belong together.
    """

    def __init__(self, chain: Path, key: Path, clients: Path | None = None) -> None:
        self.chain, self.key = chain, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._read = self._times()
        try:
            self.context.load_cert_chain(chain, key)
            if clients is not None:
                self.context.load_verify_locations(clients)
                self.context.verify_mode = ssl.CERT_OPTIONAL  # others may still show a key
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"the certificate {clients or chain}: {error}") from error

    def refresh(self) -> bool:
        """Read the files again if they have changed; whether a new certificate is used now.

        Files that are being replaced may not fit for a moment: the old ones are used until they do.
        """
        now = self._times()
        if now == self._read:
            return False
        try:
            self.context.load_cert_chain(self.chain, self.key)
        except (OSError, ssl.SSLError):
            return False
        self._read = now
        return True

    def _times(self) -> tuple[int, ...]:
        try:
            return tuple(path.stat().st_mtime_ns for path in (self.chain, self.key))
        except OSError as error:
            raise ConfigurationError(f"{error.filename}: {error.strerror}") from error


def certificate_of(
    chain: Path | None, key: Path | None, clients: Path | None = None
) -> Certificate | None:
    """A certificate, if both of its files are named; None if neither is.

    Raises:
        ConfigurationError: Only one of them is, or they cannot be used.
    """
    if chain is None and key is None and clients is None:
        return None
    if chain is None or key is None:
        raise ConfigurationError("--tls-cert and --tls-key belong together")
    return Certificate(chain, key, clients)


class Receiving(NamedTuple):
    """What is received beside HTTP.

    Attributes:
        grpc: `HOST:PORT` of OTLP over gRPC; None for none.
        listeners: URLs by protocol: `syslog`, `gelf`, `fluent`.
    """

    grpc: str | None
    listeners: Mapping[str, Sequence[str]]


class Started(NamedTuple):
    """A receiver that listens.

    Attributes:
        name: Of its protocol.
        url: Where.
    """

    name: str
    url: str


@contextmanager
def receivers(
    receiving: Receiving, served: Starlette, writer: Writer | None, certificate: Certificate | None
) -> Iterator[list[Started]]:
    """Receive beside HTTP for as long as the context lasts; what has come is written at its end.

    Args:
        receiving: What, and where.
        served: The application of the same process, whose settings and counts are shared.
        writer: Takes what comes; None if nothing is received.
        certificate: For gRPC and for `tls://`; None for neither.

    Raises:
        ConfigurationError: An address cannot be listened on.
    """
    serving = served.state.serving
    started: list[Started] = []
    if writer is None:
        yield started
        return
    with ExitStack() as stack:
        if receiving.grpc is not None:
            from lakerunner.gateway.grpc_services import (  # noqa: PLC0415 - slow to load
                grpc_server,
                grpc_services,
            )

            services = grpc_services(serving.lake, writer=writer, serving=serving)
            files = None if certificate is None else (certificate.chain, certificate.key)
            host, _, port = receiving.grpc.rpartition(":")
            address = f"{host or '0.0.0.0'}:{port}"  # noqa: S104 - as it was asked for
            server = grpc_server(
                address, services, message_bytes=serving.settings.body_bytes, tls=files
            )
            stack.callback(lambda: server.server.stop(_DRAIN_SECONDS).wait())
            server.server.start()
            started.append(Started("otlp-grpc", f"grpc://{receiving.grpc}"))
        context = None if certificate is None else certificate.context
        for name, urls in receiving.listeners.items():
            for url in urls:
                listener = _LISTENERS[name](url, writer, context)
                stack.callback(listener.close)
                serving.telemetry.watch(_counts(name, url, listener))
                started.append(Started(name, url))
        yield started


def _counts(name: str, url: str, listener: Any) -> Callable[[], dict[str, float]]:
    labels = f'{{protocol="{name}",url="{url}"}}'

    def counts() -> dict[str, float]:
        found = {f"listener_connections{labels}": float(listener.connections())}
        if hasattr(listener, "counts"):
            for what, count in listener.counts()._asdict().items():
                found[f"listener_{what}_messages_total{labels}"] = float(count)
        return found

    return counts


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type] # which class it is is found out
    """Tells the application whose certificate a client has shown.

    As https://asgi.readthedocs.io/en/latest/specs/tls.html says it.
    """

    app: ASGIApp

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        shown = None if connection is None else connection.getpeercert(binary_form=True)
        if shown is None:
            return
        inner, name = self.app, x509.load_der_x509_certificate(shown).subject.rfc4514_string()

        async def told(scope: Any, receive: Any, send: Any) -> None:
            scope["extensions"] = {
                **scope.get("extensions", {}),
                "tls": {"client_cert_name": name},
            }
            await inner(scope, receive, send)

        self.app = told


class _Server(uvicorn.Server):
    """Says when it listens, follows a certificate, and ends at once when told twice."""

    def __init__(
        self, config: uvicorn.Config, listening: Callable[[], None], certificate: Certificate | None
    ) -> None:
        super().__init__(config)
        self._listening = listening
        self._certificate = certificate

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._listening()

    async def on_tick(self, counter: int) -> bool:
        if self._certificate is not None and counter % _RELOAD_TICKS == 0:
            self._certificate.refresh()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            _end_now(sig, frame)
        super().handle_exit(sig, frame)


def _end_now(sig: int, frame: FrameType | None) -> None:
    """End where we stand: what is acknowledged is safe, and nothing else was promised."""
    del frame
    os._exit(128 + sig)


@contextmanager
def ended_by_second_signal() -> Iterator[None]:
    """Take the first signal as the wish to drain, and the second one as an order.

    To be around everything that drains: uvicorn raises the signals that it got once more after it
    has ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(sig: int, frame: FrameType | None) -> None:
        del sig, frame
        for each in _SIGNALS:
            signals.signal(each, _end_now)

    before = {each: signals.signal(each, first) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signals.signal(each, handler)


def run_http(
    served: Starlette,
    addresses: Sequence[tuple[str, int]],
    certificate: Certificate | None,
    listening: Callable[[], None],
) -> None:
    """Serve over HTTP until a signal comes.

    Args:
        served: The application.
        addresses: Hosts and ports; they do not count where the process was handed its sockets.
        certificate: For HTTPS; None for plain HTTP.
        listening: Called once requests are answered.

    Raises:
        ConfigurationError: An address cannot be listened on.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    context = None if certificate is None else certificate.context
    config = uvicorn.Config(
        served,
        http=_Protocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who is connected is who is connected: see AccessSettings
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        ssl_certfile=None if certificate is None else certificate.chain,
        ssl_keyfile=None if certificate is None else certificate.key,
        ssl_context_factory=None if context is None else lambda *_: context,
    )
    with ExitStack() as stack:
        sockets = [stack.enter_context(one) for one in _sockets(addresses)]
        _Server(config, listening, certificate).run(sockets)


def is_worker() -> bool:
    """Whether this process was started by `run_workers`, which says what there is to say."""
    return _HANDED_ON in os.environ


def _sockets(addresses: Sequence[tuple[str, int]]) -> list[socket.socket]:
    """Sockets that listen: those that were handed to this process, or else new ones."""
    handed = [int(one) for one in os.environ.get(_HANDED_ON, "").split(",") if one]
    if not handed and os.environ.get("LISTEN_PID") == str(os.getpid()):
        count = int(os.environ.get("LISTEN_FDS", "0"))  # as sd_listen_fds(3) has it
        handed = list(range(_FIRST_FD, _FIRST_FD + count))
    if handed:
        return [socket.socket(fileno=one) for one in handed]
    return [_listening_socket(*one) for one in addresses]


def run_workers(
    command: Sequence[str],
    addresses: Sequence[tuple[str, int]],
    number: int,
    listening: Callable[[], None],
) -> None:
    """Let several processes answer at the same addresses, until a signal comes.

    Args:
        command: Starts one, which calls `run_http`.
        addresses: Hosts and ports.
        number: How many.
        listening: Called once requests are taken.

    Raises:
        ConfigurationError: An address cannot be listened on, or processes end as soon as they have
            begun.
    """
    ending = threading.Event()
    with ExitStack() as stack:
        sockets = [stack.enter_context(one) for one in _sockets(addresses)]
        handed = [one.fileno() for one in sockets]
        environment = {**os.environ, _HANDED_ON: ",".join(map(str, handed))}

        def start() -> tuple[subprocess.Popen[bytes], float]:
            process = subprocess.Popen(command, env=environment, pass_fds=handed)  # noqa: S603 - our own command
            return process, time.monotonic()

        for each in _SIGNALS:
            before = signals.signal(each, lambda *_: ending.set())
            stack.callback(signals.signal, each, before)
        workers = [start() for _ in range(number)]
        stack.callback(lambda: _end([process for process, _ in workers]))
        listening()
        short = 0
        while not ending.wait(0.1):
            for place, (process, began) in enumerate(workers):
                if process.poll() is None:
                    continue
                short = short + 1 if time.monotonic() - began < _SHORT_SECONDS else 0
                if short >= _MOST_SHORT:
                    raise ConfigurationError(
                        f"processes end as soon as they begin, with {process.returncode}"
                    )
                workers[place] = start()


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Let processes drain, and end those that do not."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + _DRAIN_SECONDS + 1
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listening_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from error
