"""What happens in the shop, second by second: flows and background work as arrays of records."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from lakerunner.generate.flows import FLOWS, background_templates
from lakerunner.generate.shop import resources_of
from lakerunner.generate.templates import TEMPLATES
from lakerunner.model.times import NANOS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.generate.config import TelemetryConfig

RECORD = np.dtype(
    [
        ("time", "i8"),  # nanoseconds since the epoch
        ("lag", "i4"),  # nanoseconds until it was observed
        ("template", "u1"),
        ("resource", "u1"),  # position in `resources_of(config.services)`
        ("thread", "u1"),
        ("cached", "u1"),  # 0 or 1
        ("traced", "?"),  # whether a request caused it
        ("route", "u1"),
        ("status", "i2"),
        ("product", "i2"),
        ("user", "i4"),
        ("order", "i4"),
        ("count", "i2"),
        ("cents", "i4"),
        ("duration", "f8"),  # milliseconds
        ("trace", "u1", 16),
        ("request", "u1", 16),
        ("span", "u1", 8),
    ]
)
"""One record before it has a text."""

Records = npt.NDArray[np.void]

BLOCK_RECORDS = 65_536
"""Records simulated at a time. Larger blocks are no faster and leave the processor's cache."""

USERS, PRODUCTS, COUNTS, THREADS = 200_000, 1200, 1000, 16
FIRST_USER, FIRST_ORDER, ORDERS = 100_000, 10_000_000, 80_000_000

_REQUESTED = 0.85
"""Share of records that requests cause; the rest is background work, which also fills each block
up to its exact number of records."""

_MOST_REQUESTS = 2
"""Requests per record at most, where the chosen services take part in few of them."""

_SHARE_DECLINED, _SHARE_RETRIED, _SHARE_FAILED = 0.02, 0.01, 0.01
_INCIDENT_RETRIED, _SHARE_TIMEOUTS = 0.15, 0.7
_BACKGROUND_WEIGHT = {"DEBUG": 6.0, "INFO": 4.0, "WARN": 0.5, "ERROR": 0.1, "FATAL": 0.0}

_BY_NAME = {flow.name: position for position, flow in enumerate(FLOWS)}


class Requests(NamedTuple):
    """Requests that went the same way. Matrices have a row a request and a column a step.

    Attributes:
        flow: Position in `FLOWS`.
        starts: When each began, in nanoseconds since the epoch.
        gaps: Milliseconds before each step.
        ends: Milliseconds from the start of the request until each step.
        rows: A record for each step, also for those of services that send nothing.
    """

    flow: int
    starts: npt.NDArray[np.int64]
    gaps: npt.NDArray[np.float64]
    ends: npt.NDArray[np.float64]
    rows: Records


class Block(NamedTuple):
    """A while in the life of the shop.

    Attributes:
        number: Which one, from 0 on.
        end_ns: When it is over; the first begins with the interval, and each other one where the
            one before it ends.
        records: The log records of it, ordered by time.
        requests: The requests that begin in it.
    """

    number: int
    end_ns: int
    records: Records
    requests: tuple[Requests, ...]


