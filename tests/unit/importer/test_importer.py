"""Import: a capability becomes a notebook, and an export of that is the capability again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import nbformat
import pytest

from dnworker.capability.manifest import CapabilityManifest, load_manifest
from dnworker.cli.main import main
from dnworker.core.errors import ManifestError, UsageError
from dnworker.workers.loading import forget_helpers, load_worker
from dnworker.workers.registry import keys_of
from dnworker_jupyter.importer.importer import import_capability
from dnworker_jupyter.importer.notebook_file import write_notebook

DATA = Path(__file__).parents[2] / "data" / "capabilities"
NAMES = sorted(path.name for path in DATA.iterdir())


def export(notebook: Path, out: Path, *options: str) -> None:
    assert main(["export", str(notebook), "-o", str(out), *options]) == 0


def round_trip(capability: Path, directory: Path) -> Path:
    """Import a capability and export the notebook; returns the new capability."""
    notebook = directory / "notebooks" / f"{capability.name}.ipynb"
    write_notebook(import_capability(capability), notebook)
    out = directory / "out" / capability.name
    export(notebook, out)
    return out


def handlers(root: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Execute every worker's script and return its handler table."""
    from dnworker import compat

    compat.install()
    manifest = load_manifest(root)
    found = {}
    for name, worker in manifest.workers.items():
        words = [str(worker.path or ""), *worker.args]
        file = next((Path(root, w) for w in words if w.endswith(".py")), None)
        if file is not None:
            forget_helpers(manifest.name)
            found[name] = keys_of(load_worker(root, manifest.name, name, file))
    return found


def told(manifest: CapabilityManifest) -> dict[str, object]:
    """Return everything that a manifest says, with its own directory taken out of it."""

    def plain(text: object) -> str:
        return str(text).replace(f"{manifest.root}/", "")

    workers = {
        name: (
            worker.path and plain(worker.path),
            worker.command and plain(worker.command),
            [plain(a) for a in worker.args],
            worker.env,
            worker.when,
        )
        for name, worker in manifest.workers.items()
    }
    head = {key: value for key, value in manifest.raw.items() if key != "workers"}
    return head | {"workers": workers, "flags": manifest.flags, "checks": manifest.checks}


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("BRIDGE_URL", "ws://127.0.0.1:9/never")


@pytest.mark.parametrize("name", NAMES)
def test_export_after_import_gives_the_same_handlers_flags_and_manifest(name, tmp_path):
    made = round_trip(DATA / name, tmp_path)
    assert handlers(made) == handlers(DATA / name)
    assert told(load_manifest(made)) == told(load_manifest(DATA / name))


@pytest.mark.parametrize("name", NAMES)
def test_import_after_that_gives_the_same_notebook_and_export_the_same_bytes(name, tmp_path):
    first = round_trip(DATA / name, tmp_path / "1")
    second = round_trip(first, tmp_path / "2")
    for file in sorted(p for p in first.rglob("*") if p.is_file()):
        assert (second / file.relative_to(first)).read_bytes() == file.read_bytes(), file


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_is_one_by_the_rules_of_its_format(name):
    notebook = nbformat.reads(import_capability(DATA / name).as_ipynb().decode(), as_version=4)
    nbformat.validate(notebook)


def cells(root: Path) -> dict[str, str]:
    found = json.loads(import_capability(root).as_ipynb())["cells"]
    return {cell["id"]: "".join(cell["source"]) for cell in found}


def test_each_handler_has_a_cell_with_its_comments_and_what_they_share_has_one():
    found = cells(DATA / "coordinator")
    assert "coordinator-on_change" in found
    assert found["coordinator-remind"].splitlines()[1:3] == [
        "# What nobody answered for a while is told to a person.",
        "@worker.every(minutes=10)",
    ]
    assert "class Case:" in found["coordinator-shared"]
    heads = [text.splitlines()[0] for name, text in found.items() if name.startswith("auditor-")]
    assert heads[1] == "%%worker auditor --shared --when strict --file workers/audit_worker.py"
    assert {"%%worker auditor --shared", "%%worker auditor"} >= {*heads[2:]}, "options stand once"
    assert "@worker.on_event" in found["auditor-note"], "the Worker is called as cells call it"
    assert "# Off where nobody pays for the models." in found["capability"]
    assert found["requirements"] == "%pip install --quiet 'msgspec>=0.19'"


