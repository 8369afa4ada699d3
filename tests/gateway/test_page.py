"""The page at `/` in a real browser: what it shows is what the lake has, and nothing goes wrong.

`LAKERUNNER_SCREENSHOT=docs/pictures/page.png pytest tests/gateway/test_page.py -k glance` makes its
pictures in the documentation anew.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, FloatRect, Page, expect, sync_playwright
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

import lakerunner
from lakerunner.gateway import app, new_key
from lakerunner.generate import TelemetryConfig, generate_objects
from lakerunner.model.signal import Signal
from lakerunner.model.times import NANOS
from tests.gateway.conftest import served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lakerunner.lake import Lake

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Debian's package `chromium` is not installed"
)
PICTURE = os.environ.get("LAKERUNNER_SCREENSHOT", "")
KEY, KEPT = new_key("person", ("default", "other"))
HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """Three minutes of all signals: the latest ones for a picture, else always the same."""
    config = TelemetryConfig(rate=20, duration_s=180, signals=tuple(Signal))
    if PICTURE:
        config = replace(config, rate=200.0, start_ns=time.time_ns() - 180 * NANOS)
    with lakerunner.open(tmp_path_factory.mktemp("page")) as opened:
        for _, data in generate_objects(config):
            opened.ingest(data)
        yield opened


@pytest.fixture(scope="module")
def site(lake: Lake) -> Iterator[str]:
    """The same lake twice: below a prefix for everybody, and for whoever has a key."""
    open_ones = app(lake, {"access": {"anonymous": "default"}, "tail_seconds": 0.02})
    with_key = app(lake, {"access": {"keys": [KEPT]}})
    with served(
        Starlette(routes=[Mount("/open/lake", open_ones), Mount("/closed", with_key)])
    ) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # For this module only: its event loop would be in the way of others in the same thread.
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu"],  # CI is root, who has no sandbox
        )
        yield chromium
        chromium.close()


@contextmanager
def watched(browser: Browser, *expected: str, scheme: str = "light") -> Iterator[Page]:
    """A window; whatever the browser complains about fails, but for what is expected."""
    dark = scheme == "dark"
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme="dark" if dark else "light"
    )
    context.set_default_timeout(20_000)
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: told.append(f"uncaught: {error}"))
    page.on("request", lambda request: told.append(request.url) if foreign(request.url) else None)
    try:
        yield page
    finally:
        context.close()
    assert [one for one in told if not any(text in one for text in expected)] == []


def foreign(url: str) -> bool:
    return not url.startswith("http://127.0.0.1:")


@pytest.fixture
def page(browser: Browser, site: str) -> Iterator[Page]:
    """The page, in which nothing may go wrong."""
    with watched(browser) as opened:
        opened.goto(f"{site}/open/lake/")
        yield opened


def view(page: Page, name: str) -> None:
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("link", name=name, exact=True)).to_have_attribute(
        "aria-current", "page"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_lake_at_a_glance(browser: Browser, site: str, lake: Lake, scheme: str) -> None:
    status = lake.status()
    with watched(browser, scheme=scheme) as page:
        page.goto(f"{site}/open/lake")  # without its slash it is found, too
        rows = sum(one.rows for one in status.tables)
        expect(page.locator("#tiles")).to_contain_text(f"{rows:,}")
        expect(page.locator("#tables tbody tr")).to_have_count(len(status.tables))
        logs = next(one for one in status.tables if one.table == "logs")
        expect(page.locator("#tables")).to_contain_text(f"{logs.rows:,}")
        names = lake.services().to_arrow()["service"].to_pylist()
        expect(page.locator("#services li")).to_have_count(len(names))
        expect(page.get_by_role("link", name=re.compile(names[0]))).to_be_visible()
        segments = sum(one.segments for one in status.tables)
        expect(page.locator("#segments tbody tr")).to_have_count(min(segments, 12))
        expect(page.locator("#volume-title")).to_have_text("Rows of logs by level")
        assert page.locator("#volume rect").count() > 50
        expect(page.locator("#who")).to_have_text("default")
        ground = page.locator("body").evaluate("(body) => getComputedStyle(body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")
        if PICTURE:
            path = PICTURE if scheme == "light" else PICTURE.replace(".png", "-dark.png")
            clip = FloatRect(x=0, y=0, width=1280, height=1000)
            page.screenshot(path=path, full_page=True, clip=clip)


def test_a_person_runs_sql(page: Page, lake: Lake) -> None:
    view(page, "SQL")
    query = (
        "SELECT date_bin(INTERVAL '1 minute', timestamp) AS minute, level, count(*) AS n "
        "FROM logs GROUP BY 1, 2 ORDER BY 1, 2"
    )
    page.get_by_label("Query").fill(query)
    page.get_by_label("Query").press("Control+Enter")
    expected = lake.sql(query).to_arrow()
    rows = page.locator("#sql-rows tbody tr")
    expect(rows).to_have_count(expected.num_rows)
    numbers = page.locator("#sql-rows td.number").all_inner_texts()
    assert [int(one.replace(",", "")) for one in numbers] == expected["n"].to_pylist()
    levels = len(set(expected["level"].to_pylist()))
    expect(page.locator("#sql-figure path.line")).to_have_count(levels)
    page.get_by_label("Chart", exact=True).nth(0).select_option("bars")
    expect(page.locator("#sql-figure rect")).to_have_count(expected.num_rows)

    page.get_by_label("Query").fill("SELECT 9007199254740993 AS big, CAST(NULL AS BIGINT) AS none")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#sql-rows tbody tr")).to_have_count(1)
    assert page.locator("#sql-rows td").all_inner_texts() == ["9007199254740993", "NULL"]
    expect(page.locator("#sql-figure")).to_be_hidden()


def test_what_was_sent_stays_text(browser: Browser, site: str) -> None:
    """Markup in rows, in names and in links is shown as it is."""
    with watched(browser) as page:
        page.goto(f"{site}/open/lake/#sql/{HOSTILE}")
        expect(page.get_by_label("Query")).to_have_value(HOSTILE)
        expect(page.locator("#sql-rows")).to_be_hidden()  # a link does not run what it brings
        page.get_by_label("Query").fill(
            f"""SELECT '{HOSTILE.replace("'", "''")}' AS "{HOSTILE}" """
        )
        page.get_by_role("button", name="Run").click()
        expect(page.locator("#sql-rows td")).to_have_text(HOSTILE)
        expect(page.locator("#sql-rows th")).to_have_text(HOSTILE)
        assert page.locator("main img, main script").count() == 0
        assert page.title() != "owned"


