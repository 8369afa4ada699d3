"""What those who look after a lake ask: who may do what, what was set aside, how it is doing.

Everything here needs a key of the scope `admin`, and shows no more than the organizations of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from lakerunner.gateway.credentials import ANY, AccessScope
from lakerunner.gateway.openapi import JSON, DescribedRoute, Operation
from lakerunner.model.times import isoformat

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from lakerunner.gateway.access import Identity
    from lakerunner.gateway.serving import Serving
    from lakerunner.lake import Lake


def administration_routes(serving: Serving) -> list[DescribedRoute]:
    """The routes of administration, below `/v1`."""

    def told(path: str, about: str, find: Callable[[Lake], Any]) -> DescribedRoute:
        """What a lake says of one organization."""

        async def endpoint(request: Request) -> Response:
            visit = serving.visit(request, AccessScope.ADMIN)
            return answer(await serving.thread(partial(find, visit.lake)))

        return DescribedRoute(path, endpoint, Operation(about))

    def listed(path: str, about: str, find: Callable[[Serving, Identity], Any]) -> DescribedRoute:
        """What there is for all organizations that a key reaches."""

        async def endpoint(request: Request) -> Response:
            who = serving.identity(request, AccessScope.ADMIN)
            return answer(await serving.thread(partial(find, serving, who)))

        return DescribedRoute(path, endpoint, Operation(about))

    return [
        listed("/v1/organizations", "Organizations that have rows.", _organizations),
        listed("/v1/keys", "API keys, and when each was used last.", _keys),
        listed("/v1/profiles", "Storage profiles: whose buckets are whose.", _profiles),
        told("/v1/rejected", "What is set aside, and why.", _rejected),
    ]


def answer(value: object) -> Response:
    """Something as JSON."""
    return Response(msgspec.json.encode(value), media_type=JSON)


def _organizations(serving: Serving, who: Identity) -> list[str]:
    return [name for name in serving.lake.organizations() if who.reaches(name)]


def _keys(serving: Serving, who: Identity) -> list[dict[str, Any]]:
    found = []
    for key in serving.access.all_keys():
        if not all(map(who.reaches, key.organizations)) and ANY not in who.organizations:
            continue
        used = serving.access.last_used(key)
        found.append(
            {
                "name": key.name,
                "organizations": key.organizations,
                "scope": key.scope,
                "expires": key.expires,
                "last_used": None if used is None else datetime.fromtimestamp(used, UTC),
            }
        )
    return found


def _profiles(serving: Serving, who: Identity) -> list[Any]:
    return [one for one in serving.lake.profiles if who.reaches(one.organization_id)]


def _rejected(lake: Lake) -> list[dict[str, Any]]:
    return [
        {
            "source": one.source,
            "code": one.code,
            "reason": one.reason,
            "rows": one.rows,
            "rejected_at": isoformat(one.rejected_at_ns),
        }
        for one in lake.rejected()
    ]
