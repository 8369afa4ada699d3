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
from copy import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.compute.table import TALLY_ROWS
from lakerunner.errors import QueryLimitError, QuerySyntaxError, UnsupportedQueryError
from lakerunner.limits import (
    INLINE_TEXT_CHARS,
    QUERY_CHAIN,
    QUERY_DRAFTS,
    QUERY_LISTED_VALUES,
    QUERY_PLANNED_CHARS,
    QUERY_TEXT_CHARS,
)
from lakerunner.query.query import Mention, Query
from lakerunner.query.sql import same_names
from lakerunner.query.sql.clauses import cast_edits, clock_edits, list_edits, refuse_ignored
from lakerunner.query.sql.expansion import accessor_edits, refuse_expansion, with_searches
from lakerunner.query.sql.foreign import foreign_edits
from lakerunner.query.sql.hints import explained
from lakerunner.query.sql.params import bind
from lakerunner.query.sql.same_names import is_about_names, name_edits
from lakerunner.query.sql.tokens import Edit, Kind, Rewritten, read_tables, rewrite, tokens
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from lakerunner.compute.table import Table
    from lakerunner.compute.wire import Plan, QuerySession
    from lakerunner.errors import QueryError
    from lakerunner.model.commit import Snapshot
    from lakerunner.query.sql.params import Params
    from lakerunner.query.sql.tokens import Token

# Refuse texts whose parse tree is so deep that to walk it would exhaust the stack.
#
# DataFusion bounds how deep parentheses may nest, but a chain such as `a AND b AND c …` is a tree
# as
# deep as the chain is long, and some thousands of links end the process.

_DEEPER, _DEEP = frozenset({"interval", "explain"}), 10
"""Words whose repetition costs the parser more stack than others, and how many they count for."""

# Literals, quoted names and comments are passed over; a comment that is not closed counts as words.
_TOKEN = re.compile(
    r"'[^']*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<comma>,)"
    r"|(?P<link>\w+|[^\w\s'\"(\[{)\]},]+)",
    re.DOTALL,
)


def refuse_deep(text: str) -> None:
    """Refuse a text that is longer, or chains more words, than any query needs.

    Words and operators are counted between the commas of one list. Lists themselves may be long:
    they are no deeper for it.

    Raises:
        UnsupportedQueryError: It is too long, or chains more than `limits.QUERY_CHAIN` words.

    Example:
        >>> refuse_deep("SELECT " + ", ".join(["1"] * 50_000))
        >>> refuse_deep("SELECT " + " + ".join(["1"] * 50_000))
        Traceback (most recent call last):
        ...
        lakerunner.errors.UnsupportedQueryError: the query chains more than 5,000 words
    """
    if len(text) <= QUERY_CHAIN:
        return  # a word is at least a character
    if len(text) > QUERY_TEXT_CHARS:
        raise UnsupportedQueryError(f"the query has more than {QUERY_TEXT_CHARS:,} characters")
    links = [0]
    for token in _TOKEN.finditer(text):
        match token.lastgroup:
            case "link":
                links[-1] += _DEEP if token["link"].lower() in _DEEPER else 1
                if links[-1] > QUERY_CHAIN:
                    raise UnsupportedQueryError(
                        f"the query chains more than {QUERY_CHAIN:,} words", query=text
                    )
            case "comma":
                links[-1] = 0
            case "open":
                links[-1] += 1
                links.append(0)
            case "close" if len(links) > 1:
                links.pop()


# Long lists in `IN (…)`: read as a table, because DataFusion plans each value by itself.
#
# That takes 50 to 100 microseconds a value, while nothing else of the query moves. So values are
# taken out of the text, and what is left of it must be short enough to plan.

_FEW = QUERY_LISTED_VALUES
_NUMBERS = r"\s*-?\d{1,18}\s*(?:,\s*-?\d{1,18}\s*)"
_TEXTS = r"\s*'[^']*'\s*(?:,\s*'[^']*'\s*)"
_LIST = re.compile(
    rf"\bIN\s*\((?:(?P<numbers>{_NUMBERS}{{{_FEW},}}+)|(?P<texts>{_TEXTS}{{{_FEW},}}+))\)",
    re.IGNORECASE,
)
_ITEM = re.compile(r"'([^']*)'")
_AFTER = re.compile(
    r"[\s)]*(?:$|;|(?:AND|OR|GROUP|ORDER|LIMIT|HAVING|UNION|EXCEPT|INTERSECT)\b)", re.IGNORECASE
)
_TABLE = 'IN (SELECT "value" FROM "${}")'
_OR = re.compile(r"\bOR\b", re.IGNORECASE)
_UNSURE = ("--", "/*", "$", "`")


