"""The exporter: what travels, what is refused, and that the same notebook gives the same bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest
import yaml

from dnworker import Runtime, compat
from dnworker.capability.manifest import load_manifest
from dnworker.cli.main import main
from dnworker.core.errors import ManifestError, UsageError
from dnworker.workers.loading import load_worker
from dnworker.workers.subprocess_worker import CHILD_HOOK, SubprocessWorker
from dnworker_jupyter.export.disk import atomic as exchange
from dnworker_jupyter.export.disk.write import _digest, write
from dnworker_jupyter.export.export import FileExport
from dnworker_jupyter.export.planning.manifest import around_workers
from dnworker_jupyter.export.planning.plan import Plan, plan_export
from dnworker_jupyter.export.slicing.cells import read_notebook
from dnworker_jupyter.export.slicing.problems import NotExportable, Report
from dnworker_jupyter.export.slicing.requirements import bounds, resolve, wanted_extras
from dnworker_jupyter.kernel.cells import Cell
from tests import golden

HANDLER = """
%%worker bridge
@worker.on_event("a")
async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
    {body}
"""


def plan(*cells: str, **options) -> Plan:
    sources = [Cell(number, dedent(text).strip("\n")) for number, text in enumerate(cells, 1)]
    return plan_export(sources, default_name="demo", **options)


def script(*cells: str, **options) -> str:
    return plan(*cells, **options).files["workers/bridge.py"].decode()


def problems(*cells: str) -> list[str]:
    with pytest.raises(NotExportable) as refused:
        plan(*cells)
    return [str(r) for r in refused.value.problems]


def handler(body: str) -> str:
    return HANDLER.format(body=body)


# -- pairs of files: each rule has a notebook and the script it must become ----------------------------


@pytest.mark.parametrize("name", golden.names())
def test_a_notebook_becomes_the_tree_beside_it_or_is_refused_for_these_reasons(name):
    assert golden.made(name) == golden.expected(name)


def test_every_script_declares_only_what_it_imports():
    text = script("import msgspec, yaml\nimport json", handler("print(json.dumps({}), msgspec)"))
    header = text.partition('# ///\n"""')[0]
    assert f'"msgspec>={msgspec.__version__}"' in header
    assert "yaml" not in text


def test_the_same_cells_give_the_same_bytes():
    cells = ("X = {'b', 'a'}", handler("print(X)"))
    assert plan(*cells, target="dnworker").files == plan(*cells, target="dnworker").files


def test_of_a_name_defined_twice_the_last_counts():
    assert "LIMIT = 2" in script("LIMIT = 1", handler("print(LIMIT)"), "LIMIT = 2")


def test_a_handler_run_again_in_a_later_cell_replaces_the_first():
    text = script(handler("print('old')"), handler("print('new')"))
    assert ("'old'" in text, "'new'" in text) == (False, True)


def test_several_workers_become_several_scripts():
    other = handler("pass").replace("bridge", "other")
    assert [n for n in plan(handler("pass"), other).files if n.endswith(".py")] == [
        "workers/bridge.py",
        "workers/other.py",
    ]


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
        "COUNT = 0\ndef helper():\n    global COUNT\n    COUNT += 1\n    return COUNT",
    ],
)
def test_what_is_another_for_each_worker_is_not_shared(helper):
    files = plan(helper, *two("print(helper())", "print(helper())")).files
    assert "workers/demo_shared.py" not in files
    for name in ("first", "second"):
        assert "def helper" in files[f"workers/{name}.py"].decode()


def test_a_helper_that_uses_a_handler_stays_with_its_worker():
    files = plan("async def again(e, c):\n    await go(e, c)", *two("print(again)", "print(again)")).files
    assert "workers/demo_shared.py" not in files


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
                await asyncio.wait_for(managed.connected.wait(), 30)
        for name in ("first", "second"):
            trace = await runtime.fire(f"{name}.go", {"n": 7})
            assert trace.ok, str(trace)
            assert [e.payload for e in trace.events()[1:]] == [{"text": "n=7", "by": name}]


# -- problems ------------------------------------------------------------------------------------------


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
def test_what_cannot_travel_is_refused_with_place_reason_and_remedy(cell, body, expected):
    (problem,) = problems(cell, handler(body))
    assert expected in problem
    assert "; " in problem


@pytest.mark.parametrize("call", ["eval('total')", "exec('total = 1')", "globals()['total']"])
def test_what_finds_names_in_a_way_that_nobody_can_follow_is_refused(call):
    (problem,) = problems(handler(call))
    assert "cannot be followed" in problem
    assert "eval" not in script("def eval(text):\n    return text", handler("print(1)"))


def test_every_reason_is_told_in_one_report_with_its_place_for_tools_and_for_people():
    cells = [
        "a = input()",
        "import no_such_module",
        handler("print(a, no_such_module)"),
        "%%worker empty\nx = 1",
    ]
    sources = [Cell(n, text.strip(), id=f"id-{n}") for n, text in enumerate(cells, 1)]
    with pytest.raises(NotExportable) as refused:
        plan_export(sources, default_name="demo")
    told = refused.value.as_json()
    assert told["error"] == "3 things cannot be exported; nothing was written"
    assert [(r["cell"], r["cell_id"], r["line"], r["name"]) for r in told["refusals"]] == [
        (2, "id-2", 1, "module 'no_such_module'"),
        (3, "id-3", 4, "'a'"),
        (4, "id-4", None, "worker 'empty'"),
    ]
    assert all(r["why"] and r["remedy"] for r in told["refusals"])
    html = Report(refused.value.title, refused.value.problems)._repr_html_()
    assert '<a href="#cell-id=id-3">cell [3], line 4, column 11</a>: &#x27;a&#x27;: cell [1], line 1' in html


