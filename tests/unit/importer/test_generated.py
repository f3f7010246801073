"""Generated scripts: an import and an export keep what they do, no comment is lost, and the way back is stable."""

from __future__ import annotations

import asyncio
import os
import random
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from dnworker import compat
from dnworker.workers.loading import forget_helpers, load_worker
from dnworker.workers.registry import handlers_of
from dnworker_jupyter.export.disk.write import write
from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.importer.importer import import_capability
from dnworker_jupyter.syntax.cell import Cell

RUNS = int(os.environ.get("GENERATED_SCRIPTS", "12"))
MANIFEST = "schema: 1\nname: demo\nversion: 1.0.0\ndescription: d\nworkers:\n  a: {command: uv, args: [run, workers/a.py]}\n"


class Script:
    """A script of statements that are drawn; each comment has a number of its own."""

    def __init__(self, numbers: random.Random) -> None:
        self._numbers = numbers
        self._notes = 0
        self._known: list[str] = []
        """Expressions that a handler may read."""
        self._count = 0
        lines = ['"""What it does."""', ""] if self._chance(0.5) else []
        lines += self._comment() if self._chance(0.3) else []
        lines += ["from __future__ import annotations"] if self._chance(0.6) else []
        lines += [
            "import json",
            "import re  # " + self._note(),
            "from dreadnode.capabilities.worker import Worker",
            "",
        ]
        where = numbers.randrange(4)
        for number in range(numbers.randrange(4, 16)):
            lines += [
                *(["worker = Worker()", ""] if number == where else []),
                *self._statement(number > where),
            ]
        lines += self._handler()
        if self._chance(0.7):
            lines += [
                "",
                *self._comment(),
                "if __name__ == '__main__':",
                f"    # {self._note()}",
                "    worker.run()",
            ]
        lines += self._comment() if self._chance(0.4) else []
        self.text = "\n".join(lines) + "\n"
        self.comments = re.findall(r"note \d+ of it", self.text)

    def _chance(self, share: float) -> bool:
        return self._numbers.random() < share

    def _note(self) -> str:
        self._notes += 1
        return f"note {self._notes} of it"

    def _comment(self) -> list[str]:
        note = self._note()
        forms = [
            [f"# {note}"],
            [f"# ---- {note} ----"],
            [f"#### {note}"],
            ["# =====", f"# {note}", "# ====="],
        ]
        forms += [[f"# {note}", ""], ["", f"# === {note} ===", ""], [f"# {note}", "#", f"# {self._note()}"]]
        return self._numbers.choice(forms)

    def _name(self) -> str:
        self._count += 1
        return f"n{self._count}"

    def _value(self) -> str:
        return self._numbers.choice(self._known) if self._known and self._chance(0.7) else str(self._count)

    def _statement(self, has_worker: bool) -> list[str]:
        above = self._comment() if self._chance(0.4) else []
        blank = [""] * self._numbers.randrange(3)
        if has_worker and self._chance(0.3):
            return [*blank, *above, *self._handler()]
        name, value = self._name(), self._value()
        kinds = [
            [f"{name} = [{value}, {value}]"],
            [f"{name} = [{value}]  # {self._note()}"]
            if self._chance(0.5)
            else [f"{name} = {{'a': {value}}}"],
            [f"{name} = re.compile('a').pattern * 2"],
            [f"{name} = (", f"    # {self._note()}", f"    {value},", ")"],
            [f"{name} = 1; {name} = [{name}]"],
            [f"def {name}(x=1):", f"    # {self._note()}", f"    return [x, {value}]"],
            [f"class {name}:", "    '''Kept.'''", f"    x = {value}"],
            [f"if {value}:", f"    {name} = 'yes'", "else:", f"    {name} = 'no'"],
            [f"{name} = []", "for i in range(2):", f"    {name}.append(i)"],
        ]
        kind = self._numbers.choice(kinds)
        self._known.append({"def": f"{name}()", "cla": f"{name}.x"}.get(kind[0][:3], name))
        return [*blank, *above, *kind]

    def _handler(self) -> list[str]:
        name = self._name() if self._chance(0.8) else "again"
        kind = f"k.{self._count}"
        body = [f"    # {self._note()}"] if self._chance(0.3) else []
        publish = (
            f"    await client.publish('out', json.dumps([{self._value()}, {self._value()}], default=str))"
        )
        return ["", f"@worker.on_event('{kind}')", f"async def {name}(event, client):", *body, publish, ""]


def published(root: Path) -> list[object]:
    """Load the worker of a capability, call each of its handlers, and return what they publish."""
    compat.install()
    forget_helpers("demo")
    found: list[object] = []

    async def publish(kind: str, payload: object) -> None:
        found.append((kind, payload))

    for handler in handlers_of(load_worker(root, "demo", "a", root / "workers" / "a.py")):
        found.append(handler.key)
        asyncio.run(handler.function(SimpleNamespace(payload={}), SimpleNamespace(publish=publish)))
    return found


def exported(root: Path, out: Path) -> Path:
    made = import_capability(root)
    cells = [c.source for c in made.cells if c.kind == "code"]
    write(plan_export([Cell(n, text) for n, text in enumerate(cells, 1)], default_name="demo"), out)
    return out


@pytest.mark.parametrize("run", range(RUNS))
def test_a_generated_script_stays_what_it_is(run, tmp_path):
    seed = os.environ.get("SEED", f"{random.randrange(2**32)}-{run}")
    script = Script(random.Random(seed))
    root = tmp_path / "demo"
    (root / "workers").mkdir(parents=True)
    (root / "workers" / "a.py").write_text(script.text)
    (root / "capability.yaml").write_text(MANIFEST)
    told = f"SEED={seed}\n{script.text}"
    made = import_capability(root)
    words = "\n".join(cell.source for cell in made.cells)
    assert not [comment for comment in script.comments if comment not in words], told
    assert all(len(cell.source.splitlines()) < 60 for cell in made.cells), told
    first = exported(root, tmp_path / "1" / "demo")
    assert sorted(map(repr, published(first))) == sorted(map(repr, published(root))), told
    second = exported(first, tmp_path / "2" / "demo")
    assert (second / "workers" / "a.py").read_text() == (first / "workers" / "a.py").read_text(), told
