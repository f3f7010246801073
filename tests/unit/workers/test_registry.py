"""The ways over the handlers of a registry: keys, schedules, tasks, adding and replacing."""

from __future__ import annotations

import pytest

from dnworker.core.handlers import HandlerKey
from dnworker.workers.registry import (
    HandlerRegistry,
    Registered,
    add_handlers,
    handlers_of,
    keys_of,
    replace_handlers,
    schedules_of,
    tasks_of,
)


async def one(*args): ...


async def two(*args): ...


def full() -> HandlerRegistry:
    registry = HandlerRegistry("w")
    registry.on_shutdown(two)
    registry.task(one)
    registry.every(seconds=5)(one)
    registry.on_event("b")(one)
    registry.on_event("a")(two)
    registry.on_startup(one)
    return registry


def test_every_handler_comes_in_the_order_of_its_life():
    assert [(h.key, h.function) for h in handlers_of(full())] == [
        (("on_startup", "", "one"), one),
        (("on_event", "b", "one"), one),
        (("on_event", "a", "two"), two),
        (("every", "5s", "one"), one),
        (("task", "", "one"), one),
        (("on_shutdown", "", "two"), two),
    ]


def test_every_handler_has_a_key_of_its_own():
    registry = full()
    registry.on_startup(one)
    registry.on_event("b")(one)
    registry.on_shutdown(two)
    keys = keys_of(registry)
    assert len(set(keys)) == len(keys) == registry.handler_count
    assert [key.name for key in keys if "#" in key.name] == ["one#2", "one#2", "two#2"]


def test_a_function_that_is_called_like_a_number_of_another_keeps_its_own_key():
    registry = HandlerRegistry("w")

    async def odd(client): ...

    odd.__name__ = "one#2"
    for handler in (one, odd, one, odd):
        registry.task(handler)
    assert [key.name for key in tasks_of(registry)] == ["one", "one#2", "one#3", "one#2#2"]


def test_schedules_and_tasks_of_one_name_are_numbered_so_that_none_is_lost():
    registry = HandlerRegistry("w")
    for _ in range(3):
        registry.task(one)
    registry.every(seconds=5)(one)
    registry.every(seconds=5)(one)
    registry.every(seconds=6)(one)
    assert [key.name for key in tasks_of(registry)] == ["one", "one#2", "one#3"]
    assert list(schedules_of(registry)) == [
        ("every", "5s", "one"),
        ("every", "5s", "one#2"),
        ("every", "6s", "one"),
    ]


def test_a_schedule_comes_with_its_rhythm():
    (found,) = schedules_of(full()).values()
    assert found.schedule is not None
    assert found.schedule.interval_seconds == 5


def test_the_handlers_of_one_registry_can_be_added_to_another():
    other = HandlerRegistry("w")
    add_handlers(other, handlers_of(full()))
    assert list(handlers_of(other)) == list(handlers_of(full()))


@pytest.mark.parametrize("decorator", ["every", "on_monday"])
def test_what_cannot_be_registered_is_refused(decorator):
    with pytest.raises(ValueError, match=f"'one' cannot be registered by '{decorator}'"):
        add_handlers(HandlerRegistry("w"), [Registered(HandlerKey(decorator, "", "one"), one)])


def test_every_handler_can_be_replaced_in_its_place():
    registry = full()
    replace_handlers(registry, lambda handler: (handler.key.decorator, handler.function))
    assert [h.function for h in handlers_of(registry)] == [
        (h.key.decorator, h.function) for h in handlers_of(full())
    ]
    assert registry._every_handlers[0][0].interval_seconds == 5
