"""Makes a page of a notebook that ran: its text, its code, and what cells answered, as a site can show it."""

from __future__ import annotations

import re
from typing import Any

from nbconvert import MarkdownExporter

from dnworker_jupyter.display.html import SHEET

PANEL = "![The panel below a cell: workers, what flows between them, and the log](../../images/panel.png)\n"
WIDGET = "application/vnd.jupyter.widget-view+json"
LARGEST = 400_000
"""Characters of a page."""

_TEMPLATE = """
{%- extends 'markdown/index.md.j2' -%}
{%- block stream -%}
``` { .text .output }
{{ output.text | strip_ansi | trim }}
```
{%- endblock stream -%}
{%- block data_text -%}
``` { .text .output }
{{ output.data['text/plain'] | strip_ansi | trim }}
```
{%- endblock data_text -%}
{%- block data_html -%}
<div class="output">{{ output.data['text/html'] }}</div>
{%- endblock data_html -%}
"""


def page_of(notebook: Any) -> str:
    """Return the page as Markdown.

    Raises:
        ValueError: it has a script, or is too large to be read.
    """
    is_first = True
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _links(cell.source)
            continue
        cell.outputs = _joined(cell.outputs)
        for output in cell.outputs:
            data = output.get("data", {})
            if WIDGET in data:
                output.data = {"text/markdown": PANEL}
            elif "text/html" in data:
                is_styled = SHEET in data["text/html"]
                data["text/html"] = _html(data["text/html"], with_sheet=is_first and is_styled)
                is_first = is_first and not is_styled
    exporter: Any = MarkdownExporter(raw_template=_TEMPLATE)  # type: ignore[no-untyped-call]
    text, _ = exporter.from_notebook_node(notebook)
    if "<script" in text or len(text) > LARGEST:
        raise ValueError(f"the page of a tutorial has a script, or {len(text)} characters")
    return re.sub(r"\n{3,}", "\n\n", text).lstrip()


def _links(text: str) -> str:
    """Return text whose links lead from the page, and not from the notebook."""
    return re.sub(r"\]\(\.\./docs/", "](../../", text.replace(".ipynb)", ".md)"))


def _joined(outputs: list[Any]) -> list[Any]:
    """Return outputs without progress that is over; what was printed in several pieces is one."""
    kept: list[Any] = []
    for output in outputs:
        if output.output_type == "stream" and kept and kept[-1].output_type == "stream":
            kept[-1].text += output.text
        elif "done after" not in output.get("data", {}).get("text/plain", ""):
            kept.append(output)
    return kept


def _html(text: str, *, with_sheet: bool) -> str:
    """Return HTML of an output: one sheet a page, in the site's colours, and tables of site.css."""
    sheet = re.sub(r'body\[data-jp-theme-light="true"\] \.dnt,', "body .dnt,", SHEET)
    sheet = sheet.replace('body[data-jp-theme-light="false"]', '[data-md-color-scheme="slate"]')
    body = text.replace(SHEET, "").replace("<table>", '<table class="rows">')
    body = body.replace("<table style", '<table class="waterfall" style')
    return re.sub(r"\n\s*\n", "\n&#8203;\n", (sheet if with_sheet else "") + body)
