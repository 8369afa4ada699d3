"""An optimized plan with its hazards put right: serialised, changed in a few places, read back.

DataFusion lets nobody but Rust rewrite a plan. So its bytes are changed, at places and by parts
that are all checked: what does not look as expected is an error, and the query is refused.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from datafusion import LogicalPlan

from lakerunner.compute.hazards import Remedy
from lakerunner.compute.table import READ_OPTIONS, ScanMode, Table
from lakerunner.compute.wire import (
    Field,
    bytes_field,
    message_field,
    read_fields,
    text_field,
    write_fields,
)
from lakerunner.errors import ConfigurationError, LakerunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from datafusion import DataFrame, SessionContext

    from lakerunner.compute.hazards import Extreme, Hazards
    from lakerunner.compute.hazards import Path as PlanPath
    from lakerunner.compute.session import Session

# Field numbers in `datafusion.proto`. Nodes of a plan, by the number that says their kind:
_PROJECTION, _SELECTION, _AGGREGATE, _JOIN = 3, 4, 6, 7
_INPUT, _RIGHT = 1, 2
_CONDITION, _AGGREGATES, _PROJECTED = 2, 3, 2
# Expressions, and what is in them:
_ALIAS, _BINARY, _AGGREGATE_FUNCTION, _FUNCTION = 2, 4, 19, 20
_NAME, _ARGUMENTS, _FILTER, _ORDER_BY = 1, 2, 3, 4
_ALIASED, _ALIAS_NAME = 1, 2
_OPERAND, _OPERATOR = 1, 3
_IS_NOT_NULL, _TESTED = 7, 1
_SORTED_BY, _ASCENDING = 1, 2

# The optimizer names what it computes once. It looks at the mended plan again, and would give the
# same names to other things. Both are of one length, so that no length in the message changes.
_COMMON, _OURS = b"__common_expr_", b"__shared_expr_"

_PARTS = (
    "SELECT nanvl(column1, arrow_cast('NaN', 'Float64')) FROM (VALUES (1.5)) WHERE random() < 0"
)


class PlanMender:
    """Puts right what `find_hazards` found. May be used from several threads at once.

    Args:
        context: The session that runs the plans.
    """

    def __init__(self, context: SessionContext) -> None:
        self._context = context

    def mend(self, plan: LogicalPlan, hazards: Hazards, text: str) -> LogicalPlan:
        """The plan of a text without its hazards.

        Filters get an alternative that is never true but may be another for every row, so nothing
        can be concluded from them and they stay where they are. A min() or max() becomes what its
        remedy says, under the same name.

        Raises:
            ValueError: The plan does not serialise as this version of DataFusion does it.
            Exception: DataFusion cannot serialise it.
        """
        if _COMMON.decode() in text:
            raise ValueError("a text of the query looks like a name of the optimizer")
        changes: dict[PlanPath, Callable[[Field], Field]] = {}
        for path in hazards.filters:
            changes[path] = self._hold
        for path, extremes in hazards.extremes.items():
            changes[path] = _Replacement(extremes, self._parts).aggregate
        data = _changed(plan.to_bytes(), plan, (), changes).replace(_COMMON, _OURS)
        mended = LogicalPlan.from_bytes(self._context, data)
        if _shape(mended) != _shape(plan):
            raise ValueError("the plan came back with other nodes")
        return mended

    def _hold(self, node: Field) -> Field:
        if node.number != _SELECTION:
            raise ValueError(f"a filter is a node {node.number}")
        fields = read_fields(node.data)
        (condition,) = (one for one in fields if one.number == _CONDITION)
        operands = [
            message_field(_OPERAND, read_fields(condition.data)),
            message_field(_OPERAND, read_fields(self._parts.never)),
        ]
        either = message_field(_BINARY, [*operands, text_field(_OPERATOR, "Or")])
        return _with(node, fields, condition, message_field(_CONDITION, [either]))

    @cached_property
    def _parts(self) -> _Parts:
        frame = self._context.sql(_PARTS)
        (projection,) = read_fields(frame.optimized_logical_plan().to_bytes())
        nodes = list(_nodes(projection))
        (selection,) = (one for one in nodes if one.number == _SELECTION)
        (never,) = (f.data for f in read_fields(selection.data) if f.number == _CONDITION)
        (shown,) = (f.data for f in read_fields(projection.data) if f.number == _PROJECTED)
        (alias,) = read_fields(shown)
        (aliased,) = (f.data for f in read_fields(alias.data) if f.number == _ALIASED)
        (function,) = read_fields(aliased)
        if projection.number != _PROJECTION or function.number != _FUNCTION:
            raise ValueError("a function is not where it was")
        return _Parts(never, function)


@dataclass(frozen=True)
class _Parts:
    """Expressions as DataFusion writes them.

    Attributes:
        never: `random() < 0`.
        nanvl: `nanvl(column, NaN)`.
    """

    never: bytes
    nanvl: Field

    def one_nan(self, values: bytes) -> bytes:
        """An expression whose values are those of another, with every NaN of the same bits."""
        fields = read_fields(self.nanvl.data)
        first = next(one for one in fields if one.number == _ARGUMENTS)
        argument = message_field(_ARGUMENTS, read_fields(values))
        return write_fields([_with(self.nanvl, fields, first, argument)])


@dataclass(frozen=True)
class _Replacement:
    """Replaces the min() and max() of one aggregation."""

    _extremes: Mapping[int, Extreme]
    _parts: _Parts

    def aggregate(self, node: Field) -> Field:
        if node.number != _AGGREGATE:
            raise ValueError(f"an aggregation is a node {node.number}")
        fields = read_fields(node.data)
        places = [place for place, one in enumerate(fields) if one.number == _AGGREGATES]
        for position, extreme in self._extremes.items():
            fields[places[position]] = self._replaced(fields[places[position]], extreme)
        return message_field(node.number, fields)

    def _replaced(self, aggregate: Field, extreme: Extreme) -> Field:
        (call,) = read_fields(aggregate.data)
        while call.number == _ALIAS:
            (inner,) = (one for one in read_fields(call.data) if one.number == _ALIASED)
            (call,) = read_fields(inner.data)
        if call.number != _AGGREGATE_FUNCTION:
            raise ValueError(f"an aggregate is an expression {call.number}")
        function = self._remedied(read_fields(call.data), extreme.remedy)
        alias = [
            message_field(_ALIASED, [message_field(_AGGREGATE_FUNCTION, function)]),
            text_field(_ALIAS_NAME, extreme.name),
        ]
        return message_field(_AGGREGATES, [message_field(_ALIAS, alias)])

    def _remedied(self, call: Sequence[Field], remedy: Remedy) -> list[Field]:
        (name,) = (one.data.decode() for one in call if one.number == _NAME)
        (values,) = (one for one in call if one.number == _ARGUMENTS)
        filters = [one for one in call if one.number == _FILTER]
        if name not in ("min", "max"):
            raise ValueError(f"an aggregate is {name}")
        if remedy is Remedy.SCANNED:
            # Bounds of files say nothing of filtered rows.
            there = message_field(_IS_NOT_NULL, [message_field(_TESTED, read_fields(values.data))])
            return [*call, *([] if filters else [message_field(_FILTER, [there])])]
        unified = read_fields(self._parts.one_nan(values.data))
        argument = message_field(_ARGUMENTS, unified)
        if remedy is Remedy.ONE_NAN:
            return [argument if one is values else one for one in call]
        # NULLs last, which is what the absence of a third field says.
        order = [message_field(_SORTED_BY, unified)]
        if name == "min":
            order.append(Field(_ASCENDING, 0, 1))
        first = text_field(_NAME, "first_value")
        return [first, argument, *filters, message_field(_ORDER_BY, order)]


def _changed(
    data: bytes,
    plan: LogicalPlan,
    path: PlanPath,
    changes: dict[PlanPath, Callable[[Field], Field]],
) -> bytes:
    """The bytes of a plan with some of its nodes changed."""
    if not any(one[: len(path)] == path for one in changes):
        return data
    (node,) = read_fields(data)
    inputs = plan.inputs()
    fields = read_fields(node.data)
    numbers = (_INPUT, _RIGHT) if node.number == _JOIN else (_INPUT,)
    places = [place for place, field in enumerate(fields) if field.number in numbers]
    if len(places) != len(inputs):
        raise ValueError(f"a node {node.number} has {len(places)} inputs, not {len(inputs)}")
    for index, (place, child) in enumerate(zip(places, inputs, strict=True)):
        inner = _changed(fields[place].data, child, (*path, index), changes)
        fields[place] = message_field(fields[place].number, read_fields(inner))
    node = message_field(node.number, fields)
    change = changes.get(path)
    return write_fields([node if change is None else change(node)])


def _nodes(node: Field) -> Iterator[Field]:
    """A node and those below it, as long as each has one input."""
    yield node
    for field in read_fields(node.data):
        if field.number == _INPUT:
            try:
                (below,) = read_fields(field.data)
            except ValueError:
                return
            yield from _nodes(below)


def _with(node: Field, fields: Sequence[Field], old: Field, new: Field) -> Field:
    place = next(place for place, one in enumerate(fields) if one is old)
    return message_field(node.number, [*fields[:place], new, *fields[place + 1 :]])


def _shape(plan: LogicalPlan) -> list[str]:
    """Kinds of the nodes in order, but for unions: one of many comes back as many of two."""
    kind = type(plan.to_variant()).__name__
    below = [one for child in plan.inputs() for one in _shape(child)]
    return below if kind == "Union" else [kind, *below]


# Not the one setting for all: it would switch on those of aggregates, which are always off.
_DYNAMIC = tuple(
    f"SET datafusion.optimizer.enable_{name}_dynamic_filter_pushdown = "
    for name in ("topk", "join")
)
_SETTING = threading.Lock()


@contextmanager
def without_dynamic_filters(context: SessionContext) -> Iterator[None]:
    """Have frames that are made meanwhile push down no filters that operators make as they run."""
    with _SETTING:
        try:
            for setting in _DYNAMIC:
                context.sql(f"{setting}false").collect()
            yield
        finally:
            for setting in _DYNAMIC:
                context.sql(f"{setting}true").collect()


# The fast road: one serialised scan of a placeholder, with its list of paths replaced.
#
# `SessionContext.read_parquet` takes one path. The plan it makes holds a *list* of paths, so the
# plan
# is serialised, the list replaced, and the plan read back. The scan that comes out is DataFusion's
# own: statistics, page index, pushdown and the order in which top-k reads files all stay. The
# options
# of the session that made the plan travel in it, so scans of different modes can live in one
# session.

# Field numbers in `datafusion.proto`: ListingTableScanNode, TableReference and BareTableReference.
_PATHS, _TABLE_NAME = 2, 14
_BARE, _BARE_NAME = 1, 1

_KEPT = 64
"""Templates that are kept; one takes a few kilobytes."""


class PatchedPlan:
    """Scans a list of files by replacing the paths in a serialised plan.

    Args:
        context: The session that runs the scans.
        readers: A session by scan mode, whose settings the scans shall have.
        placeholder: Any Parquet file.
    """

    def __init__(
        self,
        context: SessionContext,
        readers: Mapping[ScanMode, SessionContext],
        placeholder: Path,
    ) -> None:
        self._context = context
        self._readers = readers
        self._placeholder = placeholder.as_uri()
        self._lock = threading.Lock()
        self._templates: OrderedDict[tuple[bytes, ScanMode], Template] = OrderedDict()

    def frame(self, name: str, schema: Any, files: Sequence[str], mode: ScanMode) -> DataFrame:
        """Describe the scan; see `FileScan.frame`."""
        data = patch_scan(self._template(schema, mode), name, files)
        plan = LogicalPlan.from_bytes(self._context, data)
        return self._context.create_dataframe_from_logical_plan(plan)

    def _template(self, schema: Any, mode: ScanMode) -> Template:
        """The scan of the placeholder; queries of one kind ask for the same again and again."""
        key = (schema.serialize().to_pybytes(), mode)
        with self._lock:
            found = self._templates.get(key)
            if found is not None:
                self._templates.move_to_end(key)
                return found
        reader = self._readers[mode]
        frame = reader.read_parquet(self._placeholder, schema=schema, **READ_OPTIONS)
        made = read_template(frame.logical_plan().to_bytes())
        with self._lock:
            self._templates[key] = made
            if len(self._templates) > _KEPT:
                self._templates.popitem(last=False)
        return made


class Template(NamedTuple):
    """A serialised scan without the name of its table and without its paths.

    Attributes:
        number: Of the field that the scan is, among the kinds of nodes.
        kept: All its other fields, serialised.
    """

    number: int
    kept: bytes


def read_template(plan: bytes) -> Template:
    """Take a serialised plan that is nothing but a scan as a template.

    Raises:
        ValueError: The plan is not what this version of DataFusion makes of one scan.
    """
    (node,) = read_fields(plan)
    kept = [field for field in read_fields(node.data) if field.number not in (_PATHS, _TABLE_NAME)]
    return Template(node.number, write_fields(kept))


def patch_scan(template: Template, name: str, files: Sequence[str]) -> bytes:
    """The serialised plan of a scan with this name of its table and these paths."""
    bare = message_field(_BARE, [text_field(_BARE_NAME, name)])
    patched = [*(text_field(_PATHS, file) for file in files), message_field(_TABLE_NAME, [bare])]
    return write_fields([bytes_field(template.number, template.kept + write_fields(patched))])


# What DataFusion answers wrongly and we put right: tried out on releases that we do not know.
#
# Each probe is a query over two tiny files. Tests show that its answer is wrong without our doing,
# and right with it. A release that is not among those is asked all of them once, before it answers
# anything else.

TESTED = frozenset({"55.0.0"})
"""Releases of the Python package `datafusion` with which all tests pass."""

_FOUND_RIGHT: set[str] = set()
"""Other releases that this process has tried out."""

_NAN = float("nan")


class Probe(NamedTuple):
    """A query that is answered wrongly without us.

    Attributes:
        defect: What is wrong, in a few words.
        text: The query.
        answer: Its answer, as text.
    """

    defect: str
    text: str
    answer: str


PROBES = (
    Probe(
        "filters are pushed below a join by the name of their columns",
        """SELECT l.u AS a, s.u AS b FROM logs l RIGHT JOIN spans s ON l.id = s.id
        WHERE l.u IS NULL ORDER BY 2""",
        "[(None, 'v5'), (None, 'v6')]",
    ),
    Probe(
        "max() of a group depends on where NaN stands",
        "SELECT max(v) AS x, min(v) AS n FROM logs GROUP BY id > 0",
        "[(nan, 1.0)]",
    ),
    Probe(
        "NaN that arithmetic makes sorts below all numbers",
        "SELECT min(z / z) AS n FROM logs",
        "[(1.0,)]",
    ),
    Probe(
        "a union of integers and floats says that it is of integers",
        "SELECT id AS x FROM logs WHERE id = 1 UNION ALL SELECT z FROM logs WHERE id = 2",
        "[(0.5,), (1.0,)]",
    ),
)


def tables(directory: Path) -> list[Table]:
    """The files of the probes, written into an empty directory."""
    logs = {
        "id": [1, 2, 3, 4],
        "u": ["u1", "u2", "u3", "u4"],
        "v": [1000.0, _NAN, 1.0, 2.0],
        "z": [0.0, 0.5, 1.0, 2.0],
    }
    spans = {"id": [1, 2, 3, 4, 5, 6], "u": ["v1", "v2", "v3", "v4", "v5", "v6"]}
    made = []
    for name, columns in (("logs", logs), ("spans", spans)):
        rows = pa.table(columns)
        path = directory / f"{name}.parquet"
        pq.write_table(rows, path, write_statistics=["id", "u"])
        made.append(Table(name, rows.schema, (path.as_uri(),), ScanMode.SWEEP, {}))
    return made


def answer_to(session: Session, probe: Probe, over: Sequence[Table], *, mended: bool) -> str:
    """The answer to a probe, as text, with our doing or without."""
    plan = session.plan(probe.text, over)
    rows = (plan.mended() if mended else plan).execute().read_all().to_pylist()
    return str(sorted((tuple(row.values()) for row in rows), key=repr))


def failing(session: Session, directory: Path) -> list[str]:
    """Defects that our doing does not put right with the installed release."""
    over = tables(directory)
    found = []
    for probe in PROBES:
        try:
            right = answer_to(session, probe, over, mended=True) == probe.answer
        except LakerunnerError:
            right = False
        if not right:
            found.append(probe.defect)
    return found


def check_engine(session: Session, directory: Path, release: str | None = None) -> None:
    """See to it that the installed DataFusion answers rightly, as we use it.

    Args:
        session: Where queries will be run.
        directory: An empty directory.
        release: That of DataFusion, if it is not the installed one.

    Raises:
        ConfigurationError: It does not.
    """
    release = _installed() if release is None else release
    if release in TESTED or release in _FOUND_RIGHT:
        return
    if wrong := failing(session, directory):
        raise ConfigurationError(
            f"datafusion {release} answers queries wrongly ({'; '.join(wrong)}): install one of "
            f"{', '.join(sorted(TESTED))}",
            release=release,
        )
    _FOUND_RIGHT.add(release)


@functools.cache
def _installed() -> str:
    return version("datafusion")