def test_a_worker_of_another_language_is_a_command_cell():
    found = cells(DATA / "ws-bridge")
    head, *body = found["relay"].splitlines()
    assert head == "%%worker relay --command 'node --enable-source-maps' --file workers/relay.mjs"
    assert body[0] == "#!/usr/bin/env node"
    assert "while sleep 60" in found["heartbeat"]


def test_a_module_beside_the_scripts_goes_beside_the_notebook(tmp_path):
    notebook = tmp_path / "nb" / "scheduler.ipynb"
    write_notebook(import_capability(DATA / "scheduler"), notebook)
    ours, theirs = (
        (place / "calendar_of_jobs.py").read_bytes()
        for place in (notebook.parent, DATA / "scheduler" / "workers")
    )
    assert ours == theirs


def test_what_several_workers_share_in_an_export_of_ours_is_cells_again(tmp_path):
    notebook = tmp_path / "demo.ipynb"
    sources = [
        "import json\n\n# How we say it.\ndef say(x):\n    return json.dumps(x)",
        "%%worker a\n@worker.on_event('k')\nasync def on_k(event, client):\n    print(say(1))",
        "%%worker b\n@worker.on_event('k')\nasync def on_k(event, client):\n    print(say(2))",
    ]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbformat.write(made, notebook)
    export(notebook, tmp_path / "demo")
    found = cells(tmp_path / "demo")
    assert found["demo_shared-1"].endswith("import json")
    assert found["demo_shared-2"] == "# How we say it.\ndef say(x):\n    return json.dumps(x)"
    again = round_trip(tmp_path / "demo", tmp_path)
    for name in ("workers/a.py", "workers/b.py", "workers/demo_shared.py"):
        assert (again / name).read_bytes() == (tmp_path / "demo" / name).read_bytes()


def capability(root: Path, **scripts: str) -> Path:
    """Write a capability of uv workers."""
    (root / "workers").mkdir(parents=True)
    lines = ["schema: 1", "name: demo", "version: 1.0.0", "description: d", "workers:"]
    for name, text in scripts.items():
        lines.append(f"  {name}: {{command: uv, args: [run, workers/{name}.py]}}")
        (root / "workers" / f"{name}.py").write_text(dedent(text))
    (root / "capability.yaml").write_text("\n".join(lines) + "\n")
    return root


SCRIPT = """
from dreadnode.capabilities.worker import Worker
{above}
worker = Worker()

@worker.on_event("k")
async def on_k(event, client):
    {body}
"""


def problems(root: Path) -> list[str]:
    with pytest.raises(UsageError) as refused:
        import_capability(root)
    return [line.strip() for line in str(refused.value).splitlines()[1:]]


def test_two_workers_that_mean_different_things_by_one_name_are_refused_with_both_places(tmp_path):
    root = capability(
        tmp_path / "demo",
        a=SCRIPT.format(above="LIMIT = 1", body="print(LIMIT)"),
        b=SCRIPT.format(above="LIMIT = 2", body="print(LIMIT)"),
    )
    (told_,) = problems(root)
    assert "'LIMIT'" in told_
    assert "workers/a.py and workers/b.py" in told_
    assert "rename one" in told_


def test_all_that_no_cell_can_say_is_told_at_once_with_file_and_line(tmp_path):
    root = capability(
        tmp_path / "demo",
        a="def f(:\n",
        b=SCRIPT.format(above="from ..up import x", body="print(x)"),
        c="x = 1\n",
        d=SCRIPT.format(above="", body="print(__file__)"),
    )
    told_ = problems(root)
    places = [one.partition(":")[0] for one in told_]
    assert places[0] == "workers/a.py, line 1"
    assert "workers/b.py, line 3" in places
    assert any("makes no Worker" in one for one in told_)
    assert "workers/d.py, line 8" in places


