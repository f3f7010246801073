"""`dnworker init` makes a capability that validates, passes its tests and is served, or nothing at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dnworker.cli.main import main

from .test_main import Served

WITHOUT_JUPYTER = """
import sys
for name in ("IPython", "ipykernel", "anywidget", "jupyter_client", "ipywidgets", "dnworker_jupyter"):
    sys.modules[name] = None
from dnworker.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
CELLS = [
    "%%capability\nname: shop\nversion: 0.1.0\ndescription: Sells",
    "from prices import PRICE",
    "%%worker shop\n@worker.on_event('shop.order')\nasync def order(event, client):\n"
    "    await client.publish('shop.priced', {'price': PRICE})",
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    return done.returncode, done.stdout, done.stderr


def make_notebook(file, cells):
    file.parent.mkdir(parents=True, exist_ok=True)
    code = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    rows = [code | {"id": f"c{number}", "source": source} for number, source in enumerate(cells)]
    file.write_text(json.dumps({"cells": rows, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return file


def refused(capsys, *words):
    """Return the one line with which a command ends, that writes nothing."""
    before = sorted(Path().rglob("*"))
    assert main(["init", *words]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert sorted(Path().rglob("*")) == before
    return err


@pytest.mark.slow
def test_it_needs_no_jupyter_and_passes_its_own_tests_at_once(here):
    code, out, err = run(sys.executable, "-c", WITHOUT_JUPYTER, "init", "demo")
    assert (code, err) == (0, ""), err
    assert "next: cd demo; pytest; dnworker serve ." in out
    environment = {**os.environ, "PYTEST_ADDOPTS": ""}
    code, out, _ = run(sys.executable, "-m", "pytest", "-q", cwd=here / "demo", env=environment)
    assert (code, "1 passed" in out) == (0, True), out


@pytest.mark.slow
def test_it_is_served(here):
    assert main(["init", "demo"]) == 0
    with Served(here, "demo") as served:
        assert served.told()["workers"] == {"demo:greeter": {"state": "running", "error": None}}
        words = [sys.executable, "-m", "dnworker", "tail", "greeting.made", "--count", "1"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=served.environ) as tail:
            for _ in range(200):  # until the tail has subscribed
                served.run("fire", "greeting.asked", "name=Ada")
                if tail.poll() is not None:
                    break
            assert '{"text": "Hello, Ada!"}' in tail.communicate()[0]


def test_it_validates(here, capsys):
    assert main(["init", "demo"]) == 0
    assert main(["validate", "--strict", "demo"]) == 0
    assert "ok (1 worker)" in capsys.readouterr().out


def test_files_are_listed_and_the_directory_can_be_named(here, capsys):
    assert main(["init", "demo", "some/where", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["directory"] == str(here / "some" / "where")
    root = here / "some" / "where"
    there = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    assert answer["files"] == there
    assert "name: demo\n" in Path("some/where/capability.yaml").read_text()


def test_the_directory_that_it_runs_in_can_be_filled(here, capsys):
    assert main(["init", "demo", "."]) == 0
    assert "next: pytest; dnworker serve ." in capsys.readouterr().out
    assert Path("capability.yaml").is_file()


def test_a_notebook_is_exported_with_the_modules_beside_it(here, capsys):
    notebook = make_notebook(here / "notes" / "work.ipynb", CELLS)
    (notebook.parent / "prices.py").write_text("PRICE = 3\n")
    assert main(["init", "shop", "--from", str(notebook)]) == 0
    assert "nothing ran, so values are not proved" in capsys.readouterr().out
    assert Path("shop/work.ipynb").read_bytes() == notebook.read_bytes()
    assert Path("shop/prices.py").read_text() == Path("shop/workers/prices.py").read_text()
    assert "exported from `work.ipynb`" in Path("shop/README.md").read_text()
    assert Path("shop/.github/workflows/test.yml").is_file()
    assert main(["export", "shop/work.ipynb", "-o", "shop"]) == 0
    assert "(nothing changed)" in capsys.readouterr().out


def test_options_of_an_export_are_those_of_the_next_one(here, capsys):
    notebook = make_notebook(here / "a.ipynb", [CELLS[0], CELLS[2].replace("PRICE", "1")])
    assert main(["init", "shop", "--from", "a.ipynb", "--topology", "in-process"]) == 0
    assert "next: cd shop; dnworker serve ." in capsys.readouterr().out
    assert "pytest || test $? -eq 5 # " in Path("shop/.github/workflows/test.yml").read_text()
    assert "`dnworker export a.ipynb -o . --topology in-process`" in Path("shop/README.md").read_text()
    assert "path: workers/shop.py" in Path("shop/capability.yaml").read_text()
    assert notebook.is_file()


def test_the_name_is_that_of_a_notebook_without_a_head(here):
    make_notebook(here / "a.ipynb", [CELLS[2].replace("PRICE", "1")])
    assert main(["init", "mine", "elsewhere", "--from", "a.ipynb"]) == 0
    assert "name: mine\n" in Path("elsewhere/capability.yaml").read_text()


def test_mistakes_are_one_line_and_nothing_is_written(here, capsys):
    make_notebook(here / "shop.ipynb", [CELLS[0], CELLS[2].replace("PRICE", "1")])
    (here / "full" / "inner").mkdir(parents=True)
    assert "'My Cap' is not allowed: " in (text := refused(capsys, "My Cap"))
    assert text.endswith("; use my-cap (DN521)\n")
    assert "full is not empty: it has inner" in refused(capsys, "demo", "full")
    assert "shop.ipynb is no directory" in refused(capsys, "demo", "shop.ipynb")
    assert "none.ipynb" in refused(capsys, "demo", "--from", "none.ipynb")
    assert "names its capability 'shop'" in refused(capsys, "other", "--from", "shop.ipynb")


def test_what_cannot_be_exported_is_said_as_an_export_says_it(here, capsys):
    make_notebook(here / "a.ipynb", [CELLS[2]])
    assert main(["export", "a.ipynb", "-o", "out"]) == 1
    said = capsys.readouterr().err
    assert main(["init", "demo", "--from", "a.ipynb"]) == 1
    assert capsys.readouterr().err == said
    assert sorted(p.name for p in here.iterdir()) == ["a.ipynb"]


def test_options_for_a_notebook_want_one(here, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["init", "demo", "--target", "dnworker"])
    assert ended.value.code == 2
    assert "add --from" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_can_only_be_read_is_named(here, capsys):
    here.chmod(0o555)
    try:
        assert "could not be made: Permission denied; nothing was written" in refused(capsys, "demo")
    finally:
        here.chmod(0o755)


def test_a_place_where_nothing_can_be_made_is_named(capsys):
    assert "could not be made: " in refused(capsys, "demo", "/proc/demo")
