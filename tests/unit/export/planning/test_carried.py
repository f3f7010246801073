"""Rules of `dnworker.patterns` are exported to both targets: as an import, and as code beside the script."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
from collections import Counter

import pytest

from dnworker import patterns
from dnworker_jupyter.export.planning.carried import carried_module
from dnworker_jupyter.export.slicing.problems import NotExportable
from tests.unit.export.builders import plan, problems, script

IMPORT = "from dnworker.patterns import batch, debounce, limit, once, throttle"
WORKER = """
%%worker bridge
@worker.on_event("doc.changed")
@debounce(seconds=5, key=lambda e: e.session_id)
async def build(event, client):
    pass
"""


def test_a_script_of_ours_imports_the_rule():
    assert "from dnworker.patterns import debounce\n" in script(IMPORT, WORKER, target="dnworker")


def test_a_script_of_the_reference_has_the_rule_beside_it():
    exported = plan(IMPORT, WORKER)
    text = exported.files["workers/bridge.py"].decode()
    assert "    from .dnworker_patterns import debounce\n" in text
    assert "    from dnworker_patterns import debounce\n" in text
    assert "dnworker.patterns" not in text
    carried = exported.files["workers/dnworker_patterns.py"].decode()
    assert "def debounce(" in carried
    assert "def throttle(" not in carried


def test_a_script_without_rules_has_nothing_beside_it():
    assert "workers/dnworker_patterns.py" not in plan(IMPORT, WORKER.replace("@debounce", "# ")).files


def test_a_rule_under_another_name_keeps_that():
    cells = "from dnworker.patterns import debounce as calm", WORKER.replace("@debounce", "@calm")
    assert "from dnworker_patterns import debounce as calm" in script(*cells)


def test_rules_of_a_star_import_are_beside_the_script():
    exported = plan("from dnworker.patterns import *", WORKER)
    assert "from dnworker_patterns import debounce\n" in exported.files["workers/bridge.py"].decode()
    assert "def debounce(" in exported.files["workers/dnworker_patterns.py"].decode()


@pytest.mark.parametrize(
    ("helper", "name"),
    [
        ("    from dnworker.patterns import limit", "dnworker.patterns.limit"),
        (
            "    import importlib\n    limit = importlib.import_module('dnworker.patterns').limit",
            "dnworker.patterns",
        ),
        ("    from dnworker import limit", "dnworker.limit"),
    ],
)
def test_an_import_within_code_of_what_no_script_has_is_refused(helper, name):
    cell = f"def gentle(handler):\n{helper}\n    return limit(at_once=1)(handler)"
    worker = WORKER.replace("@debounce(seconds=5, key=lambda e: e.session_id)", "@gentle")
    (problem,) = problems(cell, worker)
    assert problem.startswith(f"cell [1], line {2 + helper.count('importlib') // 2}: {name!r}")
    assert "import it at the top of a cell" in problem
    assert "gentle" in script(cell, worker, target="dnworker")


def test_a_local_module_that_needs_what_no_script_has_is_refused(tmp_path):
    (tmp_path / "manners.py").write_text("\nfrom dnworker.patterns import limit\ngentle = limit(at_once=1)\n")
    worker = WORKER.replace("@debounce(seconds=5, key=lambda e: e.session_id)", "@gentle")
    with pytest.raises(NotExportable) as refused:
        plan("from manners import gentle", worker, beside=tmp_path)
    (problem,) = refused.value.problems
    assert "module 'manners': imports dnworker.patterns.limit (manners.py, line 2)" in str(problem)
    assert (
        "workers/manners.py"
        in plan("from manners import gentle", worker, beside=tmp_path, target="dnworker").files
    )


@pytest.mark.parametrize(
    ("line", "of"),
    [
        ("import dnworker.patterns as p", "p"),
        ("from dnworker import patterns", "patterns"),
        ("import dnworker.patterns", "dnworker.patterns"),
    ],
)
@pytest.mark.parametrize(
    ("written", "names", "first"),
    [
        ("@{}.debounce(", "debounce", "debounce"),
        ("@{}.once(", "once", "once"),
        ("@{0}.throttle(rate=1, per=1)\n@{0}.limit(", "limit, throttle", "limit"),
    ],
)
def test_a_module_that_no_script_has_is_refused_with_the_rules_that_are_used(line, of, written, names, first):
    (problem,) = problems(line, WORKER.replace("@debounce(", written.format(of)))
    wanted = f"import its names: from dnworker.patterns import {names}, and write {first} for {of}.{first}"
    assert problem.endswith(wanted), problem


def test_once_is_said_to_remember_less_on_the_reference():
    cells = IMPORT, WORKER.replace("@debounce(seconds=5, ", "@once(")
    (warning,) = plan(*cells).warnings
    assert "there the process remembers them, until it ends" in str(warning)
    assert plan(*cells, target="dnworker").warnings == ()


def test_what_is_carried_binds_each_name_once_and_imports_nothing_of_ours():
    tree = ast.parse(carried_module(patterns.__all__))
    bound = Counter(
        name
        for node in tree.body
        for name in (
            [node.name]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            else [t.id for t in node.targets if isinstance(t, ast.Name)]
            if isinstance(node, ast.Assign)
            else [a.asname or a.name for a in node.names]
            if isinstance(node, ast.Import | ast.ImportFrom)
            else []
        )
    )
    assert [name for name, count in bound.items() if count > 1] == []
    imports = [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert [line for line in imports if "dnworker" in line] == []


PROGRAM = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from dnworker_patterns import {name}
assert not [name for name in sys.modules if name.partition(".")[0] == "dnworker"]

class Event:
    def __init__(self, number):
        self.event_id, self.session_id = number, "s"

seen = []

@{rule}
async def handler(event, client):
    seen.append([one.event_id for one in event] if isinstance(event, list) else event.event_id)

async def main():
    await asyncio.gather(*(handler(Event(number), None) for number in range(3)))
    print(seen)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("rule", "seen"),
    [
        ("debounce(seconds=0.01)", "[2]"),
        ("batch(size=2, within=0.01)", "[[0, 1], [2]]"),
        ("limit(at_once=1)", "[0, 1, 2]"),
        ("throttle(rate=1, per=60, else_='drop')", "[0]"),
        ("once(key=lambda e: e.session_id)", "[0]"),
    ],
)
def test_what_is_carried_runs_by_itself_where_there_is_no_dnworker(tmp_path, rule, seen):
    name = rule.partition("(")[0]
    (tmp_path / "dnworker_patterns.py").write_text(carried_module([name]))
    command = [sys.executable, "-I", "-S", "-c", PROGRAM.format(name=name, rule=rule), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == seen, done.stderr


def test_what_is_carried_goes_by_the_clock_of_a_runtime_of_ours(tmp_path, monkeypatch):
    from dnworker.core.clock import VirtualClock, current_clock, turn_loop

    (tmp_path / "dnworker_patterns.py").write_text(carried_module(["debounce"]))
    monkeypatch.syspath_prepend(tmp_path)
    import dnworker_patterns

    seen = []

    @dnworker_patterns.debounce(seconds=3600)
    async def handler(event, client):
        seen.append(event)

    async def scene():
        clock = VirtualClock()
        current_clock.set(clock)
        task = asyncio.create_task(handler("a", None))
        await clock.advance(3600)
        await turn_loop()
        assert (seen, task.done()) == (["a"], True)

    asyncio.run(scene())
    del sys.modules["dnworker_patterns"]
