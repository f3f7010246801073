"""Cells before Python sees them."""

from __future__ import annotations

import ast
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from dnworker_jupyter.syntax.transform import (
    CommitTransformer,
    await_magics,
    body_is_awaited,
    end_plain_cell,
    worker_cell,
)


def opened(text: str) -> list[str]:
    return worker_cell(text.splitlines(keepends=True))


def awaited(text: str) -> str:
    lines = TransformerManager().transform_cell(text).splitlines(keepends=True)
    return "".join(await_magics(lines))


OPEN = "await __import__('dnworker_jupyter')._open_worker"


def test_only_the_first_line_of_a_worker_cell_changes():
    assert opened("%%worker bridge --quiet\nx = 1\n") == [f"{OPEN}('bridge --quiet')\n", "x = 1\n"]


def test_comments_and_blank_lines_above_keep_the_line_numbers():
    assert opened("# mine\n\n%%worker bridge\nx\n") == ["# mine\n", "#\n", f"{OPEN}('bridge')\n", "x\n"]


@pytest.mark.parametrize("text", ["x = 1\n", "%%workers\n", "%%worker?\n", "x = '''\n%%worker a\n'''\n", ""])
def test_other_cells_stay_as_they_are(text):
    assert opened(text) == text.splitlines(keepends=True)


def test_future_imports_come_before_the_call_on_its_line():
    text = opened("%%worker w\n# c\nfrom __future__ import annotations  # x\nx: y\n")
    assert text == [f"from __future__ import annotations; {OPEN}('w')\n", "# c\n", "#\n", "x: y\n"]
    tree = CommitTransformer().visit(ast.parse("".join(text)))
    assert ast.unparse(tree).splitlines()[-1] == CLOSE


def test_help_is_shown_instead_of_running_the_body():
    assert opened("%%worker --help\nx = 1\n") == [
        "print(__import__('dnworker_jupyter')._cell_help('worker'))\n"
    ]
    assert opened("%%fire --help\n{}\n") == ["%fire --help\n"]


def test_comments_above_our_other_cell_magics_are_dropped():
    assert opened("# c\n%%fire x\n{}\n") == ["%%fire x\n", "{}\n"]


@pytest.mark.parametrize("line", ["%%worker w --command node", "%%agent a --model=m"])
def test_a_body_that_is_no_python_stays_a_cell_magic(line):
    assert opened(f"# c\n{line}\nnot python\n") == [f"{line}\n", "not python\n"]


def test_an_agents_cell_opens_too():
    assert opened("%%agent triage\nx\n")[0] == "await __import__('dnworker_jupyter')._open_agent('triage')\n"


def ended(text: str) -> str:
    lines = end_plain_cell(text.splitlines(keepends=True), lambda name: name == "b")
    return ast.unparse(CommitTransformer().visit(compile("".join(lines), "c", "exec", ASYNC)))


ASYNC = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@pytest.mark.parametrize(
    "text",
    [
        "w = Worker(name='x')",
        "w = dnworker.Worker('x')",
        "b = dn.worker('bridge')",
        "@b.on_event('a')\nasync def h(e, c):\n    pass",
        "@b.task\nasync def h(c):\n    pass",
    ],
)
def test_a_plain_cell_that_registers_ends_with_its_commit(text):
    assert ended(text).endswith(CLOSE)


def test_the_last_value_of_a_plain_cell_is_shown_after_its_commit():
    assert ended("b = dn.worker('bridge')\nb.name").splitlines()[-2:] == [CLOSE, "__dnworker_last__"]


def test_a_semicolon_still_hides_the_last_value():
    assert end_plain_cell(["dn.worker('b');"])[-1].endswith("_close_cell();\n")


@pytest.mark.parametrize("text", ["dn.worker('b')", "dn.worker('b') # ;", "';'; dn.worker('b')"])
def test_what_only_looks_like_a_semicolon_at_the_end_hides_nothing(text):
    assert end_plain_cell([text])[-1].endswith("_close_cell()\n")


@pytest.mark.parametrize(
    "text",
    [
        "x = Workers()",
        "x.worker",
        "def f():\n    pass",
        "Worker(",
        "# Worker(",
        "@app.task\ndef f(): pass",
        "@scheduler.every(seconds=5)\nasync def f(): pass",
        "pool.worker('x')",
    ],
)
def test_a_plain_cell_that_registers_nothing_stays_as_it_is(text):
    assert end_plain_cell([text]) == [text]


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        (
            "%fire a\n",
            "await __import__('dnworker_jupyter')._show(get_ipython().run_line_magic('fire', 'a'))\n",
        ),
        ("t = %fire a\n", "t = await get_ipython().run_line_magic('fire', 'a')\n"),
        ("%time 1\n", "get_ipython().run_line_magic('time', '1')\n"),
    ],
)
def test_our_magics_are_awaited_and_others_are_not(cell, line):
    assert awaited(cell) == line


def test_magics_in_blocks_are_awaited():
    body = awaited("for x in range(2):\n    %fire a\n")
    assert "    await __import__" in body
    ast.parse(body)


