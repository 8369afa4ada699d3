"""Pictures of the built site, taken in a headless browser: `python docs_build/pictures.py`.

The site has to be built before. Pages are looked at as well: an error in a script, a request to
another server, a picture that does not load or a page that is wider than the window is refused.
"""

from __future__ import annotations

import shutil
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1280, 860
PHONE = 390

WIDE = "document.documentElement.scrollWidth > window.innerWidth"
STILL = (
    ".md-header { position: static !important } .md-clipboard, nav.md-code__nav { display: none }"
)
"""The bar at the top stays there, and does not cover what is pictured."""
BROKEN = "[...document.images].filter(one => !one.naturalWidth).map(one => one.src)"


class Picture(NamedTuple):
    """One picture.

    Attributes:
        name: Of the file, without its suffix.
        page: The page, below the site's address.
        part: Which element; the whole window if empty.
    """

    name: str
    page: str
    part: str = ""


PICTURED = (
    Picture("front-page", ""),
    Picture("cell-ingest", "notebooks/bucket-to-plot/", "#cell-1"),
    Picture("cell-plot", "notebooks/bucket-to-plot/", "#cell-5"),
    Picture("cell-alert", "notebooks/alert-to-trace/", "#cell-3"),
    Picture("cell-trace", "notebooks/alert-to-trace/", "#cell-7"),
    Picture("cell-describe", "notebooks/embedding/", "#cell-6"),
)
ALSO_LOOKED_AT = ("tutorial/", "architecture/", "changes/", "concepts/segments/", "guides/sql/")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address under which a folder is served while the block runs."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def looked_at(browser: Any, address: str, page: str, width: int) -> tuple[Any, list[str]]:
    """Open a page, and say what is wrong with it."""
    tab = browser.new_page(viewport={"width": width, "height": HEIGHT})
    wrong: list[str] = []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    tab.on(
        "request",
        lambda asked: (
            None if asked.url.startswith((address, "data:")) else wrong.append(f"asks {asked.url}")
        ),
    )
    tab.goto(address + page, wait_until="networkidle")
    wrong += [f"does not load {source}" for source in tab.evaluate(BROKEN)]
    if tab.evaluate(WIDE):
        wrong.append(f"is wider than {width} pixels")
    return tab, [f"/{page}: {one}" for one in wrong]


def main() -> int:
    """Take all pictures; returns 1 if a page is not as it should be."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        sys.stderr.write(f"there is no browser: one of {', '.join(BROWSERS)} is needed\n")
        return 1
    PICTURES.mkdir(exist_ok=True)
    wrong: list[str] = []
    with served(ROOT / "site") as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, page, part in PICTURED:
            tab, said = looked_at(browser, address, page, WIDTH)
            wrong += said
            if part:
                tab.add_style_tag(content=STILL)
            (tab.locator(part) if part else tab).screenshot(path=PICTURES / f"{name}.png")
            tab.close()
        for page in sorted({*ALSO_LOOKED_AT, *(one.page for one in PICTURED)}):
            tab, said = looked_at(browser, address, page, PHONE)
            wrong += said
            tab.close()
        browser.close()
    sys.stderr.writelines(f"{one}\n" for one in wrong)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
