"""A lake behind HTTP: an ASGI application over the public API, for any server or application."""

from __future__ import annotations

from lakerunner.errors import MissingExtraError

try:
    from lakerunner.gateway.app import app
except ImportError as error:
    if isinstance(error, MissingExtraError) or (error.name or "").startswith("lakerunner"):
        raise
    raise MissingExtraError(
        f"the gateway needs {error.name}; run: pip install 'lakerunner[gateway]'",
        missing=error.name,
    ) from error

from lakerunner.gateway.access import Access
from lakerunner.gateway.credentials import AccessScope, AccessSettings, ApiKey, new_key
from lakerunner.gateway.quotas import QuotaSettings
from lakerunner.gateway.serving import GatewaySettings, read_settings

__all__ = [
    "Access",
    "AccessScope",
    "AccessSettings",
    "ApiKey",
    "GatewaySettings",
    "QuotaSettings",
    "app",
    "new_key",
    "read_settings",
]
