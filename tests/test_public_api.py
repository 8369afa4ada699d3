"""The public names, pinned: a new or a missing one is a decision, not an accident."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import lakerunner

NAMES = {
    "Catalog": "lakerunner.catalog",
    "Compactor": "lakerunner.compact",
    "IngestReport": "lakerunner.model.report",
    "Ingestor": "lakerunner.ingest",
    "Lake": "lakerunner.lake",
    "LakeSnapshot": "lakerunner.model.commit",
    "LakerunnerError": "lakerunner.errors",
    "ObjectStore": "lakerunner.store",
    "Ownership": "lakerunner.policies.ownership",
    "PrefixMapping": "lakerunner.model.profile",
    "QueryEngine": "lakerunner.query",
    "RecoveryReport": "lakerunner.model.report",
    "Result": "lakerunner.query",
    "Maintainer": "lakerunner.maintenance",
    "Retention": "lakerunner.retain",
    "Rollup": "lakerunner.rollup",
    "WorkReport": "lakerunner.model.report",
    "Signal": "lakerunner.model.signal",
    "SourceMapping": "lakerunner.model.profile",
    "StorageProfile": "lakerunner.model.profile",
    "open": "lakerunner.opening",
    "Config": "lakerunner.model.config",
    "Explanation": "lakerunner.query",
    "QueryStats": "lakerunner.query",
    "Segment": "lakerunner.model.segment",
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
