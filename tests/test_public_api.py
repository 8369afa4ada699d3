"""The public names, pinned: a new or a missing one is a decision, not an accident."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lakerunner

PACKAGE = Path(lakerunner.__file__).parent

NAMES = {
    "AggregateRule": "lakerunner.model.aggregate",
    "AsyncLake": "lakerunner.aio",
    "Backlog": "lakerunner.status",
    "Catalog": "lakerunner.catalog",
    "Compactor": "lakerunner.compact",
    "Config": "lakerunner.model.config",
    "DamagedSegment": "lakerunner.damage",
    "Deletion": "lakerunner.model.deletion",
    "EventSource": "lakerunner.events",
    "Explanation": "lakerunner.query",
    "IcebergTables": "lakerunner.outside.iceberg",
    "IngestReport": "lakerunner.model.report",
    "Ingestor": "lakerunner.ingest",
    "Lake": "lakerunner.lake",
    "LakeSnapshot": "lakerunner.model.commit",
    "LakeStatus": "lakerunner.status",
    "LakerunnerError": "lakerunner.errors",
    "Maintainer": "lakerunner.maintenance",
    "ObjectStore": "lakerunner.store",
    "Offered": "lakerunner.intake.offered",
    "Ownership": "lakerunner.policies.ownership",
    "Params": "lakerunner.query.sql.params",
    "PrefixMapping": "lakerunner.model.profile",
    "Progress": "lakerunner.model.report",
    "ProgressEvent": "lakerunner.model.report",
    "ProgressLike": "lakerunner.bars",
    "Proof": "lakerunner.model.deletion",
    "QueryEngine": "lakerunner.query",
    "QueryStats": "lakerunner.query",
    "RecoveryReport": "lakerunner.model.report",
    "Rejection": "lakerunner.model.segment",
    "Result": "lakerunner.query",
    "Retention": "lakerunner.retain",
    "Rollup": "lakerunner.rollup",
    "SampleResult": "lakerunner.query.promql.answering",
    "Segment": "lakerunner.model.segment",
    "Segments": "lakerunner.model.segment",
    "Setback": "lakerunner.model.report",
    "Signal": "lakerunner.model.signal",
    "SourceMapping": "lakerunner.model.profile",
    "SparkViews": "lakerunner.outside.spark",
    "StepLike": "lakerunner.query.promql.grid",
    "StorageProfile": "lakerunner.model.profile",
    "TableResult": "lakerunner.query.result",
    "Tail": "lakerunner.query.tail",
    "TimeLike": "lakerunner.model.times",
    "Trace": "lakerunner.query.traces",
    "WorkReport": "lakerunner.model.report",
    "Writer": "lakerunner.intake.writer",
    "WriterOptions": "lakerunner.intake.settings",
    "WriterReport": "lakerunner.intake.settings",
    "WriterSettings": "lakerunner.intake.settings",
    "open": "lakerunner.opening",
}


def test_names_are_pinned() -> None:
    assert lakerunner.__all__ == [*sorted([*NAMES, "__version__", "errors"])]
    assert dir(lakerunner) == lakerunner.__all__


@pytest.mark.parametrize("name", NAMES)
def test_names_are_what_their_module_defines(name: str) -> None:
    value = getattr(lakerunner, name)
    assert value is getattr(importlib.import_module(NAMES[name]), name)
    assert inspect.getdoc(value)


def test_names_are_kept_once_they_are_loaded() -> None:
    assert lakerunner.Signal is vars(lakerunner)["Signal"]


UNSAID: set[str] = set()

SURFACE = ("aio", "asking", "discovering", "intake/writer", "lake", "opening", "taking", "upkeep")
"""The modules that define what a lake can be asked to do."""


def names_of_arguments_and_answers(module: str) -> set[str]:
    """What the public functions of a module say of their arguments and answers, of our types."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    ours = {
        name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lakerunner")
        for name in node.names
    }
    classes = [one for one in tree.body if isinstance(one, ast.ClassDef)]
    bodies = [tree.body, *(one.body for one in classes if not one.name.startswith("_"))]
    functions = [
        one
        for body in bodies
        for one in body
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
        and (not one.name.startswith("_") or one.name == "__aenter__")
    ]
    said = [
        annotation
        for one in functions
        for annotation in (
            one.returns,
            *(argument.annotation for argument in ast.walk(one) if isinstance(argument, ast.arg)),
        )
        if annotation is not None
    ]
    return ours & {n.id for one in said for n in ast.walk(one) if isinstance(n, ast.Name)}


@pytest.mark.parametrize("module", SURFACE)
def test_all_that_calls_take_and_return_can_be_imported_from_the_package(module: str) -> None:
    assert not names_of_arguments_and_answers(module) - {*lakerunner.__all__, *UNSAID}


@pytest.mark.parametrize(
    "name", [name for name in NAMES if hasattr(getattr(lakerunner, name), "__struct_fields__")]
)
def test_every_field_of_a_public_value_is_described(name: str) -> None:
    value = getattr(lakerunner, name)
    described = set(re.findall(r"^ +(\w+): ", inspect.getdoc(value) or "", re.MULTILINE))
    assert not {*value.__struct_fields__} - described


def methods() -> list[str]:
    return [
        name
        for name, method in inspect.getmembers(lakerunner.Lake)
        if not name.startswith("_") and callable(method)
    ]


@pytest.mark.parametrize("name", methods())
def test_methods_of_a_lake_are_described_where_they_stand(name: str) -> None:
    method = getattr(lakerunner.Lake, name)
    text = inspect.getdoc(method) or ""
    assert "; see `" not in text.splitlines()[0]
    given = [one for one in inspect.signature(method).parameters if one != "self"]
    assert not [one for one in given if not re.search(rf"^ +{one}: ", text, re.MULTILINE)]


def test_version_is_the_installed_one() -> None:
    assert lakerunner.__version__ == importlib.import_module("importlib.metadata").version(
        "lakerunner"
    )


def test_errors_come_along() -> None:
    assert lakerunner.errors.LakerunnerError is lakerunner.LakerunnerError


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Compactr'"):
        getattr(lakerunner, "Compactr")  # noqa: B009 - mypy refuses the plain spelling
    with pytest.raises(ImportError):
        exec("from lakerunner import Compactr", {})  # noqa: S102 - as a user would write it


def test_a_star_import_brings_every_name() -> None:
    code = "from lakerunner import *; print(Lake.__name__, open.__module__, errors.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Lake", "lakerunner.opening", "lakerunner.errors"]
