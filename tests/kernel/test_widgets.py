"""The widgets of `dn.widgets` in a real kernel: what they send, what they store, and what is left of them."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = [pytest.mark.kernel]

WORKER = """%%worker bridge
@worker.on_event("demo.ping")
async def on_ping(event, client):
    print("pinged", event.payload.get("n"))
    1 / event.payload.get("n", 1)
"""


def test_an_observer_hears_of_a_worker_that_no_page_shows(kernel):
    kernel.run(WORKER)
    kernel.run(
        "state = dn.widgets.WorkerState('bridge')\n"
        "state.observe(lambda change: print('now', change.new), names=['errors', 'state'])"
    )
    kernel.begin("await dn.fire('demo.ping', {'n': 0})")
    kernel.until_stream("now 1")
    kernel.begin("%worker stop bridge")
    kernel.until_stream("now stopped")
    assert "ZeroDivisionError" in kernel.run("print(state.error)").text


def test_all_widgets_share_one_channel_and_the_module_is_sent_when_it_is_asked_for(kernel):
    kernel.run(WORKER)
    made = kernel.run(
        "w = dn.widgets\nmade = [w.WorkerState('bridge'), w.LogTail('bridge'), w.FlowMap(), w.Chart()]\n"
        "print(len({one.feed.model_id for one in made}), len({one.version for one in made}))"
    )
    assert made.text.strip() == "1 1"
    comm = kernel.run("print(made[0].comm.comm_id)").text.strip()
    kernel.send_to_comm(comm, {"type": "module"})
    module = kernel.until_comm("module")
    assert module["version"] == kernel.run("print(made[0].version)").text.strip()
    feed = kernel.run("print(made[0].feed.comm.comm_id)").text.strip()
    kernel.send_to_comm(
        feed, {"type": "hello", "view": "v", "looks": {"tail#1": {"worker": "notebook:bridge"}}}
    )
    assert kernel.until_comm("snapshot")["workers"]["order"] == ["notebook:bridge"]


def test_what_a_page_sets_is_a_trait_in_python(kernel):
    kernel.run(WORKER)
    kernel.run("run = dn.widgets.Waterfall(await dn.fire('demo.ping', {'n': 2}))")
    kernel.run("run.observe(lambda change: print('selected', change.new), names='selected_event')")
    comm = kernel.run("print(run.comm.comm_id)").text.strip()
    data = {"method": "update", "state": {"selected_event": "e7"}, "buffer_paths": []}
    message = kernel.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
    kernel.client.shell_channel.send(message)
    kernel.until_stream("selected e7")


def test_unloading_closes_widgets_and_a_form_gets_a_payload(kernel):
    kernel.run(WORKER)
    kernel.run("form = dn.widgets.FireForm('demo.ping')\nlistening = dn.runtime().history._listeners")
    kernel.run(
        "form.observe(lambda change: print('proposed', change.new), names='payload')\n"
        "form.payload and print('proposed', form.payload)"
    )
    before = kernel.run("print(len(listening))").text.strip()
    kernel.run("%unload_ext dnworker")
    assert kernel.run("print(form.is_closed, form.comm)").text.strip() == "True None"
    assert int(before) > int(kernel.run("print(len(listening))").text.strip())


def test_a_notebook_that_ran_stores_still_forms_and_no_module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    book = nbformat.v4.new_notebook()
    cells = ["%load_ext dnworker", WORKER, "dn.widgets.WorkerState('bridge')", "dn.widgets.LogTail()"]
    book.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    NotebookClient(book, kernel_name="python3").execute()
    (state,) = book.cells[2].outputs
    assert state.data["text/plain"].startswith("notebook:bridge: running, 0 calls")
    assert "notebook:bridge: running" in state.data["text/html"]
    assert len(nbformat.writes(book)) < 60_000


def test_a_cell_that_runs_250_times_is_never_refused_and_keeps_one_widget(kernel):
    kernel.run(WORKER)
    kernel.run("made = []")
    tail = "made.append(dn.widgets.LogTail('bridge'))\nmade[-1]"
    first = kernel.run(tail, cell_id="tail").result
    assert first["text/plain"] == "notebook:bridge: nothing logged yet"
    assert first["text/html"] == "<pre>notebook:bridge: nothing logged yet</pre>"
    for _ in range(249):
        assert kernel.run(tail, cell_id="tail").status == "ok"
    kernel.run("await dn.fire('demo.ping', {'n': 1})")
    kernel.run("made[-1].observe(lambda change: print('last', change.new), names='number')")
    kernel.run("dn.runtime().log_line('notebook:bridge', 'newest')")
    kernel.until_stream("last")
    counts = kernel.run("print([one.is_closed for one in made].count(False), made[0].last == '')").text
    assert counts.strip() == "1 True"


def test_what_a_timer_makes_while_a_cell_waits_is_not_of_that_cell(kernel):
    kernel.run("import asyncio\nmade, is_made = [], asyncio.Event()")
    kernel.run("def make():\n    made.append(dn.widgets.FlowMap())\n    is_made.set()")
    waiting = (
        "is_made.clear()\nown = dn.widgets.FlowMap()\nearlier = globals().get('own_before')\nown_before = own\n"
        "asyncio.get_running_loop().call_soon(lambda: make())\nawait is_made.wait()"
    )
    kernel.run(waiting, cell_id="waits")
    kernel.run(waiting, cell_id="waits")
    said = kernel.run("print(earlier.is_closed, own.is_closed, [one.is_closed for one in made])").text
    assert said.strip() == "True False [False, False]"
