"""The user's own function is found below what decorates it."""

from __future__ import annotations

import functools

from dnworker_jupyter.kernel.user_frames import code_of


async def handler(event, client):
    pass


class Callable:
    async def __call__(self, event, client):
        pass

    async def method(self, event, client):
        pass


def test_decorators_partials_methods_and_callables_are_looked_through():
    @functools.wraps(handler)
    async def around(*args):
        await handler(*args)

    assert code_of(around) is handler.__code__
    assert code_of(functools.partial(around, 1)) is handler.__code__
    assert code_of(Callable().method) is Callable.method.__code__
    assert code_of(Callable()) is Callable.__call__.__code__


def test_what_is_not_pythons_and_what_wraps_itself_has_no_code():
    assert code_of(print) is None

    def loop():
        pass

    loop.__wrapped__ = loop
    assert code_of(loop) is None
