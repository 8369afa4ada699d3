"""What a query is to the planner, whatever language it was written in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lakerunner.errors import QuerySyntaxError
from lakerunner.model.segment import ColumnStats
from lakerunner.model.times import TimeRange
from lakerunner.schema.attribute import RECORD, RESOURCE, SCOPE, column_name, other_names
from lakerunner.schema.tables import SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from lakerunner.compute.scans import Scan
    from lakerunner.compute.table import Table
    from lakerunner.compute.wire import Plan, QuerySession
    from lakerunner.errors import QueryError
    from lakerunner.model.commit import ColumnSummary, Snapshot
    from lakerunner.model.segment import Segment
    from lakerunner.schema.tables import TableSpec


class Mention(NamedTuple):
    """The words of a query: every name in it, and perhaps more.

    Attributes:
        words: Lower-case words, whatever they are: keywords, names, parts of literals and comments.
            All tables and columns of the query are among them.
        clock: The query may depend on the current time.
        describes: It asks for the columns of a table and not for its rows.
        names: What stands in double quotes, in order: perhaps attributes by their own names.
        aliases: Those of `names` that the query defines itself.
    """

    words: frozenset[str]
    clock: bool
    describes: bool
    names: tuple[str, ...] = ()
    aliases: frozenset[str] = frozenset()


class Query(ABC):
    """Something that can be planned over tables, pruned, explained and run.

    A front end makes one of what a person wrote. The planner asks it for a plan two or three times:
    over no files, to see what it needs, and then over the segments that may hold that. A language
    that does its own reckoning needs no query of its own: it reads columns with
    `lakerunner.query.scan.ScanQuery`.

    Attributes:
        text: What to call it, in messages and explanations: as it was written, if it was.
        mention: What it speaks of; may be more than it needs, and never less.
        without: Ids of segments that it does not read, whatever they hold.
        times: It sees only rows of these times of every table, whatever else it asks for.
        whole: Its plan names every segment that it needs, though the catalog may know enough of
            some: it is run elsewhere.
    """

    text: str
    mention: Mention
    without: frozenset[str] = frozenset()
    times: TimeRange = TimeRange()
    whole: bool = False

    @abstractmethod
    def build(self, session: QuerySession, tables: Sequence[Table]) -> Plan:
        """Plan it over some tables; no file is read.

        Args:
            session: Where it is planned.
            tables: Those that it mentions, with the columns that it mentions and there are.

        Raises:
            QueryError: It cannot be planned. `explained` is asked to say more.
        """

    def needs(self) -> Sequence[Scan] | None:
        """What it asks of its tables, if it knows: then it is planned once, and run as planned.

        Of a query that joins, aggregates or asks for the time, only a plan can tell.
        """
        return None

    def identity(self) -> Hashable | None:
        """What is equal of two queries that ask the same of tables of the same columns.

        None of one that may ask something else next time, as by the clock.
        """
        return None

    def explained(self, error: QueryError, snapshots: Mapping[str, Snapshot]) -> QueryError:  # noqa: ARG002 - for those who know more
        """An error of planning as it is to be raised: with places and names as they were written.

        Args:
            error: What went wrong.
            snapshots: The tables that the query mentions.
        """
        return error


# Columns that a view has under the own names of attributes: which columns of a file they are.
#
# Keys fold to column names, and two keys may fold to one. Which key a column is of is known for
# each
# segment, so an own name is looked up there: it never shows the values of another key.

_RECORD_WORDS = ("attributes", "attribute", "attr", "attrs", "log_attributes", "span_attributes")
_RESOURCE_WORDS = ("resource", "resource_attributes", "resourceattributes")
_SCOPE_WORDS = ("scope", "scope_attributes", "scopeattributes")
ACCESSORS = {
    **dict.fromkeys(_RECORD_WORDS, RECORD),
    **dict.fromkeys(("logattributes", "spanattributes", "metric_attributes"), RECORD),
    **dict.fromkeys(_RESOURCE_WORDS, RESOURCE),
    **dict.fromkeys(_SCOPE_WORDS, SCOPE),
}
"""Words that stand for all attributes of one kind, and the prefix of their columns."""

_OF_SCOPE = frozenset({"scope_name", "scope_version"})


class OwnName(NamedTuple):
    """A name of an attribute as a query writes it.

    Attributes:
        name: What the column is called: `http.route` or `attributes['http.route']`.
        key: The key as it was sent.
        prefixes: Whose attribute it is; several where the name does not say, the nearest first.
    """

    name: str
    key: str
    prefixes: tuple[str, ...] = (RECORD, RESOURCE, SCOPE)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that hold it unless another key folds to the same name."""
        return tuple(column_name(prefix, self.key) for prefix in self.prefixes)


