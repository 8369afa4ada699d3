"""What a query is to the planner, whatever language it was written in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from lakerunner.model.times import TimeRange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakerunner.compute.contract import Plan, QuerySession
    from lakerunner.compute.scans import Scan
    from lakerunner.compute.table import Table
    from lakerunner.errors import QueryError
    from lakerunner.model.commit import Snapshot


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
    """

    text: str
    mention: Mention
    without: frozenset[str] = frozenset()
    times: TimeRange = TimeRange()

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

    def explained(self, error: QueryError, snapshots: Mapping[str, Snapshot]) -> QueryError:  # noqa: ARG002 - for those who know more
        """An error of planning as it is to be raised: with places and names as they were written.

        Args:
            error: What went wrong.
            snapshots: The tables that the query mentions.
        """
        return error
