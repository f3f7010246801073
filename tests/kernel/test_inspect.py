"""A failed call in a notebook: the lines of its cell, and links that lead to the cell's newest run."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

FAILING = """%%worker importer
@worker.on_event("rows")
async def on_rows(event, client):
    # the prices of all rows
    for row in event.payload["rows"]:
        float(row)"""


@pytest.fixture
def view(kernel):
    """Opens a view of the panel; returns what sends its messages."""
    kernel.run(FAILING, cell_id="the-cell")
    comm = kernel.run("print(dn.panel().comm.comm_id)").text.strip()
    kernel.comms.clear()

    def say(type_, **fields):
        kernel.send_to_comm(comm, {"type": type_, "view": "v", **fields})

    say("hello", parts=[])
    kernel.until_comm("snapshot")
    return say


def failed_call(kernel) -> tuple[str, str]:
    """Fire an event that fails; return its id and that of the call."""
    kernel.run('trace = %fire rows rows=\'["1", "x"]\'')
    shown = kernel.run("print(trace.event.event_id, trace.invocations[0].id)").text
    event, call = shown.split()
    return event, call


def look(kernel, view, event: str, call: str) -> dict:
    kernel.comms.clear()
    view("look", part="call", wanted={"event": event, "invocation": call})
    while True:
        update = kernel.until_comm("update")
        if "call" in update:
            return update["call"]


def test_a_call_of_a_cell_shows_the_cells_lines_and_the_handlers_source(kernel, view):
    found = look(kernel, view, *failed_call(kernel))
    (frame,) = found["error"]["chain"][0]["frames"]
    assert frame["place"]["label"] == f"cell [{frame['place']['cell']}], line 6"
    assert [line.strip() for _, line in frame["lines"]] == [
        "async def on_rows(event, client):",
        "# the prices of all rows",
        'for row in event.payload["rows"]:',
        "float(row)",
    ]
    assert found["source"]["text"].splitlines()[0] == '@worker.on_event("rows")'
    assert (found["source"]["line"], found["source"]["marked"]) == (2, [6])


def test_a_link_to_a_cell_that_ran_again_leads_to_its_newest_run_and_says_so(kernel, view):
    event, call = failed_call(kernel)
    number = look(kernel, view, event, call)["error"]["place"]["cell"]
    html = kernel.run("trace").result["text/html"]
    assert f"<a class='dnt-lnk' href='#cell-id=the-cell'>cell [{number}], line 6</a>" in html
    kernel.run(FAILING.replace("float", "int"), cell_id="the-cell")
    view("locate", id=1, number=number)
    answer = kernel.until_comm("done")
    assert answer["cell"] == "the-cell"
    assert answer["newest"] > number
    assert answer["note"] == f"cell [{number}] ran again as [{answer['newest']}]"
    assert answer["note"] in kernel.run("trace").result["text/html"]
    found = look(kernel, view, event, call)  # the generation that failed is kept
    assert "float(row)" in found["source"]["text"]
    assert found["source"]["note"] == ""


def test_a_generation_that_is_not_kept_shows_the_present_source_and_says_so(kernel, view):
    event, call = failed_call(kernel)
    for n in range(25):
        kernel.run(FAILING.replace("float(row)", f"int(row) + {n}"), cell_id="the-cell")
    found = look(kernel, view, event, call)
    assert "int(row) + 24" in found["source"]["text"]
    assert found["source"]["note"].startswith("generation 1 ran; this is ")
    assert found["source"]["marked"] == []
