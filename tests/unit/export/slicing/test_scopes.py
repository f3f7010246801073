"""Functions with no scope within read the names that `symtable` says."""

from __future__ import annotations

import ast
import symtable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dnworker
from dnworker_jupyter.export.slicing.scopes import is_alone, read_by_function
from dnworker_jupyter.export.slicing.statements import names_read_by_functions
from tests.unit.export.builders import handler, script

PARTS = (
    "a = b", "a += b", "del a", "import a.b", "from c import d as a", "for a, *b in c: pass", "b, c",
    "try: a\n  except b as c: d", "with a as b: c", "d: print(d)", "await a", "print(f'{a!r:{b}}')", "c(d=a)",
    "while (a := b): c", "super().a", "return a.b[c]", "global a", "nonlocal a", "x = [a for a in b]",
    "a: b = c", "(lambda a: b)(c)", "a[b].c = d", "assert a, b", "raise a from b", "yield a",
    "match a:\n    case [b, *c]: d", "def a(b): c", "class a: b",
)  # fmt: skip


def by_symtable(node: ast.stmt) -> set[str]:
    """Return the global names of all functions in a statement."""
    found: set[str] = set()
    waiting = symtable.symtable(ast.unparse(node), "cell", "exec").get_children()
    for table in waiting:  # which grows
        waiting += table.get_children()
        symbols = table.get_symbols()
        found |= {s.get_name() for s in symbols if s.is_declared_global() or (s.is_global() > s.is_local())}
    return found


@given(
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=5),
    st.sampled_from(("", "a", "a, /, b=c, *d", "**c")),
)
def test_a_function_alone_reads_what_symtable_says(parts, parameters):
    body = "\n  ".join(parts)
    text = f"@a(b)\nasync def f({parameters}) -> d:\n  {body}\n"
    try:
        node = ast.parse(text).body[0]
        expected = by_symtable(node)
    except SyntaxError:
        return
    if is_alone(node):
        assert read_by_function(node) == expected


@pytest.mark.parametrize("folder", ["workers", "panel", "events"])
def test_functions_of_this_framework_read_what_symtable_says(folder):
    alone = 0
    for file in (Path(dnworker.__file__).parent / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_alone(node):
                assert read_by_function(node) == by_symtable(node), (file, node.name)
                alone += 1
    assert alone > 100


@pytest.mark.parametrize("inner", PARTS[16:21] + PARTS[25:])
def test_a_function_with_a_scope_or_a_declaration_within_is_not_alone(inner):
    assert not is_alone(ast.parse(f"def f():\n  {inner}").body[0])


@pytest.mark.parametrize("body", ["return howmany", "return [howmany for _ in [1]]"])
def test_the_parameters_of_a_function_that_is_called_top_are_its_own(body):
    (node,) = ast.parse(f"def top(howmany):\n  {body}").body
    assert names_read_by_functions(node) == set()
    assert "def top" in script(f"def top(howmany):\n    {body}", handler("print(top(1))"))
