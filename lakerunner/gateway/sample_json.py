"""Samples as Prometheus' HTTP API writes them in JSON: whole columns at a time.

Each row becomes a piece of text, and the pieces of all rows lie one after the other in the buffer
of one Arrow array: that buffer is the answer. The format is that of
https://prometheus.io/docs/prometheus/latest/querying/api/#expression-query-result-formats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RESERVED = ("timestamp", "value", "histogram")
_OF_EXEMPLARS = ("timestamp", "value", "trace_id", "span_id", "attributes")
_NS_PER_MS = 1_000_000
_ENCODER = msgspec.json.Encoder()
_PLAIN = r"^[^\"\\\x00-\x1f]*$"


def data_json(table: pa.Table, kind: str, limit: int = 0) -> tuple[bytes, bool]:
    r"""The member `data` of an answer.

    Args:
        table: Rows as `Lake.promql` returns them: series after series, each in order of time.
        kind: `scalar`, `vector`, `matrix` or `string`.
        limit: At most so many series; 0 for all.

    Returns:
        JSON, and whether series were left out.

    Example:
        >>> table = pa.table({
        ...     "job": ["a", "a"],
        ...     "timestamp": pa.array([0, 1_500_000_000], pa.timestamp("ns", "UTC")),
        ...     "value": [1.0, float("inf")],
        ... })
        >>> data_json(table, "matrix")[0].decode()[32:]
        '[{"metric":{"job":"a"},"values":[[0,"1"],[1.500,"+Inf"]]}]}'
    """
    if kind in ("scalar", "string"):
        pair = _pairs(table.slice(0, 1))
        return b'{"resultType":"%s","result":%s}' % (kind.encode(), _joined(pair)), False
    firsts = series_starts(table)
    cut = 0 < limit < len(firsts)
    if cut:
        table = table.slice(0, int(firsts[limit]))
        firsts = firsts[:limit]
    rows = _series(table, firsts, many=kind == "matrix")
    head = b'{"resultType":"%s","result":[' % kind.encode()
    return b"".join([head, _joined(rows), b"]}"]), cut


def label_names(table: pa.Table) -> list[str]:
    """The columns of an answer that are labels."""
    return [name for name in table.schema.names if name not in _RESERVED]


def series_starts(table: pa.Table) -> NDArray[np.int64]:
    """int64: the first row of each series, where those of one series lie together."""
    if not table.num_rows:
        return np.zeros(0, dtype=np.int64)
    changed = np.zeros(table.num_rows, dtype=bool)
    changed[0] = True
    for name in label_names(table):
        codes = _whole(table[name]).dictionary_encode(null_encoding="encode").indices
        ids = codes.to_numpy(zero_copy_only=False)
        changed[1:] |= ids[1:] != ids[:-1]
    if not label_names(table) and "timestamp" in table.schema.names:
        # Without any label there is one series; in an instant vector one row.
        changed[1:] = False
    return np.flatnonzero(changed)


def metric_objects(table: pa.Table) -> pa.Array:
    """The labels of each row as a JSON object.

    Example:
        >>> metric_objects(pa.table({"__name__": ["up"], "job": ["api"]})).to_pylist()
        ['{"__name__":"up","job":"api"}']
    """
    parts = []
    for name in label_names(table):
        texts = quoted(_whole(table[name]))
        head = f",{_ENCODER.encode(name).decode()}:"
        parts.append(pc.fill_null(pc.binary_join_element_wise(head, texts, ""), ""))
    if not parts:
        return pa.array(["{}"] * table.num_rows, pa.string())
    # Not joined by commas: Arrow loses rows without any text where it is to skip NULLs.
    inside = pc.utf8_slice_codeunits(pc.binary_join_element_wise(*parts, ""), 1)
    return pc.binary_join_element_wise("{", inside, "}", "")


def quoted(texts: pa.Array) -> pa.Array:
    """Texts as JSON strings; NULL stays NULL."""
    texts = texts.cast(pa.string())
    if pc.all(pc.match_substring_regex(texts, _PLAIN), min_count=0).as_py() is not False:
        return pc.binary_join_element_wise('"', texts, '"', "")
    encoded = texts.dictionary_encode()
    # Of distinct labels only, and only where one has something to escape.
    words = [_ENCODER.encode(word).decode() for word in encoded.dictionary.to_pylist()]
    return pa.array(words, pa.string()).take(encoded.indices)


def number_texts(values: pa.Array) -> pa.Array:
    """Numbers as Prometheus writes them inside quotes; NULL stays NULL."""
    texts = values.cast(pa.string())
    if pc.all(pc.is_finite(values), min_count=0).as_py() is False:
        for odd, shown in (("inf", "+Inf"), ("-inf", "-Inf"), ("nan", "NaN")):
            texts = pc.if_else(pc.equal(texts, odd), shown, texts)
    return texts


def exemplars_json(table: pa.Table) -> bytes:
    """Exemplars as the answer of `query_exemplars`: series after series.

    Args:
        table: Rows as `Lake.exemplars` returns them.

    Example:
        >>> exemplars_json(pa.table({
        ...     "__name__": ["up"],
        ...     "timestamp": pa.array([1_500_000_000], pa.timestamp("ns", "UTC")),
        ...     "value": [2.0],
        ...     "trace_id": ["ab"],
        ...     "span_id": pa.array([None], pa.string()),
        ...     "attributes": ['{"n":1}'],
        ... })).decode()[35:]
        '"exemplars":[{"labels":{"trace_id":"ab","n":"1"},"value":"2","timestamp":1.500}]}]'
    """
    rows = table.num_rows
    own = table.drop_columns(list(_OF_EXEMPLARS))
    firsts = series_starts(own) if own.num_columns else np.zeros(min(rows, 1), dtype=np.int64)
    parts = [
        pc.fill_null(
            pc.binary_join_element_wise(f',"{name}":', quoted(_whole(table[name])), ""), ""
        )
        for name in ("trace_id", "span_id")
    ]
    parts.append(_members(_whole(table["attributes"])))
    labels = pc.utf8_slice_codeunits(pc.binary_join_element_wise(*parts, ""), 1)
    shown = number_texts(_whole(table["value"]))
    each = pc.binary_join_element_wise(
        '{"labels":{', labels, '},"value":"', shown, '","timestamp":', _seconds(table), "}", ""
    )
    ends = pa.array(np.append(firsts, rows), pa.int32())
    lists = pc.binary_join(pa.ListArray.from_arrays(ends, each), ",")
    objects = metric_objects(own.take(pa.array(firsts))) if own.num_columns else pa.array(["{}"])
    return json_list(
        pc.binary_join_element_wise(
            '{"seriesLabels":', objects.slice(0, len(firsts)), ',"exemplars":[', lists, "]}", ""
        )
    )


def _members(attributes: pa.Array) -> pa.Array:
    """JSON objects as members of another one, each behind a comma, and all values as text."""
    encoded = attributes.cast(pa.string()).dictionary_encode()
    words = []
    for word in encoded.dictionary.to_pylist():  # distinct ones only
        pairs = msgspec.json.decode(word).items()
        texts = {
            key: value if isinstance(value, str) else _ENCODER.encode(value).decode()
            for key, value in pairs
        }
        words.append(
            "".join(f",{_ENCODER.encode({k: v}).decode()[1:-1]}" for k, v in texts.items())
        )
    return pc.fill_null(pa.array(words, pa.string()).take(encoded.indices), "")


def _series(table: pa.Table, firsts: NDArray[np.int64], *, many: bool) -> pa.Array:
    """Each row's piece of the list of series."""
    rows = table.num_rows
    opens = np.zeros(rows, dtype=bool)
    opens[firsts] = True
    closes = np.zeros(rows, dtype=bool)
    if rows:
        closes[np.append(firsts[1:], rows) - 1] = True
    place = pa.array(np.maximum(np.cumsum(opens) - 1, 0))
    metrics = metric_objects(table.take(pa.array(firsts)))
    heads = pc.binary_join_element_wise('{"metric":', metrics, "")
    comma = np.zeros(len(firsts), dtype=bool)
    comma[1:] = True
    heads = pc.binary_join_element_wise(pc.if_else(pa.array(comma), ",", ""), heads, "")
    is_histogram = _is_histogram(table)
    pairs = _pairs(table)
    names = ("values", "histograms") if many else ("value", "histogram")
    first_of_kind, last_of_kind = _runs(opens, is_histogram)
    name = pc.if_else(pa.array(is_histogram), names[1], names[0])
    bracket = ("[", "]") if many else ("", "")
    opening = pc.binary_join_element_wise(',"', name, f'":{bracket[0]}', "")
    before = pc.if_else(pa.array(first_of_kind), opening, ",")
    before = pc.if_else(
        pa.array(opens), pc.binary_join_element_wise(heads.take(place), before, ""), before
    )
    after = pc.if_else(pa.array(last_of_kind), bracket[1], "")
    after = pc.binary_join_element_wise(after, pc.if_else(pa.array(closes), "}", ""), "")
    return pc.binary_join_element_wise(before, pairs, after, "")


