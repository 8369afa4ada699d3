"""How a query would be answered, for a person to read."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from lakerunner.model.times import isoformat
from lakerunner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lakerunner.compute.table import ScanMode
    from lakerunner.model.segment import Segment
    from lakerunner.query.stats import QueryStats


class SegmentVerdict(NamedTuple):
    """What became of one segment.

    Attributes:
        segment: Which.
        keep: Whether the query reads it.
        reason: Why.
    """

    segment: Segment
    keep: bool
    reason: str


class Explanation(NamedTuple):
    """How a query would be answered. `str()` of it is meant to be read.

    Attributes:
        query: The text.
        segments: Every live segment of the tables it names.
        modes: By table, how it is scanned: `needle` evaluates filters while it decodes, `sweep`
            decodes first.
        physical_plan: DataFusion's plan over the segments that are kept.
        actual: What the query took when it ran, if it did.
    """

    query: str
    segments: tuple[SegmentVerdict, ...]
    modes: Mapping[str, ScanMode]
    physical_plan: str
    actual: QueryStats | None = None

    @property
    def kept(self) -> tuple[Segment, ...]:
        """The segments the query reads."""
        return tuple(one.segment for one in self.segments if one.keep)

    @property
    def dropped(self) -> tuple[Segment, ...]:
        """The segments it does not open."""
        return tuple(one.segment for one in self.segments if not one.keep)

    def to_dict(self) -> dict[str, Any]:
        """What it says as plain values: fit for `json.dumps`."""
        return {
            "query": self.query,
            "segments": [
                {"id": one.segment.id, "key": one.segment.key, "keep": one.keep, "why": one.reason}
                for one in self.segments
            ],
            "modes": {table: str(mode) for table, mode in self.modes.items()},
            "physical_plan": self.physical_plan,
            "actual": None if self.actual is None else self.actual.to_dict(),
        }

    def __repr__(self) -> str:
        return "\n".join([f"<Explanation of {self.query!r}>", *self._totals()])

    def _totals(self) -> Iterator[str]:
        for table, mode in self.modes.items():
            mine = [one for one in self.segments if one.segment.table == table]
            kept = [one.segment for one in mine if one.keep]
            rows, total = sum(s.rows for s in kept), sum(one.segment.rows for one in mine)
            size = sum(segment.bytes for segment in kept)
            yield (
                f"{table}: {len(kept):,} of {len(mine):,} segments kept, "
                f"{rows:,} of {total:,} rows, {size:,} bytes, scanned as a {mode}"
            )
        if self.actual is not None:
            took = self.actual
            yield (
                f"actual: {took.scanned:,} segments opened, {took.rows_scanned:,} rows and "
                f"{took.bytes_read:,} bytes read, {took.filter_bytes:,} of filters, "
                f"{took.rows:,} rows returned, planned in "
                f"{took.planning_seconds:.4f} s, run in {took.execution_seconds:.4f} s"
            )

    def __str__(self) -> str:
        lines = [*self._totals(), ""] if self.modes else ["no table is read", ""]
        for segment, keep, reason in self.segments:
            word = "keep" if keep else "drop"
            lines.append(
                f"{word}  {segment.key}  {_span(segment)}  {segment.rows:,} rows: {reason}"
            )
        lines += ["", *self.physical_plan.rstrip().splitlines()]
        return printable("\n".join(lines), lines=True)

    def _repr_html_(self) -> str:
        totals = "".join(f"<p>{escape(line)}</p>" for line in self._totals())
        rows = "".join(
            f"<tr><td>{'keep' if keep else 'drop'}</td><td>{escape(printable(segment.key))}</td>"
            f"<td>{_span(segment)}</td><td>{segment.rows:,}</td><td>{escape(printable(reason))}</td></tr>"
            for segment, keep, reason in self.segments
        )
        head = "<tr><th></th><th>segment</th><th>time</th><th>rows</th><th>why</th></tr>"
        return (
            f"{totals}<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
            f"<pre>{escape(printable(self.physical_plan, lines=True))}</pre>"
        )


def _span(segment: Segment) -> str:
    return f"{isoformat(segment.min_timestamp_ns)} to {isoformat(segment.max_timestamp_ns)}"
