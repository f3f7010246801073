"""Traces as HTML."""

from __future__ import annotations

import re

from dnworker.core.detail import add_detail
from dnworker.panel.actions import CellNow
from dnworker.runtime import Runtime
from dnworker.workers.shadow import Comparison, Observation
from dnworker.workers.worker import Worker
from dnworker_jupyter.display.comparisons import comparison_html, comparison_text
from dnworker_jupyter.display.printed import FORMS_STORED, STORED, Room
from dnworker_jupyter.display.trace_html import trace_html
from dnworker_jupyter.display.waterfall import Axis, duration_text


async def test_a_trace_says_how_it_went_and_its_text_is_escaped():
    async with Runtime(port=None) as runtime:
        worker = Worker("bridge")

        @worker.on_event("demo.a")
        async def on_a(event, client):
            raise ValueError("<script>")

        await runtime.add(worker)
        html = trace_html(await runtime.fire("demo.a", {}))
    assert "aria-label='trace'" in html
    assert "aria-label='not ok'" in html
    assert "1 of 1 call failed" in html
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


async def test_values_of_variables_open_on_demand_without_a_script():
    remove = add_detail(lambda: "verbose")
    try:
        async with Runtime(port=None) as runtime:
            worker = Worker("bridge")

            @worker.on_event("demo.a")
            async def on_a(event, client):
                mark, api_key = "<b>", "-".join("k1")  # the line itself may be shown
                raise ValueError(len(mark) + len(api_key))

            await runtime.add(worker)
            trace = await runtime.fire("demo.a", {"n": 1})
            html, text = trace_html(trace), str(trace)
    finally:
        remove()
    (details,) = re.findall(r"<details[^>]*><summary[^>]*>(4 values.*?)</pre></details>", html, re.DOTALL)
    assert "mark = &#x27;&lt;b&gt;&#x27;" in details
    assert "api_key = ***" in details
    assert "k-1" not in html
    assert f"event = <event #{trace.event.seq} demo.a {{'n': 1}}>" in text


async def displayed(runtime, *data):
    """Return the trace of an event whose handler displays these things."""
    worker = Worker("bridge")

    @worker.on_event("demo.a")
    async def on_a(event, client):
        for number, one in enumerate(data):
            runtime.log_line("bridge", f"display {number}", source="display", data=one)

    await runtime.add(worker)
    return await runtime.fire("demo.a", {})


async def test_displays_keep_their_form_in_a_trace_and_html_is_in_a_frame():
    async with Runtime(port=None) as runtime:
        html = trace_html(
            await displayed(
                runtime,
                {"text/html": "<b onclick=x>"},
                {"image/svg+xml": "<svg/>"},
                {"application/json": '{"a":1}'},
            )
        )
    assert '<iframe sandbox="" srcdoc="' in html
    assert "<b onclick" not in html
    assert "src='data:image/svg+xml;base64,PHN2Zy8+'" in html
    assert "<details><summary>application/json" in html


