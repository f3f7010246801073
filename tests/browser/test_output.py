"""What handlers display, in JupyterLab: it keeps its form, and nothing in it gets out of its frame."""

from __future__ import annotations

import pytest
from lab import open_notebook, run_all

from .conftest import write_notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

HOSTILE = r"""
<style>body, div { position: fixed; inset: 0; z-index: 99999; background: red; width: 9999px; height: 9999px }</style>
<script>try { parent.document.title = 'reached' } catch (e) {} ; window.top.location = 'https://evil.example/script'</script>
<img src=x onerror="parent.postMessage('ran', '*'); top.reached = 1">
<img src="https://evil.example/image.png">
<link rel="stylesheet" href="https://evil.example/style.css">
<meta http-equiv="refresh" content="0;url=https://evil.example/refresh">
<base href="https://evil.example/" target="_top">
<a id="link" href="https://evil.example/link" target="_top">click me</a>
<form action="https://evil.example/form" target="_top"><button id="send">send</button></form>
<iframe src="https://evil.example/inner"></iframe>
<svg><script>top.reached = 2</script></svg>
</iframe></div><script>window.reached = 3</script><img src=x onerror="window.reached = 4">
<p id="end">the end of it</p>
"""

CELLS = [
    "%load_ext dnworker",
    f"""%%worker hostile
from IPython.display import HTML, SVG, Markdown, display
@worker.on_event("demo.show")
async def show(event, client):
    display(HTML({HOSTILE!r}))
    display(SVG('<svg xmlns="http://www.w3.org/2000/svg" width="60" height="30" onload="top.reached = 5">'
                '<script>top.reached = 6</script><rect width="60" height="30" fill="green"/></svg>'))
    display(Markdown("# A title <img src=x onerror='top.reached = 7'>\\n\\n- one\\n- **two**"))""",
    "%fire demo.show",
    "%panel",
]


def nothing_has_got_out(page) -> None:
    assert page.evaluate("[window.reached, window.ran, document.title === 'reached']") == [None, None, False]
    assert page.asked == []
    assert "evil.example" not in page.url
    assert page.context.pages[-1] is page


@pytest.fixture
def displayed(page, lab, request):
    """A notebook whose handler has displayed hostile things, and the panel below."""
    page.asked = []
    page.on("request", lambda one: page.asked.append(one.url) if "evil.example" in one.url else None)
    page.add_init_script(
        "window.addEventListener('message', (e) => { if (e.data === 'ran') window.ran = 1 })"
    )
    page.notebook = f"{request.node.name}.ipynb"
    write_notebook(lab.directory / page.notebook, CELLS)
    open_notebook(page, lab, page.notebook)
    run_all(page)
    page.panel = page.locator(".dnw-panel")
    return page


def use(page, frame) -> None:
    """Click on what is in a frame, as people do."""
    frame.locator("#end").wait_for()
    frame.locator("#link").click(force=True)
    nothing_has_got_out(page)


def test_hostile_html_in_a_trace_reaches_neither_the_page_nor_the_network(displayed, tmp_path):
    page = displayed
    output = page.locator(".jp-OutputArea-output").filter(has_text="hostile.show")
    output.scroll_into_view_if_needed()
    frame = output.locator("iframe").first
    assert frame.get_attribute("sandbox") == ""
    box = frame.bounding_box()
    assert 48 <= box["height"] <= 420
    page.screenshot(path=tmp_path / "trace.png")
    use(page, output.frame_locator("iframe >> nth=0"))
    assert output.locator("img[src^='data:image/svg+xml']").evaluate("image => image.naturalWidth") == 60
    page.locator(
        ".jp-OutputArea-output h1", has_text="A title"
    ).wait_for()  # below the trace, drawn by JupyterLab
    nothing_has_got_out(page)


def test_hostile_html_in_the_panel_reaches_neither_the_page_nor_the_network(displayed, tmp_path):
    page = displayed
    panel = page.panel
    panel.scroll_into_view_if_needed()
    log = panel.locator(".dnw-log-section")
    log.locator(".dnw-line", has_text="▣ text/html").click()
    log.locator(".dnw-line-detail iframe").wait_for()
    page.screenshot(path=tmp_path / "log.png")
    use(page, log.frame_locator(".dnw-line-detail iframe"))
    panel.get_by_role("tab", name="Events").click()
    events = panel.get_by_role("tabpanel", name="Events")
    events.locator(".dnw-list-row", has_text="demo.show").first.click()
    for kind in ("text/html", "image/svg+xml", "text/markdown"):
        events.get_by_role("button", name=f"show {kind}").click()
    markdown = events.frame_locator("iframe >> nth=1")
    markdown.locator("h1", has_text="A title").wait_for()
    assert events.locator(".dnw-shown img").evaluate("image => image.naturalWidth") == 60
    page.screenshot(path=tmp_path / "events.png")
    use(page, events.frame_locator("iframe >> nth=0"))
