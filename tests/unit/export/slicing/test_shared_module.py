"""What several workers need goes into one module, and what differs between them does not."""

from __future__ import annotations

import asyncio
import os
import runpy
import sys
from pathlib import Path

import pytest

from dnworker import Runtime
from dnworker.workers.subprocess_worker import SubprocessWorker
from dnworker_jupyter.export.disk.write import write
from tests.unit.export.builders import plan, problems

TWO = """
%%worker {name}
@worker.on_event("{name}.go")
async def go(event: EventEnvelope, client: RuntimeClient) -> None:
    {body}
"""


def two(first: str, second: str) -> list[str]:
    return [TWO.format(name="first", body=first), TWO.format(name="second", body=second)]


def test_a_helper_of_two_workers_goes_once_into_a_module_beside_them():
    helpers = "import json, math\nLIMIT = 3\n\n# says it loud\ndef shout(event: EventEnvelope) -> str:\n    return json.dumps(event.payload)[:LIMIT]\n\ndef alone() -> float:\n    return math.pi\n"
    files = plan(helpers, *two("print(shout(event), LIMIT)", "print(shout(event), alone())")).files
    shared = files["workers/demo_shared.py"].decode()
    assert "# says it loud\ndef shout" in shared
    assert "import json" in shared
    assert "math" not in shared
    assert "from dreadnode.capabilities.worker import EventEnvelope" in shared
    first, second = (files[f"workers/{name}.py"].decode() for name in ("first", "second"))
    assert (
        "if __package__:  # loaded by a runtime, in-process\n    from .demo_shared import LIMIT, shout\nelse:\n    from demo_shared import LIMIT, shout\n"
        in first
    )
    assert "from demo_shared import shout\n" in second
    assert "def alone" in second
    assert "import math" in second
    assert "import json" not in first + second
    assert "def shout" not in first + second


@pytest.mark.parametrize(
    "helper",
    [
        "def helper():\n    return worker.state",
        "def base():\n    return worker.state\ndef helper():\n    return base()",
        "COUNT_CACHE = 0\ndef helper():\n    global COUNT_CACHE\n    COUNT_CACHE += 1\n    return COUNT_CACHE",
    ],
)
def test_what_is_another_for_each_worker_is_not_shared(helper):
    files = plan(helper, *two("print(helper())", "print(helper())")).files
    assert "workers/demo_shared.py" not in files
    for name in ("first", "second"):
        assert "def helper" in files[f"workers/{name}.py"].decode()


def test_a_helper_that_calls_the_handler_of_another_worker_is_refused():
    told = problems("async def again(e, c):\n    await go(e, c)", *two("print(again)", "print(again)"))
    assert "'go': cell [3], line 3 is a handler of worker 'second'" in told[0]


@pytest.mark.parametrize(
    "cell",
    [
        "X = [1]\ndef helper():\n    return X\nX = [2]\nY = X",
        "X = [1]\nFIRST = list(X)\nX.append(2)\ndef helper():\n    return X, FIRST",
        "import os\nos.environ['A'] = '1'\ndef helper():\n    return os.environ['A']",
        "def helper():\n    return __name__",
    ],
    ids=["bound twice", "changed after it was read", "an effect", "its own module"],
)
def test_whatever_is_shared_the_module_and_the_scripts_run(cell, tmp_path):
    files = plan(cell, *two("print(helper())", "print(helper())"), target="dnworker").files
    for path, data in files.items():
        if path.endswith(".py"):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_bytes(data)
    for name in ("first", "second"):
        sys.path.insert(0, str(tmp_path / "workers"))
        try:
            found = runpy.run_path(str(tmp_path / "workers" / f"{name}.py"))["helper"]
            expected: dict = {"__name__": "<run_path>"}
            exec(cell, expected)
            assert repr(found()) == repr(expected["helper"]())
        finally:
            sys.path.remove(str(tmp_path / "workers"))
            sys.modules.pop("demo_shared", None)