@pytest.mark.parametrize(
    "text",
    [
        "'sk-proj-" + "a1" * 15 + "'",
        "f'Bearer ghp_" + "Z" * 36 + "'",
        "'postgres://me:hunter2@db/x'",
        "dict(api_key='correct-horse-battery')",
        "{'password': 'hunter2hunter2'}",
        "'-----BEGIN RSA PRIVATE KEY-----'",
    ],
)
def test_a_secret_in_a_text_is_warned_of_and_never_told(text):
    warnings = plan("x = 1", handler(f"print({text})")).warnings
    (warning,) = [str(w) for w in warnings]
    assert warning.startswith("cell [2], line 4, column ")
    assert "for everybody to read; read it from os.environ" in warning
    assert not {"hunter2", "correct-horse", "a1a1a1", "ZZZZ"} & set(re.findall(r"[\w-]+", warning))


@pytest.mark.parametrize(
    "text",
    [
        "'sk-short'",
        "dict(token='<your token>')",
        "{'password': ''}",
        "'https://example.com/a:b@c'",
        "dict(token_count='12345678901')",
    ],
)
def test_what_is_no_secret_is_not_warned_of(text):
    assert plan("x = 1", handler(f"print({text})")).warnings == ()


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ("open('data.csv')", "open('data.csv')"),
        ("Path('data.csv').read_text()", "Path('data.csv')"),
        ("pd.read_csv('data.csv')", "read_csv('data.csv')"),
        ("open('data.csv', 'w')", None),
        ("open('other.csv')", None),
        ("open('/etc/hosts')", None),
        ("open(file='data.csv')", "open('data.csv')"),
        ("open(DATA)", "open('data.csv')"),
        ("pd.loadtxt('data.csv')", "loadtxt('data.csv')"),
        ("pd.read_csv(filepath_or_buffer='data.csv')", "read_csv('data.csv')"),
        ("Path('data.csv').open()", "Path('data.csv')"),
        ("Path('data.csv').open('w')", None),
        ("Path('data.csv').write_text('x')", None),
        ("Path('data.csv').unlink()", None),
        ("open(DATA + 'x')", None),
        ("worker.state['archive'].read('data.csv')", None),
        ("worker.state['archive'].open('data.csv')", None),
        ("open('x' * 9000)", None),
    ],
)
def test_a_file_beside_the_notebook_that_is_read_is_refused(body, refused, tmp_path):
    (tmp_path / "data.csv").touch()
    above = "from pathlib import Path\nimport yaml as pd\nDATA = 'data.csv'"
    sources = [Cell(n, dedent(text).strip()) for n, text in enumerate([above, handler(f"print({body})")], 1)]

    def run():
        return plan_export(sources, default_name="demo", beside=tmp_path)

    if refused is None:
        assert run().files
        return
    with pytest.raises(NotExportable) as told:
        run()
    (problem,) = told.value.problems
    assert (problem.name, problem.location.partition(",")[0]) == (refused, "cell [2]")
    assert "is not exported" in problem.why


def test_a_refusal_names_the_way_out():
    (problem,) = problems("x = open('f')", handler("print(x)"))
    assert problem.endswith(
        "move it into an @worker.on_startup handler, and keep it in worker.state, "
        "or put it into a cell of its own that begins with %%worker bridge --shared"
    )


def test_all_refusals_are_told_at_once_and_through_helpers():
    told = problems(
        "a = input()", "b = input()", "def helper():\n    return b", handler("print(a, helper())")
    )
    assert [t.partition(":")[0] for t in told] == [
        "cell [3], line 2, column 12",
        "cell [4], line 4, column 11",
    ]


def test_an_effect_in_the_workers_own_cell_is_refused():
    (problem,) = problems(handler("pass") + 'worker.state["x"] = 1\n')
    assert "`worker.state['x'] = 1`: it runs when the cell runs" in problem
    assert "cell [1], line 5" in problem


def test_looking_at_something_in_the_workers_own_cell_is_harmless():
    assert "worker.name" not in script(handler("pass") + "%fire a\nworker.name\n")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["x = 1"], "there is no worker"),
        (["%%worker bridge\nx = 1"], "worker 'bridge': has no handlers"),
        (["%%worker bridge\nx = ("], r"cell \[1\], line 2, column \d+: the cell: is no Python"),
        (
            ["import no_such_module", handler("no_such_module.f()")],
            r"cell \[1\], line 1: module 'no_such_module': is not installed here",
        ),
    ],
)
def test_a_notebook_without_a_whole_worker_is_refused(cells, message):
    with pytest.raises(NotExportable, match=message):
        plan(*cells)


def test_a_shared_cell_travels_whole():
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


def test_what_registers_itself_travels_with_its_registry():
    text = script(REGISTRY, handler("print(COMMANDS)"))
    assert '@command("hi")\ndef hi()' in text
    assert "def helper()" in text
    assert "unused" not in text
    assert text.index("COMMANDS = {}") < text.index("def command") < text.index("def hi")


def test_a_lambda_is_a_plain_value():
    assert "ADD = lambda v: len(v) + A" in script(
        "A = 1\nADD = lambda v: len(v) + A", handler("print(ADD(''))")
    )


def test_a_name_that_is_bound_anew_after_a_change_travels():
    assert "X = [2]" in script("X = []\nX.append(1)\nX = [2]", handler("print(X)"))