def test_where_nothing_can_be_awaited_a_magic_runs_on_and_shows_its_result_later():
    assert "await" not in awaited("def f():\n    %fire a\n")
    assert "_show_soon(" in awaited("def f():\n    %fire a\n")
    lines = TransformerManager().transform_cell("%fire a\n").splitlines(keepends=True)
    assert "await" not in "".join(await_magics(lines, nested=True))


FIRE = "get_ipython().run_line_magic('fire', 'a')"


@pytest.mark.parametrize(
    "cell",
    [
        f"f = lambda: {FIRE}\n",
        f"f = lambda x: [{FIRE} for _ in x]\n",
        f"g = ({FIRE} for _ in 'ab')\n",
        f"class A:\n    x = {FIRE}\n",
        f"async def f():\n    def g():\n        return {FIRE}\n",
    ],
)
def test_what_cannot_be_awaited_stays_as_it_is(cell):
    assert awaited(cell) == cell


@pytest.mark.parametrize(
    "cell",
    [
        f"x = [{FIRE} for _ in 'ab']\n",
        f"def f(x={FIRE}): pass\n",
        f"f = lambda x={FIRE}: x\n",
        f"class A(object, x={FIRE}): pass\n",
        f"def f():\n    async def g():\n        return {FIRE}\n",
    ],
)
def test_whatever_can_be_awaited_is(cell):
    text = awaited(cell)
    assert text.count("await get_ipython()") == 1
    compile(text, "", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_a_call_within_an_f_string_keeps_the_text_whole():
    text = awaited(f'x = f"é {{{FIRE}}} {{{FIRE}}}"\n')
    assert text.count("await get_ipython()") == (2 if sys.version_info >= (3, 12) else 0)
    compile(text, "", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


AROUND = "await __import__('dnworker_jupyter')._around"


@pytest.mark.parametrize(
    ("cell", "call"),
    [
        ("%%time\n%fire a\n", f"{AROUND}('time', '', '%fire a\\n')\n"),
        ("%time %fire a\n", f"{AROUND}('time', '%fire a')\n"),
        ("%time t = %fire a\n", f"{AROUND}('time', 't = %fire a')\n"),
        ("%%capture out\nx = 1\n  \n%%fire a\n1\n", None),
        ("%%time\n%%capture out\nt = %replay last\n", None),
        ("%%time\nt = await dn.fire('a')\n", None),
        ("x = 1\nif x:\n    %time %fire a\n", None),
        ("%%time\nget_ipython().run_line_magic('fire', 'a')\n", None),
    ],
)
def test_a_magic_that_can_wait_for_ours_is_made_to(cell, call):
    text = awaited(cell)
    assert AROUND in text if call is None else text == call
    compile(text, "", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize(
    "cell",
    [
        "%%time\nx = 1\n",
        "%%capture\nprint('fire %')\n",
        "%%bash\n%fire a\n",
        "%%writefile f\n%fire a\n",
        "%%time\n%fires a\n",
        "%%timeit\nx\n",
        "def f():\n    %time %fire a\n",
        "%%time\nawait other()\n",
    ],
)
def test_other_magics_are_left_to_ipython(cell):
    assert "dnworker" not in awaited(cell)


@pytest.mark.parametrize("cell", ["%timeit %fire a\n", "%%timeit\n%fire a\n", "%%prun\n%fire a\n"])
def test_a_magic_that_cannot_wait_is_refused_around_ours(cell):
    assert awaited(cell).startswith("__import__('dnworker_jupyter')._cannot_wait('")


def test_the_body_of_a_magic_that_waits_is_awaited():
    lines = TransformerManager().transform_cell("%fire a\n").splitlines(keepends=True)
    token = body_is_awaited.set(True)
    try:
        assert "await" in "".join(await_magics(lines, nested=True))
    finally:
        body_is_awaited.reset(token)


def test_magics_in_async_functions_are_awaited():
    assert "await" in awaited("async def f():\n    %fire a\n")


def test_text_that_only_looks_like_a_magic_is_left_alone():
    text = "x = \"get_ipython().run_line_magic('fire', 'a')\"\n"
    assert "".join(await_magics([text])) == text


def test_columns_are_counted_in_bytes():
    assert awaited("é = 1; t = 'ü'\nfor ß in 'x':\n    %fire ä\n").count("await") == 1


@given(st.text())
def test_any_text_passes_through_without_an_error(text):
    lines = text.splitlines(keepends=True)
    await_magics(worker_cell(lines))


def commit(body: str) -> list[str]:
    tree = ast.parse(f"{OPEN}('w')\n{body}")
    return ast.unparse(CommitTransformer().visit(tree)).splitlines()[1:]


CLOSE = "await __import__('dnworker_jupyter')._close_cell()"


def test_a_cell_ends_with_its_commit():
    assert commit("x = 1") == ["x = 1", CLOSE]


def test_the_last_value_is_computed_before_the_commit_and_shown_after():
    assert commit("x = 1\nx + 1") == ["x = 1", "__dnworker_last__ = x + 1", CLOSE, "__dnworker_last__"]


def test_an_empty_body_is_committed_too():
    assert commit("") == [CLOSE]


def test_other_cells_get_no_commit():
    assert ast.unparse(CommitTransformer().visit(ast.parse("x = 1"))) == "x = 1"
