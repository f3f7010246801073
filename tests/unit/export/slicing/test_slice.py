"""What a worker's script contains: the handlers that count, and all that they need, in an order that works."""

from __future__ import annotations

from collections.abc import Collection
from textwrap import dedent

import pytest

from dnworker_jupyter.export.planning.plan import Ran, plan_export
from dnworker_jupyter.export.slicing.problems import NotExportable
from dnworker_jupyter.syntax.cell import Cell
from tests.unit.export.builders import handler, plan, problems, script

from .histories import few_calls_deep


def test_of_a_name_defined_twice_the_last_counts():
    assert "LIMIT = 2" in script("LIMIT = 1", handler("print(LIMIT)"), "LIMIT = 2")


def test_a_handler_run_again_in_a_later_cell_replaces_the_first():
    text = script(handler("print('old')"), handler("print('new')"))
    assert ("'old'" in text, "'new'" in text) == (False, True)


def test_all_refusals_are_told_at_once_and_through_helpers():
    told = problems(
        "a = input()", "b = input()", "def helper():\n    return b", handler("print(a, helper())")
    )
    assert [t.partition(":")[0] for t in told] == [
        "cell [3], line 2, column 12",
        "cell [4], line 4, column 11",
    ]


def test_a_shared_cell_is_exported_whole():
    shared = "%%worker bridge --shared\nimport asyncio\nLOCK = asyncio.Lock()\n"
    assert "LOCK = asyncio.Lock()" in script(shared, handler("print(LOCK)"))


TWICE = """
%%worker bridge
@worker.on_event("a")
async def handle(event, client): ...

@worker.on_event("b")
async def handle(event, client): ...
"""


def test_one_name_for_two_kinds_in_one_cell_is_two_handlers():
    assert script(TWICE).count("async def handle") == 2


def test_submodules_of_one_package_are_all_imported():
    text = script("import xml.etree.ElementTree\nimport xml.dom.minidom", handler("xml.dom, xml.etree"))
    assert "import xml.etree.ElementTree" in text
    assert "import xml.dom.minidom" in text


def test_what_is_read_when_it_is_defined_stands_before():
    text = script("B = A * 2\n@wrap\ndef f(): return B", "A = 2\ndef wrap(f): return f", handler("f()"))
    assert text.index("A = 2") < text.index("B = A * 2")
    assert text.index("def wrap") < text.index("@wrap")


REGISTRY = """
COMMANDS = {}
OTHER = {}
def command(name):
    def keep(function):
        COMMANDS[name] = function
        return function
    return keep
def other(function):
    OTHER[function.__name__] = function
    return function
@command("hi")
def hi(): return helper()
@other
def unused(): ...
def helper(): return 1
"""


def test_what_registers_itself_is_exported_with_its_registry():
    text = script(REGISTRY, handler("print(COMMANDS)"))
    assert '@command("hi")\ndef hi()' in text
    assert "def helper()" in text
    assert "unused" not in text
    assert text.index("COMMANDS = {}") < text.index("def command") < text.index("def hi")


def test_a_name_that_is_bound_anew_after_a_change_is_exported():
    assert "X = [2]" in script("X = []\nX.append(1)\nX = [2]", handler("print(X)"))


def values(*cells: str, names: str, ran: bool = True, suspects: Collection[str] = ()) -> list[object]:
    """Run the cells, export a handler that reads names, and return their values in the script."""
    sources = [*cells, handler(f"print({names})")]
    made = [Cell(n, dedent(text).strip("\n"), f"c{n}") for n, text in enumerate(sources, 1)]
    ran_ = Ran(made, suspects) if ran else None
    text = plan_export(made, default_name="demo", target="dnworker", ran=ran_).files["workers/bridge.py"]
    found: dict[str, object] = {"__name__": "exported"}
    exec(text, found)
    live: dict[str, object] = {"__name__": "exported"}
    for cell in cells:
        exec(dedent(cell), live)
    for name in names.split(", "):
        assert repr(found[name]) == repr(live[name]), text.decode()
    return [found[name] for name in names.split(", ")]