def test_a_notebook_that_is_there_is_not_written_over(tmp_path, capsys):
    notebook = tmp_path / "x.ipynb"
    notebook.write_text("mine")
    assert main(["import", str(DATA / "scheduler"), "-o", str(notebook)]) == 1
    assert "is there already; nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "calendar_of_jobs.py").exists()
    assert main(["import", str(DATA / "scheduler"), "-o", str(notebook), "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    assert notebook.read_bytes().startswith(b"{")


def test_a_worker_by_another_variable_that_cannot_be_renamed_is_refused(tmp_path):
    text = SCRIPT.format(above="", body="worker = 1").replace("worker = Worker", "bridge = Worker")
    root = capability(tmp_path / "demo", a=text.replace("@worker", "@bridge"))
    (told_,) = problems(root)
    assert "called 'bridge'" in told_
    assert "rename one" in told_


def test_files_that_are_no_workers_stay_when_the_export_goes_into_the_same_directory(tmp_path):
    root = tmp_path / "coordinator"
    shutil.copytree(DATA / "coordinator", root)
    notebook = tmp_path / "nb.ipynb"
    write_notebook(import_capability(root), notebook)
    export(notebook, root, "--force")
    assert (root / "agents" / "reviewer.md").is_file()


def ran(root: Path, name: str, **environment: str) -> dict[str, object]:
    """Execute a worker's script in a process of its own, and return what its names hold then."""
    code = (
        "import json, runpy, sys; from dnworker import compat; compat.install()\n"
        "found = runpy.run_path(sys.argv[1]); print(json.dumps(found.get('RESULT')))"
    )
    file = root / "workers" / f"{name}.py"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(file.parent)!r})\n{code}", str(file)],
        capture_output=True, text=True, check=True, env={**os.environ, **environment},
    )  # fmt: skip
    return {"RESULT": json.loads(run.stdout)}


def test_texts_of_the_code_stay_what_they_are(tmp_path):
    above = 'RESULT = """a\n\n\n\n\n\nb\u2028c"""'
    made = round_trip(
        capability(tmp_path / "demo", a=SCRIPT.format(above=above, body="print(RESULT)")), tmp_path
    )
    assert ran(made, "a") == ran(tmp_path / "demo", "a") == {"RESULT": "a\n\n\n\n\n\nb\u2028c"}


def test_handlers_of_one_name_stay_two(tmp_path):
    text = SCRIPT.format(above="", body="print(1)") + (
        "\n\n@worker.on_event('other')\nasync def on_k(event, client):\n    print(2)\n"
    )
    root = capability(tmp_path / "demo", a=text)
    assert handlers(round_trip(root, tmp_path)) == handlers(root)
    assert [len(h) for h in handlers(root).values()] == [2]


@pytest.mark.parametrize(
    ("below", "told_"),
    [
        ("print(__file__)", "uses __file__"),
        ("def worker(): pass", "'worker' is bound anew"),
        ("def f():\n    from .x import y", "imports relative to a package inside"),
    ],
)
def test_what_no_cell_can_say_is_refused_with_its_line(below, told_, tmp_path):
    text = SCRIPT.format(above="", body="print(1)")
    found = problems(capability(tmp_path / "demo", a=f"{text}\n\n{below}\n"))
    assert any(one.startswith("workers/a.py, line ") and told_ in one for one in found), found


@pytest.mark.parametrize(
    "below",
    [
        "TABLE = {'k': on_k}",
        "worker.on_event('z')(other)",
        "for kind in 'xy':\n    @worker.on_event(kind)\n    async def many(e, c): pass",
        "KINDS = sorted('ab')",
        "import re\nWORD = re.compile('a')",
        "RESULT = [KIND]; RESULT.append(2)",
        "KIND = 'b'",
        "DEFAULTS = {'a': 1, **{'b': 2}}",
    ],
)
def test_statements_below_handlers_stay_what_they_are(below, tmp_path):
    above = "KIND = 'k'\nasync def other(event, client): pass"
    text = SCRIPT.format(above=above, body="print(KIND)").replace('on_event("k")', "on_event(KIND)")
    root = capability(tmp_path / "demo", a=f"{text}\n\n{below}\n")
    made = round_trip(root, tmp_path / "1")
    assert handlers(made) == handlers(root)
    again = round_trip(made, tmp_path / "2")
    assert (again / "workers" / "a.py").read_bytes() == (made / "workers" / "a.py").read_bytes()


