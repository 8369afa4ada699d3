"""SQL text before it is parsed: the words in it, and statements that are refused outright.

DataFusion parses and plans; here is only what must be known before it can. The words are collected
without telling names from literals and comments: a word too many costs a column in the plan, while
a parser of our own that differed from DataFusion's would lose one. Where names are put another way,
it is done token by token, and what a name means is left to DataFusion.
"""

from __future__ import annotations

import itertools
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lakerunner.errors import QuerySyntaxError, UnsupportedQueryError
from lakerunner.query.query import Mention, Query
from lakerunner.query.sql import same_names
from lakerunner.query.sql.accessors import accessor_edits
from lakerunner.query.sql.clauses import cast_edits, list_edits, refuse_ignored
from lakerunner.query.sql.clock import clock_edits
from lakerunner.query.sql.complexity import refuse_deep
from lakerunner.query.sql.expansion import refuse_expansion
from lakerunner.query.sql.foreign import foreign_edits
from lakerunner.query.sql.frames import read_tables
from lakerunner.query.sql.hints import explained
from lakerunner.query.sql.long_lists import without_long_lists
from lakerunner.query.sql.params import bind
from lakerunner.query.sql.rewriting import Rewritten, rewrite
from lakerunner.query.sql.same_names import is_about_names, name_edits
from lakerunner.query.sql.search import with_searches
from lakerunner.query.sql.tokens import Kind, tokens
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakerunner.compute.contract import Plan, QuerySession
    from lakerunner.compute.table import Table
    from lakerunner.errors import QueryError
    from lakerunner.model.commit import Snapshot
    from lakerunner.query.sql.params import Params
    from lakerunner.query.sql.tokens import Token

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CLOCK = frozenset(
    {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "now"}
    | {"today"}
)
_WRITES = frozenset(
    {"ALTER", "ANALYZE", "ATTACH", "BEGIN", "CALL", "CLOSE", "COMMENT", "COMMIT", "COPY", "CREATE"}
    | {"DEALLOCATE", "DECLARE", "DELETE", "DETACH", "DROP", "EXECUTE", "EXPORT", "FETCH", "GRANT"}
    | {"INSERT", "INSTALL", "KILL", "LISTEN", "LOAD", "LOCK", "MERGE", "NOTIFY", "OPTIMIZE"}
    | {"PRAGMA", "PREPARE", "REFRESH", "RENAME", "REPLACE", "RESET", "REVOKE", "ROLLBACK"}
    | {"SAVEPOINT", "SET", "START", "TRUNCATE", "UNCACHE", "UNLOAD", "UNLOCK", "UPDATE", "USE"}
    | {"VACUUM"}
)


class SqlQuery(Query):
    """One SQL statement that may only read.

    Args:
        mention: What planning must know of it.
        rewritten: The text as it was written and as it is planned.
        values: What its placeholders stand for; see `Session.plan`.
        limit: Rows at most.
    """

    def __init__(
        self,
        mention: Mention,
        rewritten: Rewritten,
        values: Mapping[str, Any],
        limit: int | None = None,
    ) -> None:
        self.text = rewritten.said
        self.mention = mention
        self.rewritten = rewritten
        self.values = values
        self.limit = limit

    def build(self, session: QuerySession, tables: Sequence[Table]) -> Plan:
        """Have DataFusion parse and plan the text; columns of the same name get another each."""
        text = self.rewritten.text
        try:
            return session.plan(text, tables, self.values, self.limit)
        except QuerySyntaxError as error:
            if not is_about_names(error.message):
                raise
        named, casts = name_edits(self.rewritten), same_names.cast_edits(text)
        for edits in (named, [*casts, *named]):
            with suppress(QuerySyntaxError):
                return session.plan(rewrite(text, edits).text, tables, self.values, self.limit)
        raise QuerySyntaxError(
            "two columns of one SELECT have the same name, as casts do not count: give each "
            "another name with AS, or make one of them in a subquery",
            query=text,
        )

    def explained(self, error: QueryError, snapshots: Mapping[str, Snapshot]) -> QueryError:
        """Map places back to the text as it was written, and say what may have been meant."""
        return explained(self.rewritten.restored(error), snapshots)


def read_sql(
    text: str,
    params: Params | None = None,
    *,
    now_ns: int | None = None,
    limit: int | None = None,
    tables: Mapping[str, Any] | None = None,
) -> SqlQuery:
    """Read what planning must know of a query before it is parsed.

    Args:
        text: One SQL statement.
        params: Values of its placeholders.
        now_ns: The current time, for conditions that ask for it; see `clock_edits`.
        limit: Rows at most.
        tables: Tables that the caller brings along; see `read_tables`.

    Raises:
        UnsupportedQueryError: The statement is none that reads rows, or is too long or too deep.
        QueryLimitError: It would make too many groups or scans, or values that are too large.
        QuerySyntaxError: Values and placeholders do not fit.

    Example:
        >>> mention = read_sql("SELECT count(*) FROM logs WHERE timestamp < now()").mention
        >>> sorted(mention.words), mention.clock
        (['count', 'from', 'logs', 'now', 'select', 'timestamp', 'where'], True)
    """
    refuse_deep(text)
    short = without_long_lists(text)
    text = short.text
    said = tokens(text)
    first = next((one for one in said if not one.is_symbol("(", ";")), None)
    statement = first.text.upper() if first is not None and first.kind is Kind.WORD else ""
    _refuse(statement, text)
    refuse_ignored(said, text)
    refuse_expansion(said)
    bound = bind(said, params)
    clock = [] if now_ns is None else clock_edits(said, now_ns)
    edits = [*list_edits(said), *clock, *foreign_edits(said), *accessor_edits(said)]
    edits += [*cast_edits(said), *bound.edits]
    edits = with_searches(said, text, edits, bound.values)
    rewritten = rewrite(text, edits)
    found = tokens(rewritten.text) if edits else said
    words = frozenset(word.lower() for word in _WORD.findall(rewritten.text))
    names = tuple(one.name for one in found if one.kind is Kind.QUOTED)
    mention = Mention(
        words,
        not words.isdisjoint(_CLOCK),
        statement in ("DESCRIBE", "DESC"),
        names,
        _aliases(found) if names else frozenset(),
    )
    return SqlQuery(
        mention, rewritten, {**bound.values, **short.values, **read_tables(tables)}, limit
    )


def _refuse(statement: str, text: str) -> None:
    if statement in _WRITES:
        raise UnsupportedQueryError(f"a query may only read: {statement} is refused", query=text)
    if statement == "EXPLAIN":
        raise UnsupportedQueryError(
            "EXPLAIN is refused: give the query to explain() instead", query=text
        )
    if statement == "SHOW":
        raise UnsupportedQueryError(
            f"SHOW is refused: the tables are {', '.join(TABLES)}; DESCRIBE shows their columns",
            query=text,
        )


def _aliases(found: Sequence[Token]) -> frozenset[str]:
    """Quoted names behind AS, or right behind what can be an expression."""
    return frozenset(
        token.name
        for before, token in itertools.pairwise(found)
        if token.kind is Kind.QUOTED
        and (
            before.is_word("as")
            or before.is_symbol(")", "]")
            or before.kind in (Kind.QUOTED, Kind.TEXT, Kind.NUMBER)
        )
    )
