"""Notebooks that nobody watches: nbclient and papermill fail when a handler failed."""

from __future__ import annotations

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

WORKER = "%%worker w\n@worker.on_event('a')\nasync def h(event, client):\n    print('heard', 1 / event.payload['by'])"


def notebook(*cells):
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DNWORKER_JOURNAL", "off")
    return tmp_path


def run_with_nbclient(book, place):
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(place)}}).execute()
    return book


def run_with_papermill(book, place):
    nbformat.write(book, place / "in.ipynb")
    papermill.execute_notebook(
        place / "in.ipynb", place / "out.ipynb", cwd=place, progress_bar=False, kernel_name="python3"
    )
    return nbformat.read(place / "out.ipynb", as_version=4)


RUNNERS = pytest.mark.parametrize("run", [run_with_nbclient, run_with_papermill])


@RUNNERS
def test_a_run_without_failures_passes_with_every_output_in_its_cell(run, place):
    done = run(notebook("%load_ext dnworker", WORKER, "%fire a by=2", "await dn.settle()"), place)
    texts = [str(cell.outputs) for cell in done.cells if cell.cell_type == "code"]
    fired = next(n for n, cell in enumerate(done.cells) if cell.source.startswith("%fire"))
    assert "heard 0.5" in texts[fired]
    assert [n for n, text in enumerate(texts) if "heard 0.5" in text] == [fired]


def test_what_nothing_can_await_is_stored_in_the_cell_that_fired_it(place):
    timed, plain = "%%time\n%fire a by=2", "def f():\n    %fire a by=4\nf()"
    captured = "%%capture out\n%fire a by=8"
    done = run_with_nbclient(
        notebook("%load_ext dnworker", WORKER, timed, plain, captured, "out.show()"), place
    )
    assert ["heard" in str(cell.outputs) for cell in done.cells] == [False, False, True, True, False, True]


@RUNNERS
def test_a_run_fails_when_a_handler_failed(run, place):
    book = notebook(
        "%load_ext dnworker", WORKER, "await dn.fire('a', {'by': 0})", "await dn.settle()", "print('never')"
    )
    with pytest.raises((CellExecutionError, papermill.PapermillExecutionError), match="ZeroDivisionError"):
        run(book, place)


@RUNNERS
def test_a_worker_cell_that_fails_stops_the_run(run, place):
    book = notebook("%load_ext dnworker", "%%worker w\n1 / 0", "print('never')")
    with pytest.raises((CellExecutionError, papermill.PapermillExecutionError), match="ZeroDivisionError"):
        run(book, place)


def test_a_run_notebook_stores_a_table_of_the_panel_and_next_to_nothing_else(place):
    cells = ["%load_ext dnworker", WORKER, "await dn.fire('a', {'by': 2})", "%panel", "%panel"]
    book = notebook(*cells)
    before = len(nbformat.writes(book))
    run_with_nbclient(book, place)
    (panel,) = [o for o in book.cells[3].outputs if "text/html" in o.data]
    assert "notebook:w" in panel.data["text/html"]
    assert "<script" not in panel.data["text/html"]
    assert "heard 0.5" in panel.data["text/plain"]
    states = book.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    assert any("export default { render }" in state["state"].get("_esm", "") for state in states.values())
    assert len(nbformat.writes(book)) - before < 30_000
