"""The contract of an event source: events are handed out, and handed out again until settled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakerunner.model.report import ObjectEvent


class Delivery(NamedTuple):
    """One message of a source: what it announces, and the handle by which it is settled.

    Attributes:
        handle: What the source needs to settle it; means nothing to anybody else.
        events: What it announces. None at all for a test event, say.
        problems: What in it could not be read, one sentence each.
        label: Names the message for people, for instance by its id.
    """

    handle: str
    events: tuple[ObjectEvent, ...] = ()
    problems: tuple[str, ...] = ()
    label: str = ""


class EventSource(ABC):
    """Hands out deliveries at least once, in any order, until each is acknowledged.

    One thread receives and settles; `extend` may be called from another one at the same time. All
    methods raise `EventsUnavailableError` on a failure that may pass and `ConfigurationError` when
    the source is not there or may not be used; these are not repeated below.

    Attributes:
        url: Names the source in messages.
        lease_seconds: How long a delivery stays ours before the source hands it out again, if
            nobody calls `extend`. None if it stays ours as long as the process lives.
    """

    url: str
    lease_seconds: float | None = None

    @abstractmethod
    def receive(self, maximum: int, wait_seconds: float) -> Sequence[Delivery]:
        """The next deliveries, as soon as there are any.

        Args:
            maximum: Deliveries to return at most; a source may have a lower bound of its own.
            wait_seconds: How long to wait for the first one; 0 means not at all.
        """

    @abstractmethod
    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle deliveries for good. To settle one again, or too late, does no harm."""

    @abstractmethod
    def release(self, deliveries: Sequence[Delivery], delay_seconds: float = 0.0) -> None:
        """Give deliveries back: they are handed out again, not before `delay_seconds` passed."""

    def extend(self, deliveries: Sequence[Delivery]) -> None:  # noqa: B027 - most need no leases
        """Keep deliveries for another `lease_seconds` from now."""

    def close(self) -> None:  # noqa: B027 - most sources have nothing to release
        """Release connections. What was received and not settled is handed out again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"
