"""Delimited text of which the delimiter is not known: each object's own is told from its header."""

from __future__ import annotations

from itertools import chain, groupby
from typing import TYPE_CHECKING

import numpy as np

from lakerunner.formats.records.delimited import read_delimited, sniff_delimiter
from lakerunner.formats.records.delimited_split import split_delimited
from lakerunner.formats.records.read import Records
from lakerunner.formats.records.together import tables_together
from lakerunner.limits import OBJECT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lakerunner.formats.base import Part

_HEAD_BYTES = 64 * 1024


def split_sniffed(
    blocks: Iterable[bytes], limit: int, longest: int = OBJECT_BYTES
) -> Iterator[Part]:
    """Cut delimited text between rows; see `split_delimited`."""
    rest = iter(blocks)
    first = next(rest, b"")
    delimiter = sniff_delimiter(first[:_HEAD_BYTES])
    return split_delimited(chain([first], rest), limit, delimiter, longest)


def read_sniffed(payloads: Sequence[bytes]) -> Records:
    r"""Read rows of fields that are delimited in one way in each payload; see `read_delimited`.

    Example:
        >>> read_sniffed([b"a,b\n1,x\n", b"a;b\n2;y\n"]).table.to_pylist()
        [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'y'}]
    """
    delimiters = [sniff_delimiter(payload[:_HEAD_BYTES]) for payload in payloads]
    if len(set(delimiters)) <= 1:
        return read_delimited(payloads, delimiters[0] if delimiters else ",")
    read, asides, owners, begin = [], [], [], 0
    for delimiter, run in groupby(delimiters):
        count = len(list(run))
        part = read_delimited(payloads[begin : begin + count], delimiter)
        read.append(part.table)
        owners.append(part.payload + np.int32(begin))
        asides += [aside._replace(payload=aside.payload + begin) for aside in part.set_aside]
        begin += count
    return Records(tables_together(read), np.concatenate(owners), tuple(asides), alike=False)
