"""JupyterLab's debugger: a breakpoint in the gutter of a `%%worker` cell stops its handler."""

from __future__ import annotations

import pytest
from debugger import CELLS, at_the_stop, go_on, turn_on
from lab import open_notebook
from playwright.sync_api import expect

from .conftest import write_notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_a_breakpoint_in_the_gutter_stops_the_handler_with_its_variables(page, lab, request):
    notebook = f"{request.node.name}.ipynb"
    write_notebook(lab.directory / notebook, CELLS)
    open_notebook(page, lab, notebook)
    turn_on(page)
    at_the_stop(page)
    variables = page.locator(".jp-DebuggerVariables")
    expect(variables).to_contain_text("210")
    expect(page.locator(".jp-DebuggerCallstack")).to_contain_text("on_turn")
    expect(page.locator(".jp-DebuggerCallstack")).not_to_contain_text("invoker")
    go_on(page)
    page.locator(".jp-OutputArea-output", has_text="bridge.on_turn").last.wait_for()