class ShortText(NamedTuple):
    """A query without its long lists.

    Attributes:
        text: What is left.
        values: The lists, by the names that stand for them in the text, without the `$`.
    """

    text: str
    values: dict[str, Any]


def without_long_lists(text: str) -> ShortText:
    """Take long lists of integers or texts out of a query.

    A list is left where it is if it may be part of a text or a comment, or where a table would mean
    something else than a list: in what is selected, and before IS. So are all of a query with an OR
    in it, of which DataFusion makes joins that are not known to be right.

    Args:
        text: One SQL statement.

    Raises:
        QueryLimitError: What is left is longer than `limits.QUERY_PLANNED_CHARS`.

    Example:
        >>> numbers = ", ".join(map(str, range(3000)))
        >>> short = without_long_lists(f"SELECT * FROM logs WHERE attr_n IN ({numbers})")
        >>> short.text
        'SELECT * FROM logs WHERE attr_n IN (SELECT "value" FROM "$list_0")'
        >>> len(short.values["list_0"])
        3000
    """
    if len(text) <= 2 * _FEW:
        return ShortText(text, {})
    pieces: list[str] = []
    values: dict[str, Any] = {}
    position = 0
    for match in _lists(text):
        name = f"list_{len(values)}"
        values[name] = _values(match)
        pieces += [text[position : match.start()], _TABLE.format(name)]
        position = match.end()
    short = "".join([*pieces, text[position:]])
    if values and _OR.search(short):
        short, values = text, {}
    if len(short) > QUERY_PLANNED_CHARS:
        raise QueryLimitError(
            f"the query has {len(short):,} characters beside long lists, and at most "
            f"{QUERY_PLANNED_CHARS:,} are planned: bind lists by params, or ingest them as rows",
            limit="QUERY_PLANNED_CHARS",
        )
    return ShortText(short, values)


def _lists(text: str) -> Iterator[re.Match[str]]:
    quotes = {"'": 0, '"': 0}
    position = 0
    for match in _LIST.finditer(text):
        before = text[position : match.start()]
        position = match.end()
        if any(one in before for one in _UNSURE):
            return
        for quote in quotes:
            quotes[quote] += before.count(quote)
        outside = not any(count % 2 for count in quotes.values())
        if outside and _AFTER.match(text, match.end()):
            yield match


def _values(match: re.Match[str]) -> Any:
    if match["numbers"] is not None:
        return pc.utf8_trim_whitespace(pa.array(match["numbers"].split(","))).cast(pa.int64())
    return pa.array(_ITEM.findall(match["texts"]), pa.string())


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
        if any(table.tally for table in tables):
            text = rewrite(text, list(_sums(tokens(text)))).text
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

    def identity(self) -> Hashable | None:
        """Its text, as written and as planned, where it has no values and does not ask the time."""
        if self.values or self.mention.clock or len(self.text) > INLINE_TEXT_CHARS:
            return None
        return self.text, self.rewritten.text, self.limit

    def explained(self, error: QueryError, snapshots: Mapping[str, Snapshot]) -> QueryError:
        """Map places back to the text as it was written, and say what may have been meant."""
        return explained(self.rewritten.restored(error), snapshots)


def _sums(said: Sequence[Token]) -> Iterator[Edit]:
    """Edits that sum up the rows of a tally where rows are counted."""
    for four in zip(said, said[1:], said[2:], said[3:], strict=False):
        count, opening, what, closing = four
        counts = count.is_word("count") and opening.is_symbol("(") and closing.is_symbol(")")
        if counts and what.text in ("*", "1"):
            yield Edit(count.start, closing.end, f'sum("{TALLY_ROWS}")')


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
    if not params and not tables and len(text) <= INLINE_TEXT_CHARS:
        known = _read_alone(text, limit)
        if not known.mention.clock:
            return copy(known)  # for what is asked of it now
    return _read(text, params, now_ns, limit, tables)


@lru_cache(QUERY_DRAFTS)
def _read_alone(text: str, limit: int | None) -> SqlQuery:
    return _read(text, None, None, limit, None)


def _read(
    text: str,
    params: Params | None,
    now_ns: int | None,
    limit: int | None,
    tables: Mapping[str, Any] | None,
) -> SqlQuery:
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
