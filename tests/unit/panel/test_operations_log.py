"""What views ask of the log."""

from __future__ import annotations

from dnworker.core.clock import VirtualClock

TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "importer.py", line 41, in on_rows',
    "ValueError: no door",
]


def print_traceback(runtime, worker="w", **tags) -> None:
    for text in TRACEBACK:
        runtime.log_line(worker, text, source="stderr", **tags)


async def test_a_wrong_filter_is_refused_and_the_one_before_stays(runtime, screen):
    await screen.open("log")
    answer = await screen.ask("log", filter={"text": "(", "regex": True})
    assert answer["type"] == "failed"
    assert "is no regular expression" in answer["text"]
    runtime.log_line("w", "goes on")
    assert (await screen.part("log"))["lines"][-1]["text"] == "goes on"


async def test_a_long_line_is_cut_and_comes_whole_when_it_is_looked_at(runtime, screen):
    runtime.log_line("w", "x" * 600)
    log = (await screen.open("log"))["log"]
    assert (len(log["lines"][0]["text"]), log["lines"][0]["cut"]) == (500, 100)
    answer = await screen.ask("line", number=1)
    assert answer["line"]["text"] == "x" * 600


async def test_the_log_can_be_had_as_a_file_without_its_colours(runtime, screen):
    runtime.log_line("w", "\x1b[31mred\x1b[0m", level="error")
    await screen.open("log")
    answer = await screen.ask("lines", position=1, count=500, whole=True)
    assert answer["text"].endswith("error   w  red\n")
    assert answer["next"] == 2


async def test_an_answer_holds_no_more_than_its_share_and_the_rest_is_asked_for(runtime, screen):
    for n in range(20):
        runtime.log_line("w", f"{n} " + "x" * 30_000)
    await screen.open("log")
    answer = await screen.ask("lines", position=1, count=500, whole=True)
    assert len(answer["text"]) < 250_000
    assert 1 < answer["next"] < 20


async def test_a_traceback_is_one_entry_that_says_its_error_and_opens_to_its_lines(runtime, screen):
    runtime.log_line("w", "before")
    print_traceback(runtime)
    runtime.log_line("w", "after")
    log = (await screen.open("log"))["log"]
    assert [(line["text"], line["lines"]) for line in log["lines"]] == [
        ("before", 1),
        ("ValueError: no door", 3),
        ("after", 1),
    ]
    assert (log["first"], log["end"]) == (1, 4)
    answer = await screen.ask("line", number=log["lines"][1]["number"])
    assert [row["text"] for row in answer["line"]["rows"]] == TRACEBACK


async def test_an_entry_that_grows_is_sent_again(runtime, screen):
    runtime.log_line("w", TRACEBACK[0], source="stderr")
    await screen.open("log")
    runtime.log_line("w", TRACEBACK[1], source="stderr")
    runtime.log_line("w", TRACEBACK[2], source="stderr")
    log = await screen.part("log", lambda part: part["lines"] and part["lines"][-1]["lines"] == 3)
    assert (log["lines"][-1]["position"], log["lines"][-1]["text"], log["end"]) == (1, TRACEBACK[2], 2)


async def test_what_a_handler_raised_is_one_entry_that_leads_to_its_event(runtime, bridge, screen):
    trace = await runtime.fire("demo.ping", {"bad": True})
    line = (await screen.open("log"))["log"]["lines"][-1]
    assert (line["text"], line["level"]) == ("ValueError: bad ping", "error")
    assert line["event"] == trace.event.event_id
    assert line["lines"] > 2
    rows = (await screen.ask("line", number=line["number"]))["line"]["rows"]
    assert rows[0]["text"].startswith("on_ping failed (")


