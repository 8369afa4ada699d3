"""The one tree of errors, grouped by what a handler would do about them.

```
LakerunnerError
├── ConfigurationError (ValueError)      mend the call or the settings
│   ├── UnknownSchemeError               no adapter is known for this URL
│   ├── MissingExtraError (ImportError)  run the `pip install` line in the message
│   ├── InvalidTimeError                 a time nobody can read
│   ├── ReadOnlyError (PermissionError)  the lake was opened with `read_only=True`
│   └── ForkedProcessError               queries ran before this process was forked: use spawn
├── StoreError (OSError)                 an object store said no
│   ├── ObjectNotFoundError (FileNotFoundError)
│   ├── ObjectExistsError (FileExistsError)
│   ├── ObjectDeniedError (PermissionError)
│   ├── ObjectRangeError                 bytes were asked for that the object does not have
│   └── StoreUnavailableError            try again later: 5xx, throttling, timeout, lost reply
├── CatalogError
│   ├── CommitConflictError              somebody else was first: plan again
│   ├── CommitUnknownError               look before you retry: it may have been applied
│   ├── CatalogVersionError              written by a newer lakerunner: upgrade
│   ├── CatalogMismatchError             not this lake's catalog, or not up to it: recover
│   ├── LeaseLostError                   somebody else has this work now: leave it
│   └── CatalogUnavailableError          try again later
├── EventsUnavailableError               try again later: a queue of events does not answer
├── IntakeFullError                      try again later: more is waiting than may wait
├── InputError (ValueError)              this object, line or record is set aside
│   ├── UnknownFormatError               nothing here recognises the object
│   ├── UnknownOwnerError                no rule says whose the object is
│   ├── CorruptObjectError               recognised, but its bytes are broken
│   ├── DecoderFailedError               a decoder failed on it as none should: report it
│   └── ObjectTooLargeError              larger than the limit that protects memory
├── SegmentError (ValueError)            a segment file is not what its footer must say
│   └── SegmentDamagedError              its bytes are not those that were written
└── QueryError (ValueError)              mend the query
    ├── QuerySyntaxError                 the text cannot be parsed, or names an unknown column
    ├── UnsupportedQueryError            understood, and refused
    ├── QueryExecutionError              the query failed while it ran
    │   ├── QueryLimitError              it would take more than a setting allows
    │   ├── QueryTimeoutError (TimeoutError)  it took longer than it may
    │   └── QueryStoppedError            whoever asked does not wait any more
    ├── QueryBusyError                   try again later: too many other queries are running
    ├── SnapshotExpiredError             the past that is asked for is not kept any more
    └── CursorError                      of another query, or none: ask without one
```

Each error carries a stable `code` (append-only), a `message` for people, and `context`: the
object, segment, line or column it is about. Every error can be pickled.
"""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING

from lakerunner.printable import printable, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable


class ErrorCode(StrEnum):
    """Stable codes, one per kind of failure. Codes are only ever added."""

    CONFIGURATION = "configuration"
    UNKNOWN_SCHEME = "unknown_scheme"
    MISSING_EXTRA = "missing_extra"
    INVALID_TIME = "invalid_time"
    READ_ONLY = "read_only"
    STORE = "store"
    OBJECT_NOT_FOUND = "object_not_found"
    OBJECT_EXISTS = "object_exists"
    OBJECT_DENIED = "object_denied"
    OBJECT_RANGE = "object_range"
    STORE_UNAVAILABLE = "store_unavailable"
    CATALOG = "catalog"
    COMMIT_CONFLICT = "commit_conflict"
    COMMIT_UNKNOWN = "commit_unknown"
    CATALOG_VERSION = "catalog_version"
    CATALOG_UNAVAILABLE = "catalog_unavailable"
    INPUT = "input"
    UNKNOWN_FORMAT = "unknown_format"
    CORRUPT_OBJECT = "corrupt_object"
    OBJECT_TOO_LARGE = "object_too_large"
    SEGMENT = "segment"
    QUERY = "query"
    QUERY_SYNTAX = "query_syntax"
    UNSUPPORTED_QUERY = "unsupported_query"
    QUERY_EXECUTION = "query_execution"
    EVENTS_UNAVAILABLE = "events_unavailable"
    SNAPSHOT_EXPIRED = "snapshot_expired"
    UNKNOWN_OWNER = "unknown_owner"
    DECODER_FAILED = "decoder_failed"
    FORKED_PROCESS = "forked_process"
    QUERY_LIMIT = "query_limit"
    QUERY_TIMEOUT = "query_timeout"
    QUERY_BUSY = "query_busy"
    CATALOG_MISMATCH = "catalog_mismatch"
    SEGMENT_DAMAGED = "segment_damaged"
    INTAKE_FULL = "intake_full"
    LEASE_LOST = "lease_lost"
    CURSOR = "cursor"
    QUERY_STOPPED = "query_stopped"


