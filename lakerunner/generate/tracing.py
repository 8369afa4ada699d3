"""Requests to spans: arrays of ids and times, before they have names and attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakerunner.generate.flows import FLOWS
from lakerunner.generate.plans import MOST_EVENTS, PLANS
from lakerunner.generate.shop import resources_of

if TYPE_CHECKING:
    from lakerunner.generate.config import TelemetryConfig
    from lakerunner.generate.traffic import Block, Requests

SPAN = np.dtype(
    [
        ("start", "i8"),  # nanoseconds since the epoch
        ("end", "i8"),
        ("plan", "u2"),  # position in `PLANS`
        ("resource", "u1"),  # position in `resources_of(config.services)`
        ("cached", "u1"),  # 0 or 1
        ("product", "i2"),
        ("user", "i4"),
        ("order", "i4"),
        ("trace", "u1", 16),
        ("span", "u1", 8),
        ("parent", "u1", 8),  # meaningless for a root
        ("link", "u1", 8),  # meaningless without a link
        ("events", "i8", MOST_EVENTS),  # when they happened; meaningless beyond their number
    ]
)
"""One span before it has a name."""

Spans = npt.NDArray[np.void]

_SPAN_IDS = 1
"""Sets the random numbers of span ids apart from those of the records."""


class Tracing:
    """The spans of a stream of blocks, handed over as they end."""

    def __init__(self, config: TelemetryConfig) -> None:
        self._seed = config.seed
        services = {each.service.name for each in resources_of(config.services)}
        self._plans = [
            [place for place, plan in enumerate(PLANS) if plan.flow == flow]
            for flow in range(1 + max(plan.flow for plan in PLANS))
        ]
        self._sent = np.array([plan.service in services for plan in PLANS])
        self._rest = np.empty(0, SPAN)

    def spans(self, block: Block) -> Spans:
        """The spans that end in a block, ordered by their end.

        Blocks are given in order, each once. Spans that end after the last block are lost, as they
        are when an interval is cut out of a stream.
        """
        random = np.random.default_rng([self._seed, block.number, _SPAN_IDS])
        rows = np.concatenate(
            [self._rest, *(self._expand(random, each) for each in block.requests)]
        )
        late = rows["end"] >= block.end_ns
        rows, self._rest = rows[~late], rows[late]
        return rows[np.argsort(rows["end"], kind="stable")]

    def _expand(self, random: np.random.Generator, requests: Requests) -> Spans:
        places = self._plans[requests.flow]
        plans = [PLANS[place] for place in places]
        count, steps = requests.gaps.shape
        firsts = np.unique(FLOWS[requests.flow].opening)  # of each visit
        known = requests.rows["span"][:, firsts]
        fresh = len(plans) - known.shape[1]
        drawn = np.frombuffer(random.bytes(count * fresh * 8), np.uint8)
        ids = np.concatenate([known, drawn.reshape(count, fresh, 8)], axis=1)
        rows = np.zeros((count, len(plans)), SPAN)
        pauses = np.concatenate([requests.gaps, np.zeros((count, 1))], axis=1)
        for column, (place, plan) in enumerate(zip(places, plans, strict=True)):
            begin = requests.ends[:, plan.first] - plan.before * requests.gaps[:, plan.first]
            end = requests.ends[:, plan.last] + plan.after * pauses[:, plan.last + 1]
            of = rows[:, column]
            of["start"], of["end"] = _times(requests, begin), _times(requests, end)
            of["plan"] = place
            of["resource"] = requests.rows["resource"][:, firsts[plan.visit]]
            of["cached"] = requests.rows["cached"][:, min(plan.last, steps - 1)]
            of["span"] = ids[:, plan.slot]
            of["parent"] = ids[:, plan.parent or 0]
            of["link"] = ids[:, plan.link or 0]
            for number, event in enumerate(plan.events):
                of["events"][:, number] = _times(requests, requests.ends[:, event.step])
        for name in ("trace", "user", "product", "order"):
            rows[name] = requests.rows[name][:, :1]
        kept: Spans = rows[:, self._sent[places]].ravel()
        return kept


def _times(requests: Requests, elapsed_ms: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Rounded as the times of records are, so that both are equal where both mean one step."""
    times: npt.NDArray[np.int64] = requests.starts + (elapsed_ms * 1e6).astype(np.int64)
    return times