def _runs(
    opens: NDArray[np.bool_], is_histogram: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where a run of samples of one kind begins within a series, and where one ends."""
    first = opens.copy()
    first[1:] |= is_histogram[1:] != is_histogram[:-1]
    last = np.ones(len(opens), dtype=bool)
    last[:-1] = first[1:]
    return first, last


def numbers_first(table: pa.Table) -> pa.Table:
    """The same with the numbers of each series before its histograms, as the format wants them."""
    is_histogram = _is_histogram(table)
    if not is_histogram.any():
        return table
    starts = np.zeros(table.num_rows, dtype=np.int64)
    starts[series_starts(table)] = 1
    order = np.lexsort((np.arange(table.num_rows), is_histogram, np.cumsum(starts)))
    return table.take(pa.array(order))


def _is_histogram(table: pa.Table) -> NDArray[np.bool_]:
    if "histogram" not in table.schema.names:
        return np.zeros(table.num_rows, dtype=bool)
    found: NDArray[np.bool_] = np.asarray(_whole(table["histogram"]).is_valid())
    return found


def _pairs(table: pa.Table) -> pa.Array:
    """`[time, value]` of each row."""
    value = _whole(table["value"])
    if pa.types.is_string(value.type):
        shown = quoted(value)
    else:
        shown = pc.binary_join_element_wise('"', number_texts(value), '"', "")
    if "histogram" in table.schema.names:
        shown = pc.coalesce(shown, _histograms(_whole(table["histogram"])))
    return pc.binary_join_element_wise("[", _seconds(table), ",", shown, "]", "")


def _seconds(table: pa.Table) -> pa.Array:
    """Times in seconds, with milliseconds where there are any."""
    times = _whole(table["timestamp"]).cast(pa.int64()).to_numpy(zero_copy_only=False)
    seconds, rest = np.divmod(times // _NS_PER_MS, 1000)
    whole = pa.array(seconds).cast(pa.string())
    if not rest.any():
        return whole
    padded = pc.utf8_lpad(pa.array(rest).cast(pa.string()), 3, "0")
    fraction = pc.binary_join_element_wise(".", padded, "")
    return pc.binary_join_element_wise(whole, pc.if_else(pa.array(rest != 0), fraction, ""), "")


def _histograms(column: pa.StructArray) -> pa.Array:
    """Native histograms as JSON objects; NULL where there is none."""
    some = np.flatnonzero(np.asarray(column.is_valid()))
    if not len(some):
        return pa.nulls(len(column), pa.string())
    struct = column.take(pa.array(some))
    field = {one.name: struct.field(place) for place, one in enumerate(struct.type)}
    row, lower, upper, amount, zero = _buckets(field)
    rule = _rules(lower, upper, zero)
    texts = pc.binary_join_element_wise(
        "[", pa.array(rule).cast(pa.string()), ',"', number_texts(pa.array(lower)), '","',
        number_texts(pa.array(upper)), '","', number_texts(pa.array(amount)), '"]', "",
    )  # fmt: skip
    ends = np.searchsorted(row, np.arange(len(some) + 1)).astype(np.int32)
    listed = pc.binary_join(pa.ListArray.from_arrays(pa.array(ends), texts), ",")
    buckets = pc.binary_join_element_wise(',"buckets":[', listed, "]", "")
    whole = pc.binary_join_element_wise(
        '{"count":"', number_texts(field["count"]), '","sum":"', number_texts(field["sum"]), '"',
        pc.if_else(pc.equal(listed, ""), "", buckets), "}", "",
    )  # fmt: skip
    place = np.zeros(len(column), dtype=np.int64)
    place[some] = np.arange(len(some))
    return whole.take(pa.array(place, mask=~np.asarray(column.is_valid())))


def _buckets(field: dict[str, Any]) -> tuple[NDArray[Any], ...]:
    """All buckets that hold anything, of every histogram from the lowest to the highest.

    Returns:
        Number of the histogram, lower and upper bound, count, and whether it is that of zeros.
    """
    scale = field["scale"].fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
    custom = np.asarray(field["scale"].is_null())
    parts: list[tuple[NDArray[Any], ...]] = []
    for sign, name in ((-1.0, "negative"), (1.0, "positive")):
        row, at, amount = _flat(field[f"{name}_bucket_counts"])
        offset = field[f"{name}_offset"].fill_null(0).to_numpy(zero_copy_only=False)
        # OpenTelemetry counts buckets from where they begin.
        number = (offset[row] + at).astype(np.float64)
        with np.errstate(over="ignore"):
            near = np.exp2(number * np.exp2(-scale[row]))
            far = np.exp2((number + 1) * np.exp2(-scale[row]))
        inside = ~custom[row]
        low, high = (near, far) if sign > 0 else (-far, -near)
        parts.append((row[inside], low[inside], high[inside], amount[inside]))
        if sign > 0 and custom.any():
            parts.append(
                _custom(field, row[~inside], at[~inside] + offset[row][~inside], amount[~inside])
            )
    zeros = field["zero_count"].fill_null(0).to_numpy(zero_copy_only=False)
    width = field["zero_threshold"].fill_null(0).to_numpy(zero_copy_only=False)
    filled = np.flatnonzero(zeros > 0)
    parts.append((filled, -width[filled], width[filled], zeros[filled]))
    row, low, high, amount = (np.concatenate([part[i] for part in parts]) for i in range(4))
    zero = np.zeros(len(row), dtype=bool)
    zero[len(row) - len(filled) :] = True
    kept = amount != 0
    row, low, high, amount, zero = (one[kept] for one in (row, low, high, amount, zero))
    order = np.lexsort((high, low, row))
    return row[order], low[order], high[order], amount[order], zero[order]


def _custom(
    field: dict[str, Any], row: NDArray[Any], at: NDArray[Any], amount: NDArray[Any]
) -> tuple[NDArray[Any], ...]:
    """Buckets between bounds of a histogram's own; the last has no end."""
    bounds = field["custom_bounds"]
    offsets = bounds.offsets.to_numpy(zero_copy_only=False)
    values = bounds.values.to_numpy(zero_copy_only=False)
    values = np.append(values, np.inf)
    first, last = offsets[row], offsets[row + 1]
    low = np.where(at > 0, values[np.minimum(first + at - 1, len(values) - 1)], -np.inf)
    high = np.where(first + at < last, values[np.minimum(first + at, len(values) - 1)], np.inf)
    return row, low, high, amount


def _flat(lists: pa.ListArray) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Of each element of each list: which list, its place in it, and its value."""
    offsets = lists.offsets.to_numpy(zero_copy_only=False)
    lengths = np.diff(offsets)
    row = np.repeat(np.arange(len(lists)), lengths)
    at = np.arange(offsets[0], offsets[-1]) - np.repeat(offsets[:-1], lengths)
    values = lists.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]]
    return row, at, values


def _rules(
    lower: NDArray[np.float64], upper: NDArray[np.float64], zero: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Which bounds belong to a bucket: 0 the upper, 1 the lower, 2 none, 3 both."""
    low_in, high_in = (lower < 0) | zero, (upper > 0) | zero
    return np.select([low_in & high_in, low_in, high_in], [3, 1, 0], 2)


def _whole(column: Any) -> Any:
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _joined(pieces: pa.Array) -> bytes:
    """All pieces, one after the other."""
    if not len(pieces):
        return b""
    if pieces.nbytes > 2**31 - 1:  # pragma: no cover - beyond what a query may return
        return b"".join(pieces.cast(pa.binary()).to_pylist())
    whole = pa.concat_arrays([pieces])
    offsets = np.frombuffer(whole.buffers()[1], np.int32)[
        whole.offset : whole.offset + len(whole) + 1
    ]
    return bytes(memoryview(whole.buffers()[2])[offsets[0] : offsets[-1]])


def json_list(pieces: pa.Array) -> bytes:
    """Pieces of JSON as a list.

    Example:
        >>> json_list(pa.array(["1", "2"])), json_list(pa.array([], pa.string()))
        (b'[1,2]', b'[]')
    """
    whole = pa.ListArray.from_arrays(pa.array([0, len(pieces)], pa.int32()), pieces)
    inside: str = pc.binary_join(whole, ",")[0].as_py()
    return f"[{inside}]".encode()
