"""Rules refuse what they cannot go by: keys that are awaited or missing, numbers, places."""

from __future__ import annotations

import functools
import re

import pytest

from dnworker import Worker
from dnworker.core.errors import BadRule, KeyNotHashable, RuleMisplaced
from dnworker.patterns import batch, debounce, limit, once, throttle
from tests.unit.patterns.test_rules import recording
from tests.unit.patterns.virtual import Event, Stage, play


async def slow_key(event):
    return event.session_id


RULES_WITH_KEY = [
    lambda key: debounce(seconds=5, key=key),
    lambda key: batch(size=2, within=5, key=key),
    lambda key: limit(at_once=1, key=key),
    lambda key: throttle(rate=1, per=5, key=key),
    lambda key: once(key=key),
]


@pytest.mark.parametrize("rule", RULES_WITH_KEY)
@pytest.mark.parametrize("key", [slow_key, functools.partial(slow_key)])
def test_a_key_function_that_is_awaited_is_refused(rule, key):
    with pytest.raises(BadRule, match=r"\(key=slow_key\) is not possible; key is no async function"):
        rule(key)


@pytest.mark.parametrize("rule", RULES_WITH_KEY)
@pytest.mark.filterwarnings("error")
def test_a_key_that_would_have_to_be_awaited_is_an_error_and_not_a_key_of_its_own(rule):
    handler, seen = recording(rule(lambda e: slow_key(e)))

    async def scene(stage: Stage) -> None:
        task = stage.give(handler, Event(0))
        await stage.advance(10)
        assert isinstance(task.exception(), KeyNotHashable)
        assert seen == []

    play(scene)


def test_events_without_the_key_of_once_are_no_event_that_was_handled():
    handler, seen = recording(once(key=lambda e: None))

    async def scene(stage: Stage) -> None:
        tasks = [stage.give(handler, Event(number)) for number in range(2)]
        await stage.advance(1)
        for task in tasks:
            assert "the key of once(...) is None" in str(task.exception())
        assert seen == []

    play(scene)


def test_a_partial_is_handled_once_by_the_name_of_its_function():
    seen = []

    async def ship(where, event, client):
        seen.append((where, event.event_id))

    handler = once(key=lambda e: 1)(functools.partial(ship, "home"))

    async def scene(stage: Stage) -> None:
        for number in range(2):
            stage.give(handler, Event(number))
        await stage.advance(1)
        assert seen == [("home", 0)]

    play(scene)


@pytest.mark.parametrize("make", [lambda n: debounce(seconds=n), lambda n: throttle(rate=n, per=1)])
def test_a_number_that_no_clock_takes_is_refused(make):
    with pytest.raises(BadRule, match="is not possible"):
        make(10**400)


@pytest.mark.parametrize("below", [batch(size=2, within=5), debounce(seconds=5)])
def test_a_limit_above_what_gathers_events_is_refused(below):
    async def handler(event, client): ...

    with pytest.raises(RuleMisplaced, match="write @limit"):
        limit(at_once=1)(throttle(rate=1, per=1)(below(handler)))
    assert below(limit(at_once=1)(handler)).rules[1] == "limit(at_once=1)"


@pytest.mark.parametrize("decorator", ["on_startup", "on_shutdown", "task", "every"])
@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (batch(size=2, within=5), "batch"),
        (debounce(seconds=5), "debounce"),
        (once(key=lambda e: 1), "once"),
        (limit(at_once=1, key=lambda e: 1), "limit(key=...)"),
    ],
)
def test_a_rule_that_goes_by_events_is_refused_on_handlers_without(decorator, rule, name):
    worker = Worker("clock")
    register = worker.every(seconds=1) if decorator == "every" else getattr(worker, decorator)

    async def tick(client): ...

    with pytest.raises(RuleMisplaced, match=rf"^@{re.escape(name)} goes by events, and @worker.{decorator}"):
        register(rule(tick))
    register(limit(at_once=1)(tick))
    assert worker.handler_count == 1
