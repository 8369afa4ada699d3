"""Long lists in a text: answered as short ones are, without being planned value by value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lakerunner.errors import QueryLimitError
from lakerunner.limits import QUERY_LISTED_VALUES, QUERY_PLANNED_CHARS
from lakerunner.query.sql.query import without_long_lists

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.query.conftest import SmallLake

MANY = QUERY_LISTED_VALUES + 1000
NUMBERS = ",".join(map(str, range(-5, MANY)))
TEXTS = ", ".join(f"'request {n} done'" for n in range(50, MANY))


@pytest.fixture(scope="module")
def hours(
    small_lake: type[SmallLake], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallLake]:
    lake = small_lake(str(tmp_path_factory.mktemp("lists") / "lake"))
    lake.add_hours(2)
    lake.add({"timestamp": [1767225600 * 10**9], "body": ["without a code"]})
    yield lake
    lake.engine.close()


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        (f"attr_code IN ({NUMBERS})", 200),
        (f"attr_code NOT IN ({NUMBERS})", 0),
        (f"NOT (attr_code in ({NUMBERS}))", 0),
        (f"body IN ({TEXTS})", 150),
        (f"body NOT IN ({TEXTS})", 51),
        (f"(body IN ({TEXTS}) AND attr_code IN ( {NUMBERS} )) OR attr_code = 3", 151),
        (f"body = 'it''s' OR attr_code IN ({NUMBERS})", 200),
        (f"(attr_code IN ({NUMBERS})) IS NULL", 1),
        (f"body = 'IN ({NUMBERS}) AND' AND true", 0),
        (f"attr_code < 5 /* IN ({NUMBERS}) */", 5),
    ],
    ids=range(10),
)
def test_long_lists_mean_what_short_ones_mean(hours: SmallLake, condition: str, rows: int) -> None:
    assert hours.one(f"SELECT count(*) FROM logs WHERE {condition}") == rows


def test_a_list_of_very_many_values_is_not_planned_by_value(hours: SmallLake) -> None:
    numbers = ",".join(map(str, range(0, 600_000, 2)))
    text = f"SELECT count(*) FROM logs WHERE attr_code IN ({numbers})"
    assert len(without_long_lists(text).text) < 100
    assert hours.one(text) == 100


@pytest.mark.parametrize(
    "text",
    [
        " " * 3_000_000 + "SELECT 1",
        "SELECT 1" + ";" * 4_000_000,
        "SELECT count(*) FROM (VALUES " + ",".join(f"({n})" for n in range(200_000)) + ")",
        "SELECT " + ",".join(f"{n} AS a{n}" for n in range(120_000)),
        f"SELECT '{'x' * QUERY_PLANNED_CHARS}'",
    ],
    ids=["blanks", "semicolons", "values", "columns", "text"],
)
def test_texts_that_take_long_to_plan_are_refused_at_once(hours: SmallLake, text: str) -> None:
    with pytest.raises(QueryLimitError, match="characters") as caught:
        hours.engine.sql(text)
    assert caught.value.context["limit"] == "QUERY_PLANNED_CHARS"
