"""Pictures of answers for notebooks: what is drawn is chosen from the types of the columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from lakerunner.errors import ConfigurationError, MissingExtraError, did_you_mean
from lakerunner.model.times import isoformat
from lakerunner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    import altair as alt

_SERIES = 20
_POINTS = 4_900
"""Altair refuses to draw more rows than 5,000."""

_X, _Y, _NAME = "x", "y", "series"

_COLOURS = {
    **dict.fromkeys(("TRACE", "DEBUG"), "#9aa5b1"),
    **dict.fromkeys(("INFO", "NOTICE"), "#4c78a8"),
    **dict.fromkeys(("WARN", "WARNING"), "#f2a33c"),
    **dict.fromkeys(("ERROR", "FATAL"), "#d64550"),
}
"""Of levels, which mean the same in every picture."""

_DAY_MS = 86_400_000


class Picture(NamedTuple):
    """What is drawn.

    Attributes:
        rows: `x` (a time, a text or a number), `y` (double) and `series` (text), in order.
        x: What `x` is called.
        y: What `y` is called.
        note: What is left out.
        up: Of a heat map, what `series` is called: it runs upwards, and `y` is a colour.
    """

    rows: pa.Table
    x: str
    y: str
    note: str
    up: str = ""


def draw(table: pa.Table, *, x: str | None = None, y: str | None = None) -> alt.Chart:
    """Draw an answer: lines over time where there is a time, else bars or a heat map.

    Args:
        table: The rows.
        x: The column along which it is drawn; see `picture_of`.
        y: The column that is drawn; of texts, those that run upwards in a heat map.

    Raises:
        MissingExtraError: Altair is not installed.
        ConfigurationError: As for `picture_of`.
    """
    try:
        import altair as alt  # noqa: PLC0415 - optional, and slow to load
    except ImportError as error:
        raise MissingExtraError(
            "plot() needs Altair: pip install 'lakerunner[notebook]'", missing="altair"
        ) from error
    picture = picture_of(table, x=x, y=y)
    chart = alt.Chart(picture.rows, title=alt.Title("", subtitle=picture.note))
    drawn: alt.Chart = (_heat_map if picture.up else _lines_or_bars)(alt, chart, picture)
    return drawn


def _lines_or_bars(alt: Any, chart: Any, picture: Picture) -> Any:
    over_time = pa.types.is_timestamp(picture.rows.schema.field(_X).type)
    several = pc.count_distinct(picture.rows[_NAME]).as_py() > 1
    marked = chart.mark_line(interpolate="linear") if over_time else chart.mark_bar()
    horizontal = (
        _time_axis(alt, picture) if over_time else alt.X(f"{_X}:N", title=picture.x, sort=None)
    )
    return marked.encode(
        horizontal,
        alt.Y(f"{_Y}:Q", title=picture.y),
        color=_colours(alt, picture) if several else alt.value("#4c78a8"),
        tooltip=[_NAME, _X, _Y],
    ).properties(width=640, height=280)


def _time_axis(alt: Any, picture: Picture) -> Any:
    """Hours of 24 and the day where all is of one: the axes of Vega have hours of 12, and none."""
    bounds = pc.min_max(picture.rows[_X].cast(pa.int64())).as_py()
    first, last = bounds["min"] or 0, bounds["max"] or 0
    title = f"{picture.x} (UTC)"
    shown = "%H:%M:%S" if last - first < _DAY_MS // 72 else "%H:%M"
    if first // _DAY_MS == last // _DAY_MS:
        title = f"{picture.x}, {isoformat(first * 1_000_000)[:10]} (UTC)"
    elif last - first > 2 * _DAY_MS:
        shown = "%Y-%m-%d"
    axis = alt.Axis(format=shown, labelOverlap=True, labelSeparation=8)
    return alt.X(f"{_X}:T", title=title, scale=alt.Scale(type="utc"), axis=axis)


def _colours(alt: Any, picture: Picture) -> Any:
    names = sorted(picture.rows[_NAME].unique().to_pylist())
    if not _COLOURS.keys() >= {*names}:
        return alt.Color(f"{_NAME}:N", title=None)
    names.sort(key=[*_COLOURS].index)
    scale = alt.Scale(domain=names, range=[_COLOURS[name] for name in names])
    return alt.Color(f"{_NAME}:N", title=None, scale=scale)


def _heat_map(alt: Any, chart: Any, picture: Picture) -> Any:
    over_time = pa.types.is_timestamp(picture.rows.schema.field(_X).type)
    unit = {"timeUnit": "utcyearmonthdatehoursminutesseconds"} if over_time else {"sort": None}
    return (
        chart.mark_rect()
        .encode(
            alt.X(f"{_X}:O", title=picture.x, **unit),
            alt.Y(f"{_NAME}:N", title=picture.up),
            alt.Color(f"{_Y}:Q", title=picture.y),
            tooltip=[_NAME, _X, _Y],
        )
        .properties(width=640, height=alt.Step(24))
    )


def picture_of(table: pa.Table, *, x: str | None = None, y: str | None = None) -> Picture:
    """Choose what is drawn of an answer.

    Along runs the first column of times, or else the first of text. Drawn are the first column of
    numbers and, where no column of text tells series apart, all others beside it. The texts of a
    row name its series. Where there is no time, and more than one column of text, the texts make a
    heat map, in which the first runs along and the others upwards; so does `y` if it is a column of
    text, over times as well. Twenty series are drawn at most, those with the largest values, and of
    very many rows every so many.

    Args:
        table: The rows.
        x: The column along which it is drawn.
        y: The column of numbers that is drawn, or of texts that run upwards.

    Raises:
        ConfigurationError: There are no numbers, nothing along which they could be drawn, or no
            column of a name that was given.
    """
    for name in (x, y):
        if name is not None and name not in table.schema.names:
            hint = did_you_mean(name, table.schema.names)
            raise ConfigurationError(f"plot: there is no column '{name}'{hint}", setting=name)
    along = x or _first(table, pa.types.is_timestamp) or _first(table, pa.types.is_string)
    upwards = y is not None and pa.types.is_string(table.schema.field(y).type)
    numbers = [one for one in _numeric(table) if one != along] if y is None or upwards else [y]
    if along is None or not numbers or y == along:
        raise ConfigurationError(
            "plot needs a column of numbers, and one of times or texts along which they are drawn"
        )
    texts = [one.name for one in table.schema if pa.types.is_string(one.type) and one.name != along]
    if upwards:
        texts = [one for one in texts if one == y]
    drawn = numbers[:1] if texts else numbers
    label = _names(table, texts)
    is_text = pa.types.is_string(table.schema.field(along).type)
    places = _shown(table[along]) if is_text else table[along]
    parts = []
    for name in drawn:
        series = label if texts else pa.chunked_array([pa.array([name]).take(_zeros(table))])
        parts.append(pa.table({_X: places, _Y: table[name].cast(pa.float64()), _NAME: series}))
    rows = pa.concat_tables(parts)
    rows = rows.filter(pc.and_(pc.is_finite(rows[_Y]), rows[_X].is_valid()))
    rows, note = _bounded(rows)
    up = " ".join(texts) if upwards or (is_text and texts and y is None) else ""
    return Picture(rows, along, drawn[0] if len(drawn) == 1 else "value", note, up)


def _bounded(rows: pa.Table) -> tuple[pa.Table, str]:
    """The largest series, and as many rows as can be drawn; and what is left out."""
    notes = []
    if pa.types.is_timestamp(rows.schema.field(_X).type):
        peaks = rows.group_by(_NAME).aggregate([(_Y, "max")]).sort_by([(f"{_Y}_max", "descending")])
        if peaks.num_rows > _SERIES:
            rows = rows.filter(pc.is_in(rows[_NAME], peaks[_NAME].slice(0, _SERIES)))
            notes.append(f"the largest {_SERIES} of {peaks.num_rows:,} series")
        rows = rows.sort_by([(_NAME, "ascending"), (_X, "ascending")])
        rows = rows.set_column(0, _X, rows[_X].cast(pa.timestamp("ms", "UTC"), safe=False))
    every = -(-rows.num_rows // _POINTS)
    if every > 1:
        notes.append(f"one row in {every:,}")
        rows = rows.take(pa.array(range(0, rows.num_rows, every), pa.int64()))
    return rows, "; ".join(notes)


def _names(table: pa.Table, texts: list[str]) -> pa.ChunkedArray:
    """The texts of each row as one: of a single column as they are, of several with their names."""
    joined = pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    for name in texts:
        part = table[name]
        if len(texts) > 1:
            part = pc.binary_join_element_wise(name, part, "=")
        joined = pc.coalesce(pc.binary_join_element_wise(joined, part, " "), joined, part)
    return _shown(joined.fill_null(""))


def _shown(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts of strangers as they may be shown; each distinct one is looked at once."""
    distinct = texts.unique()
    shown = pa.array([one and printable(one) for one in distinct.to_pylist()], pa.string())
    return pa.chunked_array([shown.take(pc.index_in(texts, distinct).combine_chunks())])


def _zeros(table: pa.Table) -> pa.Array:
    return pa.repeat(pa.scalar(0, pa.int64()), table.num_rows)


def _first(table: pa.Table, is_wanted: Callable[[pa.DataType], bool]) -> str | None:
    return next((one.name for one in table.schema if is_wanted(one.type)), None)


def _numeric(table: pa.Table) -> list[str]:
    types = pa.types
    return [
        one.name
        for one in table.schema
        if types.is_integer(one.type) or types.is_floating(one.type) or types.is_decimal(one.type)
    ]
