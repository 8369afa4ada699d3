"""What the site has beside the pages in `docs`: notebooks with their outputs, and the changes.

MkDocs calls the functions whose names begin with `on_`; `mkdocs.yml` names this file. Nothing that
is made here is kept: the notebooks are executed, over a bucket that is made for them, each time.
"""

from __future__ import annotations

import base64
import os
import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import nbformat
from nbclient import NotebookClient

from lakerunner.generate import TelemetryConfig, generate_objects
from lakerunner.model.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SECONDS = 120
"""A cell may take so long."""

_BEFORE = "import altair; altair.renderers.enable('svg')"
"""Run before the first cell: a chart is drawn here and now. Else it would ask another server for
the programs that draw it."""

_FENCE, _LONG = "shown", "~" * 12
"""The name of the fence of what a cell shows as HTML, and its marks, which no HTML has."""

_KINDS = {"added": "Added", "changed": "Changed", "fixed": "Fixed", "removed": "Removed"}


class Rendered(NamedTuple):
    """A notebook as a page.

    Attributes:
        text: Markdown.
        files: By name, the pictures that it shows.
    """

    text: str
    files: dict[str, bytes]


def on_config(config: Any) -> Any:
    """Let a fence hold the HTML that a cell shows: Markdown would make other elements of it."""
    fence = {"name": _FENCE, "class": "output", "format": shown_as_it_is}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def shown_as_it_is(source: str, _language: str, css_class: str, *_: Any, **__: Any) -> str:
    """What a fence of HTML becomes."""
    return f'<div class="{css_class}">{source}</div>'


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each notebook, and to the page of changes what has changed."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - the tests of a notebook go without

    for notebook in [one for one in files if one.src_uri.endswith(".ipynb")]:
        page = notebook.src_uri.removesuffix(".ipynb")
        with tempfile.TemporaryDirectory() as bucket:
            fill(Path(bucket))
            rendered = rendered_notebook(Path(notebook.abs_src_path), bucket)
        files.append(File.generated(config, f"{page}.md", content=rendered.text))
        for name, data in rendered.files.items():
            files.append(File.generated(config, f"{Path(page).parent}/{name}", content=data))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """List the changes where they belong, and lead to the pages of notebooks."""
    if page.file.src_uri == "changes/index.md":
        return markdown + changes(Path(page.file.abs_src_path).parent)
    is_notebook = page.file.generated_by is not None
    return markdown if is_notebook else markdown.replace(".ipynb)", ".md)")


def changes(folder: Path) -> str:
    """The entries of all changes, by kind, in order of their names."""
    text = ""
    for kind, title in _KINDS.items():
        paths = sorted(folder.glob(f"*.{kind}.md"))
        entries = (" ".join(path.read_text().split()) for path in paths)
        text += f"\n## {title}\n\n" + "".join(f"- {entry}\n" for entry in entries) if paths else ""
    return text


def fill(bucket: Path) -> None:
    """Ten minutes of the synthetic shop, as a collector would have written them."""
    config = TelemetryConfig(signals=tuple(Signal), rate=50, duration_s=600)
    for key, data in generate_objects(config):
        path = bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def rendered_notebook(path: Path, bucket: str) -> Rendered:
    """Execute a notebook and make a page of it.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell fails.
    """
    parse: Any = nbformat  # its functions have no types
    notebook = parse.read(path, as_version=4)
    notebook.cells.insert(0, parse.v4.new_code_cell(_BEFORE))
    os.environ["BUCKET"] = bucket
    NotebookClient(notebook, timeout=_SECONDS, resources={"metadata": {"path": bucket}}).execute()
    files: dict[str, bytes] = {}
    parts = ["---\nhide: [toc]\n---", *_parts(notebook.cells[1:], path.stem, files)]
    link = f"[This page as a notebook]({path.name})"
    return Rendered("\n\n".join([*parts, link, ""]), files)


def _parts(cells: Iterable[Any], stem: str, files: dict[str, bytes]) -> Iterator[str]:
    for number, cell in enumerate(cells):
        if cell.cell_type == "markdown":
            yield cell.source
            continue
        yield f'<div class="cell" id="cell-{number}" markdown="block">'
        yield f"```python\n{cell.source}\n```"
        for output in cell.outputs:
            yield _shown(output, f"{stem}-{number}", files)
        yield "</div>"


def _shown(output: Any, name: str, files: dict[str, bytes]) -> str:
    """An output of a cell, in the richest form that a page can show."""
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```"
    data = output.data
    if "text/html" in data:
        return f"{_LONG} {_FENCE}\n{data['text/html'].strip()}\n{_LONG}"
    for kind, suffix in (("image/svg+xml", "svg"), ("image/png", "png")):
        if kind in data:
            content = data[kind]
            files[f"{name}.{suffix}"] = (
                content.encode() if suffix == "svg" else base64.b64decode(content)
            )
            return f"![What the cell draws]({name}.{suffix})"
    return f"```text\n{escape(data['text/plain'], quote=False)}\n```"
