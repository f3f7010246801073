"""Faults on purpose come again from the same seed."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.errors import UsageError
from dnworker.events.faults import Fault, FaultInjector, FaultPlan, read_chaos
from dnworker.testing import FakeClient


def test_the_words_are_read():
    chaos = read_chaos("seed=7,duplicate=0.2,delay=0.1,reorder,fail=client.publish:3,fail=client.notify:0.5")
    assert (chaos.seed, chaos.duplicate, chaos.delay, chaos.reorder) == (7, 0.2, 0.1, True)
    assert chaos.faults == (Fault("publish", number=3), Fault("notify", probability=0.5))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeed=1", "unknown 'seeed'; did you mean seed?"),
        ("dance", "there are: seed"),
        ("duplicate=2", "duplicate=2 is not a number from 0 to 1"),
        ("delay=soon", "delay=soon is not a number"),
        ("reorder=1", "reorder stands alone"),
        ("fail=publish:3", "is not of the form fail=client.publish:3"),
        ("fail=client.publish:0.2.3", "is not a number"),
    ],
)
def test_a_wrong_word_is_refused_with_the_right_one(text, said):
    with pytest.raises(UsageError, match=said):
        read_chaos(text)


def test_without_a_seed_one_is_chosen_and_told():
    chaos = read_chaos("reorder")
    assert f"seed={chaos.seed}" in chaos.describe(chaos.deliveries(3))


@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 9), st.booleans(), st.integers(0, 30))
def test_a_seed_plans_the_same_and_loses_nothing(seed, duplicate, delay, reorder, count):
    chaos = FaultPlan(seed, duplicate, delay, reorder)
    shots = chaos.deliveries(count)
    assert shots == FaultPlan(seed, duplicate, delay, reorder).deliveries(count)
    assert {shot.index for shot in shots} == set(range(count))
    assert all(0 <= shot.delay <= delay for shot in shots)
    if not reorder:
        assert [s.index for s in shots] == sorted(s.index for s in shots)


async def test_the_third_call_fails_and_the_client_is_whole_afterwards():
    client = FakeClient()
    saboteur = FaultInjector(FaultPlan(7, faults=(Fault("publish", number=3),)))
    with saboteur.at_work([client]):
        await client.publish("a")
        await client.publish("a")
        with pytest.raises(httpx.ConnectError, match=r"call 3 of client.publish fails \(seed=7\)"):
            await client.publish("a")
        await client.publish("a")
    await client.publish("a")
    assert len(client.published) == 4
    assert saboteur.failed == ["call 3 of client.publish, in a caller outside of handlers"]
    assert "publish" not in vars(client)


def test_a_method_that_clients_do_not_have_is_refused():
    with (
        pytest.raises(UsageError, match="has no such method"),
        FaultInjector(FaultPlan(1, faults=(Fault("_answer"),))).at_work([FakeClient()]),
    ):
        pass