def test_other_names_of_ours_are_imported_where_the_target_has_them():
    assert "from dnworker import WorkerState" in script(
        "from dnworker import WorkerState", handler("print(WorkerState)"), target="dnworker"
    )
    aliased = script("from dnworker import EventEnvelope as EE", handler("print(EE)"))
    assert "from dreadnode.capabilities.worker import EventEnvelope as EE" in aliased


def test_a_module_that_may_be_missing_is_no_requirement():
    text = script(
        "try:\n    import no_such as json\nexcept ImportError:\n    import json", handler("print(json)")
    )
    assert 'dependencies = [\n#     "dreadnode' in text
    assert "no_such" not in text.partition('# ///\n"""')[0]


def test_a_script_never_shadows_a_module():
    cell = "import queue", handler("print(queue)").replace("bridge", "queue")
    assert "workers/queue-worker.py" in plan(*cell).files


def test_a_head_may_begin_with_a_document_marker():
    assert plan(HEAD.replace("# ours", "---"), handler("pass")).name == "mine"


# -- the manifest --------------------------------------------------------------------------------------

HEAD = "%%capability\n# ours\nname: mine\nversion: 1.2.3\ndescription: d\nflags:\n  relay: {description: r}\n"


def test_the_head_is_kept_as_it_was_written():
    text = plan(HEAD, handler("pass")).files["capability.yaml"].decode()
    assert text.startswith("schema: 1\n# ours\nname: mine\nversion: 1.2.3\n")


def again(out, *cells):
    """Export cells without a head into a directory, as `%capability export` does."""
    made = plan(*cells, existing=(out / "capability.yaml").read_text() if out.exists() else None)
    return write(made, out)


EDITED = """# mine, by hand
schema: 1
name: demo  # the name
version: 1.4.0
description: Edited

workers:
  bridge:
    command: uv
    args: [run, '${CAPABILITY_ROOT}/workers/bridge.py']
# what follows is kept, too
keywords: [a, b]
"""


def test_of_a_manifest_that_is_there_only_the_workers_change(tmp_path):
    out = tmp_path / "out"
    again(out, handler("pass"))
    (out / "capability.yaml").write_text(EDITED)
    again(out, handler("pass"), handler("pass").replace("bridge", "other"))
    text = (out / "capability.yaml").read_text()
    assert text == EDITED.replace(
        "# what follows",
        "  other:\n    command: uv\n    args: [run, '${CAPABILITY_ROOT}/workers/other.py']\n# what follows",
    )
    assert load_manifest(out).version == "1.4.0"
    assert again(out, handler("pass"), handler("pass").replace("bridge", "other")) == []


def test_workers_that_were_edited_by_hand_are_not_written_over(tmp_path):
    out = tmp_path / "out"
    again(out, handler("pass"))
    file = out / "capability.yaml"
    file.write_text(file.read_text().replace("command: uv", "command: python"))
    with pytest.raises(UsageError, match="edited since the last export"):
        again(out, handler("pass"), handler("pass").replace("bridge", "other"))


@pytest.mark.parametrize(
    "text",
    [
        "name: n\nversion: 1.0.0\ndescription: d\nworkers:\n  x: {path: workers/x.py}\nschema: 1\n",
        "---\nschema: 1\nname: n\nversion: 1.0.0\ndescription: d\nworkers:\n  x: {path: workers/x.py}\n...\n",
        "schema: 1\nname: n\nversion: 1.0.0\ndescription: d\nworkers:\n  x: {path: x.py}\n# of y\n  y: {path: y.py}\n",
    ],
    ids=["schema behind", "document marks", "a comment in the first column"],
)
def test_a_manifest_that_is_there_is_kept_whatever_its_order(text):
    made = plan(handler("pass"), existing=text).files["capability.yaml"].decode()
    assert yaml.safe_load(made)["workers"] == {
        "bridge": {"command": "uv", "args": ["run", "${CAPABILITY_ROOT}/workers/bridge.py"]}
    }
    assert made.count("schema:") == 1
    assert made.replace("workers:", "", 1).startswith(text.partition("workers:")[0])


def test_a_head_in_the_notebook_wins_over_the_manifest_that_is_there(tmp_path):
    made = plan("%%capability\nname: new\nversion: 2.0.0\ndescription: d", handler("pass"), existing=EDITED)
    assert made.name == "new"
    assert b"Edited" not in made.files["capability.yaml"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a: 1\nworkers:\n  w: {}\n\n# c\nb: 2\n", ("a: 1\n", "workers:\n  w: {}\n", "\n# c\nb: 2\n")),
        (
            "workers: {w: {path: x},\n y: {path: z}}\nb: 2\n",
            ("", "workers: {w: {path: x},\n y: {path: z}}\n", "b: 2\n"),
        ),
        ("a: 1\n", ("a: 1\n", "", "")),
        ("workers:\n  w:\n    # why\n    path: x", ("", "workers:\n  w:\n    # why\n    path: x", "")),
        (
            "workers:\n  w: {}\n# of y\n  y: {}\n  # last\n# of b\nb: 2\n",
            ("", "workers:\n  w: {}\n# of y\n  y: {}\n  # last\n", "# of b\nb: 2\n"),
        ),
        ("---\na: 1\nworkers:\n  w: {}\n...\n", ("---\na: 1\n", "workers:\n  w: {}\n", "...\n")),
        ("a: [", ("a: [", "", "")),
    ],
)
def test_the_workers_of_a_manifest_are_found_with_their_comments(text, parts):
    assert around_workers(text) == parts


