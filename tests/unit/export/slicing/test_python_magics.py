"""Magics that only run Python are that Python; others stay what they are."""

from __future__ import annotations

import ast

import pytest

from dnworker_jupyter.export.slicing.python_magics import timed_code, without_magics


def magic(line: str, prefix: str = "") -> ast.stmt:
    name, _, argument = line.partition(" ")
    return ast.parse(f"{prefix}get_ipython().run_line_magic({name!r}, {argument!r})").body[0]


@pytest.mark.parametrize(
    ("line", "python"),
    [
        ("time x = 1; y = 2", ["x = 1", "y = 2"]),
        ("env A=b c", ["import os", "os.environ['A'] = 'b c'"]),
        ("env A b", ["import os", "os.environ['A'] = 'b'"]),
        ("set_env A=b", ["import os", "os.environ['A'] = 'b'"]),
        ("env A=x$b", ["import os", "os.environ['A'] = f'x{b}'"]),
        ("env A={b}", ["import os", "os.environ['A'] = f'{b}'"]),
        ("cd it's", ["import os", 'os.chdir("it\'s")']),
    ],
)
def test_a_magic_that_runs_python_is_that_python(line, python):
    assert [text for _, text in without_magics(magic(line))] == python


@pytest.mark.parametrize("line", ["env", "env A", "time x = ", "who", "timeit f(x)"])
def test_any_other_magic_stays(line):
    node = magic(line)
    assert [*without_magics(node)] == [(node, None)]


def test_what_a_magic_gives_is_assigned():
    assert [text for _, text in without_magics(magic("time f(1)", "a = b = "))] == ["a = b = f(1)"]


def test_the_statements_of_a_magic_stand_where_the_magic_does():
    node = ast.parse("\n\nget_ipython().run_line_magic('time', 'x = 1\\ny = 2')").body[0]
    assert [one.lineno for one, _ in without_magics(node)] == [3, 3]


@pytest.mark.parametrize("line", ["timeit f(x)", "timeit -n 3 -r1 f(x)", "time f(x)"])
def test_the_code_that_a_magic_runs_often_is_known(line):
    statement = magic(line)
    assert isinstance(statement, ast.Expr)
    assert [ast.unparse(node) for node in timed_code(statement.value)] == ["f(x)"]
