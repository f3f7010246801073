"""Names and effects that cannot be exported: the location, the reason and the remedy."""

from __future__ import annotations

import pytest

from tests.unit.export.builders import handler, problems, script


@pytest.mark.parametrize(
    ("cell", "body", "expected"),
    [
        (
            "import yaml\ndf = yaml.safe_load('[1]')",
            "print(len(df))",
            "cell [2], line 4, column 15: 'df': cell [1], line 2 assigns it from yaml.safe_load('[1]'), which ran in the notebook",
        ),
        ("", "print(ghost)", "'ghost': no cell defines it; it lives only in this kernel"),
        (
            "from json import *",
            "dumps({})",
            "'dumps': cell [1], line 1 imports *; import the names that are used",
        ),
        (
            "from yaml_of_nobody import *",
            "dumps({})",
            "'dumps': no cell defines it, unless cell [1], line 1 does, which imports *",
        ),
        ("from os import *", "open('x')", "'open': cell [1], line 1 imports *"),
        ("files = !ls", "print(files)", "'files': cell [1], line 1 assigns it from a magic"),
        ("", "!ls", "'get_ipython': magics and !shell lines exist only in a notebook"),
        ("n = 0\nfor n in range(3):\n    pass", "print(n)", "'n': cell [1], line 2 sets it in a loop"),
        ("n = 1\nn += 1", "print(n)", "'n': cell [1], line 2 changes it in place"),
        ("with open('x') as f:\n    pass", "print(f)", "'f': cell [1], line 1 sets it in a with block"),
        (
            "import asyncio\nlock = asyncio.Lock()",
            "print(lock)",
            "'lock': cell [1], line 2 assigns it from asyncio.Lock()",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused_with_place_reason_and_remedy(cell, body, expected):
    (problem,) = problems(cell, handler(body))
    assert expected in problem
    assert "; " in problem


@pytest.mark.parametrize("call", ["eval('total')", "exec('total = 1')", "globals()['total']"])
def test_what_finds_names_in_a_way_that_nobody_can_follow_is_refused(call):
    (problem,) = problems(handler(call))
    assert "cannot be followed" in problem
    assert "eval" not in script("def eval(text):\n    return text", handler("print(1)"))


def test_a_refusal_names_the_way_out():
    (problem,) = problems("x = open('f')", handler("print(x)"))
    assert problem.endswith(
        "move it into an @worker.on_startup handler, and keep it in worker.state, "
        "or put it into a cell of its own that begins with %%worker bridge --shared"
    )


def test_an_effect_in_the_workers_own_cell_is_refused():
    (problem,) = problems(handler("pass") + 'worker.state["x"] = 1\n')
    assert "`worker.state['x'] = 1`: it runs when the cell runs" in problem
    assert "cell [1], line 5" in problem


def test_looking_at_something_in_the_workers_own_cell_is_harmless():
    assert "worker.name" not in script(handler("pass") + "%fire a\nworker.name\n")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("X = []\nX.append(1)", "cell [1], line 2 changes it when the cell runs"),
        ("X = {}\nX['a'] = 1", "cell [1], line 2 changes it when the cell runs"),
        ("def X(): ...\nX.n = 3", "cell [1], line 2 changes it when the cell runs"),
        ("X = 1\nX = X + 1", "cell [1], line 2 assigns it from X + 1"),
        ("%%time\nX = 1", "is in a cell under %%time"),
        (
            "from dnworker import WorkerState as X",
            "'WorkerState': comes from dnworker, which a script for dreadnode",
        ),
    ],
)
def test_what_would_be_lost_on_the_way_is_refused(cell, said):
    (problem,) = problems(cell, handler("print(X)"))
    assert said in problem


def test_eval_that_is_given_its_names_is_exported():
    assert "eval(" in script(handler("print(eval('x + 1', {'x': 1}))"))
    (told,) = problems(handler("print(eval('x', {}), eval('y'))"))
    assert "cannot be followed" in told
    assert problems(handler("print(eval('x', globals()))"))
