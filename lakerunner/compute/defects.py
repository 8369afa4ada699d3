"""What DataFusion answers wrongly and we put right: tried out on releases that we do not know.

Each probe is a query over two tiny files. Tests show that its answer is wrong without our doing,
and right with it. A release that is not among those is asked all of them once, before it answers
anything else.
"""

from __future__ import annotations

import functools
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from lakerunner.compute.table import ScanMode, Table
from lakerunner.errors import ConfigurationError, LakerunnerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lakerunner.compute.session import Session

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