@pytest.mark.parametrize(
    "other", ["def worker(): pass", "import worker", "from x import y as worker", "class worker: pass"]
)
def test_a_worker_by_another_name_is_not_called_what_is_taken(other, tmp_path):
    text = SCRIPT.format(above=other, body="print(1)").replace("worker = Worker", "app = Worker")
    (told_,) = problems(capability(tmp_path / "demo", a=text.replace("@worker", "@app")))
    assert "'worker' is something else there" in told_


def test_what_stands_under_the_main_guard_is_noted_and_a_bare_run_is_no_loss(tmp_path):
    text = SCRIPT.format(above="import logging", body="print(1)")
    guard = "\n\nif __name__ == '__main__':\n    logging.basicConfig()\n    worker.run()\n"
    root = capability(tmp_path / "demo", a=text + guard, b=text + "\n\nworker.run()\n")
    made = import_capability(root)
    assert made.notes == [
        "workers/a.py, line 11: `logging.basicConfig()` stands under the main guard, which an export writes anew"
    ]
    assert made.notes[0] in made.cells[0].source
    assert "worker.run()" not in "".join(c.source for c in made.cells)


HEADER = """# /// script
# requires-python = ">=3.11,<3.12.0a0"
# dependencies = ["dreadnode>=2", "mylib", "croniter>=6", "msgspec>=0.19"]
#
# [tool.uv.sources]
# mylib = { git = "https://example.invalid/mylib", rev = "abc" }
#
# [tool.uv]
# index-url = "https://index.invalid/simple"
# ///
# Licence: ours.
"""


def test_requirements_keep_their_sources_and_what_an_export_would_lose_is_noted(tmp_path):
    text = HEADER + '"""What it does."""\n' + SCRIPT.format(above="import msgspec", body="print(msgspec)")
    made = import_capability(capability(tmp_path / "demo", a=text))
    found = {cell.label: cell.source for cell in made.cells}
    assert found["requirements"] == (
        "%pip install --quiet 'mylib @ git+https://example.invalid/mylib@abc' 'croniter>=6' 'msgspec>=0.19'"
    )
    assert "# Licence: ours." in found["a-shared"]
    notes = "\n".join(made.notes)
    assert "tool.uv.index-url" in notes
    assert "croniter>=6: nothing imports it" in notes
    assert "requirement msgspec" not in notes


def test_siblings_of_one_name_in_two_directories_are_refused_with_both(tmp_path):
    root = tmp_path / "demo"
    lines = ["schema: 1", "name: demo", "version: 1.0.0", "description: d", "workers:"]
    for name in "ab":
        (root / name).mkdir(parents=True)
        (root / name / "helper.py").write_text(f"X = {name!r}\n")
        (root / name / "w.py").write_text(SCRIPT.format(above="from helper import X", body="print(X)"))
        lines.append(f"  {name}: {{command: uv, args: [run, {name}/w.py]}}")
    (root / "capability.yaml").write_text("\n".join(lines))
    (told_,) = problems(root)
    assert told_ == "a/helper.py and b/helper.py cannot both go beside the notebook; rename one"


def test_tests_of_an_export_are_cells_again_and_are_not_lost(tmp_path):
    notebook = tmp_path / "demo.ipynb"
    case = '{"event": "k", "payload": {"n": [1, null, "x"]}, "session": "s", "publishes": ["a.b"]}'
    sources = [
        "%%worker a\n@worker.on_event('k')\nasync def on_k(event, client):\n    print(1)",
        f"%%worker a --test\n{case}",
        "%%worker a --test\nevent: k",
    ]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbformat.write(made, notebook)
    export(notebook, tmp_path / "demo")
    before = (tmp_path / "demo" / "tests" / "test_a.py").read_bytes()
    again = round_trip(tmp_path / "demo", tmp_path)
    assert (again / "tests" / "test_a.py").read_bytes() == before
    (tmp_path / "demo" / "tests" / "test_a.py").write_bytes(before + b"\n# mine\n")
    assert not any("--test" in source for source in cells(tmp_path / "demo").values()), (
        "edited: it stays a file"
    )


