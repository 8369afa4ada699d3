"""Settings of a lake, with their defaults."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from lakerunner.errors import ConfigurationError, did_you_mean
from lakerunner.limits import (
    ATTEMPTS,
    BACKOFF_SECONDS,
    BATCH_OBJECTS,
    COMPACT_SETTLE_NS,
    COMPACT_TARGET_BYTES,
    MEMORY_BYTES,
    MEMORY_FLOOR_BYTES,
    MIB,
    ORPHAN_GRACE_NS,
    QUERY_CACHE_BYTES,
    QUERY_CONCURRENCY,
    QUERY_CONCURRENCY_EACH,
    QUERY_FANOUT_BYTES,
    QUERY_MEMORY_BYTES,
    QUERY_WAIT_SECONDS,
    QUERY_WORKERS,
    QUERY_WORKERS_EACH,
    REMOVED_GRACE_NS,
    ROLLUP_TIERS_NS,
    WATCH_SECONDS,
    WINDOW_NS,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# How the memory beyond the floor is shared: what is read, what is cut, what is decoded.
_READ_SHARE = 10
_DECODE_SHARE = 0.6
_PART = 7  # of the bytes that decoding takes; what takes more is cut again
_RECORD = 13  # of the same: what one record takes that is nothing but one text


Kept: TypeAlias = "str | dict[str, str | dict[str, str]]"
"""How long rows are kept: a duration, `forever` or `default`; for all, or by table; and for tables
of several resolutions by these."""


class OrganizationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of one organization, which go before those of the lake.

    Attributes:
        retention: How long its rows are kept; tables that are not named are kept as the lake says.
    """

    retention: Kept = {}


class TableSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the segments of one table are laid out, from now on; what is there already stays right.

    Attributes:
        sort: Columns by which rows are sorted, ascending, NULLs last; none for those of the table.
            Those that a segment lacks are passed over.
        columns: Names of attribute columns (`attr_user_id`) that are columns of their own wherever
            they occur, however many others there are.
    """

    sort: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings; every one has a default from `lakerunner.limits`.

    Attributes:
        window_ns: Length of a window in nanoseconds.
        memory_bytes: Ceiling for the resident memory of one ingesting process, in bytes.
        workers: Threads of the default executor. A batch of every worker is in memory at once.
        batch_objects: Objects in one commit at most.
        orphan_grace_ns: Age in nanoseconds below which an uncommitted object is left alone.
        watch_seconds: How long an announced object may wait for others to share a segment with.
        rollup_tiers_ns: Lengths of the buckets in the tiers of `metrics_rollup`, in nanoseconds,
            ascending; each is a multiple of the one before.
        removed_grace_ns: How long in nanoseconds a removed segment stays readable, which is as far
            as `Lake.at` looks back. The same for all who use a lake.
        attempts: How often what may succeed later is tried in all; what a store of a service has
            tried `limits.ATTEMPTS` times is not tried again.
        backoff_seconds: Pause before the second attempt; it doubles with each further one.
        word_filters: When segments get filters of the words and values in them, by which searches
            leave them out: at `ingest`, when they are merged (`compact`), or `never`.
        compact_memory_bytes: Ceiling for the resident memory of one merging process, in bytes.
        compact_target_bytes: Size up to which the segments of a window are merged into one.
        compact_settle_ns: How long in nanoseconds after its end a window is left to receive more,
            before what is in it is merged for good.
        tables: By table, its sort order and the attributes that are always columns.
        query_memory_bytes: What the sorts, joins and aggregations of one query engine may hold in
            memory, in bytes; beyond it they spill to disk.
        query_cache_bytes: Segments that a query engine keeps as local files between queries, in
            bytes, where the store's objects are not files already.
        query_cache_directory: Where such copies are kept instead, for all processes of the machine
            and beyond their end. Then segments of up to 64 MiB are also copied from a bucket that
            could be read in place. `query_cache_bytes` bounds all of them together.
        query_fanout_bytes: Bytes of segments from which on a query is dealt out to the executor
            that its engine was given; 0 deals out whatever can be.
        query_threads: Threads of a query engine; 0 means one per core.
        query_timeout: Seconds that a query may work, unless it says otherwise; None for no limit.
        query_max_bytes: Bytes that a query may read of segments; None for no limit. It is looked at
            while the query runs, so a little more may have been read.
        query_max_rows: Rows that a query may return; None for no limit.
        query_concurrency: Queries that work at the same time; further ones wait for their turn.
        query_concurrency_each: Those of one organization.
        query_isolation: Where queries run. `auto` gives a process of its own to each that could
            hold up the others, or take memory that no account is kept of; `process` to all;
            `thread` to none, so that one query can stop everything.
        query_workers: Such processes at the same time; each may hold `query_memory_bytes` of its
            own, and about half a gigabyte beyond.
        query_workers_each: Those that work for one organization.
        query_wait_seconds: How long a query waits for its turn at most.
        query_verify: Which segments are checked for damage when a query engine first reads them:
            `local` means those that are files of this machine or are copied to it, `all` also those
            that are read from a bucket in place, which are fetched once more for it, and `none`
            none.
        promql_resource_labels: Whether the attributes of resources are labels of every series in
            PromQL. Otherwise only `job` and `instance` are, and `target_info` has the rest.
        promql_rollups: Whether PromQL reads tiers instead of points where that gives the same
            answer.
        retention: How long rows are kept, by their own times: `"30d"`, `"forever"`, or `"default"`
            for 30 days; for all, or by table, and for `metrics_rollup` by resolution. What is not
            named is kept for ever. See `lakerunner.policies.retention`.
        organizations: Settings of single organizations.

    Example:
        >>> Config(memory_bytes=1024 * MIB).batch_bytes // MIB
        71
    """

    window_ns: int = WINDOW_NS
    memory_bytes: int = MEMORY_BYTES
    workers: int = 1
    batch_objects: int = BATCH_OBJECTS
    orphan_grace_ns: int = ORPHAN_GRACE_NS
    watch_seconds: float = WATCH_SECONDS
    rollup_tiers_ns: tuple[int, ...] = ROLLUP_TIERS_NS
    removed_grace_ns: int = REMOVED_GRACE_NS
    attempts: int = ATTEMPTS
    backoff_seconds: float = BACKOFF_SECONDS
    word_filters: Literal["ingest", "compact", "never"] = "ingest"
    compact_memory_bytes: int = MEMORY_BYTES
    compact_target_bytes: int = COMPACT_TARGET_BYTES
    compact_settle_ns: int = COMPACT_SETTLE_NS
    tables: dict[str, TableSettings] = {}
    query_memory_bytes: int = QUERY_MEMORY_BYTES
    query_cache_bytes: int = QUERY_CACHE_BYTES
    query_cache_directory: str | None = None
    query_fanout_bytes: int = QUERY_FANOUT_BYTES
    query_threads: int = 0
    query_timeout: float | None = None
    query_max_bytes: int | None = None
    query_max_rows: int | None = None
    query_concurrency: int = QUERY_CONCURRENCY
    query_concurrency_each: int = QUERY_CONCURRENCY_EACH
    query_isolation: Literal["auto", "process", "thread"] = "auto"
    query_workers: int = QUERY_WORKERS
    query_workers_each: int = QUERY_WORKERS_EACH
    query_wait_seconds: float = QUERY_WAIT_SECONDS
    query_verify: Literal["local", "all", "none"] = "local"
    promql_resource_labels: bool = True
    promql_rollups: bool = True
    retention: Kept = {}
    organizations: dict[str, OrganizationSettings] = {}

    def __post_init__(self) -> None:
        for name in (
            *("window_ns", "workers", "batch_objects", "attempts"),
            *("orphan_grace_ns", "removed_grace_ns", "compact_target_bytes"),
            *("query_concurrency", "query_concurrency_each"),
            *("query_max_bytes", "query_max_rows"),
            *("query_workers", "query_workers_each"),
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} must be at least 1", setting=name)
        for name in (
            *("query_threads", "query_cache_bytes", "query_wait_seconds", "watch_seconds"),
            *("query_fanout_bytes", "compact_settle_ns"),
        ):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} must not be negative", setting=name)
        tiers = (1, *self.rollup_tiers_ns)
        if not self.rollup_tiers_ns or any(
            coarse <= fine or coarse % fine for fine, coarse in pairwise(tiers)
        ):
            raise ConfigurationError(
                "rollup_tiers_ns must name at least one tier, in nanoseconds, and each must be a "
                "multiple of the one before",
                setting="rollup_tiers_ns",
            )
        if self.query_timeout is not None and not self.query_timeout > 0:
            raise ConfigurationError(
                "query_timeout must be more than 0 seconds, or None", setting="query_timeout"
            )
        if self.query_memory_bytes < 16 * MIB:
            raise ConfigurationError(
                f"query_memory_bytes must be at least {16 * MIB}", setting="query_memory_bytes"
            )
        for name in ("memory_bytes", "compact_memory_bytes"):
            if getattr(self, name) < MEMORY_FLOOR_BYTES + 32 * MIB:
                raise ConfigurationError(
                    f"{name} must be at least {MEMORY_FLOOR_BYTES + 32 * MIB}", setting=name
                )

    @property
    def read_bytes(self) -> int:
        """Bytes of an object that are requested at once."""
        return self._budget // _READ_SHARE

    @property
    def decode_bytes(self) -> int:
        """Bytes of memory that the decoding of a batch may take at its peak."""
        return int(self._budget * _DECODE_SHARE)

    @property
    def batch_bytes(self) -> int:
        """Decompressed bytes that are decoded at once, at most."""
        return self.decode_bytes // _PART

    @property
    def record_bytes(self) -> int:
        """Decompressed bytes that one record may have."""
        return self.decode_bytes // _RECORD

    @property
    def _budget(self) -> int:
        """Bytes of memory that one batch may take."""
        return (self.memory_bytes - MEMORY_FLOOR_BYTES) // self.workers


# Looked at now: threads that look at a type at once, for the first time, crash msgspec.
msgspec.json.Decoder(Config)


def read_config(config: Config | Mapping[str, Any] | None) -> Config:
    """Read settings given as a mapping.

    Raises:
        ConfigurationError: A setting is unknown, of a wrong type, or out of bounds.

    Example:
        >>> read_config({"window_ns": 60}).window_ns
        60
    """
    if config is None or isinstance(config, Config):
        return config or Config()
    for name in config:
        if name not in Config.__struct_fields__:
            hint = did_you_mean(str(name), Config.__struct_fields__)
            raise ConfigurationError(f"config: {str(name)!r} is no setting{hint}", setting=name)
    try:
        return msgspec.convert(dict(config), Config)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"config: {error}") from error
