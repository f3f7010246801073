"""Whether a script may run a statement while it is imported, and why not."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.slicing.purity import Purity

from .histories import history


@pytest.mark.parametrize(
    ("code", "category"),
    [
        ("x = [n for n in range(3)]", None),
        ("import re\nx = re.compile('a')", None),
        ("from pathlib import Path\nx = Path('a') / 'b'", None),
        ("x = open('f')", "file"),
        ("from pathlib import Path\nx = Path('f').read_text()", "file"),
        ("def f(): return open('f')\nx = f()", "file"),
        ("def f(): return g()\ndef g(): return open('f')\nx = f()", "file"),
        ("class C:\n    def __init__(self): open('f')\nx = C()", "file"),
        ("def f(): return open('f')", None),
        ("x = lambda: open('f')", None),
        ("x = input()", "input"),
        ("import httpx\nx = httpx.get('http://a')", "connection"),
        ("import sqlite3\nx = sqlite3.connect(':memory:')", None),
        ("import sqlite3\nx = sqlite3.connect('f')", "connection"),
        ("import subprocess\nsubprocess.run(['a'])", "process"),
        ("import random\nx = random.random()", "varies"),
        ("import random\nrandom.seed(1)\nx = random.random()", None),
        ("import random\nx = random.Random(1)", None),
        ("x = await f()", "loop"),
        ("def f(): return f()\nx = f()", None),
        ("def open(f): return f\nx = open('f')", None),
    ],
)
def test_a_script_runs_what_does_nothing_outside_of_it(code, category):
    ran = history(code)
    why = Purity(ran).why_not(ran.statements[-1])
    assert (None if why is None else why.category) == category


def test_the_code_that_is_in_the_way_is_named():
    ran = history("def f(): return open('f')\nx = [1, f()]")
    why = Purity(ran).why_not(ran.statements[-1])
    assert why is not None
    assert why.code == "f()"
