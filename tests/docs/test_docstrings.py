"""The docstrings of everything public are whole, and their examples do what they show."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import dnworker
import dnworker.compat
import dnworker.testing
from dnworker import Runtime, VirtualClock, Worker
from tests.kernel.session import KernelSession

from .docstrings import NO_EXAMPLE, Public, examples_of, magics, public_objects, wants_example
from .example_runs import PythonRunner, check

OBJECTS = [*public_objects()]
MAGICS = [*magics()]
IN_PYTHON = [one for one in OBJECTS if not one.module.startswith("dnworker_jupyter") and examples_of(one)]
IN_A_NOTEBOOK = [one for one in OBJECTS if one.module.startswith("dnworker_jupyter") and examples_of(one)]

MANIFEST = """\
schema: 1
name: demo
version: 1.0.0
description: What the examples of docstrings load
flags:
  loud:
    description: says more
workers:
  relay:
    path: workers/relay.py
"""
RELAY = """\
from dnworker import Worker

worker = Worker("relay")


@worker.on_event("demo.relayed")
async def on_relayed(event, client):
    pass
"""
FIRST_WORKER = """\
%%worker first --quiet
@worker.on_event("demo.begun")
async def on_begun(event, client):
    pass
"""
SKILL = "---\nname: greeting\ndescription: How to greet\n---\nSay hello.\n"


def named(one: Public) -> str:
    return one.path


def returns_something(one: Public) -> bool:
    if not one.is_callable or inspect.isclass(one.value):
        return False
    return inspect.signature(one.value).return_annotation not in (
        "None",
        "Never",
        None,
        inspect.Signature.empty,
    )


# -- what docstrings say --------------------------------------------------------------------------------


@pytest.mark.parametrize("one", [*OBJECTS, *MAGICS], ids=named)
def test_a_docstring_begins_with_a_sentence(one):
    assert one.text, f"{one.path} has no docstring"
    assert one.first.endswith("."), f"{one.path}: {one.first!r} does not end with a period"
    assert one.first[0].isupper() or one.first[0] == "`", one.first


@pytest.mark.parametrize("one", OBJECTS, ids=named)
def test_every_parameter_is_explained_and_no_other(one):
    listed = one.names_in("Args", "Attributes")
    assert one.parameters - listed == set(), f"{one.path}: Args lacks them"
    if one.is_callable and one.name.partition(".")[0] not in ("Turn", "Trace"):
        assert one.names_in("Args") - one.parameters == set(), f"{one.path}: no such parameters"


@pytest.mark.parametrize("one", [o for o in OBJECTS if returns_something(o)], ids=named)
def test_what_it_returns_is_in_the_docstring(one):
    assert one.section("Returns", "Yields").strip(), f"{one.path} does not say what it returns"


@pytest.mark.parametrize("one", [*OBJECTS, *MAGICS], ids=named)
def test_a_docstring_names_no_clause_and_no_file_of_ours(one):
    assert re.search(r"\bcontract \d|\bclause|docs/", one.text) is None


@pytest.mark.parametrize("one", OBJECTS, ids=named)
def test_what_its_code_raises_is_in_the_docstring(one):
    assert {*raised_by(one)} - one.names_in("Raises") == set(), f"{one.path}: Raises lacks them"


@pytest.mark.parametrize("one", [o for o in OBJECTS if o.names_in("Attributes")], ids=named)
def test_every_attribute_is_there(one):
    sources = [
        inspect.getsource(base) for base in one.value.__mro__ if base.__module__.startswith("dnworker")
    ]
    for name in one.names_in("Attributes"):
        is_set = rf"self\.{name}\b[^=\n]*=|self\.\w+, (self\.\w+, )*self\.{name}\b|^    {name}\b"
        found = hasattr(one.value, name) or any(re.search(is_set, text, re.MULTILINE) for text in sources)
        assert found, f"{one.path} has no attribute {name}"


@pytest.mark.parametrize("one", [o for o in OBJECTS if wants_example(o)] + MAGICS, ids=named)
def test_what_people_call_has_an_example(one):
    assert examples_of(one), f"{one.path} has no example"


def test_every_exception_from_the_examples_is_still_public():
    names = {one.name for one in OBJECTS}
    assert set().union(*NO_EXAMPLE.values()) - names == set()
    having = {one.name for one in OBJECTS if examples_of(one)}
    assert set().union(*NO_EXAMPLE.values()) & having == set()


def raised_by(one: Public) -> Iterator[str]:
    """Yield the names of the exceptions that stand behind `raise` in a function, or in what makes a class's instances."""
    value = inspect.unwrap(one.value.fget if isinstance(one.value, property) else one.value)
    if not one.is_callable and value is one.value:
        return
    for node in ast.parse(textwrap.dedent(inspect.getsource(value))).body:
        if isinstance(node, ast.ClassDef):
            makers = [n for n in node.body if getattr(n, "name", "") in ("__init__", "__post_init__")]
        else:
            makers = [node]
        for maker in makers:
            yield from _raised_in(maker)


def _raised_in(node: ast.AST) -> Iterator[str]:
    for below in ast.walk(node):
        if isinstance(below, ast.Raise) and isinstance(below.exc, ast.Call):
            called = below.exc.func
            if isinstance(called, ast.Name) and called.id[0].isupper():
                yield called.id


# -- their examples -------------------------------------------------------------------------------------


@pytest.fixture
async def names(tmp_path, monkeypatch):
    """What an example has; the docstring of `dnworker` says it to readers."""
    monkeypatch.chdir(tmp_path)
    write_capability(tmp_path / "demo")
    async with Runtime(port=None, clock=VirtualClock(), journal="events.journal") as runtime:
        runtime.agents.register("echo", lambda turn: f"You said: {turn.message}")
        yield {
            **{name: getattr(dnworker, name) for name in dnworker.__all__},
            **{name: getattr(dnworker.testing, name) for name in dnworker.testing.__all__},
            "asyncio": asyncio,
            "compat": dnworker.compat,
            "Path": Path,
            "timedelta": timedelta,
            "runtime": runtime,
            "client": runtime.client(worker="bridge", capability="notebook"),
            "worker": Worker("bridge"),
        }
        await runtime.stop()
    dnworker.compat.install()


def write_capability(directory: Path) -> None:
    files = {
        "capability.yaml": MANIFEST,
        "workers/relay.py": RELAY,
        "skills/greeting/SKILL.md": SKILL,
    }
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)


@pytest.mark.parametrize("one", IN_PYTHON, ids=named)
async def test_the_examples_of_a_docstring_do_what_they_show(one, names):
    run = PythonRunner(names)
    for example in examples_of(one):
        await check(example, run, one.path)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """One kernel for all examples of the notebook; each makes what it needs."""
    session = KernelSession()
    try:
        session.run(f"%cd -q {tmp_path_factory.mktemp('examples')}\n%load_ext dnworker")
        session.run(FIRST_WORKER)
        yield session
    finally:
        session.close()


@pytest.mark.kernel
@pytest.mark.parametrize("one", [*IN_A_NOTEBOOK, *MAGICS], ids=named)
async def test_the_examples_of_the_notebook_do_what_they_show(one, kernel):
    async def run(source: str) -> str:
        reply: Any = kernel.run(source)
        return reply.text if reply.status == "ok" else reply.traceback[-1]

    for example in examples_of(one):
        await check(example, run, one.path)