def program(root: Path, entry: str, **files: str) -> Path:
    root.mkdir(parents=True)
    head = "schema: 1\nname: demo\nversion: 1.0.0\ndescription: d\nworkers:\n"
    (root / "capability.yaml").write_text(f"{head}  prog: {entry}\n")
    for name, text in files.items():
        (root / name).write_text(text)
    return root


def test_a_file_that_is_its_own_program_can_be_run(tmp_path):
    root = program(tmp_path / "demo", "{command: '${CAPABILITY_ROOT}/tool'}", tool="#!/bin/sh\necho 1\n")
    made = round_trip(root, tmp_path)
    assert os.access(made / "tool", os.X_OK)
    assert told(load_manifest(made)) == told(load_manifest(root))


def test_texts_of_programs_stay_what_they_are(tmp_path):
    text = "console.log('a\u2028b\x0c')\n"
    made = round_trip(program(tmp_path / "demo", "{command: node, args: [a]}", a=text), tmp_path)
    assert (made / "a").read_text() == text


def test_a_program_of_comments_alone_is_refused(tmp_path):
    (told_,) = problems(program(tmp_path / "demo", "{command: sh, args: [x.sh]}", **{"x.sh": "# nothing\n"}))
    assert told_.startswith("x.sh: has comments alone")


@pytest.mark.parametrize(
    ("value", "flags"),
    [("C:\\a b\\", ""), ('it\'s "x"', ""), ("${A:-b c}", ""), ("a#b c", "")],
)
def test_every_value_of_a_variable_comes_back(value, flags, tmp_path):
    root = program(
        tmp_path / "demo", f"{{command: sh, args: [x], env: {{V: {json.dumps(value)}}}}}", x="echo 1\n"
    )
    made = round_trip(root, tmp_path)
    assert load_manifest(made).workers["prog"].env == {"V": value}


def test_a_script_elsewhere_is_a_program_by_its_path(tmp_path):
    (tmp_path / "x.py").write_text("print(1)\n")
    root = program(tmp_path / "demo", f"{{command: uv, args: [run, {tmp_path / 'x.py'}]}}")
    assert "%%worker prog --command 'uv run" in cells(root)["prog"].replace('"', "'")


def test_a_byte_order_mark_is_no_code(tmp_path):
    root = capability(tmp_path / "demo", a=SCRIPT.format(above="X = 1", body="print(X)"))
    file = root / "workers" / "a.py"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert "\ufeff" not in "".join(cells(root).values())


def test_a_head_that_cannot_stand_alone_is_refused(tmp_path):
    root = capability(tmp_path / "demo", a=SCRIPT.format(above="", body="print(1)"))
    text = (root / "capability.yaml").read_text().replace("a: {command", "a: &it {command") + "author: *it\n"
    (root / "capability.yaml").write_text(text)
    with pytest.raises((UsageError, ManifestError)):
        import_capability(root)


def test_a_directory_of_modules_without_an_init_goes_along(tmp_path):
    root = capability(tmp_path / "demo", a=SCRIPT.format(above="from lib.part import X", body="print(X)"))
    (root / "workers" / "lib").mkdir()
    (root / "workers" / "lib" / "part.py").write_text("X = 1\n")
    made = round_trip(root, tmp_path)
    assert (made / "workers" / "lib" / "part.py").is_file()


def test_what_stays_in_the_capability_is_noted():
    notes = import_capability(DATA / "coordinator").notes
    assert notes == ["agents, which stay in coordinator: export back into it, or copy them"]


READABLE = (DATA / "watcher" / "workers" / "watcher.py").read_text()


def words_of(made) -> str:
    return "\n".join(cell.source for cell in made.cells)


