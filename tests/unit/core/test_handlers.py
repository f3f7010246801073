"""A handler's identity within its worker, and its name."""

from __future__ import annotations

import functools

import pytest

from dnworker.core.handlers import DECORATORS, HandlerKey, handler_name
from dnworker.workers.worker import Worker


async def on_ready(event, client):
    """Stand in for a handler."""


class Callable:
    async def __call__(self, client):
        """Stand in for a handler without a name."""


@pytest.mark.parametrize(
    ("handler", "name"),
    [(on_ready, "on_ready"), (Callable(), "Callable"), (functools.partial(on_ready), "partial")],
    ids=["function", "instance", "partial"],
)
def test_a_handler_has_its_functions_name_or_its_types(handler, name):
    assert handler_name(handler) == name


def test_a_key_equals_the_tuple_of_its_parts():
    key = HandlerKey("on_event", "demo.ready", "on_ready")
    assert key == ("on_event", "demo.ready", "on_ready")
    assert (key.decorator, key.trigger, key.name) == tuple(key)


def test_every_decorator_is_a_method_of_worker():
    assert all(callable(getattr(Worker, decorator)) for decorator in DECORATORS)