def test_a_wrong_query_is_told(browser: Browser, site: str) -> None:
    with watched(browser, "status of 400", "status of 422") as page:
        page.goto(f"{site}/open/lake/#sql")
        page.get_by_label("Query").fill("SELECT nobody FROM logs")
        page.get_by_role("button", name="Run").click()
        expect(page.get_by_role("alert")).to_contain_text("nobody")
        view(page, "PromQL")
        page.get_by_label("Expression").fill("sum(")
        page.get_by_role("button", name="Run").click()
        expect(page.locator("#view-promql").get_by_role("alert")).to_contain_text("parse error")
        page.get_by_label("Expression").fill("1 + 1")
        page.get_by_role("button", name="Run").click()
        expect(page.locator("#view-promql").get_by_role("alert")).to_have_count(0)


def test_a_person_runs_promql_and_reads_it_by_keys(page: Page, lake: Lake) -> None:
    expect(page.locator("#tables tbody tr")).to_have_count(3)  # so that it knows the newest row
    view(page, "PromQL")
    expression = "sum by (service_name) (rate(process_cpu_time_seconds_total[1m]))"
    expect(page.locator("#metric-names option").first).to_be_attached()
    page.get_by_label("Expression").fill(expression)
    page.get_by_label("Range").select_option("300")
    expect(page.get_by_label("until")).to_have_value(re.compile("^2026-01-01T00:03:"))
    page.get_by_label("Step").fill("10")
    page.get_by_role("button", name="Run").click()
    names = lake.services().to_arrow()["service"].to_pylist()
    expect(page.locator("#promql-figure path.line")).to_have_count(len(names))
    expect(page.locator("#promql-rows tbody tr")).to_have_count(len(names))
    plot = page.locator("#promql-figure svg")
    plot.focus()
    plot.press("End")
    tip = page.locator("#promql-figure .tip")
    expect(tip).to_contain_text("2026-01-01 00:0")
    expect(tip.locator("div")).to_have_count(len(names))
    plot.press("Escape")
    expect(tip).to_be_hidden()
    page.locator("#promql-figure .legend button").first.press("Enter")
    expect(page.locator("#promql-figure path.line")).to_have_count(len(names) - 1)


