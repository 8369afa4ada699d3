"""What telemetry of the shop mentions again and again: products, clients, procedures."""

from __future__ import annotations

import numpy as np

ADDRESSES = tuple(f"198.18.{number >> 8}.{number & 255}" for number in range(4096))
"""Addresses that users come from; a user always has the same."""

_LETTERS = np.frombuffer(b"0123456789ABCDEFGHJKLMNPQRSTUVWXYZ", np.uint8)
_SYSTEMS = (
    "Windows NT 10.0; Win64; x64",
    "Macintosh; Intel Mac OS X 10_15_7",
    "X11; Linux x86_64",
)

AGENTS = tuple(
    f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{major}.0.0.0 "
    "Safari/537.36"
    for system in _SYSTEMS
    for major in range(136, 144)
)
"""Browsers of the users; a user always has the same."""


def product_names(count: int) -> list[str]:
    """Ids of products, always the same ones.

    Example:
        >>> product_names(3)
        ['...', '...', '...']
    """
    picks = np.random.default_rng(7).integers(0, len(_LETTERS), (count, 10))
    return [_LETTERS[row].tobytes().decode() for row in picks]


def rpc_service(service: str) -> str:
    """Full name of the one gRPC service that a service of the shop offers.

    Example:
        >>> rpc_service("product-catalog")
        'acme.shop.productcatalog.v1.ProductCatalogService'
    """
    package, name = service.replace("-", ""), service.title().replace("-", "")
    return f"acme.shop.{package}.v1.{name}Service"
