"""Rules that make metrics of logs and of spans."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from lakerunner.errors import ConfigurationError
from lakerunner.model.times import NANOS

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]*")


class AggregateRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule. What it makes are points of metrics like any others, of delta temporality.

    Attributes:
        metric: Name of the metric; of `requests` what its three metrics begin with.
        table: Of which rows it is made.
        measure: `count` counts rows, `bytes` adds the bytes of bodies up, `values` makes histograms
            of `value`. `requests` makes of spans `<metric>.calls` and `<metric>.errors`, which are
            counts, and `<metric>.duration`, a histogram of seconds.
        by: Columns whose values tell series apart.
        where: A condition in SQL: only rows for which it is true.
        value: The column of numbers, for `values`.
        version: To be raised when the rule changes: what earlier versions made stays until it is
            made anew.
        every_seconds: A point stands for so many seconds; a divisor of an hour.
        unit: Of the metric.
        description: Of the metric.

    Raises:
        ConfigurationError: The rule contradicts itself.

    Example:
        >>> AggregateRule(metric="log.lines", by=("resource_service_name", "level")).made_by
        'aggregate/log.lines/1'
    """

    metric: str
    table: Literal["logs", "spans"] = "logs"
    measure: Literal["count", "bytes", "values", "requests"] = "count"
    by: tuple[str, ...] = ("resource_service_name",)
    where: str = ""
    value: str = ""
    version: int = 1
    every_seconds: int = 10
    unit: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.metric):
            raise ConfigurationError(
                f"aggregate {self.metric!r}: a metric has letters, digits and _.:/- in its name, "
                "and begins with a letter"
            )
        problems = (
            (self.every_seconds < 1 or 3600 % self.every_seconds, "every_seconds divides an hour"),
            (
                bool(self.value) != (self.measure == "values"),
                "`values`, and nothing else, has a value",
            ),
            (self.measure == "requests" and self.table != "spans", "`requests` is made of spans"),
            (self.measure == "bytes" and self.table != "logs", "`bytes` is made of logs"),
            (len(set(self.by)) < len(self.by), "`by` names each column once"),
        )
        for wrong, rule in problems:
            if wrong:
                raise ConfigurationError(f"aggregate '{self.metric}': {rule}", rule=self.metric)

    @property
    def family(self) -> str:
        """What `made_by` of its segments begins with, in all versions."""
        return f"aggregate/{self.metric}/"

    @property
    def made_by(self) -> str:
        """What its segments say of themselves."""
        return f"{self.family}{self.version}"

    @property
    def every_ns(self) -> int:
        """`every_seconds` in nanoseconds."""
        return self.every_seconds * NANOS


# Looked at now: threads that look at a type at once, for the first time, crash msgspec.
msgspec.json.Decoder(AggregateRule)
