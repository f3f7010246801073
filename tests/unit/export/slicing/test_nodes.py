"""Which nodes of code are gone through, in which order, and that each statement is gone through once."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from dnworker_jupyter.export.slicing import nodes
from dnworker_jupyter.export.slicing.facts import facts_of_statement
from dnworker_jupyter.export.slicing.functions import body_of
from dnworker_jupyter.export.slicing.nodes import children, find, nodes_in, text_constants, walk
from dnworker_jupyter.export.slicing.reads import names_of_statement
from dnworker_jupyter.export.slicing.statements import names_read_by_functions
from tests.unit.export.builders import handler, plan

PASSED_OVER = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)
EVERY_KIND = """
import a.b as c
from .d import e
async def f(a, /, b: int = 1, *c, d=None, **e) -> "x":
    async with a as b, c: await d
    async for x in y: yield x
    else: return
def g():
    global h
    nonlocal i
    yield from (lambda x=1: x)(*a, **b)
@d(1)
class C(B, metaclass=M):
    x: int
    y: int = 2
while a and not b or -c < d <= e is not f: break
else: continue
for a, *b in [c, {d}, {e: f, **g}, (h,)]: del a[1:2:3], b.c
try: assert a, b
except (E, F) as e: raise e from None
except G: pass
else: a += 1
finally: b = c = f"{d!r:{e}} t" if (x := 1) else [i for i in j if k for l in m]
try: pass
except* H: {a: b for a in b}, {c for c in d}, (e for e in f)
match a:
    case [1, *b] | {"k": c, **d} | E(f, g=h) | None | _ as i if j: ...
"""


@pytest.mark.parametrize("file", sorted(Path(nodes.__file__).parent.glob("*.py")), ids=lambda f: f.name)
def test_all_nodes_are_gone_through_as_python_does_but_those_that_say_how_one_is_used(file):
    for tree in (ast.parse(file.read_text()), ast.parse(EVERY_KIND)):
        expected = [node for node in ast.walk(tree) if not isinstance(node, PASSED_OVER)]
        assert walk(tree) == expected
        assert [*nodes_in(tree)] == expected
        for node in expected:
            below = [one for one in ast.iter_child_nodes(node) if not isinstance(one, PASSED_OVER)]
            assert children(node) == below


def test_nodes_of_one_kind_and_of_several_are_found_in_their_order():
    tree = ast.parse(EVERY_KIND)
    for kinds in ((ast.Name,), (ast.Constant,), (ast.Name, ast.Constant), (ast.Try, ast.TryStar, ast.Slice)):
        assert find(tree, *kinds) == [node for node in ast.walk(tree) if isinstance(node, kinds)]
    assert find(tree, ast.Interactive) == find(tree, ast.Interactive, ast.Expression) == []


def test_texts_are_those_of_constants():
    assert text_constants(ast.parse("f('a', b'c', 1, f'd{x}', \"e\" 'f')\n'''g'''")) == {"a", "d", "ef", "g"}


KEEP = (nodes_in, facts_of_statement, body_of, names_of_statement, names_read_by_functions)


def read_anew(*cells: str) -> list[int]:
    """Return how many statements or functions each of `KEEP` reads for a plan."""
    before = [kept.cache_info().misses for kept in KEEP]
    plan(*cells)
    return [kept.cache_info().misses - n for kept, n in zip(KEEP, before, strict=True)]


def test_a_second_plan_reads_no_statement_again_and_after_a_change_only_those_of_the_changed_cell():
    helpers = [f"LIMIT_{n} = {n}\ndef helper_{n}(x):\n    return x + LIMIT_{n}" for n in range(20)]
    worker = handler(f"print({', '.join(f'helper_{n}(1)' for n in range(20))}, 'of this test alone')")
    assert min(read_anew(*helpers, worker)) > 0
    assert read_anew(*helpers, worker) == [0] * len(KEEP)
    helpers[7] += " + 1"
    assert max(read_anew(*helpers, worker)) <= 2