@pytest.mark.parametrize("ran", [True, False], ids=["kernel", "file"])
@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("X = 1\nY = X + 1\nX = 10", "X, Y"),
        ("b = a = []\nb.append(0)", "a"),
        ("a = [[]]\nb = a[0]\nb.append(1)", "a"),
        ("a = []\nfor n in range(3):\n    a.append(n)", "a, n"),
        ("a = [1, 2, 3]\na[1:2] = []\ndel a[0]", "a"),
        ("a = {}\na['k'] = {}\na['k']['l'] = 1", "a"),
        ("a = [1]\ndef add(x, to):\n    to.append(x)\nadd(2, a)", "a"),
        ("a = [1]\ndef add(x):\n    here = a\n    here.append(x)\nadd(2)", "a"),
        ("n = 1\ndef bump():\n    global n\n    n += 1\nbump()", "n"),
        ("def make():\n    global made\n    made = [1]\nmake()\nmade.append(2)", "made"),
        ("import heapq\nh = [3, 1]\nheapq.heapify(h)\nleast = heapq.heappop(h)", "h, least"),
        ("a = [1, 2]\nlast = a.pop()", "a, last"),
        ("it = iter([1, 2])\nfirst = next(it)\nsecond = next(it)", "first, second"),
        ("import random\nrandom.seed(4)\nx = random.random()\ny = random.random()", "y"),
        ("class A:\n    n = 1\nA.n = 2\nx = A.n", "x"),
        ("class A:\n    kinds = []\n    def __init_subclass__(cls):\n        A.kinds.append(cls.__name__)\nclass B(A): ...\nx = A.kinds", "x"),
        ("from functools import singledispatch\n@singledispatch\ndef f(x): return 0\n@f.register\ndef _(x: int): return 1\nx = f(2)", "x"),
        ("x = 1\nif x:\n    y = 2\nelse:\n    y = 3\nx = 0", "x, y"),
        ("try:\n    x = int('z')\nexcept ValueError:\n    x = -1", "x"),
        ("a = [1]\nfrom contextlib import suppress\nwith suppress(Exception):\n    a.append(2)", "a"),
        ("a, *rest = [1, 2, 3]\nb = rest\nb.append(4)", "rest, a"),
        ("a = 1\nb = 2\na, b = b, a", "a, b"),
        ("def f(): return 1\nold = f\ndef f(): return old() + 1\nx = f()", "x"),
        ("from functools import cache\ndef f(n): return n\nf = cache(f)\nx = f(3)", "x"),
        ("x = [1]\ny = x\nx += [2]", "y"),
        ("text = 'a'\nlabel = f'{text}!'\ntext = 'b'", "label, text"),
        ("x = {1: 2}\nvars_ = x.items()\nx[3] = 4\ny = sorted(vars_)", "y"),
        ("import decimal\ndecimal.getcontext().prec = 3\nx = decimal.Decimal(1) / 3", "x"),
        ("globals()['x'] = 3", "x"),
        ("from math import *\nx = sqrt(4)", "x"),
        ("list = [3]\nx = list[0]", "x"),
        ("if (n := 3) > 2:\n    x = [n]\nx.append(4)", "x, n"),
        ("match 3:\n    case int(n):\n        x = n", "x"),
        ("x = 1", "x"),
    ],
)  # fmt: skip
def test_a_name_is_in_the_script_what_it_was_at_last(cell, names, ran):
    values(cell, names=names, ran=ran)


def test_only_what_a_handler_needs_is_exported():
    text = script("X = 1\nY = []\nY.append(X)\nZED = [Y]\nALT = 3\nALT = 4", handler("print(Y)"))
    assert ("Y.append(X)" in text, "ZED" in text, "ALT" in text) == (True, False, False)


def test_a_call_that_may_change_a_name_is_exported_only_where_its_value_shows_it():
    cell = "import operator\nx = [1]\ny = operator.methodcaller('append', 2)(x)"
    made = [Cell(1, cell), Cell(2, handler("print(x)").strip("\n"))]
    plain = plan_export(made, default_name="demo", ran=Ran(made)).files["workers/bridge.py"].decode()
    wider = plan_export(made, default_name="demo", ran=Ran(made, {"x"})).files["workers/bridge.py"].decode()
    assert ("methodcaller" in plain, "methodcaller" in wider) == (False, True)


def test_of_a_cell_that_failed_what_ran_before_is_exported():
    cells = [Cell(1, "x = 1\ny = 1 / 0\nz = 3", failed_at=2), Cell(2, handler("print(x)").strip("\n"))]
    assert (
        "x = 1" in plan_export(cells, default_name="demo", ran=Ran(cells)).files["workers/bridge.py"].decode()
    )
    cells[1] = Cell(2, handler("print(z)").strip("\n"))
    with pytest.raises(NotExportable, match="'z': no cell defines it"):
        plan_export(cells, default_name="demo", ran=Ran(cells))


def test_a_cell_that_ran_twice_is_exported_as_often():
    cell, user = Cell(2, "x.append(1)", "b"), Cell(4, handler("print(x)").strip("\n"))
    cells = [Cell(1, "x = []", "a"), cell, Cell(3, "x.append(1)", "b"), user]
    text = plan_export(cells, default_name="demo", ran=Ran([user])).files["workers/bridge.py"].decode()
    assert text.count("x.append(1)") == 2


