"""Where news of objects comes from: notifications in all their shapes, queues, and pollers."""

from __future__ import annotations

from lakerunner.events.base import Delivery, EventSource
from lakerunner.events.notices import Notice
from lakerunner.events.parsing import parse_events, read_notice, webhook_events, webhook_reply
from lakerunner.events.polling import EventQueue, open_source

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
