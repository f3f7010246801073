"""Where boxes and ribbons of a map are."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import given, settings

from dnworker.flow.boxes import cell_of
from dnworker.flow.cycles import backwards
from dnworker.flow.drawing import draw
from dnworker.flow.folding import FROM, MOST, MOST_EDGES
from dnworker.flow.graph import Facts, build
from dnworker.flow.layout import WIDTH, lay_out
from dnworker.flow.maps import Place, graph_of, make
from dnworker.flow.svg import svg
from tests.unit.flow.graphs import shop, some_facts, worker


def ends(path):
    numbers = [float(n) for n in re.findall(r"-?[0-9.]+", path)]
    return (numbers[0], numbers[1]), (numbers[-2], numbers[-1])


def on_border(point, box):
    x, y = point
    inside = box.x - 0.1 <= x <= box.right + 0.1 and box.y - 0.1 <= y <= box.y + box.height + 0.1
    return (
        inside and min(abs(x - box.x), abs(x - box.right), abs(y - box.y), abs(y - box.y - box.height)) < 0.1
    )


def clash(one, other):
    return (
        one.x < other.right
        and other.x < one.right
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


@given(some_facts())
@settings(deadline=None)
def test_no_two_boxes_overlap(facts):
    layout = lay_out(build(facts))
    for (name, one), (other, two) in combinations(layout.boxes.items(), 2):
        assert not clash(one, two), (name, other)


@given(some_facts())
@settings(deadline=None)
def test_every_edge_joins_its_boxes(facts):
    graph = build(facts)
    layout = lay_out(graph)
    assert layout.routes.keys() == graph.edges.keys()
    for (source, target), route in layout.routes.items():
        start, end = ends(route.path)
        assert on_border(start, layout.boxes[source])
        assert on_border(end, layout.boxes[target])
        assert end == pytest.approx(route.end, abs=0.06)


@given(some_facts())
@settings(deadline=None)
def test_every_box_is_in_its_band_and_bands_do_not_overlap(facts):
    graph = build(facts)
    layout = lay_out(graph)
    bands = {band.name: band for band in layout.bands}
    for name, box in layout.boxes.items():
        band = bands[graph.nodes[name].band]
        assert band.y <= box.y
        assert box.y + box.height <= band.y + band.height
        assert box.x >= 0
        assert box.right <= WIDTH
    for one, other in zip(layout.bands, layout.bands[1:], strict=False):
        assert one.y + one.height < other.y


@given(some_facts())
@settings(deadline=None)
def test_the_same_graph_is_drawn_the_same(facts):
    assert svg(make(facts)) == svg(make(facts))


@given(some_facts())
@settings(deadline=None)
def test_without_the_edges_that_lead_back_there_is_no_cycle(facts):
    graph = build(facts)
    back = backwards(graph)
    left = {key for key in graph.edges if key not in back}
    while free := {key for key in left if key[0] not in {target for _, target in left}}:
        left -= free
    assert not left


@given(some_facts(most=9))
@settings(deadline=None)
def test_boxes_that_stay_keep_their_place_in_their_band_when_a_worker_comes(facts):
    graph = build(facts)
    before = lay_out(graph)
    more = Facts([*facts.workers, worker("a:new", ["a.0"], ["a.new"])], facts.sources, facts.minutes)
    after = lay_out(build(more), before)
    boxes = list(after.boxes.items())
    for (name, one), (other, two) in combinations(boxes, 2):
        assert not clash(one, two), (name, other)
    stayed = [
        n for n in before.cells.keys() & after.cells.keys() if before.cells[n].column == after.cells[n].column
    ]
    assert len(stayed) >= len(before.cells) // 2


def test_a_new_worker_moves_no_other_box():
    facts = shop()
    place = Place()
    before = {node["id"]: (node["x"], node["y"]) for node in make(facts, place)["nodes"]}
    facts.workers.append(worker("orders:audit", ["orders.placed"]))
    after = {node["id"]: (node["x"], node["y"]) for node in make(facts, place)["nodes"]}
    assert after.items() >= before.items()
    assert len(after) == len(before) + 1


def test_a_worker_that_goes_moves_no_other_box():
    facts = shop()
    facts.workers.append(worker("orders:audit", ["orders.placed"]))
    place = Place()
    before = {node["id"]: (node["x"], node["y"]) for node in make(facts, place)["nodes"]}
    del facts.workers[3]
    after = {node["id"]: (node["x"], node["y"]) for node in make(facts, place)["nodes"]}
    assert after.items() <= before.items()


def test_rates_move_nothing():
    facts = shop()
    place = Place()
    before = make(facts, place)
    facts.sources["HTTP"]["orders.placed"] = 10_000
    after = make(facts, Place())
    assert [n["y"] for n in before["nodes"]] == [n["y"] for n in after["nodes"]]
    assert [e["path"] for e in before["edges"]] == [e["path"] for e in after["edges"]]


def test_a_chain_that_is_too_long_goes_on_below_from_right_to_left():
    assert [cell_of(depth) for depth in range(5, 13)] == [
        *((0, 5), (0, 6), (1, 5), (1, 4), (1, 3), (1, 2), (2, 3), (2, 4)),
    ]
    chain = [worker(f"a:w{n}", [f"k{n}"], [f"k{n + 1}"]) for n in range(12)]
    graph = build(Facts(chain, {}, 1))
    layout = lay_out(graph)
    drawing = draw(graph, layout)
    assert max(node["x"] + node["width"] for node in drawing["nodes"]) < WIDTH
    assert any(edge["arrow"] for edge in drawing["edges"])


def test_the_way_back_of_a_cycle_runs_below_the_boxes_and_names_it():
    drawing = make(shop())
    label = next(edge["label"] for edge in drawing["edges"] if edge["source"] == "kind/orders.retry")
    assert label["text"] == "Cycle “retry”: taken → payment → retry, 2/min"
    assert label["y"] > max(node["y"] + node["height"] for node in drawing["nodes"])


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_small_map_is_not_folded(workers):
    drawing = make(Facts([worker(f"a:w{n}", ["a.k"]) for n in range(workers)], {}, 1))
    assert drawing["folded"] == []
    assert sum(node["category"] == "worker" for node in drawing["nodes"]) == workers


def crowd(workers, capabilities, kinds=3):
    return Facts(
        [
            worker(
                f"c{n % capabilities}:w-{n}",
                [f"c{n % capabilities}.k{n % kinds}"],
                [f"c{n * 7 % capabilities}.k0"],
            )
            for n in range(workers)
        ],
        {},
        1,
    )


@pytest.mark.parametrize(("capabilities", "kinds"), [(1, 3), (1, 1_000), (50, 3), (500, 2)])
@pytest.mark.parametrize("opened", [frozenset(), frozenset(["c0", "c1", "c2"])])
def test_a_thousand_workers_are_folded_into_what_can_be_drawn(capabilities, kinds, opened):
    facts = crowd(1_000, capabilities, kinds)
    drawing = make(facts, None, opened)
    assert 0 < len(drawing["nodes"]) <= MOST
    assert len(drawing["edges"]) <= MOST_EDGES
    assert drawing["whole"] > 1_000


def test_from_forty_nodes_on_capabilities_are_one_box_until_they_are_opened():
    facts = Facts([worker(f"c{n % 3}:w-{n}", [f"c{n % 3}.k{n}"]) for n in range(FROM)], {}, 1)
    drawing = make(facts)
    assert {node["category"] for node in drawing["nodes"] if node["label"] == "c0"} == {"fold"}
    assert "c0" in drawing["folded"]
    opened = make(facts, None, frozenset(["c0"]))
    assert "c0" not in opened["folded"]
    assert any(node["name"] == "c0:w-0" for node in opened["nodes"])
    closed = make(shop(), None, frozenset(), frozenset(["orders"]))
    assert [node["detail"] for node in closed["nodes"]] == ["3 workers, 4 kinds"]


def test_workers_that_are_alike_are_one_box():
    facts = Facts([worker(f"a:reader-{n}", ["a.rows"], ["a.read"]) for n in range(50)], {}, 1)
    drawing = make(facts, None, frozenset(["a"]))
    assert "reader \N{MULTIPLICATION SIGN} 50" in {node["label"] for node in drawing["nodes"]}


def test_a_cycle_between_folds_is_none_of_events():
    facts = Facts(
        [worker("a:one", ["x"], ["y"]), worker("b:two", ["y"], ["z"]), worker("a:three", ["z"], ["w"])], {}, 1
    )
    assert graph_of(facts).cycles == []
    drawing = make(facts, None, frozenset(), frozenset(["a", "b"]))
    assert all(edge["tone"] != "cycle" for edge in drawing["edges"])
