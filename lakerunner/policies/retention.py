"""How long rows are kept: which are expired, and which segments have none but expired ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lakerunner.errors import ConfigurationError, InvalidTimeError, did_you_mean
from lakerunner.limits import RETENTION_NS
from lakerunner.model.profile import check_organization
from lakerunner.model.times import MIN_NS, parse_duration
from lakerunner.schema.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lakerunner.model.config import Config, Kept
    from lakerunner.model.segment import Segment

FOREVER, DEFAULT = "forever", "default"
_ALL, _ANY = "", 0
_ROLLUP = "metrics_rollup"


class RetentionRules(NamedTuple):
    """How long rows are kept, by their own times. Whatever no rule speaks of is kept for ever.

    Attributes:
        kept: Nanoseconds, or None for ever, by organization (empty for all others), table (empty
            for all others) and resolution in nanoseconds (0 for all others).

    Example:
        >>> from lakerunner.model.config import Config
        >>> rules = read_retention(Config(retention={"logs": "30d", "spans": "forever"}))
        >>> rules.bound_ns("acme", "logs", now_ns=90 * 86_400 * 10**9) // (86_400 * 10**9)
        60
        >>> rules.bound_ns("acme", "spans", now_ns=0) == MIN_NS
        True
    """

    kept: dict[tuple[str, str, int], int | None] = {}  # noqa: RUF012 - a named tuple's default

    def kept_ns(self, organization: str, table: str, resolution_ns: int = 0) -> int | None:
        """For how long rows are kept; None for ever. The most particular rule counts."""
        for owner in (organization, _ALL):
            for name in (table, _ALL):
                for resolution in (resolution_ns, _ANY):
                    if (owner, name, resolution) in self.kept:
                        return self.kept[owner, name, resolution]
        return None

    def bound_ns(
        self, organization: str, table: str, resolution_ns: int = 0, *, now_ns: int
    ) -> int:
        """The first nanosecond that is kept: rows from before are expired."""
        kept = self.kept_ns(organization, table, resolution_ns)
        return MIN_NS if kept is None else max(MIN_NS, now_ns - kept)

    def bounds(self, organization: str, table: str, *, now_ns: int) -> dict[int, int]:
        """`bound_ns` by resolution; that of 0 is for every resolution that is not named."""
        return {
            resolution: self.bound_ns(organization, table, resolution, now_ns=now_ns)
            for resolution in sorted({one for _, _, one in self.kept} | {_ANY})
        }


def expired(segments: Iterable[Segment], rules: RetentionRules, now_ns: int) -> Sequence[Segment]:
    """Segments of which every row is expired: they can go without being read."""
    return [
        one
        for one in segments
        if one.max_timestamp_ns
        < rules.bound_ns(one.organization, one.table, one.resolution_ns, now_ns=now_ns)
    ]


def read_retention(config: Config) -> RetentionRules:
    """The rules that settings state.

    Raises:
        ConfigurationError: A table, a resolution, a duration or an organization cannot be read.
    """
    kept = _read(config.retention, _ALL, "retention")
    for organization, settings in config.organizations.items():
        check_organization(organization)
        where = f"organizations: {organization}: retention"
        kept |= _read(settings.retention, organization, where)
    return RetentionRules(kept)


def _read(said: Kept, owner: str, where: str) -> dict[tuple[str, str, int], int | None]:
    if isinstance(said, str):
        return {(owner, _ALL, _ANY): _duration(said, where)}
    known = [*dict.fromkeys([*TABLES, _ROLLUP])]
    kept: dict[tuple[str, str, int], int | None] = {}
    for table, value in said.items():
        if table not in known:
            raise ConfigurationError(
                f"{where}: no table {table!r}{did_you_mean(table, known)}", setting=where
            )
        if isinstance(value, str):
            kept[owner, table, _ANY] = _duration(value, f"{where}: {table}")
            continue
        for resolution, text in value.items():
            each = f"{where}: {table}: {resolution}"
            resolution_ns = _duration(resolution, each)
            if table != _ROLLUP or resolution_ns is None:
                raise ConfigurationError(
                    f"{each}: only {_ROLLUP} has resolutions, such as '10s'", setting=where
                )
            kept[owner, table, resolution_ns] = _duration(text, each)
    return kept


def _duration(text: str, where: str) -> int | None:
    if text == FOREVER:
        return None
    if text == DEFAULT:
        return RETENTION_NS
    try:
        duration = parse_duration(text)
    except InvalidTimeError as error:
        message = f"{where}: {error}, 'forever' or 'default'"
        raise ConfigurationError(message, setting=where) from None
    if not duration:
        raise ConfigurationError(
            f"{where}: {text!r} would keep nothing; to delete rows, use lake.delete", setting=where
        )
    return duration