def test_rows_come_as_they_are_committed(page: Page, lake: Lake) -> None:
    view(page, "Tail")
    page.get_by_label("where", exact=True).fill("level = 'ERROR'")
    page.get_by_label("since", exact=True).fill("2025-01-01")
    page.get_by_role("button", name="Follow").click()
    expect(page.locator("#view-tail")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#view-tail > [role=status]")).to_have_text("following: 0 rows so far")
    other = lake.for_organization("default")
    other.ingest(
        b'{"timestamp":"2025-06-01T00:00:00Z","level":"ERROR","message":"out of stock"}\n'
        b'{"timestamp":"2025-06-01T00:00:00Z","level":"INFO","message":"in stock"}'
    )
    expect(page.locator("#tail-rows tbody tr")).to_have_count(1)
    expect(page.locator("#tail-rows")).to_contain_text("out of stock")
    page.locator("#view-tail").get_by_role("button", name="Stop").click()
    expect(page.locator("#view-tail > [role=status]")).to_have_text("stopped")


def test_a_trace_is_looked_at(page: Page, lake: Lake) -> None:
    expect(page.locator("#tables tbody tr")).to_have_count(3)
    view(page, "Trace")
    page.get_by_role("button", name="Slowest of the last hour").click()
    first = page.locator("#trace-rows a").first
    trace_id = first.inner_text()
    first.click()
    spans = lake.trace(trace_id).to_arrow()
    expect(page.locator(".waterfall rect")).to_have_count(spans.num_rows)
    expect(page.get_by_label("Trace id")).to_have_value(trace_id)
    names = page.locator(".waterfall button").all_inner_texts()
    assert names == spans["name"].to_pylist()
    page.locator(".waterfall button").first.press("Enter")
    expect(page.locator(".waterfall .facts").first).to_contain_text(spans["span_id"][0].as_py())


def test_a_key_is_asked_for_and_stays_in_the_tab(browser: Browser, site: str) -> None:
    with watched(browser, "status of 401") as page:
        page.goto(f"{site}/closed/")
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("alert")).to_be_visible()
        dialog.get_by_label("Key", exact=True).fill("lr_wrong")
        dialog.get_by_label("Organization").fill("default")
        dialog.get_by_role("button", name="Use").click()
        expect(dialog.get_by_role("alert")).to_be_visible()
        dialog.get_by_label("Key", exact=True).fill(KEY)
        dialog.get_by_label("Key", exact=True).press("Enter")
        expect(page.locator("#tables tbody tr")).to_have_count(3)
        page.reload()
        expect(page.locator("#who")).to_have_text("default")
        assert KEY not in page.url
        assert (
            page.locator("body").evaluate("() => localStorage.length + document.cookie.length") == 0
        )
        page.get_by_role("button", name="API key").click()
        dialog.get_by_role("button", name="Forget").click()
        expect(dialog.get_by_role("alert")).to_be_visible()


def test_it_can_be_used_by_keys_and_by_screen_readers(page: Page) -> None:
    expect(page.locator("#tables tbody tr")).to_have_count(3)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    for name in ("lakerunner", "Overview", "SQL"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name=name, exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="SQL")).to_be_visible()
    for one in page.locator("input, select, textarea").all():
        assert one.evaluate("(one) => one.labels.length") == 1
    assert page.locator("html").get_attribute("lang") == "en"


def test_files_are_strict_and_cached(lake: Lake) -> None:
    client = TestClient(app(lake, {}))  # what anybody may read: it has nothing of the lake
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for name in re.findall(r'(?:src|href)="(page/[\w.]+)"', page.text):
        found = client.get(f"/{name}")
        assert found.status_code == 200
        assert found.headers["x-content-type-options"] == "nosniff"
        again = client.get(f"/{name}", headers={"if-none-match": found.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert "style=" not in page.text
    assert client.get("/page/../app.py").status_code == 404
    assert client.get("/v1/status").status_code == 401


def test_only_ones_own_is_told(lake: Lake) -> None:
    headers = {"authorization": f"Bearer {KEY}", "x-scope-orgid": "other"}
    told = TestClient(app(lake, {"access": {"keys": [KEPT]}})).get("/v1/status", headers=headers)
    assert told.json()["organization"] == "other"
    assert told.json()["tables"] == []
