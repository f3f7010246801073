"""What is used of the limits, as the API and the doctor show it."""

from __future__ import annotations

import pytest

from dnworker import Runtime
from dnworker.core.limits import Limits, amount
from dnworker.core.models import LimitUse
from dnworker.engine.usage import Usage
from dnworker.events.brokers.memory import MemoryBroker
from dnworker.events.brokers.sqlite.broker import SqliteBroker


def test_gauges_of_one_limit_are_added_up_and_what_has_none_is_unknown():
    usage = Usage(Limits(log=10))
    usage.add("log", lambda: (3, 1))
    usage.add("log", lambda: (4, 0))
    assert usage.read()["log"] == LimitUse(limit=10, used=7, dropped=1)
    assert usage.read()["connections"] == LimitUse(limit=Limits().connections)


def test_a_gauge_of_an_unknown_limit_is_refused():
    with pytest.raises(ValueError, match=r"no limit 'logs'; there are: history"):
        Usage(Limits()).add("logs", lambda: (0, 0))


async def test_the_runtime_shows_every_limit_and_what_is_used_of_it():
    async with Runtime(port=None, limits=Limits(history=200_000)) as runtime:
        runtime.log_line("w", "hello")
        for _ in range(3):
            runtime.publish("a", {"text": "x" * 90_000})
        info = await runtime.client().fetch_runtime_info()
    assert info.limits is not None
    assert set(info.limits) == set(Limits.__struct_fields__)
    history = info.limits["history"]
    assert history.limit == 200_000
    assert history.dropped > 0
    assert 90_000 < history.used <= 200_000
    assert info.limits["log"].used > 0
    assert info.limits["journal"].used is None


async def test_the_use_of_the_journal_is_that_of_the_one_there_is(tmp_path):
    runtime = Runtime(port=None)
    assert runtime.usage.read()["journal"].used is None
    runtime.use_broker(MemoryBroker(), tmp_path / "first.db")
    runtime.journal.lost = 3
    assert runtime.usage.read()["journal"].dropped == 3
    runtime.use_broker(SqliteBroker(tmp_path / "events.db"))
    assert runtime.usage.read()["journal"].dropped == 0
    runtime.use_broker(MemoryBroker())
    assert runtime.usage.read()["journal"].used is None


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [(3_200_000, "history", "3.2 MB"), (60.0, "held_seconds", "60 s"), (1_024, "connections", "1,024")],
)
def test_an_amount_is_shown_with_its_unit(value, name, text):
    assert amount(value, name) == text