class Traffic:
    """The stream of records that a config describes, ordered by time."""

    def __init__(self, config: TelemetryConfig) -> None:
        self._config = config
        services = [resource.service.name for resource in resources_of(config.services)]
        # Of each template: how many resources may write it, and the first of them.
        self._replicas = np.array([services.count(t.service) for t in TEMPLATES])
        self._first = np.array(
            [services.index(t.service) if t.service in services else 0 for t in TEMPLATES]
        )
        self._kept = [self._replicas[flow.templates] > 0 for flow in FLOWS]
        weights = np.array([flow.weight for flow in FLOWS])
        self._weights = weights / weights.sum()
        self._records_per_request = float(self._weights @ [kept.sum() for kept in self._kept])
        self._background = np.array(
            [position for position in background_templates() if self._replicas[position]]
        )
        chances = [_BACKGROUND_WEIGHT[TEMPLATES[p].severity] for p in self._background]
        self._chances = np.array(chances) / sum(chances)

    def blocks(self) -> Iterator[Block]:
        """The whole interval, in blocks of whole objects of log records.

        Every block fills exactly its share of the interval: a request that reaches past the end
        of its block goes on in the next one, and is cut off at the end of the interval.
        """
        config = self._config
        size = max(BLOCK_RECORDS // config.records_per_object, 1) * config.records_per_object
        rest = np.empty(0, RECORD)
        for number, first in enumerate(range(0, config.records, size)):
            count = min(size, config.records - first)
            start, end = self._time_of(first), self._time_of(first + count)
            random = np.random.default_rng([config.seed, number])
            requests = tuple(self._requests(random, count, start, end))
            rows = np.concatenate([rest, *map(self._sent, requests)])
            late = rows["time"] >= end
            rows, rest = rows[~late], rows[late]
            if len(rows) > count:
                rows = rows[random.permutation(len(rows))[:count]]
            filler = self._fill(random, count - len(rows), start, end)
            rows = np.concatenate([rows, filler])
            yield Block(number, end, rows[np.argsort(rows["time"], kind="stable")], requests)

    def _sent(self, requests: Requests) -> Records:
        kept: Records = requests.rows[:, self._kept[requests.flow]].ravel()
        return kept

    def _time_of(self, position: int) -> int:
        config = self._config
        return config.start_ns + position * config.duration_ns // config.records

    def _requests(
        self, random: np.random.Generator, count: int, start: int, end: int
    ) -> Iterator[Requests]:
        wanted = _REQUESTED * count / max(self._records_per_request, _REQUESTED / _MOST_REQUESTS)
        starts = start + (random.random(round(wanted)) * (end - start)).astype(np.int64)
        flows = random.choice(len(FLOWS), len(starts), p=self._weights)
        troubled = self._troubled(starts)
        checkouts = flows == _BY_NAME["checkout"]
        flows[checkouts] = self._outcomes(random, troubled[checkouts])
        for position in range(len(FLOWS)):
            chosen = flows == position
            if chosen.any() and self._kept[position].any():
                yield self._expand(random, position, starts[chosen], troubled[chosen])

    def _troubled(self, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        incident, config = self._config.incident, self._config
        if incident is None:
            return np.zeros(len(starts), bool)
        begin = config.start_ns + round(incident.start * config.duration_ns)
        end = config.start_ns + round(incident.end * config.duration_ns)
        return (starts >= begin) & (starts < end)

    def _outcomes(
        self, random: np.random.Generator, troubled: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.intp]:
        """Which flow each checkout becomes."""
        incident = self._config.incident
        failures = np.where(troubled, incident.failures if incident else 0.0, _SHARE_FAILED)
        retries = np.where(troubled, _INCIDENT_RETRIED, _SHARE_RETRIED)
        chance = random.random(len(troubled))
        timeouts = failures * _SHARE_TIMEOUTS
        # Where shares add up to more than 1, the earlier outcome wins.
        outcomes = {
            "timeout": timeouts,
            "broken": failures,
            "declined": failures + _SHARE_DECLINED,
            "retried": failures + _SHARE_DECLINED + retries,
        }
        return np.select(
            [chance < bound for bound in outcomes.values()],
            [_BY_NAME[name] for name in outcomes],
            _BY_NAME["checkout"],
        )

    def _expand(
        self,
        random: np.random.Generator,
        position: int,
        starts: npt.NDArray[np.int64],
        troubled: npt.NDArray[np.bool_],
    ) -> Requests:
        """All steps of all requests that go one way."""
        flow = FLOWS[position]
        requests, steps = len(starts), len(flow.templates)
        gaps = flow.gaps_ms * (0.4 + 0.6 * random.standard_exponential((requests, steps)))
        if self._config.incident and flow.slowed.any():
            gaps[np.ix_(troubled, flow.slowed)] *= self._config.incident.slowdown
        ends = np.cumsum(gaps, axis=1)
        rows = np.empty((requests, steps), RECORD)
        rows["time"] = starts[:, None] + (ends * 1e6).astype(np.int64)
        rows["duration"] = ends - (ends - gaps)[:, flow.opening]
        rows["template"] = flow.templates
        visits = int(flow.visits.max()) + 1
        replica = random.random((requests, visits))[:, flow.visits]
        rows["resource"] = self._resource(rows["template"], replica)
        rows["span"] = _random_bytes(random, requests, visits, 8)[:, flow.visits]
        rows["trace"] = _random_bytes(random, requests, 1, 16)
        rows["request"] = _random_bytes(random, requests, 1, 16)
        rows["route"], rows["status"], rows["traced"] = flow.route, flow.status, True
        one = (requests, 1)
        rows["user"] = FIRST_USER + _skewed(random, one, USERS)
        rows["product"] = _skewed(random, one, PRODUCTS)
        rows["order"] = FIRST_ORDER + random.integers(0, ORDERS, one)
        rows["cents"] = 499 + _skewed(random, one, 60_000)
        _decorate(random, rows, most=24)
        return Requests(position, starts, gaps, ends, rows)

    def _fill(self, random: np.random.Generator, count: int, start: int, end: int) -> Records:
        """Background work: records that no request caused."""
        rows = np.zeros(count, RECORD)
        rows["time"] = start + (random.random(count) * (end - start)).astype(np.int64)
        rows["template"] = random.choice(self._background, count, p=self._chances)
        rows["resource"] = self._resource(rows["template"], random.random(count))
        rows["duration"] = 0.5 + 20.0 * random.standard_exponential(count)
        rows["user"] = FIRST_USER + _skewed(random, (count,), USERS)
        _decorate(random, rows, most=COUNTS)
        return rows

    def _resource(
        self, templates: npt.NDArray[np.uint8], chance: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.intp]:
        chosen: npt.NDArray[np.intp] = self._first[templates] + (
            chance * self._replicas[templates]
        ).astype(np.intp)
        return chosen


def _random_bytes(
    random: np.random.Generator, requests: int, items: int, width: int
) -> npt.NDArray[np.uint8]:
    data = np.frombuffer(random.bytes(requests * items * width), np.uint8)
    return data.reshape(requests, items, width)


def _skewed(
    random: np.random.Generator, shape: tuple[int, ...], below: int
) -> npt.NDArray[np.intp]:
    """Whole numbers in `[0, below)`, small ones far more often, as users and products are."""
    return (random.random(shape) ** 2.5 * below).astype(np.intp)


def _decorate(random: np.random.Generator, rows: Records, *, most: int) -> None:
    """Fill in what differs from record to record."""
    rows["lag"] = random.integers(NANOS // 1000, NANOS // 50, rows.shape)
    rows["thread"] = random.integers(0, THREADS, rows.shape)
    rows["cached"] = random.random(rows.shape) < 0.8  # noqa: PLR2004 - share of cache hits
    rows["count"] = 1 + _skewed(random, rows.shape, most - 1)
