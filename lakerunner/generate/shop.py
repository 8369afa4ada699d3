"""The shop whose telemetry is made up: its services, their replicas, and how they describe them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.generate.wire import AttributeValue


class Service(NamedTuple):
    """One service of the shop.

    Attributes:
        name: Its `service.name`.
        version: Its `service.version`.
        language: What it is written in (`telemetry.sdk.language`).
        logger: Prefix of its loggers' names.
        replicas: How many instances run; each is one resource.
    """

    name: str
    version: str
    language: str
    logger: str
    replicas: int


SERVICES: tuple[Service, ...] = (
    Service("frontend", "2.14.1", "nodejs", "shop.frontend", 5),
    Service("product-catalog", "1.31.0", "go", "catalog", 3),
    Service("cart", "1.9.4", "dotnet", "Shop.Cart", 2),
    Service("checkout", "3.2.0", "go", "checkout", 3),
    Service("payment", "4.0.7", "java", "com.acme.payment", 2),
    Service("recommendation", "0.22.3", "python", "recommender", 2),
    Service("shipping", "1.3.12", "rust", "shipping", 2),
    Service("email", "1.0.18", "ruby", "mailer", 1),
)
"""Every service of the shop: 20 resources in all."""

SERVICE_NAMES = tuple(service.name for service in SERVICES)

_ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")


class Resource(NamedTuple):
    """One running instance.

    Attributes:
        service: Which service it is an instance of.
        attributes: Its resource attributes, in the order they are sent.
    """

    service: Service
    attributes: dict[str, AttributeValue]


def resources_of(names: Sequence[str]) -> tuple[Resource, ...]:
    """All replicas of the named services, in the order of `SERVICES`.

    Example:
        >>> [each.attributes["k8s.pod.name"] for each in resources_of(["cart"])]
        ['cart-5d8b7c9f64-2a017', 'cart-5d8b7c9f64-2a118']
    """
    return tuple(
        _replica(position, service, replica)
        for position, service in enumerate(SERVICES)
        if service.name in names
        for replica in range(service.replicas)
    )


def _replica(position: int, service: Service, replica: int) -> Resource:
    zone = _ZONES[(position + replica) % len(_ZONES)]
    node = 16 + (position * 5 + replica * 3) % 12
    pod = f"{service.name}-5d8b7c9f6{2 + position:x}-{position:x}a{replica}{17 + replica}"
    return Resource(
        service,
        {
            "service.name": service.name,
            "service.namespace": "shop",
            "service.version": service.version,
            "service.instance.id": pod,
            "deployment.environment.name": "production",
            "k8s.cluster.name": "shop-us-east-1",
            "k8s.namespace.name": "shop",
            "k8s.deployment.name": service.name,
            "k8s.pod.name": pod,
            "k8s.node.name": f"ip-10-0-{node}-{40 + replica}.ec2.internal",
            "host.name": f"ip-10-0-{node}-{40 + replica}",
            "cloud.provider": "aws",
            "cloud.region": "us-east-1",
            "cloud.availability_zone": zone,
            "telemetry.sdk.language": service.language,
        },
    )
