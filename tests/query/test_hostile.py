"""A query reads the tables of its organization and nothing else, whatever its text says."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakerunner.errors import QueryError, QuerySyntaxError, UnsupportedQueryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = 1_790_002_800 * 10**9

WRITES = [
    "CREATE TABLE x AS SELECT * FROM logs",
    "CREATE VIEW x AS SELECT * FROM logs",
    "CREATE OR REPLACE TABLE logs AS SELECT 1",
    "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '{secret}'",
    "CREATE EXTERNAL TABLE logs STORED AS PARQUET LOCATION '{secret}'",
    "CREATE UNBOUNDED EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
    "CREATE SCHEMA s",
    "CREATE DATABASE d",
    "CREATE FUNCTION f() RETURNS INT RETURN 1",
    "COPY logs TO '{out}'",
    "COPY (SELECT * FROM logs) TO '{out}' STORED AS CSV",
    "INSERT INTO logs SELECT * FROM logs",
    "INSERT INTO logs VALUES (1)",
    "DELETE FROM logs",
    "UPDATE logs SET body = 'x'",
    "TRUNCATE TABLE logs",
    "DROP TABLE logs",
    "DROP VIEW logs",
    "SET datafusion.catalog.information_schema = true",
    "SET datafusion.runtime.temp_directory = '/tmp'",
    "RESET datafusion.execution.batch_size",
    "BEGIN",
    "COMMIT",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE p",
    "USE other",
    "LOAD 'x'",
    "PRAGMA x",
    "ATTACH 'x' AS y",
    "SELECT body INTO x FROM logs",
    "WITH l AS (SELECT 1) INSERT INTO logs SELECT * FROM l",
    "EXPLAIN COPY logs TO '{out}'",
    "EXPLAIN ANALYZE COPY logs TO '{out}'",
    "SELECT 1; COPY logs TO '{out}'",
    "SELECT 1; DROP TABLE logs",
    ";COPY logs TO '{out}'",
    "/* SELECT */ COPY logs TO '{out}'",
    "-- SELECT\nCOPY logs TO '{out}'",
    "(COPY logs TO '{out}')",
    "SELECT * FROM (COPY logs TO '{out}')",
    "WITH x AS (COPY logs TO '{out}') SELECT 1",
    "SELECT 1 UNION ALL (DELETE FROM logs)",
]
SOURCES = [
    "'{secret}'",
    '"{secret}"',
    "`{secret}`",
    "'file://{secret}'",
    '"file://{secret}"',
    "'{secret_dir}/*.parquet'",
    "'{secret_dir}'",
    "read_parquet('{secret}')",
    "parquet_scan('{secret}')",
    "parquet_metadata('{secret}')",
    "read_csv('/etc/passwd')",
    "read_json('/etc/passwd')",
    "'/etc/passwd'",
    "'http://127.0.0.1:1/x.parquet'",
    "'s3://bucket/x.parquet'",
    "information_schema.tables",
    "information_schema.df_settings",
    "datafusion.information_schema.columns",
    "pg_catalog.pg_class",
    "system.runtime.tables",
    "other.public.logs",
    "metrics_of_others",
    '"LOGS"',
    '"?table?"',
    "probe",
]
SHAPES = [
    "SELECT * FROM {source}",
    "SELECT count(*) FROM logs JOIN {source} x ON true",
    "WITH x AS (SELECT * FROM {source}) SELECT * FROM x",
    "SELECT (SELECT max(secret) FROM {source}) FROM logs",
    "SELECT body FROM logs UNION ALL SELECT secret FROM {source}",
    "SELECT * FROM logs WHERE body IN (SELECT secret FROM {source})",
    "SELECT * FROM logs WHERE EXISTS (SELECT 1 FROM {source})",
    "SELECT * FROM logs l, LATERAL (SELECT * FROM {source}) x",
    "DESCRIBE {source}",
]


class Surroundings:
    """A lake, and files beside it that no query may see or make."""

    def __init__(self, lake: Any, directory: Path) -> None:
        self.lake = lake
        self.secret = directory / "secret.parquet"
        pq.write_table(pa.table({"secret": ["s3cr3t"]}), self.secret)
        self.out = directory / "out.parquet"
        lake.add({"timestamp": [START], "body": ["a"], "attr_x": [1]})

    def fill(self, text: str) -> str:
        names = {"secret": self.secret, "secret_dir": self.secret.parent, "out": self.out}
        for name, path in names.items():
            text = text.replace(f"{{{name}}}", str(path))
        return text

    def refused(self, text: str) -> QueryError:
        with pytest.raises(QueryError) as caught:
            self.lake.engine.sql(text).to_arrow()
        assert "s3cr3t" not in str(caught.value)
        return caught.value


@pytest.fixture
def around(
    make_lake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Surroundings]:
    monkeypatch.chdir(tmp_path)
    made = Surroundings(make_lake(), tmp_path)
    yield made
    assert not made.out.exists()
    assert made.lake.rows("SELECT body, attr_x FROM logs") == [{"body": "a", "attr_x": 1}]


@pytest.mark.parametrize("text", WRITES)
def test_nothing_is_written(around: Surroundings, text: str) -> None:
    error = around.refused(around.fill(text))
    assert isinstance(error, UnsupportedQueryError | QuerySyntaxError)


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_else_is_read(around: Surroundings, shape: str) -> None:
    for source in SOURCES:
        error = around.refused(around.fill(shape.replace("{source}", source)))
        assert isinstance(error, QuerySyntaxError | UnsupportedQueryError), source
        assert around.secret.name not in error.message or "there is no table" in error.message


@pytest.mark.parametrize(
    "text",
    [
        "SELECT input_file_name() FROM logs",
        "SELECT file_row_index() FROM logs",
        "SELECT @@version",
        "SELECT current_setting('x')",
        "SELECT * FROM logs('x')",
        "SELECT $1",
        "SELECT ?",
    ],
)
def test_nothing_is_known_of_files_and_settings(around: Surroundings, text: str) -> None:
    around.refused(text)


def test_python_values_are_no_tables(around: Surroundings) -> None:
    secret_table = pa.table({"secret": ["s3cr3t"]})
    assert secret_table.num_rows == 1
    around.refused("SELECT * FROM secret_table")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + "(" * 500 + "1" + ")" * 500,
        "SELECT " + " + ".join(["1"] * 500),
        "SELECT * FROM logs WHERE " + " OR ".join(f"attr_x = {n}" for n in range(500)),
        "SELECT * FROM " + "(SELECT * FROM " * 100 + "logs" + ")" * 100,
        "SELECT '" + "x" * 1_000_000 + "'",
        "SELECT \x00",
        "\ud800",
        "SELECT * FROM logs -- " + "x" * 100_000,
        "SELECT * FROM logs WHERE attr_x IN (" + ", ".join(map(str, range(20_000))) + ")",
    ],
    ids=range(9),
)
def test_odd_texts_do_no_harm(around: Surroundings, text: str) -> None:
    with suppress(QueryError):
        around.lake.engine.sql(text).to_arrow()