def test_a_script_becomes_a_notebook_as_somebody_would_write_it():
    made = import_capability(DATA / "watcher")
    texts = [(cell.kind, cell.source) for cell in made.cells if cell.label.startswith("watcher-")]
    assert texts[0] == ("markdown", "## watcher\n\nWatches turns.\n\nSays how many there were.")
    headings = [text for kind, text in texts[1:] if kind == "markdown"]
    assert headings == ["### constants", "### Helpers\n\nof all kinds", "### the worker"]
    code = [text for kind, text in texts if kind == "code"]
    assert code[0].splitlines()[:2] == ["%%worker watcher --shared", "# Licence: ours."]
    first = next(text for text in code if "async def first" in text)
    assert "def only_first" in first, "a helper stands with the only handler that uses it"
    assert "def say" not in first
    assert not any("__main__" in text for text in code)


def test_no_comment_of_a_script_is_lost():
    found = words_of(import_capability(DATA / "watcher"))
    for line in READABLE.splitlines()[2:]:
        words = line.partition("#")[2].strip("# -=")
        assert words in found, line


def test_long_scripts_become_cells_of_under_60_lines(tmp_path):
    helpers = "".join(f"\n\ndef helper_{n}():\n    return {n}\n" for n in range(60))
    body = "print(" + " + ".join(f"helper_{n}()" for n in range(60)) + ")"
    made = import_capability(capability(tmp_path / "demo", a=SCRIPT.format(above=helpers, body=body)))
    lengths = [len(cell.source.splitlines()) for cell in made.cells]
    assert max(lengths) < 60
    assert len(lengths) < 15


def test_the_dependencies_of_the_manifest_are_installed_once(tmp_path):
    text = HEADER + SCRIPT.format(above="import msgspec", body="print(msgspec)")
    root = capability(tmp_path / "demo", a=text)
    file = root / "capability.yaml"
    listed = "dependencies:\n  python: [croniter>=5, 'packaging>=20', dreadnode, '-r x.txt']\n"
    file.write_text(file.read_text() + listed)
    made = import_capability(root)
    (line,) = [cell.source for cell in made.cells if cell.label == "requirements"]
    assert "'croniter>=6'" in line
    assert "croniter>=5" not in line
    assert "'packaging>=20'" in line
    assert "dreadnode" not in line
    assert any("'-r x.txt' of dependencies.python" in note for note in made.notes)


def test_the_notebook_finds_what_lies_in_the_capability(tmp_path):
    root = tmp_path / "my caps" / "coordinator"
    shutil.copytree(DATA / "coordinator", root)

    def head(home):
        return next(c.source for c in import_capability(root, home).cells if c.label == "capability")

    assert head(tmp_path / "nb").startswith("%%capability --dir '../my caps/coordinator'\n")
    assert head(root).startswith("%%capability\n")
    assert head(None).startswith("%%capability\n")


def test_variables_of_the_manifest_stand_once():
    found = "\n".join(cells(DATA / "ws-bridge").values())
    assert found.count("--env 'BRIDGE_URL=") == 1
    assert "os.environ.setdefault" not in found


@pytest.mark.parametrize("word", ["workers/run.sh", "../outside.sh", "${CAPABILITY_ROOT}/x.py"])
def test_a_file_that_a_manifest_names_and_has_not_is_refused(word, tmp_path):
    (tmp_path / "outside.sh").write_text("echo 1\n")
    (told_,) = problems(program(tmp_path / "demo", f"{{command: sh, args: ['{word}']}}"))
    assert "worker prog" in told_


def test_a_script_with_more_arguments_is_one_cell_and_that_is_noted(tmp_path):
    root = capability(tmp_path / "demo", a=SCRIPT.format(above="", body="print(1)"))
    file = root / "capability.yaml"
    file.write_text(file.read_text().replace("[run, workers/a.py]", "[run, --quiet, workers/a.py]"))
    made = import_capability(root)
    assert "it runs by `uv run --quiet workers/a.py`, which is more than a script" in made.notes[0]
    assert any(c.source.startswith("%%worker a --command") for c in made.cells)