def did_you_mean(name: str, known: Iterable[str], kind: str = "there are") -> str:
    """The end of a message about an unknown name: the nearest ones, or all there are.

    Example:
        >>> did_you_mean("windw_ns", ["window_ns", "workers"]), did_you_mean("x", ["a", "b"])
        ("; did you mean 'window_ns'?", '; there are a, b')
    """
    names = list(map(str.__str__, known))
    close = get_close_matches(name, names, n=3, cutoff=0.55)
    close += [one for one in names if one.startswith(name) and one not in close]
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    return f"; {kind} {', '.join(names)}"


class LakerunnerError(Exception):
    """Base of every error raised on purpose by lakerunner.

    Attributes:
        code: Stable identifier of the kind of failure.
        message: One sentence for a person: what, where, and what to do.
        context: What it is about, by name (`key`, `url`, `segment`, `line`, `column`).

    Neither holds the credentials of a URL, and `str()` has no character that steers a terminal.

    Example:
        >>> error = ObjectNotFoundError("no object at 'a.binpb'", key="a.binpb")
        >>> error.code, error.context["key"], isinstance(error, FileNotFoundError)
        (<ErrorCode.OBJECT_NOT_FOUND: 'object_not_found'>, 'a.binpb', True)
    """

    code: ErrorCode = ErrorCode.CONFIGURATION

    def __init__(self, message: str, **context: object) -> None:
        self.message = without_secrets(message)
        self.context = {
            name: without_secrets(value) if isinstance(value, str) else value
            for name, value in context.items()
        }
        super().__init__(self.message)

    def __str__(self) -> str:
        return printable(self.message, lines=True)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.context))


def _rebuild(kind: type[LakerunnerError], message: str, context: dict[str, object]) -> object:
    return kind(message, **context)


class ConfigurationError(LakerunnerError, ValueError):
    """A call or a setting is wrong."""

    code = ErrorCode.CONFIGURATION


class UnknownSchemeError(ConfigurationError):
    """No adapter is known for the scheme of a URL."""

    code = ErrorCode.UNKNOWN_SCHEME


class MissingExtraError(ConfigurationError, ImportError):
    """An optional dependency is not installed; the message holds the command that mends it."""

    code = ErrorCode.MISSING_EXTRA


class InvalidTimeError(ConfigurationError):
    """A text or number that cannot be read as a time."""

    code = ErrorCode.INVALID_TIME


class ReadOnlyError(ConfigurationError, PermissionError):
    """A write was asked of a lake that was opened read-only."""

    code = ErrorCode.READ_ONLY


class ForkedProcessError(ConfigurationError):
    """A query was asked of a process that was forked from one that had run queries."""

    code = ErrorCode.FORKED_PROCESS


class StoreError(LakerunnerError, OSError):
    """An object store refused or failed."""

    code = ErrorCode.STORE


class ObjectNotFoundError(StoreError, FileNotFoundError):
    """There is no object at this key."""

    code = ErrorCode.OBJECT_NOT_FOUND


class ObjectExistsError(StoreError, FileExistsError):
    """A create-only put found an object at its key."""

    code = ErrorCode.OBJECT_EXISTS


class ObjectDeniedError(StoreError, PermissionError):
    """The store answered 401 or 403."""

    code = ErrorCode.OBJECT_DENIED


class ObjectRangeError(StoreError):
    """The requested bytes lie outside the object."""

    code = ErrorCode.OBJECT_RANGE


class StoreUnavailableError(StoreError):
    """A failure that may pass: 5xx, throttling, a timeout, a reply that never came."""

    code = ErrorCode.STORE_UNAVAILABLE


