"""Paths that a module computes from its `__file__`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from dnworker_jupyter.export.planning.own_paths import own_paths

FILE = Path("/book/helpers.py")


@pytest.mark.parametrize(
    ("code", "paths"),
    [
        ("x = (Path(__file__).parent / 'a.json').read_text()", ["/book/a.json"]),
        (
            "HERE = Path(__file__).resolve().parent\ndef f():\n    return open(HERE / 'data' / 'a.json')",
            ["/book/data/a.json"],
        ),
        ("x = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'a.json'))", ["/book/a.json"]),
        ("x = json.loads(Path(__file__).with_name('a.json').read_text())", ["/book/a.json"]),
        ("x = open(Path(__file__).with_suffix('.json'))", ["/book/helpers.json"]),
        ("x = open(os.path.splitext(__file__)[0] + '.json')", ["/book/helpers.json"]),
        ("x = open(f'{HERE}/a.json')\nHERE = os.path.dirname(__file__)", ["/book/a.json"]),
        ("x = open(os.path.dirname(__file__) + '/a.json')", ["/book/a.json"]),
        ("NAME = 'a.json'\nx = open(Path(__file__).parent.joinpath(NAME))", ["/book/a.json"]),
        ("x = Path(__file__).parents[1] / 'a.json'\nopen(x)", ["/a.json"]),
        ("class A:\n    def __init__(self):\n        self.x = Path(__file__).parent / 'a'", ["/book/a"]),
        ("import sys\nsys.path.insert(0, os.path.dirname(__file__))", []),
        ("if __file__ == sys.argv[0]:\n    pass", []),
        ("x = 'data/a.json'", []),
    ],
)
def test_a_path_is_what_a_run_would_make_of_it(code, paths):
    assert [str(found.path) for found in own_paths(ast.parse(code), FILE)] == paths


@pytest.mark.parametrize(
    "code",
    [
        "HERE = Path(__file__).parent\ndef f(name):\n    return HERE / name",
        "def f(name):\n    return os.path.join(os.path.dirname(__file__), name)",
        "def f(name):\n    return Path(__file__).with_name(name)",
        "def f(name):\n    return f'{HERE}/{name}'\nHERE = Path(__file__).parent",
        "x = __file__.replace('.py', '.json')",
    ],
)
def test_a_path_from_which_code_goes_on_is_a_base(code):
    assert [found.is_base for found in own_paths(ast.parse(code), FILE)] == [True]
