"""Debuggers of handlers that interleave: each gives the thread back to who traced it before."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from dnworker.core.invocation import Invocation
from dnworker_jupyter.kernel.cell_pdb import CellPdb, Hooks

HOOKS = Hooks(lambda debugger: nullcontext(), lambda debugger: None, lambda debugger: None)


def theirs(*event: Any) -> None:
    """Trace as a debugger of the front end does, which was there before."""


@pytest.fixture(params=[None, theirs], ids=["nobody", "front end"])
def tracer(request):
    before = sys.gettrace()
    sys.settrace(request.param)
    yield request.param
    sys.settrace(before)


def debugger() -> CellPdb:
    io = SimpleNamespace(cell=SimpleNamespace(is_waiting=True), write=len, flush=lambda: None)
    return CellPdb(io, Invocation("w", "h", "event"), HOOKS)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_no_debugger_brings_back_one_that_has_ended(tracer, order):
    both = [debugger(), debugger()]
    for one in both:
        one.begin(sys._getframe())
    for one in reversed(both):
        one.set_continue()
    for n in order:
        both[n].finish()
    assert sys.gettrace() is tracer


def test_what_traced_before_comes_back_over_one_that_ended_first(tracer):
    first, second, third = debugger(), debugger(), debugger()
    for one in (first, second, third):
        one.begin(sys._getframe())
    first.finish()
    second.finish()
    assert sys.gettrace() == third.trace_dispatch
    third.finish()
    assert sys.gettrace() is tracer


def test_two_that_stop_in_turn_do_not_give_the_thread_back_to_each_other(tracer):
    both = [debugger(), debugger()]
    for one in [*both, *both]:
        one.begin(sys._getframe())
    for one in both:
        one.finish()
    assert sys.gettrace() is tracer