def test_a_shared_class_finds_the_worker_that_it_derives_from():
    cell = "from dnworker import Worker\nclass Loud(Worker):\n    pass"
    shared = plan(cell, *two("print(Loud)", "print(Loud)")).files["workers/demo_shared.py"].decode()
    assert "from dreadnode.capabilities.worker import Worker" in shared


def test_a_capability_that_begins_with_a_digit_has_a_module_to_share():
    head = "%%capability\nname: 2024-demo\nversion: 1.0.0\ndescription: d"
    files = plan(head, "def a():\n    pass", *two("a()", "a()")).files
    assert b"from ._2024_demo_shared import a" in files["workers/first.py"]


def test_what_one_worker_alone_needs_is_not_shared():
    assert "workers/demo_shared.py" not in plan("def a():\n    pass", *two("a()", "pass")).files


@pytest.mark.parametrize("topology", ["in-process", "python"])
async def test_shared_helpers_are_found_in_both_topologies(topology, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")  # python: this one
    helpers = "PREFIX = 'n='\n\ndef label(event: EventEnvelope) -> str:\n    return PREFIX + str(event.payload['n'])"
    body = "await client.publish('demo.said', {{'text': label(event), 'by': '{name}'}})"
    cells = [TWO.format(name=name, body=body.format(name=name)) for name in ("first", "second")]
    made = plan(
        helpers, *cells, topology=topology, target="dreadnode" if topology == "in-process" else "dnworker"
    )
    write(made, tmp_path / "demo")
    async with Runtime(port=0) as runtime:
        await runtime.load(tmp_path / "demo")
        for managed in runtime.workers():
            if isinstance(managed, SubprocessWorker):
                await asyncio.wait_for(managed.connected.wait(), 60)
        for name in ("first", "second"):
            trace = await runtime.fire(f"{name}.go", {"n": 7})
            assert trace.ok, str(trace)
            assert [e.payload for e in trace.events()[1:]] == [{"text": "n=7", "by": name}]


FILLED = """
COMMANDS = {}
def command(name):
    def register(function):
        COMMANDS[name] = function
        return function
    return register
def twice(x):
    return 2 * x
"""


COMMANDED = """
%%worker {name}
@worker.on_event("a")
async def on_a(event, client):
    print(COMMANDS["hi"](), twice(1))
"""


def test_a_registry_stays_with_the_worker_whose_entries_it_has():
    hi = "@command('hi')\ndef hi():\n    return worker.name"
    made = plan(FILLED, hi, COMMANDED.format(name="a"), COMMANDED.format(name="b"))
    shared = made.files["workers/demo_shared.py"].decode()
    assert "twice" in shared
    assert "COMMANDS" not in shared
    for name in "ab":
        text = made.files[f"workers/{name}.py"].decode()
        assert text.index("COMMANDS = {}") < text.index("@command('hi')")


def test_what_a_shared_cell_changes_is_changed_before_others_read_it():
    cells = [
        "LIMITS = [1]",
        "%%worker a --shared\nLIMITS.append(2)",
        "ALL = [*LIMITS]\ndef twice(x):\n    return 2 * x",
        "%%worker a\n@worker.on_event('a')\nasync def on_a(event, client):\n    print(ALL, twice(1))",
        "%%worker b\n@worker.on_event('a')\nasync def on_a(event, client):\n    print(ALL, twice(1))",
    ]
    files = plan(*cells).files
    text = files["workers/a.py"].decode()
    assert text.index("LIMITS = [1]") < text.index("LIMITS.append(2)") < text.index("ALL = [*LIMITS]")
    assert "ALL" not in files["workers/demo_shared.py"].decode()


def test_workers_in_different_directories_share_no_module():
    cells = [
        "def twice(x):\n    return 2 * x",
        "%%worker a --file src/first.py\n@worker.task\nasync def t(c):\n    twice(1)",
        "%%worker b\n@worker.task\nasync def t(c):\n    twice(1)",
    ]
    made = plan(*cells)
    assert {*made.files} == {"capability.yaml", "src/first.py", "workers/b.py"}