def test_options_of_the_worker_line_go_into_the_manifest(tmp_path):
    cell = handler("pass").replace("bridge\n", "bridge --when relay --env LEVEL=debug\n", 1)
    write(plan(HEAD, cell), tmp_path / "out")
    entry = load_manifest(tmp_path / "out").workers["bridge"]
    assert (entry.command, entry.when, entry.env) == ("uv", ("relay",), {"LEVEL": "debug"})
    assert entry.args == ("run", str(tmp_path / "out" / "workers" / "bridge.py"))


@pytest.mark.parametrize(
    ("topology", "line"),
    [("python", "command: python"), ("in-process", "path: workers/bridge.py"), ("uv", "command: uv")],
)
def test_the_topology_is_one_line_of_the_manifest(topology, line):
    assert line in plan(handler("pass"), topology=topology).files["capability.yaml"].decode()


def test_a_flag_that_is_not_declared_is_refused():
    with pytest.raises(ManifestError, match="FLAG-012"):
        cell = handler("pass").replace("bridge\n", "bridge --when nope\n", 1)
        plan(HEAD, cell)


def test_a_head_with_workers_is_refused():
    with pytest.raises(ManifestError, match=r"cell \[1\]: workers come from %%worker cells"):
        plan(HEAD + "workers:\n  relay: {command: x}\n", handler("pass"))


# -- requirements --------------------------------------------------------------------------------------


def test_imports_become_distributions_with_bounds():
    needs = resolve(["yaml", "json", "dnworker"])
    assert [str(r) for r in needs.requirements.values()] == [
        f"pyyaml{bounds(sys.modules['yaml'].__version__)}"
    ]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.31.0", ">=2.31.0,<3"),
        ("1.2.3+local", ">=1.2.3,<2"),
        ("3.0.0rc1", ">=3.0.0rc1,<4"),
        ("0.28.1", ">=0.28.1"),
        ("24.8.0", ">=24.8.0"),  # a date, as black's
        ("2026.10.19", ">=2026.10.19"),
        ("17.4", ">=17.4"),
    ],
)
def test_the_next_major_is_the_upper_bound_where_the_project_counts_that_way(version, expected):
    assert bounds(version) == expected


def test_extras_that_were_asked_for_are_kept():
    cells = ["%pip install 'httpx[http2]' pandas  # both\n!uv pip install 'Ruamel.YAML[x]'", "x = '%pip'"]
    assert wanted_extras(cells, ["anyio[trio]>=4"]) == {
        "httpx": {"http2"},
        "ruamel-yaml": {"x"},
        "anyio": {"trio"},
    }
    text = script("%pip install -q 'httpx[http2,cli]'", "import httpx", handler("print(httpx)"))
    assert '"httpx[cli,http2]>=' in text


def test_a_local_module_travels_as_a_sibling_with_what_it_imports(tmp_path, monkeypatch):
    (tmp_path / "my_helpers.py").write_text("import yaml\nVALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    files = plan("import my_helpers", handler("print(my_helpers.VALUE)")).files
    assert files["workers/my_helpers.py"] == b"import yaml\nVALUE = 1\n"
    assert b"pyyaml>=" in files["workers/bridge.py"]


@pytest.mark.parametrize(
    ("cell", "asked"),
    [
        ("try:\n    import nobody_has_this as y\nexcept ImportError:\n    import yaml as y", {"pyyaml"}),
        ("try:\n    import yaml as y\nexcept ImportError:\n    import nobody_has_this as y", {"pyyaml"}),
        ("try:\n    import nobody_has_this as y\nexcept ImportError:\n    y = None", set()),
        ("def y():\n    import importlib\n    return importlib.import_module('yaml.nodes')", {"pyyaml"}),
        ("def y():\n    return __import__('yaml')", {"pyyaml"}),
    ],
)
def test_what_may_be_missing_is_taken_where_it_is_known(cell, asked):
    text = script(cell, handler("print(y)"))
    assert {name for name in ("pyyaml", "nobody") if f'"{name}' in text} == asked


@pytest.mark.parametrize(
    "cell",
    [
        "try:\n    import nobody_a as y\nexcept ImportError:\n    import nobody_b as y",
        "try:\n    import nobody_a\nexcept ImportError:\n    nobody_a = None\ndef y():\n    import nobody_a\n    nobody_a",
        "def y():\n    return __import__('nobody_a')",
    ],
    ids=["neither is known", "needed elsewhere", "by name"],
)
def test_what_nobody_knows_and_the_code_needs_is_refused(cell):
    told = problems(cell, handler("print(y)"))
    assert any("'nobody_a'" in one and "is not installed here" in one for one in told)


def test_a_module_that_only_a_value_names_is_warned_of():
    made = plan("import importlib", handler("importlib.import_module(event.kind)"))
    (warning,) = made.warnings
    assert "`importlib.import_module(event.kind)`" in str(warning)


def test_eval_that_is_given_its_names_travels():
    assert "eval(" in script(handler("print(eval('x + 1', {'x': 1}))"))
    (told,) = problems(handler("print(eval('x', {}), eval('y'))"))
    assert "cannot be followed" in told
    assert problems(handler("print(eval('x', globals()))"))


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


def test_what_a_killed_export_left_behind_goes_when_it_is_old(tmp_path):
    stale, fresh, other = (
        tmp_path / name for name in (".out.dnworker-a", ".out.dnworker-b", ".out2.dnworker-a")
    )
    for left in (stale, fresh, other):
        (left / "workers").mkdir(parents=True)
    for left in (stale, other):
        os.utime(left, (1, 1))
    write(plan(handler("pass")), tmp_path / "out")
    assert not stale.exists()
    assert fresh.exists()
    assert other.exists()


LOCAL = "import my_own as own, json\nfrom my_own import VALUE"


def test_a_local_module_is_imported_in_both_topologies(tmp_path):
    (tmp_path / "my_own.py").write_text("VALUE = 41\n")
    made = plan(LOCAL, handler("print(json, own.VALUE + VALUE)"), topology="in-process", beside=tmp_path)
    write(made, tmp_path / "demo")
    file = tmp_path / "demo" / "workers" / "bridge.py"
    assert "my_own" not in sys.modules
    compat.install()
    worker = load_worker(tmp_path / "demo", "local", "bridge", file)
    assert worker._event_handlers["a"][0].__globals__["VALUE"] == 41
    code = f"import runpy; print(runpy.run_path({str(file)!r})['own'].VALUE)"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[0] = {str(file.parent)!r}; {code}"],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(CHILD_HOOK)},
    )  # fmt: skip
    assert run.stdout == "41\n"


