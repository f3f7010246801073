"""Import: a capability becomes a notebook, and an export of that is the capability again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from textwrap import dedent

import nbformat
import pytest

from dnworker.capability.loading import forget_helpers, load_worker
from dnworker.capability.manifest import CapabilityManifest, load_manifest
from dnworker.cli.main import main
from dnworker.errors import Refused
from dnworker.runner import keys_of
from dnworker_jupyter.export.importing import import_capability, write_notebook

DATA = Path(__file__).parents[1] / "data" / "capabilities"
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
            worker.command,
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
    assert found["auditor-note"].splitlines()[0] == (
        "%%worker auditor --when strict --file workers/audit_worker.py"
    )
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
    assert found["demo_shared-1"].endswith("# How we say it.\ndef say(x):\n    return json.dumps(x)")
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
    with pytest.raises(Refused) as refused:
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
        d=SCRIPT.format(above="y = 1; z = 2", body="print(y, z)"),
    )
    told_ = problems(root)
    places = [one.partition(":")[0] for one in told_]
    assert places[0] == "workers/a.py, line 1"
    assert "workers/b.py, line 3" in places
    assert any("makes no Worker" in one for one in told_)
    assert "workers/d.py, line 3" in places


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