async def test_a_text_is_marked_where_it_is_with_and_without_only_matches(runtime, screen):
    for text in ("rows 401", "\x1b[31mROWS\x1b[0m \U0001f600 rows", "other"):
        runtime.log_line("w", text)
    await screen.open("log")
    for wanted in ({"text": "rows"}, {"text": "r.ws", "regex": True}):
        for only, texts in ((True, 2), (False, 3)):
            await screen.ask("log", filter=wanted | {"only": only})
            log = await screen.part("log", lambda part, only=only: part["filter"]["only"] is only)
            if log["hits"] != 2:
                log = await screen.part("log", lambda part: part["hits"] == 2)
            answer = await screen.ask("lines", position=1, count=10)
            lines = answer["lines"]
            assert len(lines) == texts
            assert [line["marks"] for line in lines[:2]] == [[[0, 4]], [[0, 4], [8, 12]]]


async def test_the_next_match_is_found_forward_backward_and_round_the_end(runtime, screen):
    for n in range(10):
        runtime.log_line("w", "hit" if n in (2, 7) else "miss")
    await screen.open("log", log={"text": "hit", "only": False})

    async def find(position, **fields):
        return (await screen.ask("find", position=position, **fields))["position"]

    assert [await find(1), await find(3), await find(8)] == [3, 8, 3]
    assert [await find(8, backward=True), await find(3, backward=True)] == [3, 8]


async def test_nothing_is_found_where_nothing_is_searched_for(runtime, screen):
    runtime.log_line("w", "a")
    await screen.open("log")
    assert (await screen.ask("find", position=1))["position"] is None
    await screen.ask("log", filter={"text": "b", "only": False})
    assert (await screen.ask("find", position=1))["position"] is None


async def test_an_entry_is_found_by_any_of_its_lines(runtime, screen):
    print_traceback(runtime)
    runtime.log_line("w", "other")
    log = (await screen.open("log", log={"text": "importer.py"}))["log"]
    (line,) = log["lines"]
    assert (line["lines"], line["marks"], line["within"]) == (3, [], True)
    rows = (await screen.ask("line", number=line["number"]))["line"]["rows"]
    assert [row["marks"] for row in rows] == [[], [[8, 19]], []]


async def test_the_log_is_filtered_by_source(runtime, screen):
    runtime.log_line("w", "a", source="stdout")
    runtime.log_line("w", "b", source="stderr")
    log = (await screen.open("log", log={"source": "stderr"}))["log"]
    assert [line["text"] for line in log["lines"]] == ["b"]


async def test_a_line_has_the_time_of_a_virtual_clock_besides(runtime, screen):
    runtime.log_line("w", "a")
    runtime.logs.clock = clock = VirtualClock()
    runtime.log_line("w", "b")
    first, second = (await screen.open("log"))["log"]["lines"]
    assert first["clock"] is None
    assert second["clock"] == clock.now().timestamp() * 1000


async def test_the_closed_log_says_how_many_lines_there_are_and_the_last_that_is_no_error(runtime, screen):
    assert (await screen.open("logbar"))["logbar"] == {"count": 0, "dropped": 0, "last": None}
    runtime.log_line("w", "\x1b[32mfine\x1b[0m")
    print_traceback(runtime)
    bar = await screen.part("logbar", lambda part: part["count"] == 2)
    first = runtime.logs.tail()[0]
    at = first.timestamp.timestamp() * 1000
    assert bar["last"] == {"worker": "w", "level": "info", "text": "fine", "at": at, "clock": None}


async def test_an_entry_of_many_long_lines_is_sent_as_far_as_there_is_room(runtime, screen):
    runtime.log_line("w", TRACEBACK[0])
    for _ in range(9):
        runtime.log_line("w", "  " + "x" * 60_000)
    log = (await screen.open("log"))["log"]
    answer = await screen.ask("line", number=log["lines"][0]["number"])
    assert len(answer["line"]["rows"]) < answer["line"]["lines"] == 10


async def test_a_file_of_the_log_has_all_lines_of_an_entry(runtime, screen):
    print_traceback(runtime)
    await screen.open("log")
    text = (await screen.ask("lines", position=1, count=10, whole=True))["text"]
    assert [line.partition("  ")[2].strip() for line in text.splitlines()][-1].endswith("ValueError: no door")
    assert len(text.splitlines()) == 3