@pytest.mark.parametrize(
    ("magic", "expected"),
    [
        ("%time x.append(1)", "x.append(1)"),
        ("%%time\nx.append(1)", "x.append(1)"),
        ("%%capture\nx.append(1)", "x.append(1)"),
        ("%env A=b\nx.append(1)", "os.environ['A'] = 'b'"),
    ],
)
def test_a_magic_that_only_runs_python_is_that_python(magic, expected):
    assert expected in script("x = []", magic, handler("print(x)"))


def test_handlers_stand_below_unless_something_changes_what_they_read_when_they_are_defined():
    first = handler("pass").replace('"a"', "KIND")
    plainly = script("KIND = 'a'", first, "LIMIT = 1", handler("print(LIMIT)").replace("on_a", "on_b"))
    assert plainly.index("LIMIT = 1") < plainly.index("async def on_a")
    moved = script("KIND = 'a'", first, "KIND = 'b'", first.replace("on_a", "on_b"))
    assert moved.index("async def on_a") < moved.index("KIND = 'b'") < moved.index("async def on_b")


def test_an_import_after_the_environment_was_changed_stays_after_it():
    text = script("import os\nos.environ['YAML'] = '1'\nimport yaml", handler("print(yaml)"))
    assert text.index("os.environ['YAML']") < text.index("import yaml")


def test_a_future_import_is_written_only_where_a_cell_has_it():
    assert "__future__" not in script("x = 1", handler("print(x)"))
    text = script("from __future__ import annotations\ndef f(x: Later): ...", handler("print(f)"))
    assert "from __future__ import annotations" in text


@pytest.mark.parametrize(
    ("effect", "handler_body", "is_exported"),
    [
        ("import os\nos.environ['A'] = 'b'", "pass", True),
        ("import sys\nsys.setrecursionlimit(5000)", "pass", True),
        ("import random\nrandom.seed(1)", "print(random.random())", True),
        ("import random\nrandom.seed(1)", "pass", False),
        ("import logging\nlogging.getLogger('a').setLevel(10)", "logging.info('x')", True),
        ("import logging\nlog = logging.getLogger('a')\nlog.setLevel(10)", "logging.info('x')", True),
        ("import json\njson.dumps = repr", "print(json.dumps(1))", True),
        ("import json\njson.dumps(2)", "print(json.dumps(1))", False),
        ("import copyreg\nclass A: ...\ncopyreg.pickle(A, repr)", "print(A)", True),
    ],
)
def test_an_effect_on_the_process_is_exported_where_the_script_may_see_it(effect, handler_body, is_exported):
    assert (effect.splitlines()[-1] in script(effect, handler(handler_body))) == is_exported


@pytest.mark.parametrize("change", ["import os\nos.chdir('x')", "%cd x", "%cd -q x"])
def test_another_working_directory_is_refused_where_the_script_opens_files(change):
    (problem,) = problems(change, handler("print(open(event.kind))"))
    assert "changes the working directory" in problem
    assert "-q" not in problem
    assert "chdir" not in script(change, handler("print(event)"))


def test_an_effect_that_a_script_must_not_have_is_told():
    made = plan("import httpx\nhttpx.post('http://a')", handler("print(httpx.codes)"))
    (warning,) = [w for w in made.warnings if "httpx.post" in w.name]
    assert "ran in the notebook, and the script of bridge does not do it" in warning.why


@pytest.mark.parametrize("cell", ["x += [1]", "for i in range(1):\n    x.append(i)", "if x:\n    x = [*x]"])
def test_a_cell_that_ran_very_often_is_exported_as_often(cell):
    ran = [Cell(1, "x = [0]", "a"), *(Cell(n, cell, "b") for n in range(2, 302))]
    made = [*ran, Cell(2000, handler("print(x)").strip("\n"), "c")]
    with few_calls_deep():
        text = plan_export(made, default_name="demo", ran=Ran(made)).files["workers/bridge.py"].decode()
    assert text.count(cell.splitlines()[0]) == 300


def test_a_builtin_that_was_hidden_until_del_is_itself_again():
    text = script("def len(x): return 42\nn = len('a')", "del len", handler("print(n, len('abc'))"))
    assert text.index("n = len('a')") < text.index("del len")


def test_del_of_what_nobody_sees_is_left_out():
    assert "del tmp" not in script("tmp = [1]\ntotal = sum(tmp)", "del tmp", handler("print(total)"))


