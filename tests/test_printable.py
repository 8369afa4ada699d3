"""What strangers wrote reaches a person escaped, and files exactly; secrets reach nobody."""

from __future__ import annotations

import io
import json
import traceback
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import lakerunner
from lakerunner.cli.app import app
from lakerunner.cli.output import Screen
from lakerunner.errors import ConfigurationError, LakerunnerError, StoreError
from lakerunner.events import open_source
from lakerunner.model.profile import StorageProfile
from lakerunner.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result

EVIL = "\x1b]0;owned\x07\x1b[31mred\x1b[2J\r\u202egnp.exe\u2066\x9b1m\x00end"
RAW = ("\x1b", "\x07", "\r", "\u202e", "\u2066", "\x9b", "\x00")


def is_clean(text: str) -> bool:
    return not any(each in text for each in RAW)


@pytest.fixture
def lake_url(tmp_path: Path) -> str:
    """A lake with a hostile body, a hostile attribute, and a hostile file that is set aside."""
    url = str(tmp_path / "lake")
    with lakerunner.open(url) as lake:
        lake.ingest(json.dumps({"message": EVIL, f"key{EVIL}": EVIL}).encode())
    return url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_result_is_shown_escaped(lake_url: str) -> None:
    with lakerunner.open(lake_url) as lake:
        result = lake.sql("SELECT * FROM logs")
        assert is_clean(repr(result))
        assert "\\x1b[31mred" in repr(result)
        assert is_clean(result._repr_html_())
        name = EVIL.replace("\x00", "")
        named = lake.sql(f'SELECT body AS "{name}" FROM logs')
        assert is_clean(repr(named))
        assert is_clean(named._repr_html_())
        assert result.to_arrow()["body"].to_pylist() == [EVIL]
        explained = lake.explain(f"SELECT 1 FROM logs WHERE body = '{name}'")
        assert is_clean(str(explained))
        assert is_clean(explained._repr_html_())


def test_errors_are_shown_escaped(lake_url: str) -> None:
    with lakerunner.open(lake_url) as lake, pytest.raises(LakerunnerError) as caught:
        lake.sql(f'SELECT "{EVIL}" FROM logs')
    shown = "".join(traceback.format_exception(caught.value))
    assert is_clean(str(caught.value))
    assert "\x1b" not in shown.rpartition("QuerySyntaxError")[2]
    assert "\x1b" in caught.value.message  # exact, for programs


def test_commands_show_it_escaped(lake_url: str, tmp_path: Path) -> None:
    hostile = tmp_path / "raw" / "a\x1b[31m\u202eb.json"
    hostile.parent.mkdir()
    hostile.write_bytes(b'{"broken": ')
    for arguments in (
        ("sql", lake_url, "SELECT * FROM logs"),
        ("sql", lake_url, f'SELECT "{EVIL}" FROM logs'.replace("\x00", "")),
        ("explain", lake_url, f"SELECT 1 FROM logs WHERE body = '{EVIL}'".replace("\x00", "")),
        ("ingest", lake_url, str(hostile.parent) + "/"),
        ("ingest", lake_url, str(hostile.parent / "no\x1b[31mne.json")),
        ("rejected", lake_url),
        ("segments", lake_url),
    ):
        done = run(*arguments)
        assert is_clean(done.output), arguments


def test_files_stay_exact(lake_url: str, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    done = run("sql", lake_url, "SELECT body FROM logs", "-o", "csv", "-f", str(file))
    assert done.exit_code == 0
    assert EVIL.encode() in file.read_bytes()
    assert EVIL.encode() in run("sql", lake_url, "SELECT body FROM logs", "-o", "csv").stdout_bytes


def test_a_terminal_gets_what_a_file_gets_escaped() -> None:
    shown = io.BytesIO()
    screen = Screen(shown)
    for byte in f"body\n{EVIL},é\tü\n".encode():  # characters may be cut anywhere
        screen.write(bytes([byte]))
    text = shown.getvalue().decode()
    assert is_clean(text)
    assert text.startswith("body\n\\x1b]0;owned\\x07")
    assert text.endswith(",é\tü\n")


SECRETS = ["s3://AKIA:SECRET/+x@acme/lake", "sqs://user:SECRET@queue", "gs://u:SECRET@acme/raw/"]


@pytest.mark.parametrize("url", SECRETS)
def test_credentials_in_urls_are_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: lakerunner.open(url),
        lambda: open_store(url),
        lambda: open_source(url),
        lambda: lakerunner.open(tmp_path / "lake").ingest(url),
        lambda: lakerunner.open(tmp_path / "lake", ownership={"prefixes": {url: "acme"}}),
        lambda: open_store("s3://acme", {"endpoint_url": "http://user:SECRET@host"}),
        lambda: StorageProfile(organization_id="a", bucket="b", endpoint="http://u:SECRET@h"),
    ]
    for attempt in attempts:
        with pytest.raises(ConfigurationError) as caught:
            attempt()
        assert "SECRET" not in f"{caught.value!r} {caught.value} {caught.value.context}"
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


def test_no_error_repeats_a_password() -> None:
    error = StoreError("cannot reach https://u:pa@ss@host/x?sig=abc&b=1", url="s3://k:s@b/k")
    assert error.message == "cannot reach https://***@host/x?sig=***&b=1"
    assert error.args == (error.message,)
    assert error.context["url"] == "s3://***@b/k"
    shown = run("segments", "postgresql+x://user:SECRET@host/lake")
    assert "SECRET" not in shown.output
    catalog = run("segments", "./lake", "--catalog", "postgresql://user:SECRET@127.0.0.1:1/x")
    assert catalog.exit_code == 1
    assert "SECRET" not in catalog.output
