"""SQL text before it is parsed: the words in it, and statements that are refused outright.

DataFusion parses and plans; here is only what must be known before it can. The words are collected
without telling names from literals and comments: a word too many costs a column in the plan, while
a parser of our own that differed from DataFusion's would lose one.
"""

from __future__ import annotations

import re

from lakerunner.errors import UnsupportedQueryError
from lakerunner.query.complexity import refuse_deep
from lakerunner.query.mention import Mention
from lakerunner.schema.tables import TABLES

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/|\()*([A-Za-z]\w*)?", re.DOTALL)
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


def read_sql(text: str) -> Mention:
    """Read what planning must know of a query before it is parsed.

    Raises:
        UnsupportedQueryError: The statement is none that reads rows, or is too long or too deep.

    Example:
        >>> mention = read_sql("SELECT count(*) FROM logs WHERE timestamp < now()")
        >>> sorted(mention.words), mention.clock
        (['count', 'from', 'logs', 'now', 'select', 'timestamp', 'where'], True)
    """
    match = _FIRST_WORD.match(text)
    first = (match[1] if match and match[1] else "").upper()
    if first in _WRITES:
        raise UnsupportedQueryError(f"a query may only read: {first} is refused", query=text)
    if first == "EXPLAIN":
        raise UnsupportedQueryError(
            "EXPLAIN is refused: give the query to explain() instead", query=text
        )
    if first == "SHOW":
        raise UnsupportedQueryError(
            f"SHOW is refused: the tables are {', '.join(TABLES)}; DESCRIBE shows their columns",
            query=text,
        )
    refuse_deep(text)
    words = frozenset(word.lower() for word in _WORD.findall(text))
    return Mention(words, not words.isdisjoint(_CLOCK), first in ("DESCRIBE", "DESC"))
