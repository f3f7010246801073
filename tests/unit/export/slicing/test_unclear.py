"""An export of a file has what no name in the code says: calls of results, methods as values, given lists."""

from __future__ import annotations

import pytest

from tests.unit.export.builders import handler, plan, problems, script

CHANGES = {
    "one of two objects": ("(log if len(other) == 0 else other).append(1)",),
    "one or another": ("(None or log).append(1)",),
    "one that is bound on the way": ("print((again := log).append(1))",),
    "what a function returns": ("def get(): return log", "get().append(1)"),
    "what a function under another name returns": ("def get(): return log", "x = get", "x().append(1)"),
    "a method that is handed on": ("list(map(log.append, [1, 2]))",),
    "a method with arguments": ("import functools", "push = functools.partial(log.append, 1)", "push()"),
    "a method in a list": ("[log.append][0](1)",),
    "a call that a call makes": ("import operator", "operator.methodcaller('append', 1)(log)"),
    "what a list holds that is given": ("def put(*all):\n    for one in all: one.append(1)", "put(*[log])"),
    "in a function": ("def fill(): (log or other).append(1)", "fill()"),
    "in a lambda": ("fill = lambda: (log or other).append(1)", "fill()"),
    "a part that a pattern names": ("match [log]:\n    case [inner]:\n        inner.append(1)",),
    "one of two by an item": ("(log or other)[0:0] = [1]",),
    "what a function has returned": ("def get(): return log", "kept = get()", "kept.append(1)"),
    "what a lambda returns": ("get = lambda: log", "get().append(1)"),
    "what a method returns": ("class A:\n    def get(self): return log", "A().get().append(1)"),
    "what a generator yields": ("def each():\n    yield log", "for one in each(): one.append(1)"),
    "a function of a list": ("def f(x): log.append(x)", "all = [f]", "[one(1) for one in all]"),
    "a lambda that is given": ("f = lambda x: log.append(x)", "sorted([2, 1], key=f)"),
    "a name of a comprehension": ("x = [one.append(1) for one in (log,)]",),
    "a part of a base": ("class A: kept = log", "class B(A): pass", "B.kept.append(1)"),
}


@pytest.mark.parametrize("lines", CHANGES.values(), ids=CHANGES.keys())
def test_what_may_change_an_object_of_a_handler_is_exported(lines: tuple[str, ...]):
    text = script("log = []\nother = []", "\n".join(lines), handler("print(log)"))
    assert "".join(lines[-1].split()) in "".join(text.split())


def test_functions_of_one_call_may_share_what_it_has_made():
    made = "def make():\n    kept = []\n    return kept.append, lambda: list(kept)\nadd, show = make()\n"
    assert "\nadd(1)\n" in script(made, "add(1)", handler("print(show())"))


HARMLESS = {
    "a result that is shown": ("import hmac", "hmac.new(b'', log, 'md5').hexdigest()"),
    "a copy that is changed": ("def copied(): return sorted(log)", "copied().append(1)"),
    "functions of a list": ("def f(x): return [*log, x]", "all = [f]", "[one(1) for one in all]"),
    "a text": ("(other or log).count(1)",),
}


@pytest.mark.parametrize("lines", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_only_looks_at_an_object_is_left_out(lines: tuple[str, ...]):
    text = script("log = []\nother = []", "\n".join(lines), handler("print(log)"))
    assert lines[-1] not in text


@pytest.mark.parametrize("line", ["eval('log.append(1)')", "exec(text)"])
def test_code_that_cannot_be_followed_is_warned_of_with_its_line(line: str):
    warned = plan("log = []", f"text = 'log' + '.append(1)'\n{line}", handler("print(log)")).warnings
    assert [str(w).partition(": ran")[0] for w in warned] == [f"cell [2], line 2, column 1: `{line}`"]


def test_a_thread_that_changes_an_object_is_refused_where_it_starts():
    told = problems(
        "import threading\nlog = []",
        "t = threading.Thread(target=lambda: log.append(1))\nt.start()",
        handler("print(log)"),
    )
    assert ["cell [2], line 2 acts on processes: `t.start()`" in problem for problem in told] == [True]
