"""Names and effects that cannot be exported: the location, the reason and the remedy."""

from __future__ import annotations

import pytest

from tests.unit.export.builders import handler, plan, problems, script


@pytest.mark.parametrize(
    ("cell", "body", "expected"),
    [
        ("", "print(ghost)", "'ghost': no cell defines it; it lives only in this kernel"),
        (
            "from yaml_of_nobody import *",
            "dumps({})",
            "'dumps': no cell defines it, unless cell [1], line 1 does, which imports *",
        ),
        ("files = !ls", "print(files)", "'files': cell [1], line 1 comes from a magic"),
        ("", "!ls", "'get_ipython': magics and !shell lines exist only in a notebook"),
        ("", "display(event)", "'display': it exists only in a notebook; print it"),
        ("[1]", "print(_)", "'_': it holds what cells have displayed"),
        (
            "with open('x') as f:\n    pass",
            "print(f)",
            "'f': cell [1], line 1 reads from the disk: `open('x')`",
        ),
        ("x = input()", "print(x)", "'x': cell [1], line 1 asks a person: `input()`; give it with --env"),
        ("import time\nx = time.time()", "print(x)", "'x': cell [1], line 2 is different each time it runs"),
        ("import random\nx = random.random()", "print(x)", "'x': cell [1], line 2 is different each time"),
        (
            "import httpx\nx = httpx.get('http://a').json()",
            "print(x)",
            "'x': cell [1], line 2 opens a connection: `httpx.get('http://a').json()`; open it in an @worker.on_startup",
        ),
        (
            "import httpx as r\ndef load():\n    return r.get('http://a')\nx = load()",
            "print(x)",
            "'x': cell [1], line 4 opens a connection: `load()`",
        ),
        (
            "import subprocess\nx = subprocess.run(['a'])",
            "print(x)",
            "'x': cell [1], line 2 acts on processes",
        ),
        ("async def f(): ...\nx = await f()", "print(x)", "'x': cell [1], line 2 runs on the event loop"),
        ("from pathlib import Path\nx = Path('a').read_text()", "print(x)", "line 2 reads from the disk"),
        ("x = eval(text)", "print(x)", "'x': cell [1], line 1 runs code that cannot be followed"),
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


def test_a_refusal_names_the_one_way_out_that_fits():
    (problem,) = problems("import socket\nx = socket.create_connection(('a', 1))", handler("print(x)"))
    assert problem.endswith("; open it in an @worker.on_startup handler, and keep it in worker.state")


def test_what_the_workers_own_cell_puts_into_its_state_is_exported():
    text = script(handler("pass") + 'worker.state["x"] = 1\n')
    assert text.index("worker = Worker(") < text.index('worker.state["x"] = 1') < text.index("async def on_a")


def test_what_the_workers_own_cell_does_for_nobody_is_left_out():
    assert "loading" not in script(handler("pass") + 'print("loading")\n')


def test_a_connection_in_the_workers_state_is_refused():
    (problem,) = problems(handler("pass") + 'worker.state["x"] = open("f")\n')
    assert "cell [1], line 5, column 1: `worker.state['x'] = open('f')`: changes the worker" in problem


@pytest.mark.parametrize(
    "ask",
    ["sys.modules[__name__]", "sys.modules['__main__']", "importlib.import_module('__main__')"],
)
def test_to_look_names_up_in_the_notebook_itself_is_refused(ask):
    told = problems("import sys, importlib", handler(f"print({ask})"))
    assert "looks names up in the notebook itself" in "".join(told)


def test_looking_at_something_in_the_workers_own_cell_is_harmless():
    assert "worker.name" not in script(handler("pass") + "%fire a\nworker.name\n")


def test_a_name_of_the_other_sdk_is_refused():
    (problem,) = problems("from dnworker import WorkerState as X", handler("print(X)"))
    assert "'WorkerState': comes from dnworker, which a script for dreadnode" in problem


def test_eval_that_is_given_its_names_is_exported():
    assert "eval(" in script(handler("print(eval('x + 1', {'x': 1}))"))
    (told,) = problems(handler("print(eval('x', {}), eval('y'))"))
    assert "cannot be followed" in told
    assert problems(handler("print(eval('x', globals()))"))


def test_code_that_is_nested_too_deeply_is_refused_with_its_cell_and_line():
    chain = "x = 1\ndef f(text):\n    return text" + ".strip()" * 600
    assert problems("y = 2", chain, handler("print(f)")) == [
        "cell [2], line 2: the statement: is nested too deeply to be followed, with 1203 levels; "
        "split what is so long into several statements or functions"
    ]


def test_functions_that_call_each_other_too_deeply_are_refused():
    cells = [f"def f{n}(x): return f{n - 1}(x)" for n in range(1, 1_000)]
    (problem,) = problems("def f0(x): return x", *cells, handler("print(f999(1))"))
    assert "call each other too deeply" in problem


@pytest.mark.parametrize("mark", ["(a: int)", "() -> int"])
def test_annotations_that_a_later_future_import_makes_text_are_a_warning(mark):
    cells = (
        f"def g{mark}: ...",
        "from __future__ import annotations\ndef f(a: int): ...",
        handler("print(f, g)"),
    )
    (warning,) = plan(*cells).warnings
    assert str(warning).startswith(
        f"cell [1], line 1, column 1: `def g{mark}:`: has annotations that are text"
    )
    assert "cell [2], line 1" in str(warning)


def test_a_future_import_of_the_first_cell_is_no_warning():
    cells = (
        "from __future__ import annotations\ndef f(a: int): ...",
        "def g(a: int): ...",
        handler("print(f, g)"),
    )
    assert plan(*cells).warnings == ()
    assert plan("def g(a): ...", *cells[:1], handler("print(f, g)")).warnings == ()
