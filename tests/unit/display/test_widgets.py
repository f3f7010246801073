"""The widgets of `dn.widgets`: their traits follow the runtime, in Python alone, and nothing is left of them."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace

import ipywidgets
import pytest
from ipywidgets.widgets.interaction import interactive

from dnworker import Runtime, Worker
from dnworker.core.errors import UsageError
from dnworker_jupyter.display import widget_hub, widgets
from dnworker_jupyter.display.widget_hub import WidgetHub, activate
from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.syntax.cell import Cell


@pytest.fixture(autouse=True)
def without_delays(monkeypatch):
    monkeypatch.setattr(widget_hub, "INTERVAL", 0.0)
    monkeypatch.setattr(widget_hub, "STILL_INTERVAL", 0.0)
    for kind in (widgets.Waterfall, widgets.Chart):
        monkeypatch.setattr(kind, "interval", 0.0)


@pytest.fixture
async def runtime():
    async with Runtime(port=None) as started:
        yield started


@pytest.fixture
async def hub(runtime):
    """A hub as a notebook has one, without a front end."""
    loop = KernelLoop(SimpleNamespace(kernel=object()))
    assert loop.start()
    made = WidgetHub(runtime, loop, lambda: None)
    end = activate(made)
    yield made
    made.close()
    end()


@pytest.fixture
def run(hub):
    """Let a run of a cell make what is made from now on; None for no cell."""

    def begin(number, cell_id="c1", source="dn.widgets.FlowMap()"):
        cell = None if number is None else Cell(number, source, cell_id)
        hub._calling = lambda: cell

    return begin


@pytest.fixture
async def bridge(runtime):
    worker = Worker("bridge")

    @worker.on_event("demo.ping")
    async def on_ping(event, client):
        if event.payload.get("bad"):
            raise ValueError("<b>bad</b> ping")
        runtime.log_line("notebook:bridge", f"pinged {event.payload.get('n')}")
        await client.publish("demo.pong", {"n": 1})

    return await runtime.add(worker)


async def until(widget, name, expected):
    """Return when a trait is as expected."""
    changed = asyncio.Event()
    widget.observe(lambda _: changed.set(), names=name)
    async with asyncio.timeout(60):
        while getattr(widget, name) != expected:
            changed.clear()
            await changed.wait()


def listeners(runtime):
    return [
        len(runtime._listeners),
        len(runtime.history._listeners),
        len(runtime.logs._listeners),
        len(runtime.capabilities.own.renamed),
    ]


async def test_the_state_of_a_worker_is_followed_and_observed_where_no_page_shows_it(runtime, hub, bridge):
    state = widgets.WorkerState("bridge")
    assert (state.worker, state.state, state.value, state.calls) == (
        "notebook:bridge",
        "running",
        "running",
        0,
    )
    seen = []
    state.observe(lambda change: seen.append(change.new), names="calls")
    await runtime.fire("demo.ping", {"n": 1})
    await until(state, "calls", 1)
    await runtime.fire("demo.ping", {"bad": True})
    await until(state, "errors", 1)
    assert "ValueError: <b>bad</b> ping" in state.error
    assert state.failing == ["on_ping"]
    await bridge.stop()
    await until(state, "state", "stopped")
    assert state.value == "stopped"
    assert seen[0] == 1
    await runtime.remove("bridge")
    await until(state, "state", "removed")


async def test_a_hundred_runs_are_a_few_changes_of_a_trait(runtime, hub, bridge):
    state = widgets.WorkerState("bridge")
    changes = []
    state.observe(changes.append, names="calls")
    for n in range(100):
        await runtime.fire("demo.ping", {"n": n}, wait=False)
    await runtime.settle(5)
    await until(state, "calls", 100)
    assert len(changes) < 100


async def test_the_last_widget_that_closes_leaves_no_listener_and_no_task(runtime, hub, bridge):
    await runtime.fire(
        "demo.ping", {"n": 0}
    )  # what the runtime listens to by itself from then on is no widget's
    before, tasks = listeners(runtime), asyncio.all_tasks()
    made = [
        widgets.WorkerState("bridge"),
        widgets.LogTail("bridge"),
        widgets.LogTail(),
        widgets.FlowMap(),
        widgets.Chart("throughput"),
        widgets.Chart("lag"),
        widgets.FireForm("demo.ping"),
    ]
    assert hub.is_listening
    once = [n + 1 for n in before]
    assert listeners(runtime) == once  # ten on a page listen as one does
    await runtime.fire("demo.ping", {"n": 1})
    for widget in made:
        widget.close()
        widget.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not hub.is_listening
    assert listeners(runtime) == before
    assert [one for one in asyncio.all_tasks() - tasks if "widget" in one.get_name()] == []


async def test_the_tail_of_a_log_has_the_lines_of_its_worker(runtime, hub, bridge):
    runtime.log_line("notebook:bridge", "before")
    runtime.log_line("notebook:other", "not mine")
    tail, every = widgets.LogTail("bridge", lines=2), widgets.LogTail()
    assert (tail.last, every.last) == ("before", "not mine")
    runtime.log_line("notebook:bridge", "wrong", level="error")
    await until(tail, "error", "wrong")
    runtime.log_line("notebook:bridge", "\x1b[31mred\x1b[0m")
    await until(tail, "last", "red")
    assert [line.partition(" ")[2] for line in repr(tail).splitlines()] == [
        "wrong",
        "\x1b[31mred\x1b[0m",
    ] or ("before" not in repr(tail))
    assert tail.value == "red"
    assert "notebook:other  not mine" in repr(every)
    with pytest.raises(UsageError, match="1 to 200"):
        widgets.LogTail(lines=0)


async def test_a_run_is_followed_until_it_has_ended(runtime, hub, bridge):
    trace = await runtime.fire("demo.ping", {"bad": True})
    by_trace = widgets.Waterfall(trace)
    assert (by_trace.kind, by_trace.outcome, by_trace.errors) == ("demo.ping", "not ok", 1)
    assert "notebook:bridge.on_ping" in by_trace.error
    by_number = widgets.Waterfall(f"#{trace.event.seq}")
    assert by_number.event == widgets.Waterfall(trace.event.event_id).event == by_trace.event
    by_trace.selected_event = "e1"  # as a click in the page does
    assert by_trace.value == "e1"
    assert "<b>bad" not in by_trace._html()
    with pytest.raises(UsageError, match="no event '#999' is kept"):
        widgets.Waterfall("#999")


async def test_a_chart_has_the_numbers_of_fifteen_minutes(runtime, hub, bridge):
    rate, errors = widgets.Chart("throughput"), widgets.Chart("errors", "bridge")
    assert (rate.current, errors.current) == (0, None)
    assert len(rate.values) == 60
    await runtime.fire("demo.ping", {"n": 1})
    await runtime.fire("demo.ping", {"bad": True})
    await until(errors, "errors", 1)
    assert errors.current == 50
    assert errors.unit == "%"
    await until(rate, "calls", 2)
    assert rate.current > 0
    assert "throughput: " in repr(rate)
    assert "█" in repr(rate)
    assert widgets.Chart("duration").current > 0
    with pytest.raises(UsageError, match="there are throughput, errors, duration, lag"):
        widgets.Chart("speed")
    with pytest.raises(UsageError, match="of all workers"):
        widgets.Chart("lag", "bridge")


async def test_a_form_fires_what_it_holds_and_says_what_came_of_it(runtime, hub, bridge):
    form = widgets.FireForm("demo.ping", {"bad": True})
    trace = await form.fire()
    assert (form.event, form.value) == (trace.event.event_id, trace.event.event_id)
    assert (form.outcome, form.calls, form.errors) == ("not ok", 1, 1)
    form.payload = "[1"
    with pytest.raises(UsageError, match="no JSON object"):
        await form.fire()
    with pytest.raises(UsageError, match="must be JSON"):
        widgets.FireForm("demo.ping", {"x": object()})


async def test_a_form_without_a_payload_gets_one_that_the_runtime_proposes(hub):
    async def suggest(kind):
        return {"of": kind}, "last"

    hub.suggest = suggest
    form = widgets.FireForm("demo.ping")
    await until(form, "payload", '{\n  "of": "demo.ping"\n}')


async def test_the_map_counts_workers_and_names_those_that_fail(runtime, hub, bridge):
    flow = widgets.FlowMap()
    assert (flow.workers, flow.failing) == (1, [])
    assert repr(flow) == "demo.ping -> notebook:bridge.on_ping"
    await runtime.fire("demo.ping", {"bad": True})
    await until(flow, "errors", 1)
    assert flow.failing == ["notebook:bridge"]


async def test_widgets_compose_link_and_interact_as_ipywidgets_do(runtime, hub, bridge):
    state, chart = widgets.WorkerState("bridge"), widgets.Chart("throughput")
    box = ipywidgets.HBox([state, chart])
    assert box.children == (state, chart)
    label = ipywidgets.Label()
    ipywidgets.dlink((state, "state"), (label, "value"))
    got = []
    shown = interactive(lambda state: got.append(state), state=state)
    shown.update()
    await bridge.stop()
    await until(state, "state", "stopped")
    assert label.value == "stopped"
    assert got[-1] == "stopped"
    assert state.description == "state"


async def test_an_observer_that_fails_is_logged_and_others_go_on(runtime, hub, bridge, caplog):
    first, second = widgets.WorkerState("bridge"), widgets.WorkerState("bridge")

    def fail(change):
        raise ValueError("observer")

    first.observe(fail, names="calls")
    await runtime.fire("demo.ping", {"n": 1})
    await until(second, "calls", 1)
    assert "WorkerState: an observer failed" in caplog.text


async def test_what_is_said_is_never_markup_in_the_still_forms(runtime, hub, bridge):
    runtime.log_line("notebook:bridge", "<script>alert(1)</script>")
    await runtime.fire("demo.ping", {"bad": True})
    made = [widgets.WorkerState("bridge"), widgets.LogTail("bridge"), widgets.FireForm("<i>", {"a": "<u>"})]
    for widget in made:
        data, _ = widget._repr_mimebundle_()
        assert "application/vnd.jupyter.widget-view+json" in data
        assert data["text/plain"]
        assert not re.search("<(script|b|i|u)>", data["text/html"])


async def test_widgets_are_bounded_and_the_error_says_how_to_close_some(hub, monkeypatch):
    monkeypatch.setattr(widget_hub, "MOST", 1)
    widgets.FlowMap()
    with pytest.raises(UsageError, match=r"1 widgets are open already.*close_all"):
        widgets.FlowMap()
    widgets.close_all()
    widgets.FlowMap()


async def test_a_cell_that_runs_again_closes_the_widgets_of_its_earlier_runs(runtime, hub, run, bridge):
    run(1)
    early = [widgets.FlowMap(), widgets.LogTail()]
    run(2, "c2")
    other = widgets.FlowMap()
    run(None)
    of_no_cell = widgets.FlowMap()
    run(3)
    assert not any(one.is_closed for one in early)  # it may make none this time
    late = [widgets.FlowMap(), widgets.LogTail()]
    assert [one.is_closed for one in early] == [True, True]
    assert not any(one.is_closed for one in (other, of_no_cell, *late))
    runtime.log_line("notebook:bridge", "a line")
    await until(late[1], "last", "a line")
    assert early[1].last == ""


async def test_a_cell_that_runs_again_is_never_refused(hub, run, monkeypatch):
    monkeypatch.setattr(widget_hub, "MOST", 2)
    for number in range(5):
        run(number)
        widgets.FlowMap(), widgets.FlowMap()
    with pytest.raises(UsageError, match="2 widgets are open already"):
        widgets.FlowMap()


async def test_cells_of_one_text_without_ids_keep_their_widgets_while_there_is_room(hub, run, monkeypatch):
    monkeypatch.setattr(widget_hub, "MOST", 2)
    run(1, None)
    first = widgets.FlowMap()
    run(2, None)
    second = widgets.FlowMap()
    assert not first.is_closed
    run(3, None)
    third = widgets.FlowMap()
    assert [one.is_closed for one in (first, second, third)] == [True, True, False]


async def test_a_run_that_has_no_number_of_its_own_is_another_run(hub, run):
    run(1)
    first = widgets.FlowMap()
    run(1)  # it is not stored in the history
    widgets.FlowMap()
    assert first.is_closed


async def test_a_worker_that_is_not_there_is_named(hub):
    with pytest.raises(UsageError, match="no worker 'nosuch'"):
        widgets.WorkerState("nosuch")


def test_without_the_extension_the_error_says_how_to_load_it():
    with pytest.raises(UsageError, match="%load_ext dnworker"):
        widgets.FlowMap()