class CatalogError(LakerunnerError):
    """A catalog refused or failed."""

    code = ErrorCode.CATALOG


class CommitConflictError(CatalogError):
    """A commit lost a race; `context["sources"]` or `context["segments"]` names over what."""

    code = ErrorCode.COMMIT_CONFLICT


class CommitUnknownError(CatalogError):
    """The reply to a commit was lost: it may or may not have been applied."""

    code = ErrorCode.COMMIT_UNKNOWN


class CatalogVersionError(CatalogError):
    """The catalog was written by a newer version and is left untouched."""

    code = ErrorCode.CATALOG_VERSION


class CatalogMismatchError(CatalogError):
    """Catalog and lake do not belong together: another lake, an older state, an empty catalog."""

    code = ErrorCode.CATALOG_MISMATCH


class LeaseLostError(CatalogError):
    """The lease of a task ran out: others may be doing it by now."""

    code = ErrorCode.LEASE_LOST


class CatalogUnavailableError(CatalogError):
    """A catalog failure that may pass: locked, unreachable, timed out."""

    code = ErrorCode.CATALOG_UNAVAILABLE


class EventsUnavailableError(LakerunnerError):
    """A failure of an event source that may pass: unreachable, throttled, timed out."""

    code = ErrorCode.EVENTS_UNAVAILABLE


class IntakeFullError(LakerunnerError):
    """A writer holds as much as it may; `context["retry_after"]` says for how many seconds."""

    code = ErrorCode.INTAKE_FULL


class InputError(LakerunnerError, ValueError):
    """An object, line or record cannot be taken; it is set aside with this reason."""

    code = ErrorCode.INPUT


class UnknownFormatError(InputError):
    """No decoder recognises the object, by its name or by its content."""

    code = ErrorCode.UNKNOWN_FORMAT


class UnknownOwnerError(InputError):
    """No rule of ownership says which organization the object belongs to."""

    code = ErrorCode.UNKNOWN_OWNER


class CorruptObjectError(InputError):
    """The object's format is known but its bytes are broken."""

    code = ErrorCode.CORRUPT_OBJECT


class DecoderFailedError(InputError):
    """A decoder failed on the object in a way that none should; the message names how."""

    code = ErrorCode.DECODER_FAILED


class ObjectTooLargeError(InputError):
    """The object is larger than the limit that keeps memory bounded."""

    code = ErrorCode.OBJECT_TOO_LARGE


class SegmentError(LakerunnerError, ValueError):
    """A file is not a segment, or is one that this version cannot read."""

    code = ErrorCode.SEGMENT


class SegmentDamagedError(SegmentError):
    """The bytes of a segment are not those that were written; `context["key"]` says which."""

    code = ErrorCode.SEGMENT_DAMAGED


class QueryError(LakerunnerError, ValueError):
    """A query cannot be answered."""

    code = ErrorCode.QUERY


class QuerySyntaxError(QueryError):
    """The query text cannot be parsed or names something that does not exist."""

    code = ErrorCode.QUERY_SYNTAX


class UnsupportedQueryError(QueryError):
    """The query is understood and refused; the message names the expression."""

    code = ErrorCode.UNSUPPORTED_QUERY


class QueryExecutionError(QueryError):
    """The query failed while it ran."""

    code = ErrorCode.QUERY_EXECUTION


class QueryLimitError(QueryExecutionError):
    """The query would take more than a limit allows; `context["limit"]` names the setting."""

    code = ErrorCode.QUERY_LIMIT


class QueryTimeoutError(QueryExecutionError, TimeoutError):
    """The query took longer than `query_timeout`, or than its own `timeout`."""

    code = ErrorCode.QUERY_TIMEOUT


class QueryStoppedError(QueryExecutionError):
    """Whoever asked does not wait for the answer any more."""

    code = ErrorCode.QUERY_STOPPED


class QueryBusyError(QueryError):
    """Too many queries are running, and none ended in time: try again later."""

    code = ErrorCode.QUERY_BUSY


class SnapshotExpiredError(QueryError):
    """A state of the lake from before what is kept of removed segments: ask for a later one."""

    code = ErrorCode.SNAPSHOT_EXPIRED


class CursorError(QueryError):
    """A cursor that cannot be read, or that another query gave."""

    code = ErrorCode.CURSOR
