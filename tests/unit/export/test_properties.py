"""Whatever the notebook: its export is Python with the same handlers, or it is refused with a place."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnworker_jupyter.export.disk.diff import handlers_in_script
from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.export.slicing.problems import NotExportable
from dnworker_jupyter.syntax.cell import Cell

pytestmark = pytest.mark.slow

EVERYTHING = """
from functools import wraps
alpha = {}
beta = [1]
def gamma(function):
    @wraps(function)
    def inner(*args):
        alpha[function.__name__] = beta
        return function(*args)
    return inner
class delta:
    attribute = 1
""".strip()
NAMES = st.sampled_from(["alpha", "beta", "gamma", "delta"])
LITERALS = st.sampled_from(["1", "'text'", "[1, 2]", "{'k': (1, None)}", "-2.5", "f'{1}'"])
WORKERS = st.sampled_from(["first", "second"])


@st.composite
def expressions(draw) -> str:
    """Something that reads names, in the ways in which Python reads them."""
    name, other = draw(NAMES), draw(NAMES)
    return draw(
        st.sampled_from(
            [
                name,
                f"{name}.attribute",
                f"f'{{{name}}} and {{{other}!r}}'",
                f"[{name} for {other} in {name}]",
                f"(lambda {other}={name}: {other})()",
                f"{{{name}: {other}}}",
                f"'{name}'",
                draw(LITERALS),
                f"({other} := {name})",
                f"len({name})",
            ]
        )
    )


@st.composite
def statements(draw) -> str:
    """A top-level statement: much of it can be exported, some of it cannot."""
    name, other, value = draw(NAMES), draw(NAMES), draw(expressions())
    return draw(
        st.sampled_from(
            [
                f"{name} = {draw(LITERALS)}",
                f"{name} = {draw(LITERALS)}  # why",
                f"{name}: int = 3",
                f"{name}, {other} = 1, 2",
                f"# about {name}\ndef {name}({other}={draw(LITERALS)}):\n    '''Doc.'''\n    return {value}",
                f"def {name}():\n    global {other}\n    {other} = 1\n    return {name}",
                f"@{other}\ndef {name}(x):\n    return {value}",
                f"class {name}:\n    at = {value}\n    def m(self):\n        return {other}",
                f"import json as {name}",
                f"from math import pi as {name}, tau",
                "from os.path import *",
                f"try:\n    import tomllib as {name}\nexcept ImportError:\n    {name} = None",
                f"if True:\n    {name} = {draw(LITERALS)}",
                f"{name} = {value}",
                f"{name} += 1",
                f"for {name} in range(3):\n    pass",
                f"{name} = open('x')",
                f"{name}.append({value})",
                f"with open('x') as {name}:\n    pass",
                f"del {name}",
                f"{name} = %pwd",
                "!ls",
                "x = 1; y = 2",
                "",
            ]
        )
    )


@st.composite
def handlers(draw) -> str:
    """A handler of a worker, with a name of its own or one that helpers have."""
    name = draw(NAMES | st.sampled_from(["on_a", "on_b"]))
    decorator = draw(
        st.sampled_from(
            [
                "@worker.on_event('k.a')",
                "@worker.on_event('k.a')\n@worker.on_event('k.b')",
                "@worker.every(seconds=5)",
                "@worker.every(cron='0 6 * * *')\n@worker.every(minutes=1)",
                "@worker.on_startup",
                "@worker.task",
            ]
        )
    )
    body = draw(st.lists(expressions(), min_size=1, max_size=3))
    lines = "\n".join(f"    print({one})" for one in body)
    return f"# handles it\n{decorator}\nasync def {name}(*args):\n{lines}"


@st.composite
def notebooks(draw) -> list[str]:
    """Cells in any order, with one worker cell at least."""
    plain = st.lists(statements(), min_size=1, max_size=4).map("\n".join)
    worker = st.tuples(WORKERS, st.lists(handlers() | statements(), max_size=3)).map(
        lambda made: "\n".join([f"%%worker {made[0]}", *made[1]])
    )
    shared = st.tuples(WORKERS, st.lists(statements(), min_size=1, max_size=3)).map(
        lambda made: "\n".join([f"%%worker {made[0]} --shared", *made[1]])
    )
    sure = st.tuples(WORKERS, st.lists(handlers(), min_size=1, max_size=2)).map(
        lambda made: "\n".join([f"%%worker {made[0]}", *made[1]])
    )
    cells = draw(st.lists(plain | plain | worker | shared, max_size=5))
    cells.insert(draw(st.integers(0, len(cells))), draw(sure))
    # Most names are there: a notebook in which none is would be refused, and show little.
    made = draw(st.sampled_from([EVERYTHING, EVERYTHING, "alpha = 1", ""]))
    return [*([made] if made else []), *cells, draw(sure)]


def registered(cells: Sequence[str], worker: str) -> set[tuple[str, str, str]]:
    """What the worker's handlers are after all cells ran: only an equal one of a later cell replaces one."""
    found: set[tuple[str, str, str]] = set()
    for cell in cells:
        head, _, body = cell.partition("\n")
        if head.split()[:2] == ["%%worker", worker]:
            python = "\n".join(line for line in body.splitlines() if not re.match(r"!|\w+ = %", line))
            found |= set(handlers_in_script(python))
    return found


@settings(max_examples=80, deadline=None)
@given(notebooks(), st.sampled_from(["uv", "in-process"]))
def test_any_notebook_exports_to_code_with_the_same_handlers_or_is_refused_with_a_place(cells, topology):
    sources = [Cell(number, text, f"id-{number}") for number, text in enumerate(cells, 1)]
    try:
        plan = plan_export(sources, default_name="demo", topology=topology)
    except NotExportable as exc:
        assert exc.problems
        for problem in exc.problems:
            assert problem.location.startswith("cell [") or problem.name.startswith("worker "), str(problem)
        return
    for path, data in plan.files.items():
        if path.endswith(".py"):
            ast.parse(data.decode(), path)
    assert plan.scripts
    for worker, path in plan.scripts.items():
        assert set(handlers_in_script(plan.files[path].decode())) == registered(cells, worker)


@settings(max_examples=50, deadline=None)
@given(notebooks())
def test_every_name_that_a_script_needs_is_bound_in_it(cells):
    """Nothing of the notebook is missing: what is read and not bound is a builtin."""
    import builtins
    import symtable

    sources = [Cell(number, text, f"id-{number}") for number, text in enumerate(cells, 1)]
    try:
        plan = plan_export(sources, default_name="demo")
    except NotExportable:
        return
    for path, data in plan.files.items():
        if not path.endswith(".py"):
            continue
        table = symtable.symtable(data.decode(), path, "exec")
        bound = {
            s.get_name()
            for s in table.get_symbols()
            if s.is_assigned() or s.is_imported() or s.is_namespace()
        }
        waiting, read = [table], set()
        while waiting:
            one = waiting.pop()
            waiting += one.get_children()
            read |= {
                s.get_name()
                for s in one.get_symbols()
                if s.is_referenced() and (one is table or s.is_global())
            }
            bound |= {s.get_name() for s in one.get_symbols() if s.is_declared_global() and s.is_assigned()}
        assert read - bound <= {*dir(builtins), "__name__", "__package__"}, data.decode()
