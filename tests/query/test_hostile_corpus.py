"""A corpus of hostile queries and inputs: each ends in an answer or in one of our errors.

None tells of another organization's rows, or of where files lie. Each run asks a part of them, and
the nightly profile all.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import lakerunner
from lakerunner.errors import LakerunnerError, QueryError
from lakerunner.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

CORPUS = yaml.safe_load(Path(__file__).with_name("hostile.yaml").read_text())
QUERIES = [
    *CORPUS["statements"],
    *(
        shape.replace("{e}", expression)
        for shape, expression in product(CORPUS["shapes"], CORPUS["expressions"])
    ),
]
INPUTS = [
    wrapping.replace("{v}", value * count).encode()
    for wrapping, (value, count) in product(CORPUS["wrappings"], CORPUS["values"])
]
NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
CHUNKS = 2
QUERY_STEP = 1 if NIGHTLY else 47  # a prime: a sample meets every shape and every expression
CANARY = "the canary of another organization"
CONFIG = {"query_memory_bytes": 32 * MIB, "query_timeout": 1.0, "query_workers_each": 4}
SHOWN_ROWS = 10_000


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[lakerunner.Lake, str]]:
    """A lake of two organizations, bound to one, and the directory that nobody shall be told."""
    directory = tmp_path_factory.mktemp("hostile")
    with lakerunner.open(directory / "lake", config=CONFIG) as lake:
        acme, beta = lake.for_organization("acme"), lake.for_organization("beta")
        for number in range(3):
            rows = [f'{{"message": "own {number} {n}", "n": {n}}}' for n in range(100)]
            acme.ingest("\n".join(rows).encode(), signal="logs")
        beta.ingest(f'{{"message": "{CANARY}", "secret": "{CANARY}"}}'.encode(), signal="logs")
        yield acme, str(directory)


def outcome(lake: lakerunner.Lake, text: str) -> str:
    """Everything that whoever asks gets to see."""
    shown: list[Any] = []
    try:
        rows = 0
        for batch in lake.sql(text):
            shown.append(batch.slice(0, 20).to_pylist())
            rows += batch.num_rows
            if rows > SHOWN_ROWS:
                break
    except QueryError as error:
        # The query itself may name whatever it likes.
        context = {name: value for name, value in error.context.items() if name != "query"}
        return f"{shown} {error.message} {context}"
    return str(shown)


def test_the_corpus_is_as_large_as_it_says() -> None:
    assert len(set(QUERIES)) + len(set(INPUTS)) >= 2000


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_hostile_queries_are_answered_or_refused(
    lakes: tuple[lakerunner.Lake, str], chunk: int
) -> None:
    lake, directory = lakes
    asked = QUERIES[::QUERY_STEP][chunk::CHUNKS]
    with ThreadPoolExecutor(2) as threads:
        outcomes = threads.map(lambda one: outcome(lake, one), asked)
        for text, shown in zip(asked, outcomes, strict=True):
            assert CANARY not in shown, text
            assert "segments/beta" not in shown or "segments/beta" in text, text
            assert directory not in shown.replace(text, ""), text
    assert outcome(lake, "SELECT count(*) AS n FROM logs") == "[[{'n': 300}]]"


@pytest.mark.parametrize("number", range(len(CORPUS["statements"])))
def test_hostile_statements_are_answered_or_refused(
    lakes: tuple[lakerunner.Lake, str], number: int
) -> None:
    lake, directory = lakes
    shown = outcome(lake, CORPUS["statements"][number])
    assert CANARY not in shown
    assert directory not in shown


def test_hostile_inputs_are_taken_or_set_aside(tmp_path: Path) -> None:
    with lakerunner.open(tmp_path / "lake") as lake:
        for data in INPUTS[:: 1 if NIGHTLY else 5]:
            told = ""
            try:
                told = str([one.reason for one in lake.ingest(data).rejected])
            except LakerunnerError as error:
                told = error.message
            assert str(tmp_path) not in told, data[:80]
        assert lake.sql("SELECT count(*) FROM logs").to_arrow().num_rows == 1
