"""What handlers display, in JupyterLab: it keeps its form, and nothing in it gets out of its frame."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from lab import open_notebook, run_all
from playwright.sync_api import expect

from .conftest import write_notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

HOSTILE = r"""
<style>body, div { position: fixed; inset: 0; z-index: 99999; background: red; width: 9999px; height: 9999px }</style>
<script>try { parent.document.title = 'reached' } catch (e) {} ; window.top.location = 'EVIL/script'</script>
<img src=x onerror="parent.postMessage('ran', '*'); top.reached = 1">
<img src="EVIL/image.png">
<link rel="stylesheet" href="EVIL/style.css">
<meta http-equiv="refresh" content="0;url=EVIL/refresh">
<base href="EVIL/" target="_top">
<a id="link" href="EVIL/link" target="_top">click me</a>
<form action="EVIL/form" target="_top"><button id="send">send</button></form>
<iframe src="EVIL/inner"></iframe>
<svg><script>top.reached = 2</script></svg>
</iframe></div><script>window.reached = 3</script><img src=x onerror="window.reached = 4">
<p id="end">the end of it</p>
"""

WORKER = f"""%%worker hostile
from IPython.display import HTML, SVG, Markdown, display
@worker.on_event("demo.show")
async def show(event, client):
    display(HTML({HOSTILE!r}))
    display(SVG('<svg xmlns="http://www.w3.org/2000/svg" width="60" height="30" onload="top.reached = 5">'
                '<script>top.reached = 6</script><rect width="60" height="30" fill="green"/></svg>'))
    display(Markdown("# A title <img src=x onerror='top.reached = 7'>\\n\\n- one\\n- **two**"))"""


def nothing_has_got_out(page) -> None:
    assert page.evaluate("[window.reached, window.ran, document.title === 'reached']") == [None, None, False]
    assert page.evil.asked == []
    assert page.evil.address not in page.url
    assert page.context.pages[-1] is page


@pytest.fixture
def evil():
    """A server that nobody should ask; it knows what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self):
            self.close_connection = True
            # A browser connects already where somebody presses on a link; what counts is what it sends.
            if line := self.rfile.readline():
                self.server.asked.append(line)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        server.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


@pytest.fixture
def displayed(page, lab, request, evil):
    """A notebook whose handler has displayed hostile things, and the panel below."""
    page.evil = evil
    page.add_init_script(
        "window.addEventListener('message', (e) => { if (e.data === 'ran') window.ran = 1 })"
    )
    page.notebook = f"{request.node.name}.ipynb"
    cells = ["%load_ext dnworker", WORKER.replace("EVIL", evil.address), "%fire demo.show", "%panel"]
    write_notebook(lab.directory / page.notebook, cells)
    open_notebook(page, lab, page.notebook)
    run_all(page)
    page.panel = page.locator(".dn").first
    return page


def use(page, frame) -> None:
    """Click on what is in a frame, as people do."""
    frame.locator("#end").wait_for()
    frame.locator("#link").click(force=True)
    nothing_has_got_out(page)


IS_AS_HIGH = "(frame) => 48 <= frame.offsetHeight && frame.offsetHeight <= 420"


def test_hostile_html_in_a_trace_reaches_neither_the_page_nor_the_network(displayed, tmp_path):
    page = displayed
    output = page.locator(".jp-OutputArea-output").filter(has_text="hostile.show")
    output.scroll_into_view_if_needed()
    frame = output.locator("iframe").first
    expect(frame).to_have_attribute("sandbox", "")
    page.wait_for_function(IS_AS_HIGH, arg=frame.element_handle())
    page.screenshot(path=tmp_path / "trace.png")
    use(page, output.frame_locator("iframe >> nth=0"))
    expect(output.locator("img[src^='data:image/svg+xml']")).to_have_js_property("naturalWidth", 60)
    output.frame_locator("iframe >> nth=1").locator("h1", has_text="A title").wait_for()
    nothing_has_got_out(page)


def test_hostile_html_in_the_log_reaches_neither_the_page_nor_the_network(displayed, tmp_path):
    page = displayed
    panel = page.panel
    panel.scroll_into_view_if_needed()
    log = panel.get_by_role("region", name="Log", exact=True)
    log.get_by_role("button", name="Log", exact=True).click()
    handle = log.get_by_role("separator", name="Height of the log")
    handle.focus()
    page.keyboard.press("End")
    for kind in ("text/html", "text/markdown"):
        log.get_by_role("button", name=kind).first.click()
    log.locator("iframe").nth(1).wait_for()
    frame = log.locator("iframe").first
    expect(frame).to_have_attribute("sandbox", "")
    page.screenshot(path=tmp_path / "log.png")
    use(page, log.frame_locator("iframe >> nth=0"))
    log.frame_locator("iframe >> nth=1").locator("h1", has_text="A title").wait_for()
    nothing_has_got_out(page)
