"""What the gateway tells about itself, in Prometheus' text format."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from lakerunner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Telemetry:
    """Counts requests and measures queries since the process began. Safe across threads.

    Example:
        >>> telemetry = Telemetry()
        >>> telemetry.request("GET", "/v1/tables", 200)
        >>> print(telemetry.text().splitlines()[2])
        lakerunner_http_requests_total{method="GET",route="/v1/tables",status="200"} 1
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._watched: list[Callable[[], Mapping[str, float]]] = []
        self._bytes = 0
        self._rows = 0

    def request(self, method: str, route: str, status: int) -> None:
        """Count a request that was answered."""
        with self._lock:
            self._requests[method, route, status] += 1

    def query(self, route: str, seconds: float, *, failed: bool) -> None:
        """Count a query, and how long it took."""
        with self._lock:
            buckets = self._buckets.setdefault(route, [0] * (len(_BOUNDS) + 1))
            buckets[bisect_left(_BOUNDS, seconds)] += 1
            self._seconds[route] += seconds  # type: ignore[assignment] # counts in fractions
            self._failed[route] += failed

    def read(self, scanned_bytes: int, rows: int) -> None:
        """Count what a query has read, and the rows of its answer."""
        with self._lock:
            self._bytes += scanned_bytes
            self._rows += rows

    def watch(self, source: Callable[[], Mapping[str, float]]) -> None:
        """Tell more whenever the text is asked for.

        Args:
            source: Values by the rest of their names, with labels; those that end in `_total`
                only ever grow.
        """
        with self._lock:
            self._watched.append(source)

    def text(self, **gauges: float) -> str:
        """All of it.

        Args:
            gauges: What else there is to tell, by the rest of its name.
        """
        with self._lock:
            lines = list(self._lines())
            watched = list(self._watched)
        for found in (gauges, *(source() for source in watched)):
            lines += _values(found)
        return "\n".join([*lines, ""])

    def _lines(self) -> list[str]:
        lines = [
            "# HELP lakerunner_http_requests_total Requests that were answered.",
            "# TYPE lakerunner_http_requests_total counter",
        ]
        for (method, route, status), count in sorted(self._requests.items()):
            labels = f'method="{_label(method)}",route="{_label(route)}",status="{status}"'
            lines.append(f"lakerunner_http_requests_total{{{labels}}} {count}")
        lines += [
            "# HELP lakerunner_query_duration_seconds How long queries took.",
            "# TYPE lakerunner_query_duration_seconds histogram",
        ]
        name = "lakerunner_query_duration_seconds"
        for route, buckets in sorted(self._buckets.items()):
            below = 0
            for bound, count in zip((*_BOUNDS, "+Inf"), buckets, strict=True):
                below += count
                lines.append(f'{name}_bucket{{route="{_label(route)}",le="{bound}"}} {below}')
            lines.append(f'{name}_sum{{route="{_label(route)}"}} {self._seconds[route]:.6f}')
            lines.append(f'{name}_count{{route="{_label(route)}"}} {below}')
        lines += [
            "# HELP lakerunner_query_failures_total Queries that failed.",
            "# TYPE lakerunner_query_failures_total counter",
        ]
        for route, count in sorted(self._failed.items()):
            lines.append(f'lakerunner_query_failures_total{{route="{_label(route)}"}} {count}')
        for what, value in (("scanned_bytes", self._bytes), ("returned_rows", self._rows)):
            lines.append(f"# TYPE lakerunner_{what}_total counter")
            lines.append(f"lakerunner_{what}_total {value}")
        return lines


def _values(found: Mapping[str, float]) -> list[str]:
    """Values by name, and before the first of each name what kind it is."""
    lines, known = list[str](), set[str]()
    for name, value in sorted(found.items()):
        family = name.partition("{")[0]
        if family not in known:
            known.add(family)
            kind = "counter" if family.endswith("_total") else "gauge"
            lines.append(f"# TYPE lakerunner_{family} {kind}")
        lines.append(f"lakerunner_{name} {value:.15g}")
    return lines


def _label(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
