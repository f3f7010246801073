"""Members of a worker: each event belongs to one, and none is lost or doubled where their number changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.envelope import EventEnvelope
from dnworker.core.members import Partition, Share, family_of, index_of, member_name
from dnworker.events.brokers.kept.cursors import Cursor, Outstanding
from dnworker.events.brokers.kept.dividing import Moved, divided, passed_over, plan_of, prepare

LAST = 40
partitions = st.builds(Partition, st.integers(1, 6), st.booleans())
texts = st.text(max_size=8)


@given(partitions, texts, st.none() | texts)
def test_every_event_belongs_to_exactly_one_member(partition, event_id, session_id):
    envelope = EventEnvelope(seq=1, kind="a", payload=None, session_id=session_id, event_id=event_id)
    having = [n for n in range(partition.of) if Share(n, partition).has(envelope)]
    assert having == [partition.member_of(event_id, session_id)]


@given(st.integers(2, 6), texts, st.lists(texts, min_size=2, max_size=10))
def test_all_events_of_a_session_belong_to_one_member_where_that_is_asked(of, session_id, event_ids):
    partition = Partition(of, by_session=True)
    assert len({partition.member_of(event_id, session_id) for event_id in event_ids}) == 1


def test_events_without_a_session_and_those_without_an_order_are_spread_over_all_members():
    for partition in (Partition(4), Partition(4, by_session=True)):
        counts = [0, 0, 0, 0]
        for n in range(4000):
            counts[partition.member_of(f"event-{n}", None)] += 1
        assert min(counts) > 800


@given(st.integers(0, 63))
def test_the_name_of_a_member_says_which_it_is_and_of_which_worker(index):
    name = member_name("demo:bridge", index)
    assert (family_of(name), index_of(name)) == ("demo:bridge", index)


@st.composite
def histories(draw):
    """Draw events, and the cursors of members that have handled some of them."""
    partition = draw(partitions)
    events = [
        EventEnvelope(
            seq=seq,
            kind=draw(st.sampled_from("ab")),
            payload=None,
            event_id=f"e{seq}",
            session_id=draw(st.sampled_from(["s1", "s2", "s3", None])),
        )
        for seq in range(1, LAST + 1)
    ]
    cursors, handled = [], set()
    for index in range(partition.of):
        start = draw(st.integers(0, LAST // 2))
        kinds = draw(st.sampled_from([{"a": start}, {"a": start, "b": start}, {None: start}]))
        cursor = Cursor(member_name("demo:bridge", index), dict(kinds), draw(st.integers(start, LAST)), "")
        cursor.share = Share(index, partition)
        cursor.taken_to = draw(st.integers(cursor.handled_to, LAST))
        cursor.is_live = draw(st.booleans())
        for one in filter(cursor.gets, events):
            if draw(st.integers(0, 3)) == 0:
                is_passed = one.seq > cursor.handled_to and not cursor.wants(one.kind, one.seq)
                cursor.outstanding[one.seq] = Outstanding(draw(st.integers(0, 3)), None, [], is_passed)
            elif one.seq <= cursor.handled_to:
                handled.add(one.seq)
        cursors.append(cursor)
    return partition, events, cursors, handled


def to_get(cursor: Cursor, events: list[EventEnvelope]) -> set[int]:
    """Return what a member gets from now on, by its cursor."""
    later = {one.seq for one in events if one.seq > cursor.handled_to and cursor.gets(one)}
    before = {seq for seq, one in cursor.outstanding.items() if seq <= cursor.handled_to or one.is_passed}
    return later | before


@given(histories(), partitions)
def test_another_number_of_members_loses_no_event_and_gives_none_twice(history, partition):
    _, events, cursors, handled = history
    owed = set().union(*(to_get(cursor, events) for cursor in cursors))
    counts = {seq: one.deliveries for cursor in cursors for seq, one in cursor.outstanding.items()}
    prepare(cursors, LAST)
    plan = plan_of(cursors)
    moved = {
        one.seq: Moved(one, entry)
        for one in events
        if one.seq <= plan.handled_to and (entry := passed_over(cursors, one)) is not None
    }
    for cursor in cursors:
        for seq, entry in cursor.outstanding.items():
            moved.setdefault(seq, Moved(events[seq - 1], entry))
    members = []
    for index, outstanding in enumerate(divided(plan, partition, moved)):
        member = Cursor(member_name("demo:bridge", index), dict(plan.kinds), plan.handled_to, "")
        member.share, member.outstanding = Share(index, partition), outstanding
        members.append(member)
    got = [to_get(member, events) for member in members]
    assert sum(map(len, got)) == len(set().union(*got)), "two members get one event"
    every = set().union(*got)
    assert owed <= every, "an event is lost"
    assert not every & handled, "what was handled comes again"
    for member in members:
        for seq, entry in member.outstanding.items():
            assert entry.deliveries == counts.get(seq, entry.deliveries)
