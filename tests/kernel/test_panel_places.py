"""Where the panel opens: beside the notebook, and as the page of the notebook's own runtime."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = [pytest.mark.kernel]

DOCK = """
from dnworker_jupyter.display import docks
docks.OPEN_SECONDS = {seconds}
_panels = dn.panel.__globals__["_active"]().panels
def _dock(only=None):
    return _panels._docks[only]
"""


def test_the_panel_is_docked_once_however_often_it_is_asked_for(kernel):
    kernel.run(DOCK.format(seconds=60))
    answer = kernel.run("%panel --dock right")
    assert answer.text.strip() == "the panel opens at the right"
    assert kernel.run("first = _dock(); print(first.sidecar.anchor, first.sidecar.title)").text.strip() == (
        "right dnworker"
    )
    shown = "print([*first.sidecar.outputs[0]['data']])"
    assert "application/vnd.jupyter.widget-view+json" in kernel.run(shown).text
    kernel.run("%panel --dock bottom")
    assert kernel.run("print(_dock() is first, first.panel.is_closed, first.sidecar.comm)").text.strip() == (
        "False True None"
    )
    assert kernel.run("print(_dock().sidecar.anchor, len(_panels._docks))").text.strip() == "split-bottom 1"
    kernel.run("last = _dock()\n%unload_ext dnworker")
    assert "True True" in kernel.run("print(last.panel.is_closed, last._timer is None)").text


def test_a_front_end_that_cannot_dock_is_named_and_one_that_did_is_not(kernel):
    kernel.run(DOCK.format(seconds=0.05))
    kernel.run("%panel --dock right")
    kernel.until_display("did not open at the right: this front end is not JupyterLab 4")
    kernel.run(DOCK.format(seconds=60))
    kernel.run("%panel --dock right")
    comm = kernel.run("print(_dock().panel.comm.comm_id)").text.strip()
    kernel.send_to_comm(comm, {"type": "hello", "view": "v"})
    kernel.until_comm("snapshot")
    said = kernel.run("_dock()._handle.update = print\n_dock()._look()\nprint('looked')")
    assert said.text.strip() == "looked"


def test_a_docked_panel_of_one_worker_shows_that_worker(kernel):
    kernel.run("%%worker w\n@worker.on_event('a')\nasync def h(e, c): pass")
    kernel.run(DOCK.format(seconds=60))
    kernel.run("%panel w --dock right")
    assert kernel.run("print(_dock('notebook:w').panel.only)").text.strip() == "notebook:w"


def test_without_the_package_the_error_says_what_to_install(kernel):
    kernel.run("import sys; sys.modules['sidecar'] = None")
    answer = kernel.run("%panel --dock right")
    assert answer.error.startswith("UsageError: %panel --dock needs the package sidecar")
    assert "%pip install sidecar" in answer.error
    assert kernel.run("%panel --dock up").status == "error"


LINKS = "[*dn.panel.__globals__['_active']().panels._links]"
LINK = f"print({LINKS}[-1].comm.comm_id)"


def redeem(url: str) -> int:
    """Give a ticket as the page does; returns the status of the answer."""
    address, _, ticket = url.partition("#ticket=")
    body = json.dumps({"ticket": ticket}).encode()
    asked = urllib.request.Request(f"{address}/session", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(asked) as answer:
            return answer.status
    except urllib.error.HTTPError as exc:
        return exc.code


def test_each_click_on_the_link_gets_a_ticket_that_opens_the_page_once(kernel):
    (bundle,) = kernel.run("%panel --open").displays
    assert bundle["text/plain"].startswith("Open the panel in the browser: http://127.0.0.1:")
    assert "ticket" not in json.dumps(bundle)
    comm = kernel.run(LINK).text.strip()
    kernel.send_to_comm(comm, {"type": "ticket"})
    first = kernel.until_comm("ticket")["url"]
    kernel.send_to_comm(comm, {"type": "ticket"})
    second = kernel.until_comm("ticket")["url"]
    assert [redeem(first), redeem(first), redeem(second)] == [200, 401, 200]
    with urllib.request.urlopen(first.partition("#")[0]) as page:
        assert b"<html" in page.read()


def test_a_cell_that_runs_again_closes_its_earlier_link(kernel):
    kernel.run("%panel --open", cell_id="opens")
    kernel.run(f"(first,) = {LINKS}")
    kernel.run("%panel --open", cell_id="another")
    kernel.run("%panel --open", cell_id="opens")
    assert kernel.run(f"print(first.is_closed, len({LINKS}))").text.strip() == "True 2"


def test_a_stopped_runtime_refuses_the_link_with_the_way_out(kernel):
    kernel.run("%panel --open")
    comm = kernel.run(LINK).text.strip()
    kernel.run("%runtime stop")
    kernel.send_to_comm(comm, {"type": "ticket"})
    assert "%panel --open" in kernel.until_comm("refused")["text"]


def test_a_browser_of_this_machine_is_opened_where_there_is_one(kernel):
    kernel.run(
        "import os, webbrowser\nos.environ['BROWSER'] = 'x'\n"
        "for name in ('SSH_CONNECTION', 'SSH_TTY', 'KUBERNETES_SERVICE_HOST'): os.environ.pop(name, None)\n"
        "opened = []\nwebbrowser.open = lambda address: opened.append(address) or True"
    )
    assert "The panel is open in your browser" in kernel.run("%panel --open").text
    page = kernel.run("from urllib.request import urlopen\nprint(urlopen(opened[0]).read().decode())").text
    assert "#ticket=" in page


def test_the_page_stands_alone(kernel):
    assert "stands alone" in kernel.run("%panel w --open").error
    assert "--dock" in kernel.run("%panel --help").text


def test_a_notebook_that_ran_keeps_no_ticket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(source) for source in ("%load_ext dnworker", "%panel --open")]
    NotebookClient(book, kernel_name="python3").execute()
    stored = nbformat.writes(book)
    assert "/panel" in stored
    assert "ticket=" not in stored
