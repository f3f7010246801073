"""What a map knows of kinds, workers and what is between them, and what it says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from dnworker.flow import busiest as busiest_module
from dnworker.flow import graph as graph_module
from dnworker.flow.around import around
from dnworker.flow.drawing import width_of
from dnworker.flow.flow_map import FlowMap
from dnworker.flow.graph import Facts, Flow, build, in_words
from dnworker.flow.maps import Place, graph_of, make
from dnworker.flow.words import duration, fit, rate, shown
from tests.unit.flow.graphs import shop, some_facts, worker


def said(facts):
    return {one["title"]: one["text"] for one in make(facts)["findings"]}


def node(drawing, name):
    return next(one for one in drawing["nodes"] if one["name"] == name)


def edge(drawing, source, target):
    return next(e for e in drawing["edges"] if e["source"].endswith(source) and e["target"].endswith(target))


def test_the_part_around_a_worker_has_its_kinds_and_who_else_publishes_and_hears_them():
    facts = shop()
    facts.workers += [worker("mail:sender", ["orders.paid"], ["mail.sent"]), worker("other:one", ["x"])]
    found = around(graph_of(facts), "orders:invoices")
    assert {one.label for one in found.nodes.values()} == {
        "orders:invoices",
        "orders.paid",
        "orders:payment",
        "mail:sender",
    }
    assert {one.partition(" ")[0] for one in found.bands} == {"orders", "mail"}
    assert found.cycles == []
    assert around(graph_of(facts), "orders:intake").cycles != []


@given(some_facts())
@settings(deadline=None)
def test_the_part_around_a_worker_finds_only_what_the_whole_map_finds(facts):
    for one in facts.workers:
        whole, part = FlowMap(facts), FlowMap(facts, only=one.name)
        marks = {node.id: node.mark for node in graph_of(facts).nodes.values()}
        drawn = around(graph_of(facts), one.name)
        assert {end for key in drawn.edges for end in key} <= drawn.nodes.keys()
        assert all(node.mark == marks[node.id] for node in drawn.nodes.values())
        unpublished = {text for text in part.findings if text.startswith("Nobody publishes")}
        assert unpublished <= {*whole.findings}
        assert str(part)


def test_an_edge_leads_from_source_to_kind_to_worker_to_kind():
    assert set(build(shop()).edges) >= {
        ("source/HTTP/orders", "kind/orders.placed"),
        ("kind/orders.placed", "worker/orders:intake"),
        ("worker/orders:intake", "kind/orders.taken"),
    }


def test_failures_are_said_with_their_count_and_share():
    assert said(shop())["orders.taken → payment"] == "4 of 10 calls failed in 5 min"
    drawing = make(shop())
    assert edge(drawing, "orders.taken", "payment")["label"]["text"] == "40 %"
    assert edge(drawing, "orders.taken", "payment")["core"] >= 1.5
    assert node(drawing, "orders:payment")["tone"] == "failing"


def test_a_worker_of_which_half_fails_is_red_all_over():
    facts = Facts([worker("a:b", {"k": Flow(10, 5)})], {}, 1)
    assert node(make(facts), "a:b")["tone"] == "bad"


def test_a_cycle_is_named_after_the_kind_that_leads_back():
    assert said(shop())["Cycle “retry”"] == "taken → payment → retry → intake, 2/min"
    drawing = make(shop())
    assert edge(drawing, "orders.retry", "intake")["tone"] == "cycle"
    assert edge(drawing, "payment", "orders.retry")["tone"] == "cycle"
    assert edge(drawing, "payment", "orders.paid")["tone"] == "run"


def test_a_worker_that_publishes_what_it_hears_is_a_cycle():
    assert [c.name for c in graph_of(Facts([worker("a:b", ["a.tick"], ["a.tick"])], {}, 1)).cycles] == [
        "tick"
    ]


def test_kinds_that_nobody_hears_or_publishes_are_marked():
    facts = Facts([worker("a:one", ["never"], ["deaf"])], {}, 1)
    drawing = make(facts)
    assert node(drawing, "deaf")["caption"] == "Nobody listens"
    assert node(drawing, "never")["caption"] == "Never published"
    assert said(facts) == {
        "Nobody listens to deaf": "a:one publishes it",
        "Nobody publishes never": "a:one waits for it",
    }


def test_kinds_of_the_runtime_come_from_it_though_none_has_come_yet():
    facts = Facts([worker("a:one", ["turn.completed", "component.state_changed"])], {}, 1)
    edges = build(facts).edges
    assert ("source/Sessions/a", "kind/turn.completed") in edges
    assert ("source/Runtime/a", "kind/component.state_changed") in edges
    assert said(facts) == {}


def test_kinds_of_the_runtime_that_nobody_hears_are_not_on_the_map():
    facts = Facts([worker("a:one", ["x"])], {"Sessions": {"turn.started": 5}, "HTTP": {"x": 1}}, 1)
    assert "kind/turn.started" not in build(facts).nodes


def test_a_pattern_leads_to_the_kinds_that_it_may_be():
    facts = Facts(
        [
            worker("a:one", ["orders.paid", "orders.lost"]),
            worker("a:two", writes=frozenset(["orders.*", "x.*"])),
        ]
    )
    edges = build(facts).edges
    assert ("worker/a:two", "kind/orders.paid") in edges
    assert ("worker/a:two", "kind/orders.lost") in edges
    assert ("worker/a:two", "kind/x.*") in edges
    assert ("worker/a:two", "kind/orders.*") not in edges


def test_a_gated_worker_is_dashed_and_its_flag_is_said():
    facts = Facts([worker("a:one", ["x"], gate=("mail",), state="gated_off")], {"HTTP": {"x": 1}}, 1)
    drawing = make(facts)
    assert node(drawing, "a:one")["detail"] == "Gated by mail"
    assert edge(drawing, "kind/x", "a:one")["tone"] == "gated"
    assert said(facts)["Flag mail is off"] == "Gates a:one"


def test_a_worker_in_error_is_down_and_what_waits_is_counted():
    facts = Facts(
        [worker("a:one", ["x"], state="error", error="Exited, code 1\nmore", waiting={"x": 14})], {}, 1
    )
    assert said(facts)["a:one is down"] == "Exited, code 1; 14 events wait"
    assert node(make(facts), "x")["caption"] == "14 wait"


def test_a_schedule_is_what_starts_its_worker():
    facts = Facts(
        [worker("a:one", schedules={"30s": Flow(2)}), worker("a:two", schedules={"cron 0 * * * *": Flow(0)})],
        {},
        1,
    )
    drawing = make(facts)
    assert node(drawing, "every 30 s")["rate"] == 2
    assert node(drawing, "Schedules")["detail"] == "2/min"
    assert node(drawing, "cron 0 * * * *")["mark"] == ""


def test_small_capabilities_that_hear_the_same_from_outside_share_a_band():
    facts = Facts([worker("a:one", ["turn.completed"]), worker("b:two", ["turn.completed"])], {}, 1)
    assert build(facts).bands == ["a and b"]
    own = Facts([worker("a:one", ["x"]), worker("b:two", ["x"]), worker("c:three", [], ["x"])], {}, 1)
    assert build(own).bands == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("per_minute", "text"),
    [
        (126, "2.1/s"),
        (10, "10/min"),
        (2.2, "2.2/min"),
        (0.8, "48/h"),
        (72_000, "1.2k/s"),
        (0, "0/s"),
        (6, "6/min"),
    ],
)
def test_rates_are_in_the_unit_that_reads_best(per_minute, text):
    assert rate(per_minute) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00001, "0.01 ms"),
        (0.0124, "12.4 ms"),
        (0.48, "480 ms"),
        (3.2, "3.20 s"),
        (240, "4 min"),
        (10_800, "3 h"),
    ],
)
def test_durations_are_in_the_unit_that_reads_best(seconds, text):
    assert duration(seconds) == text


def test_ribbons_get_wider_with_the_rate_up_to_a_bound():
    assert [width_of(r) for r in (0, 4, 100, 1_000_000)] == [1.2, 2.8, 8.8, 14.0]


def test_names_are_cut_to_fit_and_keep_their_telling_end():
    assert fit("a" * 200, 17) == "a" * 16 + "…"
    assert fit("capability.orders.placed", 17, keep_end=True) == "…ty.orders.placed"
    assert fit("日本語" * 10, 9) == "日本語日…"
    assert shown("a\u202eb\x00") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"


def test_lists_of_names_end():
    assert in_words([]) == ""
    assert in_words(["a"]) == "a"
    assert in_words(["a", "b"]) == "a and b"
    assert in_words("abcdefg") == "a, b and 5 more"


@given(some_facts())
@settings(deadline=None)
def test_every_flow_is_drawn_and_in_the_window_counted(facts):
    graph = build(facts)
    for one in facts.workers:
        for kind, flow in one.hears.items():
            assert graph.edges[f"kind/{kind}", f"worker/{one.name}"].flow == flow
        for kind, count in one.published.items():
            key = (f"worker/{one.name}", f"kind/{kind}")
            assert key not in graph.edges or graph.edges[key].flow.count == count
    drawing = make(facts, Place())
    ids = {n["id"] for n in drawing["nodes"]}
    assert {e["source"] for e in drawing["edges"]} | {e["target"] for e in drawing["edges"]} <= ids
    for finding in drawing["findings"]:
        assert set(finding["nodes"]) <= ids


def test_a_pattern_is_compared_with_the_kinds_once(monkeypatch):
    compared = []
    monkeypatch.setattr(
        graph_module, "fnmatchcase", lambda kind, pattern: compared.append(kind) or kind.startswith("orders.")
    )
    kinds = [f"orders.{n}" for n in range(5)]
    workers = [worker(f"a:w{n}", kinds, writes=frozenset({"orders.*"})) for n in range(20)]
    build(Facts(workers))
    assert sorted(compared) == kinds


class Scans(dict):
    """Edges that count how often all of them are gone through."""

    count = 0

    def values(self):
        self.count += 1
        return super().values()


def test_the_busiest_flows_are_found_without_going_through_all_edges_for_each(monkeypatch):
    facts = Facts(
        [worker(f"a:w{n}", [f"k{n}"]) for n in range(50)], {"HTTP": {f"k{n}": n for n in range(50)}}
    )
    graph = build(facts)
    graph.edges = Scans(graph.edges)
    monkeypatch.setattr(busiest_module, "build", lambda facts: graph)
    rows = busiest_module.busiest(facts, 5)["rows"]
    assert [row["kind"] for row in rows] == ["k49", "k48", "k47", "k46", "k45"]
    assert graph.edges.count < 5


def test_a_schedule_that_a_process_calls_as_it_likes_keeps_its_label():
    facts = Facts([worker("a:b", schedules={"hourly": Flow(1), "300s": Flow(1), "1e999s": Flow(1)})], {}, 1)
    labels = {one.label for one in build(facts).nodes.values() if one.category == "kind"}
    assert labels == {"hourly", "every 5 min", "1e999s"}
