"""All nodes decide alike who is to hold what."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.engine.node_names import LABELS, default_node
from dnworker.engine.placement import Place, Seat, Table, read_seat, why_nowhere

WORKERS = [f"demo:w{number}" for number in range(8)]


def seat(node: str, holds: int | dict[str, int] = 0, **fields) -> Seat:
    held = {f"demo:{node}{number}": 1 for number in range(holds)} if isinstance(holds, int) else holds
    return Seat(node=node, holder=f"{node}/1", holds=held, **fields)


@st.composite
def clusters(draw) -> list[Seat]:
    count = draw(st.integers(1, 4))
    owners = draw(st.lists(st.integers(-1, count - 1), min_size=len(WORKERS), max_size=len(WORKERS)))
    requires = draw(st.dictionaries(st.sampled_from(WORKERS), st.just(["gpu"]), max_size=3))
    seats = []
    for number in range(count):
        holds = {worker: 1 for worker, owner in zip(WORKERS, owners, strict=True) if owner == number}
        wants = [worker for worker in draw(st.sets(st.sampled_from(WORKERS))) if worker not in holds]
        labels = draw(st.sampled_from([[], ["gpu"]]))
        leaves = draw(st.booleans())
        seats.append(
            seat(str(number), holds, wants=wants, labels=labels, requires=requires, is_leaving=leaves)
        )
    return seats


@given(clusters(), st.randoms())
def test_a_plan_gives_every_free_worker_to_one_who_wants_it_and_may_have_it_in_whatever_order(seats, random):
    plan = Table(seats).assigned()
    random.shuffle(seats)
    assert Table(seats).assigned() == plan
    by_holder = {one.holder: one for one in seats}
    required = {worker for one in seats for worker in one.requires}
    for worker in WORKERS:
        able = [
            one
            for one in seats
            if worker in one.wants and not one.is_leaving and (worker not in required or one.labels)
        ]
        is_free = not any(worker in one.holds for one in seats)
        assert (worker in plan) == (bool(able) and is_free)
        if worker in plan:
            assert by_holder[plan[worker]] in able


@given(clusters())
def test_whatever_is_handed_over_makes_nodes_more_even_or_obeys_a_label(seats):
    table = Table(seats)
    for one in seats:
        surplus = table.surplus(one, list(one.holds))
        if surplus is None:
            continue
        worker, taker = surplus
        assert taker in table.candidates(worker)
        assert table.lacks(worker, one.labels) or len(one.holds) - len(taker.holds) >= 2


def test_of_two_who_say_that_they_hold_a_worker_the_later_one_counts():
    table = Table([seat("a", {"demo:w": 3}), seat("b", {"demo:w": 4})])
    assert table.holder("demo:w").node == "b"


def test_what_is_free_goes_to_who_holds_least_counting_what_was_just_given():
    table = Table([seat("a", 2, wants=WORKERS), seat("b", 0, wants=WORKERS)])
    plan = table.assigned()
    assert sorted(plan) == WORKERS
    assert list(plan.values()).count("b/1") == 5
    assert list(plan.values()).count("a/1") == 3


def test_why_a_worker_runs_nowhere_names_the_labels_and_the_node_that_has_them():
    needs = {"demo:w": ["gpu", "ssd"]}
    alone = Table([seat("a", requires=needs, wants=["demo:w"])])
    text = "it needs gpu, ssd, and no node that declares it has that; start one with --label gpu --label ssd"
    assert why_nowhere(alone, "demo:w", []) == text
    both = Table([*alone.seats, seat("b", labels=["gpu", "ssd"], wants=["demo:w"])])
    assert why_nowhere(both, "demo:w", ["gpu"]) == "it needs ssd, which node b has"
    assert why_nowhere(both, "demo:w", ["gpu", "ssd"]) is None


@given(
    st.binary(max_size=200) | st.sampled_from([b"{}", b"[]", b'{"node":1}', b'{"node":"a\\n","holder":"b"}'])
)
def test_what_is_no_seat_does_not_count(data):
    assert read_seat(data) is None or isinstance(read_seat(data), Seat)
    assert b"\\n" not in data or read_seat(data) is None


def test_a_seat_is_read_as_it_was_written():
    one = seat("a", 2, wants=["demo:w"], labels=["gpu"], requires={"demo:w": ["gpu"]})
    assert read_seat(msgspec.json.encode(one)) == one


def test_a_node_has_a_name_of_its_own(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "rack 7.example\n")
    assert default_node() != default_node()
    assert default_node().startswith("rack-7-example")
    assert Place().node.startswith("rack-7-example")


@pytest.mark.parametrize("label", ["", "a b", "a\n", "ü", "x" * 101, 3])
def test_a_label_is_letters_digits_and_few_signs(label):
    with pytest.raises(ValueError, match="letters, digits and -_. are wanted, 100 at most"):
        Place(labels=[label])


def test_a_node_has_so_many_labels_at_most():
    assert len(Place(labels=[f"l{n}" for n in range(LABELS)]).labels) == LABELS
    with pytest.raises(ValueError, match="labels has 33 labels; 32 are taken at most"):
        Place(labels=[f"l{n}" for n in range(LABELS + 1)])


def test_a_long_name_is_shown_by_its_beginning():
    with pytest.raises(ValueError, match="wanted, 100 at most") as refused:
        Place("x" * 10_000)
    assert len(str(refused.value)) < 160