@pytest.mark.parametrize(
    ("files", "cell", "body"),
    [
        ({"my_own.py": "import my_second\n", "my_second.py": "X = 1\n"}, "import my_own", "my_own"),
        ({"my_own.py": "X = 1\n"}, "", "import my_own"),
        ({"my_own/__init__.py": "", "my_own/part.py": "X = 1\n"}, "import my_own.part", "my_own"),
    ],
    ids=["imports another", "in a handler", "a part of a package"],
)
def test_a_local_module_that_an_in_process_worker_could_not_import_is_refused(files, cell, body, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(NotExportable, match="--topology uv"):
        plan(cell, handler(body), topology="in-process", beside=tmp_path)
    assert plan(cell, handler(body), beside=tmp_path).files


@pytest.mark.parametrize(
    "cells",
    [
        ["%%worker a --file workers/s.py\n{}", "%%worker b --file workers/s.py\n{}"],
        ["%%worker a\n{}", "%%worker b --command sh --file workers/a.py\necho 1"],
        ["%%worker a --command sh --file capability.yaml\necho 1", "%%worker b\n{}"],
        ["%%worker json\n{}", "%%worker json-worker\n{}"],
        ["%%worker json\n{}", "%%worker p --command sh --file workers/json-worker.py\necho 1"],
        ["%%worker a --file tests/test_a.py\n{}", "%%worker a --test --file tests/test_a.py\nevent: k"],
        ["%%worker a --command sh --file workers\necho 1", "%%worker b\n{}"],
        ["%%worker a --file json.py\n{}"],
    ],
)
def test_two_workers_are_not_written_to_one_file(cells):
    body = "@worker.task\nasync def t(client):\n    pass"
    cells = [cell.replace("--test --file tests/test_a.py", "--test") for cell in cells]
    told = problems(*(cell.format(body) for cell in cells))
    assert all("--file" in one for one in told)


def test_a_worker_is_not_written_over_a_module_beside_the_notebook(tmp_path):
    (tmp_path / "helper.py").write_text("def f(): return 1\n")
    cell = handler("helper.f()").replace("%%worker bridge", "%%worker bridge --file workers/helper.py")
    with pytest.raises(
        NotExportable, match="workers/helper.py: a module beside the notebook would be written over"
    ):
        plan("import helper", cell, beside=tmp_path)


def test_what_an_export_removes_and_does_otherwise_is_told(tmp_path, capsys):
    notebook = tmp_path / "n.ipynb"

    def export(*cells):
        notebook.write_text(json.dumps({"cells": [{"cell_type": "code", "source": c} for c in cells]}))
        assert main(["export", str(notebook), "-o", str(tmp_path / "demo")]) == 0
        return capsys.readouterr().out

    worker = "%%worker a --topology in-process\n@worker.on_event('k')\nasync def t(event, client):\n    pass"
    assert "a runs as its cell says: in-process, not uv" in export(worker, "%%worker a --test\nevent: k")
    assert "removed: tests/test_a.py" in export(worker)


def test_an_import_that_two_cells_share_is_written_once():
    cells = [
        "%%worker a --shared\nfrom json import dumps, loads",
        "%%worker b --shared\nfrom json import dumps",
    ]
    workers = [f"%%worker {n}\n@worker.task\nasync def t(client):\n    dumps(1)" for n in "ab"]
    assert plan(*cells, *workers).files["workers/a.py"].decode().count("import dumps") == 1


def test_a_lock_stays_while_its_script_is_as_it_was(tmp_path):
    notebook, lock = tmp_path / "n.ipynb", tmp_path / "demo" / "workers" / "bridge.py.lock"

    def export(body):
        cell = handler(body).strip()
        notebook.write_text(json.dumps({"cells": [{"cell_type": "code", "source": cell}]}))
        assert main(["export", str(notebook), "-o", str(tmp_path / "demo")]) == 0

    export("pass")
    record = tmp_path / "demo" / ".dnworker-export.json"
    lock.write_text("a lock")
    record.write_text(
        json.dumps({**json.loads(record.read_text()), "workers/bridge.py.lock": _digest(b"a lock")})
    )
    export("pass")
    assert lock.read_text() == "a lock"
    found = FileExport(notebook, tmp_path / "demo", target="dreadnode", topology="uv").diff()
    assert str(found) == "nothing changed since the last export"


def test_a_module_beside_the_notebook_comes_before_an_installed_one(tmp_path):
    (tmp_path / "yaml.py").write_text("X = 1\n")
    assert "workers/yaml.py" in plan("import yaml", handler("yaml.X"), beside=tmp_path).files


def test_a_module_beside_the_notebook_that_is_no_python_is_named_with_its_line(tmp_path):
    (tmp_path / "own.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(
        NotExportable, match=r"module 'own': is a file of yours, and no Python: .*own.py, line 2"
    ):
        plan("import own", handler("own"), beside=tmp_path)


def test_a_test_that_is_no_json_is_refused():
    for value in ("2024-01-01", ".inf"):
        told = problems(handler("pass"), f"%%worker bridge --test\nevent: a\npayload: {{when: {value}}}")
        assert "an event carries JSON, and this is none" in told[0]


def test_two_names_for_one_worker_are_refused_where_the_reference_would_count_two():
    cells = [
        "bridge = dn.worker('bridge')\n@bridge.on_event('a')\nasync def on_a(e, c):\n    print(bridge.state)",
        "@bridge.on_event('b')\nasync def on_b(e, c):\n    print(worker.state)",
    ]
    text = plan(*cells[:1], topology="in-process").files["workers/bridge.py"].decode()
    assert 'bridge = Worker(name="bridge")' in text
    assert text.endswith("bridge.run()\n")
    with pytest.raises(NotExportable, match="takes two names for two workers"):
        plan(*cells, topology="in-process")
    assert plan(*cells, topology="in-process", target="dnworker").files


def test_a_cell_may_say_how_and_where_its_worker_goes():
    cells = [
        "def twice(x):\n    return 2 * x",
        "%%worker a --topology in-process --file workers/first.py\n@worker.task\nasync def t(c):\n    twice(1)",
        "%%worker b --topology python\n@worker.task\nasync def t(c):\n    twice(1)",
        "%%worker c\n@worker.task\nasync def t(c):\n    twice(1)",
    ]
    made = plan(*cells)
    manifest = yaml.safe_load(made.files["capability.yaml"])
    assert manifest["workers"] == {
        "a": {"path": "workers/first.py"},
        "b": {"command": "python", "args": ["${CAPABILITY_ROOT}/workers/b.py"]},
        "c": {"command": "uv", "args": ["run", "${CAPABILITY_ROOT}/workers/c.py"]},
    }
    assert "workers/demo_shared.py" in made.files


def test_workers_in_different_directories_share_no_module():
    cells = [
        "def twice(x):\n    return 2 * x",
        "%%worker a --file src/first.py\n@worker.task\nasync def t(c):\n    twice(1)",
        "%%worker b\n@worker.task\nasync def t(c):\n    twice(1)",
    ]
    made = plan(*cells)
    assert {*made.files} == {"capability.yaml", "src/first.py", "workers/b.py"}


@pytest.mark.parametrize("name", ["dnworker", "dreadnode", "msgspec", "json", "httpx"])
def test_a_script_hides_no_module_that_its_sdk_imports(name):
    cell = handler("pass").replace("%%worker bridge", f"%%worker {name}")
    assert f"workers/{name}-worker.py" in plan(cell).files


def test_the_dnworker_target_carries_a_wheel(tmp_path):
    files = plan(handler("pass"), target="dnworker").files
    (wheel,) = [name for name in files if name.endswith(".whl")]
    assert f'# dnworker = {{ path = "../{wheel}" }}' in files["workers/bridge.py"].decode()
    (tmp_path / "w.whl").write_bytes(files[wheel])
    names = zipfile.ZipFile(tmp_path / "w.whl").namelist()
    assert "dnworker/workers/worker.py" in names
    assert any(name.endswith("RECORD") for name in names)


# -- writing -------------------------------------------------------------------------------------------


def test_writing_the_same_plan_again_changes_nothing(tmp_path):
    made = plan(handler("pass"))
    assert write(made, tmp_path / "out") == ["capability.yaml", "workers/bridge.py"]
    assert write(made, tmp_path / "out") == []


def test_a_file_edited_by_hand_is_refused_with_the_difference_unless_forced(tmp_path):
    write(plan(handler("pass")), tmp_path / "out")
    file = tmp_path / "out" / "workers" / "bridge.py"
    file.write_text(file.read_text() + "# by hand\n")
    with pytest.raises(UsageError, match=r"edited since the last export[\s\S]*-# by hand"):
        write(plan(handler("print(1)")), tmp_path / "out")
    assert "# by hand" in file.read_text()
    write(plan(handler("print(1)")), tmp_path / "out", force=True)
    assert "print(1)" in file.read_text()


def test_files_of_others_are_left_alone_and_ours_that_went_are_removed(tmp_path):
    out = tmp_path / "out"
    write(plan(handler("pass"), handler("pass").replace("bridge", "gone")), out)
    (out / "notes.md").write_text("mine")
    write(plan(handler("pass")), out)
    assert (out / "notes.md").exists()
    assert not (out / "workers" / "gone.py").exists()


def test_a_record_of_somebody_else_removes_nothing_outside_and_no_edited_file(tmp_path):
    out = tmp_path / "out"
    write(plan(handler("pass"), handler("pass").replace("bridge", "gone")), out)
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    record = out / ".dnworker-export.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"../victim.txt": "x"}))
    edited = out / "workers" / "gone.py"
    edited.write_text(edited.read_text() + "# by hand\n")
    with pytest.raises(UsageError, match="workers/gone.py: was edited, and the export has it no more"):
        write(plan(handler("pass")), out)
    write(plan(handler("pass")), out, force=True)
    assert (victim.exists(), edited.exists()) == (True, False)


def test_a_write_that_fails_leaves_the_old_export_whole(tmp_path, monkeypatch):
    out = tmp_path / "out"
    write(plan(handler("pass")), out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dnworker_jupyter.export.disk.write.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(plan(handler("print(2)")), out)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("step", range(1, 40))
def test_a_crash_at_any_step_leaves_the_old_export_or_the_new_one_whole(tmp_path, monkeypatch, step):
    out = tmp_path / "out"
    old, new = plan(handler("print(1)"), handler("pass").replace("bridge", "gone")), plan(handler("print(2)"))
    write(old, out)
    (out / "notes.md").write_text("mine")
    contents = {name: {**made.files, "notes.md": b"mine"} for name, made in (("old", old), ("new", new))}
    steps = iter(range(1, 1000))

    class Crash(BaseException):
        pass

    def count(original):
        def call(*args, **kwargs):
            if next(steps) == step:
                raise Crash
            return original(*args, **kwargs)

        return call

    for name in ("link", "fsync", "rename", "open", "mkdir", "unlink", "rmdir", "scandir"):
        monkeypatch.setattr(os, name, count(getattr(os, name)))
    monkeypatch.setattr(exchange, "_exchange", count(exchange._exchange))
    with contextlib.suppress(Crash):
        write(new, out)
    monkeypatch.undo()
    there = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    there.pop(".dnworker-export.json")
    assert there in contents.values()
    write(new, out)
    assert (out / "notes.md").read_bytes() == b"mine"
    assert not (out / "workers" / "gone.py").exists()


def test_where_names_cannot_be_exchanged_a_crash_between_two_renames_is_mended_by_the_next_export(
    tmp_path, monkeypatch
):
    out = tmp_path / "out"
    write(plan(handler("print(1)")), out)
    monkeypatch.setattr(exchange, "_exchange", lambda one, other: False)
    write(plan(handler("print(2)")), out)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    out.rename(tmp_path / ".out.dnworker-aside")  # as a crash would leave it
    with pytest.raises(UsageError, match="edited"):
        (tmp_path / ".out.dnworker-aside" / "capability.yaml").write_text("mine")
        write(plan(handler("print(3)")), out)
    assert (out / "capability.yaml").read_text() == "mine"


def test_what_somebody_changes_in_the_directory_meanwhile_is_kept(tmp_path, monkeypatch):
    out = tmp_path / "out"
    write(plan(handler("pass")), out)
    (out / "notes").mkdir()
    (out / "notes" / "mine.md").write_text("old")
    real = exchange.sync

    def sync(directory):
        if directory != out.parent and not (out / "empty").exists():
            fresh = out / "notes" / "fresh.md"
            fresh.write_text("new text")
            fresh.replace(out / "notes" / "mine.md")
            (out / "empty").mkdir()
            (out / "link").symlink_to("notes")
        real(directory)

    monkeypatch.setattr("dnworker_jupyter.export.disk.write.sync", sync)
    write(plan(handler("print(1)")), out)
    assert (out / "notes" / "mine.md").read_text() == "new text"
    assert (out / "empty").is_dir()
    assert (out / "link").is_symlink()


def test_what_somebody_writes_in_the_directory_meanwhile_is_kept(tmp_path, monkeypatch):
    out = tmp_path / "out"
    write(plan(handler("print(1)")), out)
    real = exchange._exchange

    def late(one, other):
        (out / "state.db").write_text("late")
        return real(one, other)

    monkeypatch.setattr(exchange, "_exchange", late)
    write(plan(handler("print(2)")), out)
    assert (out / "state.db").read_text() == "late"
    assert "print(2)" in (out / "workers" / "bridge.py").read_text()


def test_the_directory_that_this_runs_in_is_refused(tmp_path, monkeypatch):
    (tmp_path / "nb.ipynb").write_text("mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is the directory that this runs in"):
        write(plan(handler("pass")), Path(), force=True)
    assert [p.name for p in Path.cwd().iterdir()] == ["nb.ipynb"]


def test_what_a_crash_after_the_second_rename_left_aside_is_removed(tmp_path, monkeypatch):
    out = tmp_path / "out"
    write(plan(handler("print(1)")), out)
    shutil.copytree(out, tmp_path / ".out.dnworker-aside")
    monkeypatch.setattr(exchange, "_exchange", lambda one, other: False)
    write(plan(handler("print(2)")), out)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_export_writes_through_no_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / "workers").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="workers is a link to"):
        write(plan(handler("pass")), out, force=True)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_links_and_modes_of_others_stay_what_they_are(tmp_path):
    out = tmp_path / "out"
    write(plan(handler("pass")), out)
    (out / "notes").mkdir()
    (out / "notes" / "run.sh").write_text("#!/bin/sh")
    (out / "notes" / "run.sh").chmod(0o755)
    (out / "notes" / "link").symlink_to("run.sh")
    out.chmod(0o750)
    write(plan(handler("print(1)")), out)
    assert (out / "notes" / "link").readlink() == Path("run.sh")
    assert (out / "notes" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert out.stat().st_mode & 0o777 == 0o750


def test_a_file_where_the_directory_should_be_is_named(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(UsageError, match="out is a file; name a directory"):
        write(plan(handler("pass")), tmp_path / "out")


def test_a_notebook_file_gives_its_code_cells(tmp_path):
    file = tmp_path / "n.ipynb"
    cells = [
        {"cell_type": "markdown", "source": "x"},
        {"cell_type": "code", "source": ["a = 1\n", "b = 2"], "id": "c1"},
    ]
    file.write_text(json.dumps({"cells": cells}))
    assert read_notebook(file) == [Cell(1, "a = 1\nb = 2", "c1")]
    file.write_text("{")
    with pytest.raises(UsageError, match="is no notebook"):
        read_notebook(file)


def test_the_tutorial_exports_without_a_kernel(tmp_path):
    tutorial = Path(__file__).parents[4] / "notebooks" / "01-quickstart.ipynb"
    copy = shutil.copy(tutorial, tmp_path)
    made = plan_export(read_notebook(Path(copy)), default_name="demo")
    write(made, tmp_path / "out")
    assert made.name == "quickstart"
    assert load_manifest(tmp_path / "out").workers["bridge"].command == "uv"


# -- workers in plain Python ---------------------------------------------------------------------------


def test_a_workers_file_pasted_into_a_cell_is_exported_as_it_is():
    text = script(
        """
        from dreadnode.capabilities.worker import Worker, EventEnvelope, RuntimeClient
        worker = Worker(name="bridge")

        @worker.on_event("a")
        async def on_a(event: EventEnvelope, client: RuntimeClient) -> None:
            worker.state["seen"] = event.payload["x"]

        if __name__ == "__main__":
            worker.run()
        """
    )
    assert text.count("worker.run()") == 1
    assert text.count("Worker(name=") == 1
    assert 'worker.state["seen"]' in text


def test_two_plain_workers_of_one_cell_become_two_scripts():
    files = plan(
        """
        import dnworker_jupyter as dn
        one, limit = dn, 3
        a = dn.worker("a")
        b = dn.worker("b", env={"LEVEL": "info"})

        @a.on_event("x")
        async def on_x(event, client): print(limit_of(a))

        @b.on_event("x")
        async def on_x2(event, client): print(b.state)

        def limit_of(worker): return 3
        """
    ).files
    assert "on_x2" not in files["workers/a.py"].decode()
    assert 'a = Worker(name="a")' in files["workers/a.py"].decode()
    assert "print(b.state)" in files["workers/b.py"].decode()
    assert "LEVEL: info" in files["capability.yaml"].decode()


def test_a_refusal_in_a_plain_cell_names_its_line():
    (problem,) = problems(
        "df = load()",
        "b = dn.worker('bridge')\n@b.on_event('a')\nasync def h(event, client):\n    print(df)",
    )
    assert "cell [2], line 4" in problem


def test_a_handle_keeps_its_name_and_shadows_stay_shadows():
    text = script(
        """
        w = dn.worker("bridge"); LIMIT = 5

        def bump():
            w.state["n"] = LIMIT

        @w.on_event("a")
        async def on_a(event, client):
            bump()
            print(sorted(event.payload, key=lambda w: len(w)))
        """
    )
    assert 'w = Worker(name="bridge")' in text
    assert "LIMIT = 5" in text
    assert "key=lambda w: len(w)" in text


def test_a_cell_that_makes_the_handle_may_have_run_after_those_that_use_it():
    text = script(
        "@bee.on_event('a')\nasync def on_a(event, client): print(bee.state)", "bee = dn.worker('bridge')"
    )
    assert "async def on_a" in text


@pytest.mark.parametrize(
    "line",
    ["bee.state['n'] = 5", "bee.on_event('c')(on_a)", "for kind in 'xy':\n    bee.on_event(kind)(on_a)"],
)
def test_what_registers_when_the_cell_runs_is_refused_as_in_a_worker_cell(line):
    (problem,) = problems(
        f"bee = dn.worker('bridge')\n@bee.on_event('a')\nasync def on_a(event, client): pass\n{line}"
    )
    assert "cell [1], line 4" in problem


def test_a_handler_that_runs_live_and_is_not_found_is_refused():
    with pytest.raises(NotExportable, match="handler 'on_b' runs here"):
        plan(handler("pass"), registered={"bridge": ["on_a", "on_b"]})


def test_a_program_travels_with_its_command():
    files = plan(
        handler("pass"),
        "%%worker relay --command 'node {file} --fast' --file workers/relay.mjs --env A=1\nconsole.log(1)",
    ).files
    assert files["workers/relay.mjs"] == b"console.log(1)\n"
    manifest = files["capability.yaml"].decode()
    assert "command: node" in manifest
    assert "${CAPABILITY_ROOT}/workers/relay.mjs" in manifest
    assert "A: '1'" in manifest


def test_a_notebook_of_programs_alone_is_exported():
    assert "workers/c" in plan("%%worker c --command sh\necho hi").files


def test_a_program_whose_file_leads_out_of_the_capability_is_refused():
    with pytest.raises(UsageError, match="inside of the capability"):
        plan("%%worker c --command sh --file ../c.sh\necho hi")


def test_one_name_may_stand_for_two_workers_in_two_cells():
    pasted = "from dnworker import Worker\nworker = Worker(name='NAME')\n@worker.on_event('x')\nasync def h_NAME(event, client): pass\n"
    files = plan(pasted.replace("NAME", "one"), pasted.replace("NAME", "two")).files
    for name, other in (("one", "two"), ("two", "one")):
        text = files[f"workers/{name}.py"].decode()
        assert f"h_{name}" in text
        assert f"h_{other}" not in text


def test_a_live_worker_that_no_cell_shows_is_refused():
    with pytest.raises(
        NotExportable, match="worker 'hidden': runs here, and no cell that can be read defines it"
    ):
        plan(handler("pass"), registered={"hidden": ["h"]})


@pytest.mark.parametrize(
    "line",
    ["print(b.state)", "x = b.state.get('n')", "for b in range(3): print(b)", "rows = [b for b in range(3)]"],
)
def test_cells_that_only_look_at_a_handle_are_no_part_of_its_worker(line):
    text = script("b = dn.worker('bridge')\n@b.on_event('a')\nasync def on_a(event, client): pass", line)
    assert "async def on_a" in text