def test_a_notebook_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path, monkeypatch):
    full = Path.write_bytes

    def write_bytes(self, data):
        if self.name.startswith(".calendar"):
            raise OSError(28, "No space left on device")
        return full(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(
        UsageError, match="could not be written: No space left on device; nothing was written"
    ):
        write_notebook(import_capability(DATA / "scheduler"), tmp_path / "nb" / "s.ipynb")
    assert list((tmp_path / "nb").iterdir()) == []


@pytest.mark.parametrize("name", ["x.txt", "-", "x"])
def test_a_notebook_ends_in_ipynb(name, tmp_path):
    with pytest.raises(UsageError, match="a notebook's file ends in .ipynb"):
        write_notebook(import_capability(DATA / "scheduler"), tmp_path / name)


def test_the_manifest_may_be_named_for_its_directory():
    assert import_capability(DATA / "scheduler" / "capability.yaml").name == "scheduler"


def test_a_name_that_is_a_builtin_elsewhere_is_refused(tmp_path):
    root = capability(
        tmp_path / "demo",
        a=SCRIPT.format(above="def hash(x): return 'mine'", body="print(hash(1))"),
        b=SCRIPT.format(above="", body="print(hash(3))"),
    )
    (told_,) = problems(root)
    assert told_.startswith("'hash' is defined in workers/a.py, and b means something else by it")


@pytest.mark.parametrize("word", ["./tool", "tool", "${CAPABILITY_ROOT}/tool"])
def test_a_command_by_its_path_stays_one(word, tmp_path):
    root = program(
        tmp_path / "demo", f"{{command: '{word}', args: [./data]}}", tool="#!/bin/sh\necho 1\n", data="x"
    )
    made = round_trip(root, tmp_path)
    entry = load_manifest(made).workers["prog"]
    assert (made / (entry.command or "")).resolve() == (made / "tool").resolve()


def test_the_directory_of_a_capability_stays_a_reference(tmp_path):
    root = program(
        tmp_path / "demo", "{command: sh, args: [x], env: {DATA: '${CAPABILITY_ROOT}/data'}}", x="echo 1\n"
    )
    made = round_trip(root, tmp_path)
    assert "DATA: ${CAPABILITY_ROOT}/data" in (made / "capability.yaml").read_text().replace("'", "")
    assert str(tmp_path) not in (made / "capability.yaml").read_text()


@pytest.mark.parametrize(
    "header", ["tool = 3", 'dependencies = "httpx"', 'requires-python = "3.11"', "[tool.uv]\nsources = 3"]
)
def test_a_header_of_another_form_is_no_traceback(header, tmp_path):
    lines = "".join(f"# {line}\n" for line in header.splitlines())
    text = f"# /// script\n{lines}# ///\n" + SCRIPT.format(above="", body="print(1)")
    root = capability(tmp_path / "demo", a=text)
    try:
        assert import_capability(root).notes
    except UsageError as exc:
        assert "another form than PEP 723 says" in str(exc)


def test_a_test_that_was_edited_stays_a_file(tmp_path):
    notebook = tmp_path / "demo.ipynb"
    sources = [
        "%%worker a\n@worker.on_event('k')\nasync def on_k(event, client):\n    pass",
        "%%worker a --test\nevent: k",
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources]), notebook)
    export(notebook, tmp_path / "demo")
    file = tmp_path / "demo" / "tests" / "test_a.py"
    file.write_text(file.read_text().replace("payload = {}", "payload = dict(a=make())"))
    made = import_capability(tmp_path / "demo")
    assert not any("--test" in cell.source for cell in made.cells)
    assert "tests" in made.notes[0]


def test_one_script_of_two_workers_is_refused(tmp_path):
    root = capability(tmp_path / "demo", a=SCRIPT.format(above="", body="print(1)"))
    file = root / "capability.yaml"
    file.write_text(file.read_text() + "  b: {command: uv, args: [run, workers/a.py]}\n")
    assert "workers/a.py: is the script of two workers, and cells are of one; copy it" in problems(root)
