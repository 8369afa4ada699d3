"""Where news of objects comes from: notifications in all their shapes, queues, and pollers."""

from __future__ import annotations

from lakerunner.events.base import Delivery, EventSource
from lakerunner.events.event_queue import EventQueue
from lakerunner.events.notices import Notice
from lakerunner.events.opening import open_source
from lakerunner.events.parsing import parse_events, read_notice, webhook_events, webhook_reply

__all__ = [
    "Delivery",
    "EventQueue",
    "EventSource",
    "Notice",
    "open_source",
    "parse_events",
    "read_notice",
    "webhook_events",
    "webhook_reply",
]