async def test_a_trace_stores_no_more_than_its_bound_and_says_where_the_rest_is():
    big = {"text/html": "x" * (STORED // 3)}
    async with Runtime(port=None) as runtime:
        html = trace_html(await displayed(runtime, *[big] * 4))
        number = runtime.logs.tail(1)[0].number
    assert html.count("<iframe") == 2
    assert len(html) < STORED + 20_000
    assert f"is not stored in the notebook; %worker logs bridge --show {number} shows it" in html


async def test_a_trace_of_very_many_displays_shows_the_first():
    async with Runtime(port=None) as runtime:
        html = trace_html(await displayed(runtime, *[{"text/html": "x"}] * 200))
    assert html.count("<iframe") == FORMS_STORED
    assert html.count("is not stored in the notebook") == 200 - FORMS_STORED


async def test_what_the_front_end_draws_itself_is_left_for_below_the_trace():
    live = {"application/vnd.jupyter.widget-view+json": '{"model_id": "7"}', "text/plain": "Button()"}
    room = Room()
    async with Runtime(port=None) as runtime:
        html = trace_html(await displayed(runtime, live, {"text/latex": "$x$"}), room)
    assert "(application/vnd.jupyter.widget-view+json: number 1 below the trace)" in html
    assert room.below == [
        {"application/vnd.jupyter.widget-view+json": {"model_id": "7"}, "text/plain": "display 0"},
        {"text/latex": "$x$", "text/plain": "display 1"},
    ]


def bare(html: str) -> str:
    """Return the text of HTML as a page shows it that takes out styles, sheets and attributes."""
    html = re.sub(r"<style>.*?</style>", "", html)
    return re.sub(r"<[^>]+>", "", re.sub(r"</(tr|div|summary|p)>", "\n", html)).replace("\xa0", " ")


def rows(count, wrong=None):
    return [{"ean": f"{n:04}", "price": "12,50" if n == wrong else "12.50"} for n in range(count)]


async def imported(runtime):
    """Return the trace of a file whose third part has a price with a comma."""
    importer = Worker("importer")

    @importer.on_event("dropped")
    async def on_drop(event, client):
        runtime.log_line("notebook:importer", "dropped")
        for wrong in (None, 7):
            await client.publish("rows", {"rows": rows(20, wrong)})

    @importer.on_event("rows")
    async def on_rows(event, client):
        runtime.log_line("notebook:importer", "a <part>")
        for row in event.payload["rows"]:
            float(row["price"])

    await runtime.add(importer)
    return await runtime.fire("dropped", {}, session_id="ops")


async def test_a_failure_shows_the_line_the_lines_printed_and_what_the_payload_had_that_the_good_one_had_not():
    async with Runtime(port=None) as runtime:
        html = trace_html(await imported(runtime))
    text = bare(html)
    assert "1 of 3 calls failed" in text
    assert ", session ops" in text
    assert re.search(r"\n *\d+  → +float\(row\[\"price\"\]\)", text.replace("&quot;", '"'))
    assert "ValueError: could not convert string to float: &#x27;12,50&#x27;" in html
    assert "Printed by 2 handlers, 3 lines" in text
    assert re.search(r"Payload #\d+, rows\[7\].price differs from the last that succeeded, #\d+", text)
    assert '✓      "price": "12.50" }' in text
    assert '✗      "price": "12,50" }' in text


async def test_without_any_style_a_trace_is_readable_as_text():
    async with Runtime(port=None) as runtime:
        lines = [
            line.strip() for line in bare(trace_html(await imported(runtime))).split("\n") if line.strip()
        ]
    shown = [re.sub(r"#\d+", "#n", line) for line in lines]
    assert shown[0].startswith("✗ dropped #n 1 of 3 calls failed, ")
    assert "◇ dropped #n◇" in shown
    assert any(line.startswith("● ok notebook:importer.on_drop") for line in shown)
    assert any(line.startswith("◆ error notebook:importer.on_rows") for line in shown)


async def test_a_trace_has_no_script_no_link_that_leaves_and_styles_that_jupyterlab_keeps():
    async with Runtime(port=None) as runtime:
        html = trace_html(await imported(runtime), cell=lambda number: CellNow("abc", number))
    assert "<script" not in html
    assert "onclick" not in html
    assert "http" not in html
    assert "var(" not in html.replace(html[html.index("<style>") : html.index("</style>")], "")


async def test_a_cell_that_ran_again_or_is_gone_is_said_beside_its_link(monkeypatch):
    monkeypatch.setattr("dnworker.core.frames.location_of", lambda file, line: f"cell [3], line {line}")
    async with Runtime(port=None) as runtime:
        trace = await imported(runtime)
    again = trace_html(trace, cell=lambda number: CellNow("a<b", 8, "cell [3] ran again as [8]"))
    assert "href='#cell-id=a&lt;b'>cell [3], line " in again
    assert "(cell [3] ran again as [8])" in again
    gone = trace_html(trace, cell=lambda number: CellNow(None, 3, "cell [3] is not in the notebook any more"))
    assert "href" not in gone
    assert "(cell [3] is not in the notebook any more)" in gone


async def test_the_html_of_a_trace_of_10000_rows_is_small_and_its_text_too():
    async with Runtime(port=None) as runtime:
        worker = Worker("storm")

        @worker.on_event("demo.a")
        async def on_a(event, client):
            for n in range(5_000):
                await client.publish(f"demo.b{n % 2}", {"n": n})

        await runtime.add(worker)
        trace = await runtime.fire("demo.a", {})
        html = trace_html(trace)
        assert len(trace.lines(100)) == 101
    assert len(html) < 200_000
    assert "only the first" in html


async def test_what_was_notified_is_said_in_text_and_html():
    async with Runtime(port=None) as runtime:
        worker = Worker("bridge")

        @worker.on_event("demo.a")
        async def on_a(event, client):
            await client.notify("Prices imported", body="800 rows")

        await runtime.add(worker)
        trace = await runtime.fire("demo.a", {})
        assert "Prices imported: 800 rows" in str(trace)
        assert "Prices imported: 800 rows" in trace_html(trace)


async def test_an_event_whose_only_listener_is_stopped_says_so_with_the_way_out():
    async with Runtime(port=None) as runtime:
        worker = Worker("bridge")

        @worker.on_event("demo.a")
        async def on_a(event, client): ...

        managed = await runtime.add(worker)
        await managed.stop()
        trace = await runtime.fire("demo.a", {})
        said = "notebook:bridge listens to it, and is stopped: start bridge"
        assert said in str(trace)
        assert said in trace_html(trace)
        assert "listens" not in str(await runtime.fire("demo.b", {}))


async def test_a_terminal_shows_outcomes_in_colours_and_rich_does_too():
    async with Runtime(port=None) as runtime:
        trace = await imported(runtime)
    from rich.console import Console

    console = Console(force_terminal=True, width=200, color_system="standard")
    with console.capture() as captured:
        console.print(trace)
    shown = captured.get()
    failed = next(line for line in shown.splitlines() if "x notebook:importer.on_rows" in line)
    assert "\x1b[31m" in failed
    published = next(line for line in shown.splitlines() if "> rows" in line)
    assert "\x1b[36m" in published
    assert "\x1b" not in next(line for line in shown.splitlines() if "| dropped" in line)
    assert "\x1b" not in str(trace)


def test_the_axis_has_a_few_round_numbers_whatever_it_spans():
    class Ended:
        marks = ()
        started = 0.0

        def __init__(self, ended):
            self.ended = ended

    def labels(ms):
        return [text for _, text in Axis([Ended(ms)]).ticks()]

    assert labels(142) == ["0 ms", "30", "60", "90", "120"]
    assert labels(0.01)[0] == "0 ms"
    assert labels(0.0)[0] == "0 ms"
    assert labels(3 * 3_600_000)[0] == "0 s"
    assert all(len(labels(10**n)) <= 6 for n in range(-3, 9))


def test_durations_are_worded_as_in_the_panel():
    shown = [duration_text(ms) for ms in (0, 0.31, 12.4, 480, 3200, 250_000, 10_800_000, None)]
    assert shown == ["0 ms", "0.31 ms", "12.4 ms", "480 ms", "3.20 s", "4 min 10 s", "3 h 0 min", ""]


def test_a_comparison_is_a_coloured_diff():
    old, new = (
        Observation(None, ["h prints <1>", "h publishes a"]),
        Observation(None, ["h prints <2>", "h publishes a"]),
    )
    same = Observation(None)
    found = Comparison([same, old, same], [same, new, same], ("generation 1", "generation 2"))
    html = comparison_html(found)
    assert "- generation 1" in html
    assert re.search(r"background-color:rgba\(217[^']*'>.*?h prints &lt;1&gt;", html)
    assert re.search(r"background-color:rgba\(47[^']*'>.*?h prints &lt;2&gt;", html)
    assert "\x1b[31m- h prints <1>" in comparison_text(found)
    assert "\x1b[32m+ h prints <2>" in comparison_text(found)
    alike = Comparison([same, old, same], [same, old, same], ("a", "b"))
    assert "1 events: no difference between a and b" in comparison_html(alike)