def test_del_counts_where_objects_are_held_weakly():
    cells = "import weakref\nLIVE = weakref.WeakSet()\nclass N: ...\na = N()\nLIVE.add(a)", "del a"
    assert "del a" in script(*cells, handler("print(len(LIVE))"))


def test_an_import_that_hides_a_builtin_stands_below_what_reads_that():
    text = script("x = pow(2, 3)", "from math import sqrt as pow\ny = pow(9)", handler("print(x, y)"))
    assert text.index("x = pow(2, 3)") < text.index("from math import sqrt as pow")


def test_the_environment_has_what_ipython_fills_in():
    text = script("who = 'x'\n%env GREETING=hello $who {who}", handler("print(1)"))
    assert "os.environ['GREETING'] = f'hello {who} {who}'" in text


def test_an_environment_that_only_ipython_can_tell_is_refused():
    assert "magic" in problems("n = 1\n%env LIMIT={n + 1}", handler("print(1)"))[0]


def test_each_draw_from_a_random_generator_counts():
    cells = "import random\nrng = random.Random(1)", "first = rng.randint(0, 9)"
    assert "first = rng.randint(0, 9)" in script(*cells, handler("print(rng.random())"))


def test_a_text_in_memory_is_no_file():
    cells = "import io\nbuf = io.StringIO('a')\nhead = buf.readline()"
    assert "head = buf.readline()" in script(cells, handler("print(head)"))


def test_a_call_that_is_given_the_worker_registers_handlers():
    attach = "def attach(w):\n    @w.on_event('a')\n    async def h(event, client): ..."
    assert "attach(worker)" in script(attach, "%%worker bridge\nattach(worker)")


def test_a_function_counts_that_a_decorator_of_ones_own_module_keeps(tmp_path):
    (tmp_path / "plugins_of_mine.py").write_text("KEPT = []\ndef plugin(name): return KEPT.append")
    cells = "import plugins_of_mine\n@plugins_of_mine.plugin('a')\ndef go(): ..."
    text = script(cells, handler("plugins_of_mine.KEPT"), beside=tmp_path)
    assert "def go()" in text


def test_a_generator_holds_what_it_goes_through():
    cells = "def push(to): to.append(3)\nc = [1]\nq = (n for n in c)\npush(c)", "c = 0"
    assert "push(c)" in script(*cells, handler("print(next(q))"))


def test_an_alias_of_an_iterator_is_used_up_with_it():
    cells = "r = iter([1, 2])\ns = r", "for v in s:\n    break"
    assert "for v in s" in script(*cells, handler("print(next(r))"))


def test_names_that_stand_for_each_other_end():
    assert "a = b" in script("a = b\nb = a\nprint(a.x)", handler("for i in a: print(i)"))


def test_a_name_that_a_function_binds_is_compared_with_the_kernel_too():
    cells = [
        Cell(1, "def fill():\n    global d\n    d = [1]\nfill()"),
        Cell(2, handler("print(d)").strip("\n")),
    ]
    (piece,) = plan_export(cells, default_name="demo", ran=Ran(cells)).slices
    assert "d" in piece.exported_names


def test_a_lambda_that_is_called_where_it_is_written_is_followed():
    values("x = [1]\n(lambda to: to.append(2))(x)", names="x")


@pytest.mark.parametrize("line", ["dn.worker('bridge').state['n'] = 7", "worker.state.update(n=7)"])
def test_state_that_another_cell_fills_is_told(line):
    (warning,) = plan(handler("pass"), line).warnings
    assert "ran in the notebook, and the script of bridge does not do it" in warning.why
    assert not plan(handler("pass"), "dn.worker('other').state['n'] = 7", "print(worker.state)").warnings


def test_a_state_that_a_cell_fills_under_another_name_is_exported_or_is_a_warning():
    filled = "kept = worker.state\nkept['n'] = 5"
    cell = handler("print(worker.state)")
    assert filled in script(cell.replace("%%worker bridge", f"%%worker bridge\n{filled}"))
    (warning,) = plan(cell, filled).warnings
    assert str(warning).startswith(
        "cell [2], line 2, column 1: `kept['n'] = 5`: ran in the notebook, and the script"
    )


@pytest.mark.parametrize("writer", ["db", "cur"])
def test_all_that_is_done_with_a_database_in_memory_is_exported_from_a_kernel(writer):
    lines = (
        "import sqlite3",
        "db = sqlite3.connect(':memory:')",
        "cur = db.cursor()",
        f"{writer}.execute('create table t(a)')",
    )
    cells = [Cell(1, "\n".join(lines)), Cell(2, handler("print(db)").strip())]
    made = plan_export(cells, default_name="demo", ran=Ran(cells))
    assert lines[-1] in made.files["workers/bridge.py"].decode()