def read_own_name(name: str) -> OwnName:
    """What a quoted name means, if it is that of an attribute.

    Example:
        >>> read_own_name("resource['service.name']").columns
        ('resource_service_name',)
        >>> read_own_name("http.route").columns
        ('attr_http_route', 'resource_http_route', 'scope_http_route')
    """
    word, bracket, rest = name.partition("['")
    if bracket and rest.endswith("']") and word in ACCESSORS:
        return OwnName(name, rest[:-2], (ACCESSORS[word],))
    return OwnName(name, name)


class OwnColumn(NamedTuple):
    """A column by the own name of an attribute.

    Attributes:
        name: What the query calls it.
        key: The key as it was sent.
        families: For each place it may have been sent in (record, resource, scope), nearest first:
            the columns that may hold it, that of the folded name first.
    """

    name: str
    key: str
    families: tuple[tuple[str, ...], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that may hold it."""
        return tuple(column for family in self.families for column in family)

    def held_in(self, segment: Segment) -> tuple[str, ...]:
        """The columns that hold it in a segment: one for each place it was sent in."""
        held = (_holder(family, self.key, segment) for family in self.families)
        return tuple(column for column in held if column is not None)

    def stats_in(self, segment: Segment) -> ColumnStats | None:
        """What is known of it in a segment; None if it is NULL in every row."""
        found = [segment.columns[column] for column in self.held_in(segment)]
        if len(found) < 2:  # noqa: PLR2004 - nothing is known of several together
            return found[0] if found else None
        return ColumnStats(found[0].type)


def own_columns(
    spec: TableSpec, columns: Mapping[str, ColumnSummary], names: Iterable[str]
) -> tuple[OwnColumn, ...]:
    """The own names among some names of a query.

    Args:
        spec: The table.
        columns: The columns of its segments.
        names: Names in double quotes.

    Returns:
        Those that are no columns as they stand, and fold to one that there is.
    """
    canonical = set(spec.schema.names)
    found = []
    for name in dict.fromkeys(names):
        if name in canonical or name in columns:
            continue
        own = read_own_name(name)
        shared = {SERVICE} | (_OF_SCOPE if own.name != own.key else set())
        families = (
            tuple(
                each
                for each in (base, *other_names(base, own.key))
                if each in columns or each in shared & canonical
            )
            for base in own.columns
        )
        filled = tuple(family for family in families if family)
        if filled:
            found.append(OwnColumn(name, own.key, filled))
    return tuple(found)


def with_own_columns(segment: Segment, own: Sequence[OwnColumn]) -> Segment:
    """The description of a segment with what is known of own columns, for pruning."""
    if not own:
        return segment
    known = {one.name: stats for one in own if (stats := one.stats_in(segment)) is not None}
    if not known:
        return segment
    return msgspec.structs.replace(segment, columns={**segment.columns, **known})


def refuse_unsent(
    own: Sequence[OwnColumn], near: Iterable[Segment], every: Callable[[], Iterable[Segment]]
) -> None:
    """Refuse an own name that folds to a column and is no key that anybody sent.

    Args:
        own: The own columns of a query.
        near: Segments in the query's time range.
        every: Lists all segments of the table; called only if those in range leave a doubt.

    Raises:
        QuerySyntaxError: It is none; the message names the keys that fold to the same name.
    """
    in_range = list(near)
    for one in own:
        doubtful = False
        for segment in in_range:
            if one.held_in(segment):
                break
            doubtful = doubtful or any(column in segment.columns for column in one.columns)
        else:
            if doubtful and not any(one.held_in(segment) for segment in every()):
                raise _unsent(one, in_range)


def _unsent(own: OwnColumn, segments: Sequence[Segment]) -> QuerySyntaxError:
    keys = {
        segment.columns[column].key
        for segment in segments
        for column in own.columns
        if column in segment.columns
    }
    meant = " or ".join(f'"{key}"' for key in sorted(keys))
    return QuerySyntaxError(
        f'there is no attribute "{own.key}"; did you mean {meant}?', column=own.name
    )


def _holder(family: Sequence[str], key: str, segment: Segment) -> str | None:
    for column in family:
        stats = segment.columns.get(column)
        if stats is not None and stats.key == key:
            return column
    stats = segment.columns.get(family[0])
    # Columns of the table itself, and those of files that do not tell, carry no key.
    return family[0] if stats is not None and not stats.key else None
