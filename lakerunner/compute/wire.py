"""The protobuf wire format: enough of it to take one message apart and to put it together again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lakerunner.compute.execution import ScanMetrics
    from lakerunner.compute.first_rows import FirstRows
    from lakerunner.compute.scans import Scan
    from lakerunner.compute.table import Table
    from lakerunner.compute.turns import Allowance

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: The field's number in its `.proto` file.
        kind: The wire type.
        value: The number of a varint; the raw bytes of anything else.
    """

    number: int
    kind: int
    value: int | bytes

    @property
    def data(self) -> bytes:
        """The bytes of a length-delimited field.

        Raises:
            ValueError: The field is of another kind.
        """
        if not isinstance(self.value, bytes) or self.kind != _BYTES:
            raise ValueError(f"field {self.number} is not length-delimited")
        return self.value


def text_field(number: int, text: str) -> Field:
    """A string field."""
    return Field(number, _BYTES, text.encode())


def bytes_field(number: int, data: bytes) -> Field:
    """A field that holds bytes, or a message that is written already."""
    return Field(number, _BYTES, data)


def message_field(number: int, fields: Iterable[Field]) -> Field:
    """A field that holds a message."""
    return Field(number, _BYTES, write_fields(fields))


def read_fields(message: bytes) -> list[Field]:
    """Take a message apart into its fields, in order.

    Raises:
        ValueError: The bytes are not a message.

    Example:
        >>> read_fields(write_fields([text_field(2, "a"), Field(1, 0, 300)]))
        [Field(number=2, kind=2, value=b'a'), Field(number=1, kind=0, value=300)]
    """
    fields = []
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = _read_varint(message, position)
            fields.append(Field(number, kind, value))
            continue
        if kind == _BYTES:
            size, position = _read_varint(message, position)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise ValueError(f"wire type {kind} at byte {position}")
        if position + size > len(message):
            raise ValueError(f"field {number} reaches past the end of its message")
        fields.append(Field(number, kind, message[position : position + size]))
        position += size
    return fields


def write_fields(fields: Iterable[Field]) -> bytes:
    """Put a message together from its fields."""
    out = bytearray()
    for field in fields:
        out += _varint(field.number << 3 | field.kind)
        if isinstance(field.value, int):
            out += _varint(field.value)
            continue
        if field.kind == _BYTES:
            out += _varint(len(field.value))
        out += field.value
    return bytes(out)


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(message):
            raise ValueError("a number reaches past the end of its message")
        byte = message[position]
        value |= (byte & 127) << shift
        position += 1
        shift += 7
        if byte < 128:  # noqa: PLR2004 - the top bit says that more follows
            return value, position


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:  # noqa: PLR2004 - seven bits a byte
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


# What planning and running a query looks like, in this process or in another.


class Run(Protocol):
    """One run of a query; `Execution` is one in this process."""

    def __iter__(self) -> Iterator[Any]:
        """Batches of `pyarrow`; to be consumed once. The work ends when the iterator is closed."""

    def metrics(self) -> ScanMetrics:
        """What the scans have read."""

    def listed(self) -> Mapping[str, int]:
        """Sizes of the files that the scans of a finished run were made of, by path."""


class Runs(Protocol):
    """Something that is run, any number of times."""

    def execute(self, allowance: Allowance | None = None, *, brief: bool = False) -> Run:
        """Start a run; of one that is brief, in the thread that asks for its rows."""


class Plan(Runs, Protocol):
    """A query that is understood; `PlannedQuery` is one in this process."""

    @property
    def schema(self) -> Any:
        """Arrow schema of its result."""

    def optimized(self) -> Plan:
        """The same query with all constants computed."""

    def mended(self, draft: Plan | None = None) -> Plan:
        """The same query, planned so that it is answered rightly: this is the one to run.

        What a draft of it over no files was free of need not be looked for again.
        """

    def scans(self) -> list[Scan]:
        """What it needs from each of its tables; of an optimized query only."""

    def tallied(self) -> str | None:
        """By the values of which column it counts all rows of a table, if it does nothing else."""

    def summed(self, draft: Plan, column: str) -> Plan | None:
        """The same with the names of a draft, if it sums a tally by a column; `Table.tally`."""

    def first_rows(self) -> FirstRows | None:
        """Of which rows of one table it returns the first, if that is what it does."""

    def ranked(self) -> Plan:
        """These rows in order, with all columns below it; see `FirstRowsPlan.ranked`."""

    def whole(self) -> Plan:
        """The same without order and limit."""

    def pairs(self, rows: Mapping[str, int]) -> float:
        """Pairs of rows that it meets while other queries of this process may stand still."""

    def physical_text(self) -> str:
        """The physical plan as text."""


class QuerySession(Protocol):
    """Where queries are planned; `Session` is one in this process."""

    def plan(
        self,
        text: str,
        tables: Sequence[Table],
        values: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Plan:
        """Plan one SQL query, cut off after so many rows; no file is read."""
