"""Makes notebooks at random: reassignments, aliases, changes in place, functions that do so, runs again, effects.

A notebook is executed while it is made: what is there when a statement is chosen decides what it may be, so that
nearly every notebook runs to its end. One whose cells raise is dropped, and another is made.
"""

from __future__ import annotations

import contextlib
import io
import random
import re
from typing import Any

from .notebook import Notebook, NotebookCell
from .vocabulary import DATA, HEAD, OBJECTS, Vocabulary
from .wide import WideVocabulary

LARGEST = 400
"""Characters of a value's text, over which a notebook is dropped."""

_EFFECTS = re.compile(r"^(os\.environ\[|random\.seed|logging\.|sys\.set|json\.made_up).*$", re.MULTILINE)
"""What would change this process, and no name."""


class Dropped(Exception):
    """This notebook cannot be finished; another will be."""


def generate(seed: str) -> Notebook:
    """Return the notebook of a seed."""
    for attempt in range(100):
        with contextlib.suppress(Dropped):
            return _Maker(random.Random(f"{seed}/{attempt}"), seed).make()
    raise AssertionError(f"no notebook of seed {seed} runs")


class _Maker:
    """Makes one notebook."""

    def __init__(self, rng: random.Random, seed: str) -> None:
        self.rng = rng
        self.seed = seed
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.words = (WideVocabulary if rng.random() < 0.7 else Vocabulary)(rng, self.names)
        self.cells: list[NotebookCell] = []
        self.run: list[int] = []

    def make(self) -> Notebook:
        rng = self.rng
        self._add(f"{HEAD}\n{self.words.head}".strip())
        count = rng.randint(2, 7)
        worker_at = count if rng.random() < 0.6 else rng.randint(1, count)
        for number in range(count):
            if number == worker_at:
                self._add_worker()
            self._step()
        if worker_at == count:
            self._add_worker()
        straight = self.run == list(range(1, len(self.cells) + 1))
        return Notebook(
            self.seed,
            self.cells,
            expect="same-or-refused",
            fires=[("ask", {"n": n}) for n in range(rng.randint(1, 3))],
            run=[] if straight else self.run,
            may_fail=True,
        )

    # -- cells -----------------------------------------------------------------------------------------

    def _step(self) -> None:
        rng = self.rng
        chance = rng.random()
        plain = [n for n, cell in enumerate(self.cells, 1) if n > 1 and not cell.source.startswith("%%w")]
        if chance < 0.08 and plain:
            number = rng.choice(plain)
            cell = self.cells[number - 1]
            self._execute(_python(cell.source), fails=cell.fails)
            self.run.append(number)
        elif chance < 0.14 and plain:
            self._add(self._body(), cell_id=self.cells[rng.choice(plain) - 1].id)
        elif chance < 0.20:
            self._add(self._body() + "\nraise ValueError('stop')", fails=True, executed=True)
        elif chance < 0.25:
            self._add(rng.choice(["%%time\n", "%%capture\n"]) + self._body(), executed=True)
        else:
            self._add(self._body(), executed=True)

    def _add(self, source: str, cell_id: str = "", fails: bool = False, executed: bool = False) -> None:
        if not executed and not cell_id:
            self._execute(source)
        self.cells.append(NotebookCell(source, cell_id or f"id-{len(self.cells) + 1}", fails))
        self.run.append(len(self.cells))

    def _body(self) -> str:
        """Return statements, which are executed as they are chosen."""
        lines = []
        for _ in range(self.rng.randint(1, 5)):
            statement = self.words.statement()
            self._execute(statement)
            lines.append(statement if not self._is_timed(statement) else f"%time {statement}")
        return "\n".join(lines)

    def _is_timed(self, statement: str) -> bool:
        # The magic of an assignment would bind the name, and show nothing.
        return "\n" not in statement and statement.endswith(")") and self.rng.random() < 0.04

    def _execute(self, source: str, *, fails: bool = False) -> None:
        source = _EFFECTS.sub("pass", source)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, "cell", "exec"), self.names)
        except Exception as exc:
            if not fails:
                raise Dropped(source) from exc
        try:
            large = any(len(repr(self.names[n])) > LARGEST for n in DATA + OBJECTS if n in self.names)
        except Exception as exc:
            raise Dropped("a value has no text") from exc
        if large:
            raise Dropped("a value is too large")

    # -- the worker --------------------------------------------------------------------------------------

    def _add_worker(self) -> None:
        rng = self.rng
        values = [v for v in self.words.observations() if "random." not in v or self._is_seeded()]
        if not values:
            raise Dropped("there is nothing to tell")
        chosen = rng.sample(values, min(len(values), rng.randint(1, 5)))
        told = "".join(f"            {value},\n" for value in chosen)
        source = "%%worker demo\n@worker.on_event('ask')\nasync def on_ask(event, client):\n"
        if (ints := self.words.of(int)) and rng.random() < 0.3:
            name = rng.choice(ints)
            source += f"    global {name}\n    {name} = {name} + 1 if isinstance({name}, int) else 0\n"
        source += f"    await client.publish('told', {{\n        'values': [\n{told}        ]\n    }})"
        self.cells.append(NotebookCell(source, f"id-{len(self.cells) + 1}"))
        self.run.append(len(self.cells))

    def _is_seeded(self) -> bool:
        return any("random.seed(" in cell.source and not cell.fails for cell in self.cells)


def _python(source: str) -> str:
    """Return a cell's source as Python without magics."""
    return re.sub(r"^%time |^%%\w+", "", source, flags=re.MULTILINE)
