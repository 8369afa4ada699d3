"""What all endpoints share: who asks, which lake that is, and work in threads that is counted."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import anyio
import msgspec
from anyio.to_thread import run_sync

from lakerunner.compute.turns import stopped_by
from lakerunner.errors import ConfigurationError
from lakerunner.gateway.access import Access, Caller, Identity, Refused
from lakerunner.gateway.accounts import Account, Asked, Audit, AuditSettings
from lakerunner.gateway.credentials import AccessScope, AccessSettings
from lakerunner.gateway.problems import cause_of
from lakerunner.gateway.quotas import Quotas, QuotaSettings
from lakerunner.gateway.telemetry import Telemetry
from lakerunner.limits import MIB
from lakerunner.model.profile import check_organization

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from starlette.requests import HTTPConnection, Request

    from lakerunner.lake import Lake

T = TypeVar("T")

_BODY_BYTES, _INFLATED_BYTES = 16 * MIB, 128 * MIB


class MountedLake(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A further lake that the same process serves, below `/lakes/NAME`. It is read only.

    Attributes:
        location: Where it is, as `lakerunner.open` takes it.
        access: Who may ask it; those of the first lake if nothing is said.
        quotas: How much; as of the first lake, but counted apart.
    """

    location: str
    access: AccessSettings | None = None
    quotas: QuotaSettings | None = None


class GatewaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the HTTP interface.

    Attributes:
        access: Who may ask.
        quotas: How much.
        audit: Where records of queries are kept.
        threads: Requests that are worked on at the same time.
        body_bytes: How long the body of a request may be, as it is sent.
        inflated_bytes: How long it may be once it is decompressed.
        lookback_seconds: How old a sample may be that an instant selector of PromQL still sees.
        tail_seconds: How often to look for new rows while clients follow a table.
        heartbeat_seconds: How often a client that follows hears something at least.
        slow_seconds: A client that follows and takes nothing for so long is let go.
        lakes: Further lakes by name.
    """

    access: AccessSettings = AccessSettings()
    quotas: QuotaSettings = QuotaSettings()
    audit: AuditSettings = AuditSettings()
    threads: int = 64
    body_bytes: int = _BODY_BYTES
    inflated_bytes: int = _INFLATED_BYTES
    lookback_seconds: float = 300.0
    tail_seconds: float = 0.25
    heartbeat_seconds: float = 15.0
    slow_seconds: float = 30.0
    lakes: dict[str, MountedLake] = {}

    def __post_init__(self) -> None:
        for name in self.lakes:
            check_organization(name)  # what can be no name of one has no place in a path


# Looked at now: threads that look at a type at once, for the first time, crash msgspec.
msgspec.json.Decoder(GatewaySettings)


def read_settings(settings: GatewaySettings | Mapping[str, Any] | None) -> GatewaySettings:
    """Settings from a mapping, as a file holds them.

    Raises:
        ConfigurationError: One is unknown or wrong; the message names it.

    Example:
        >>> read_settings({"quotas": {"queries": 2}}).quotas.queries
        2
    """
    if settings is None:
        return GatewaySettings()
    if isinstance(settings, GatewaySettings):
        return settings
    try:
        return msgspec.convert(settings, GatewaySettings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"settings of the gateway: {error}") from error


class Visit(NamedTuple):
    """One request that is let in.

    Attributes:
        caller: Who asks.
        lake: Bound to the organization of that.
        seconds: What a query may take.
        account: What it did.
    """

    caller: Caller
    lake: Lake
    seconds: float
    account: Account


class Serving:
    """A lake behind HTTP. Safe across threads and tasks.

    Args:
        lake: Not bound to an organization, unless all callers are of that one.
        settings: See `GatewaySettings`.
    """

    def __init__(self, lake: Lake, settings: GatewaySettings) -> None:
        self.lake = lake
        self.settings = settings
        self.telemetry = Telemetry()
        self.log = logging.getLogger("lakerunner.gateway")
        self.quotas = Quotas(settings.quotas)
        self.audit = Audit(settings.audit, lake)
        self.closing: list[Callable[[], None]] = []
        self.access = Access(settings.access)
        self._limiter: anyio.CapacityLimiter | None = None

    def visit(
        self,
        request: HTTPConnection,
        wanted: AccessScope = AccessScope.READ,
        organization: str | None = None,
    ) -> Visit:
        """Let a request in.

        Args:
            request: What it shows.
            wanted: What it needs to be allowed.
            organization: Which one its path names; None for what its headers say.

        Raises:
            Refused: It shows nothing that would let it in, or not for this.
            TooMany: Its organization asks for more than it may.
        """
        subject = self.access.subject_of(request.scope)
        caller = self.admit(request.headers, request.cookies, wanted, organization, subject)
        request.state.caller = caller
        lake = self.lake.for_organization(caller.organization)
        return Visit(caller, lake, self.settings.quotas.query_seconds, Account())

    def admit(
        self,
        headers: Mapping[str, str],
        cookies: Mapping[str, str],
        wanted: AccessScope,
        organization: str | None = None,
        subject: str | None = None,
    ) -> Caller:
        """Let somebody in; see `visit`."""
        caller = self.access.caller(headers, cookies, organization, subject)
        if not caller.scope.allows(wanted):
            raise Refused(f"this needs the scope {wanted}", 403)
        self.quotas.request(caller.organization)
        return caller

    def identity(self, request: HTTPConnection, wanted: AccessScope) -> Identity:
        """Let a request in that is for all organizations of its key; see `visit`."""
        subject = self.access.subject_of(request.scope)
        found = self.access.identity(request.headers, request.cookies, subject)
        if not found.scope.allows(wanted):
            raise Refused(f"this needs the scope {wanted}", 403)
        self.quotas.request(found.organizations[0])
        return found

    async def query(self, request: Request, work: Callable[[Visit], T]) -> T:
        """Let a request in, and do its work in a thread as a query of its organization.

        The work ends early if the client hangs up.
        """
        visit = self.visit(request)
        stop = threading.Event()
        with self.counted(visit, request), stopped_by(stop):
            answers: list[T] = []
            failures: list[Exception] = []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_hang_up, request, stop)
                try:
                    answers.append(await self.thread(partial(work, visit)))
                except Exception as error:  # noqa: BLE001 - raised below, where no group wraps it
                    failures.append(error)
                tasks.cancel_scope.cancel()
            for failure in failures:
                raise failure
            return answers[0]

    @contextmanager
    def counted(self, visit: Visit, request: Request) -> Iterator[None]:
        """Count a query of an organization for as long as the context lasts."""
        route = getattr(request.scope.get("route"), "path", "") or "unknown"
        started_ns, started = time.time_ns(), time.perf_counter()
        error: BaseException | None = None
        with self.quotas.query(visit.caller.organization):
            try:
                yield
            except BaseException as failure:
                error = cause_of(failure)
                raise
            finally:
                seconds, account = time.perf_counter() - started, visit.account
                self.telemetry.query(route, seconds, failed=error is not None)
                self.telemetry.read(account.bytes, account.rows)
                self.quotas.scanned(visit.caller.organization, account.bytes)
                request_id = getattr(request.state, "request_id", "")
                traceparent = request.headers.get("traceparent", "")
                self.audit.add(
                    Asked(visit.caller, route, account, request_id, started_ns, seconds, error,
                          traceparent)
                )  # fmt: skip

    def close(self) -> None:
        """Write the records of queries that are still to be written, and close what was opened."""
        self.audit.close()
        while self.closing:
            self.closing.pop()()

    async def thread(self, work: Callable[[], T]) -> T:
        """Do what blocks, in one of so many threads."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self.settings.threads)
        return await run_sync(work, abandon_on_cancel=True, limiter=self._limiter)


async def _hang_up(request: Request, stop: threading.Event) -> None:
    """Stop the work when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    stop.set()
