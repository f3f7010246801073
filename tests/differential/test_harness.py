"""The harness itself: it sees differences, and its short ways do what the long ones do."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .generate import generate
from .harness import Harness, Result, Side
from .notebook import Notebook, corpus, load, read
from .smaller import smaller

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TELL = """# ---- next cell ----
%%worker demo
@worker.on_event("ask")
async def on_ask(event, client):
    await client.publish("told", {"x": x})
"""


def test_an_export_that_does_something_else_is_different(compared, monkeypatch):
    notebook = read("wrong", "x = 1\n" + TELL)
    assert compared.compare(notebook).kernel.verdict == "same"

    def run_another(self: Harness, notebook: Notebook, root: Path) -> dict[str, Any]:
        script = root / "workers" / "demo.py"
        script.write_text(script.read_text().replace("x = 1", "x = 2"))
        return inner(self, notebook, root)

    inner = Harness.run_export
    monkeypatch.setattr(Harness, "run_export", run_another)
    result = compared.compare(notebook)
    assert result.kernel.verdict == "different"
    assert '- event 1: demo.on_ask publishes told {"x": 1}' in result.kernel.detail
    assert '+ event 1: demo.on_ask publishes told {"x": 2}' in result.kernel.detail
    assert result.wrong


def test_an_export_that_lacks_a_handler_is_different(compared, monkeypatch):
    inner = Harness.run_export

    def run_less(self: Harness, notebook: Notebook, root: Path) -> dict[str, Any]:
        answer = inner(self, notebook, root)
        return answer | {"handlers": answer["handlers"][1:]}

    monkeypatch.setattr(Harness, "run_export", run_less)
    result = compared.compare(read("less", "x = 1\n" + TELL))
    assert "- demo: on_event ask on_ask" in result.kernel.detail


def test_a_script_that_raises_is_a_crash(compared, monkeypatch):
    inner = Harness.run_export

    def run_broken(self: Harness, notebook: Notebook, root: Path) -> dict[str, Any]:
        script = root / "workers" / "demo.py"
        script.write_text("1 / 0\n" + script.read_text())
        return inner(self, notebook, root)

    monkeypatch.setattr(Harness, "run_export", run_broken)
    result = compared.compare(read("broken", "x = 1\n" + TELL))
    assert result.kernel.verdict == "crashed"
    assert "ZeroDivisionError" in result.kernel.detail


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = 1\n1 / 0\n" + TELL, "ZeroDivisionError"),
        ("x = object()\n" + TELL, "publish nothing"),
        ("x = 1\n" + TELL + "    1 / 0\n", "handlers fail"),
        ("import uuid\n" + TELL.replace(": x", ": uuid.uuid4().hex"), "something else in each run"),
    ],
    ids=["a cell fails", "nothing is published", "a handler fails", "it is not the same twice"],
)
def test_of_a_notebook_that_is_itself_wrong_nothing_is_said(compared, text, why):
    result = compared.compare(read("broken", text))
    assert why in result.broken
    assert result.kernel.verdict == "skipped"
    assert result.wrong


def test_the_notebooks_side_does_not_have_what_its_own_fires_changed(compared):
    text = TELL.replace('    await client.publish("told"', '    x.append(1)\n    await client.publish("told"')
    notebook = read("fires", f"x = []\n{text}# ---- next cell ----\n%fire ask\n")
    assert notebook.fires_itself
    result = compared.compare(notebook, file=False)
    assert not result.broken
    assert '"x": [1, 1, 1]' not in result.kernel.detail


SAMPLE = (
    "short/magic-time-line",
    "short/cell-fails-in-a-function",
    "short/cell-edited-to-drop-a-name",
    "classes/handler-two-cells-share-names",
    "classes/reach-pickle-of-main",
    "real/alert-deduplicator",
)


@pytest.mark.kernel
def test_the_shell_of_a_kernel_does_what_a_kernel_does(compared, tmp_path):
    real = Harness(real_kernel=True)
    try:
        for number, name in enumerate(SAMPLE):
            notebook = load(name)
            answers = []
            for side, harness in enumerate((compared, real)):
                place = tmp_path / f"{number}-{side}"
                place.mkdir()
                answer = harness.run_notebook(notebook, place, export=None)
                answers.append((answer["handlers"], answer["effects"], [n for n, *_ in answer["failed"]]))
            assert answers[0] == answers[1], name
    finally:
        real.close()


def test_a_fork_does_with_a_script_what_python_does(compared):
    real = Harness(real_script=True)
    try:
        for name in ("classes/reach-main-guard", "classes/handler-on-startup-state"):
            assert real.compare(load(name), file=False).kernel.verdict == "same"
            assert compared.compare(load(name), file=False).kernel.verdict == "same"
    finally:
        real.close()


# -- reading and making ----------------------------------------------------------------------------------


def test_every_notebook_of_the_corpus_can_be_read():
    for name in corpus():
        notebook = load(name)
        assert re.fullmatch(r"same|same-or-refused|refused(: .*)?", notebook.expect), name
        sources = [cell.source for cell in notebook.cells]
        assert any(text in source for source in sources for text in ("%%worker", "Worker(", "dn.worker(")), (
            name
        )


def test_a_line_between_cells_that_says_something_unknown_is_refused():
    with pytest.raises(ValueError, match="cell 2: what is ' agian 1'"):
        read("typo", "x = 1\n# ---- next cell ---- agian 1\ny = 2\n")


def test_a_seed_gives_one_notebook_and_its_text_the_same():
    for number in range(20):
        notebook = generate(f"t:{number}")
        assert generate(f"t:{number}") == notebook
        again = read("again", notebook.as_text())
        assert again.steps == notebook.steps
        assert again.fires == list(notebook.fires)


def test_a_notebook_that_goes_wrong_is_made_small():
    class Fake:
        def compare(self, notebook: Notebook, *, file: bool = True) -> Result:
            text = notebook.as_text()
            verdict = "different" if "b.append" in text and "repr(b)" in text else "same"
            return Result(notebook, Side(verdict), Side("skipped"))  # type: ignore[arg-type]

    text = "a = 1\nb = []\n# ---- next cell ----\nb.append(a)\nc = 3\n# ---- next cell ----\nd = 4\n" + (
        TELL.replace(
            '{"x": x}', "{\n        'values': [\n            repr(a),\n            repr(b),\n        ]\n    }"
        )
    )
    notebook = replace(read("large", text), run=[1, 2, 3, 2, 4])
    harness: Any = Fake()
    small = smaller(harness, harness.compare(notebook)).notebook
    assert small.as_text() == SMALL


SMALL = """# expect: same
# fire: ask {}
b.append(a)
# ---- next cell ----
%%worker demo
@worker.on_event("ask")
async def on_ask(event, client):
    await client.publish("told", {
        'values': [
            repr(b),
        ]
    })
"""
