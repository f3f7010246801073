"""Makes notebooks at random: reassignments, aliases, changes in place, functions that do so, runs again, effects.

A notebook is executed while it is made: what is there when a statement is chosen decides what it may be, so that
nearly every notebook runs to its end. One whose cells raise is dropped, and another is made.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from .harness import Harness, Result
from .notebook import Notebook, NotebookCell

DATA = ("a", "b", "c", "d", "e")
FUNCTIONS = ("", "g", "h")
CLASSES = ("K", "L")
OBJECTS = ("o", "p")
KEYS = ("k", "m", "n")

LARGEST = 400
"""Characters of a value's text, over which a notebook is dropped."""

HEAD = """import copy
import functools
import json
import logging
import os
import random
import sys"""

REPR = "    def __repr__(self):\n        return f'{type(self).__name__}{sorted(vars(self).items())}'"


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
        self.cells: list[NotebookCell] = []
        self.run: list[int] = []

    def make(self) -> Notebook:
        rng = self.rng
        self._add(HEAD)
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
            statement = self._statement()
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

    # -- what is there -----------------------------------------------------------------------------------

    def _having(self, names: tuple[str, ...], test: Callable[[Any], bool]) -> list[str]:
        return [name for name in names if name in self.names and test(self.names[name])]

    def _of(self, *types: type) -> list[str]:
        return self._having(DATA, lambda v: isinstance(v, types) and not isinstance(v, bool))

    def _lists(self) -> list[str]:
        """Return expressions whose value is a list."""
        found = self._of(list)
        for name in self._of(list, tuple):
            found += [f"{name}[{n}]" for n, v in enumerate(self.names[name][:3]) if isinstance(v, list)]
        for name in self._of(dict):
            found += [f"{name}[{k!r}]" for k, v in self.names[name].items() if isinstance(v, list)]
        for name in self._objects():
            found += [f"{name}.{k}" for k, v in vars(self.names[name]).items() if isinstance(v, list)]
        for name in self._classes():
            found += [f"{name}.items"]
        return found

    def _dicts(self) -> list[str]:
        found = self._of(dict)
        for name in self._of(list, tuple):
            found += [f"{name}[{n}]" for n, v in enumerate(self.names[name][:3]) if isinstance(v, dict)]
        return found

    def _ints(self) -> list[str]:
        found = self._of(int)
        found += [f"{name}.size" for name in self._objects()]
        return found + [f"len({x})" for x in self._lists()[:2]]

    def _objects(self) -> list[str]:
        return self._having(OBJECTS, lambda v: hasattr(v, "size"))

    def _functions(self) -> list[str]:
        return self._having(FUNCTIONS, callable)

    def _classes(self) -> list[str]:
        return self._having(CLASSES, lambda v: isinstance(v, type))

    # -- expressions -------------------------------------------------------------------------------------

    def _filled(self, template: str, depth: int = 0) -> str:
        """Return a template with an expression for each §E, and one of an int for each §I."""

        def fill(match: re.Match[str]) -> str:
            return self._int() if match[0] == "§I" else self._expression(depth)

        return re.sub("§[EI]", fill, template)

    def _int(self) -> str:
        rng = self.rng
        chance = rng.random()
        if chance < 0.45 and (ints := self._ints()):
            return rng.choice(ints) + (f" + {rng.randint(1, 5)}" if chance < 0.2 else "")
        if chance < 0.6 and (functions := self._functions()):
            return f"{rng.choice(functions)}({rng.randint(0, 4)})"
        return str(rng.randint(0, 9))

    def _expression(self, depth: int = 0) -> str:
        rng = self.rng
        options: list[str] = ["§I", "§I", repr(rng.choice(["x", "yy", "z"]))]
        if depth < 2:
            options += ["[§E, §E]", "[§E]", "{'k': §E}", "(§E, §E)", "[]", "{}"]
        if existing := self._having(DATA, lambda v: True):
            name = rng.choice(existing)
            options += [name] * 3 + [f"f'{{{name}}}'", f"[{name}, {name}]", f"{{'k': {name}, 'm': [1]}}"]
        if lists := self._lists():
            x = rng.choice(lists)
            options += [x, f"list({x})", f"{x}[:]", f"{x} + [§I]", f"copy.copy({x})"]
            options += [f"copy.deepcopy({x})", f"[str(v) for v in {x}]", f"{x} or [0]", f"len({x})"]
            options += [f"tuple({x})", f"sorted({x}, key=str)", f"{x}.copy()", f"({x})"]
        if dicts := self._dicts():
            x = rng.choice(dicts)
            options += [x, f"dict({x})", f"{x}.get('k')", f"{{**{x}, 'n': §I}}", f"sorted({x})"]
            options += [f"{x} if len({x}) > 1 else [{x}]"]
        return self._filled(rng.choice(options), depth + 1)

    # -- statements --------------------------------------------------------------------------------------

    def _statement(self) -> str:
        rng = self.rng
        kinds = rng.choice([self._assignments, self._changes, self._changes, self._calls, self._blocks])
        chance = rng.random()
        if chance < 0.14 or not self._functions():
            kinds = self._definitions
        elif chance < 0.22 or not self._classes():
            kinds = self._class_statements
        elif chance < 0.27:
            kinds = self._effects
        options = [*kinds()] or [*self._assignments()]
        return self._filled(rng.choice(options))

    def _assignments(self) -> Iterator[str]:
        rng = self.rng
        name, other = rng.sample(DATA, 2)
        for _ in range(5):
            yield f"{rng.choice(DATA)} = §E"
        yield f"{name} = {other} = §E"
        yield f"{name}, {other} = §E, §E"
        yield f"{name}, *{other} = [§E, §E, 3]"
        yield f"{name} = [{other} := §E, 2]"
        there = self._having(DATA, lambda v: True)
        if len(there) > 1:
            one, two = rng.sample(there, 2)
            yield f"{one}, {two} = {two}, {one}"
            yield f"{one} = {two}"
            yield f"{one} = {two}"
        if len(there) > 3:
            yield f"del {rng.choice(there)}"

    def _changes(self) -> Iterator[str]:
        rng = self.rng
        for name in self._of(int):
            yield f"{name} += §I"
        for name in self._of(list, str, tuple):
            addition = {list: "[§I]", str: "'+'", tuple: "(§I,)"}
            yield f"{name} += {addition[type(self.names[name])]}"
        lists = self._lists()
        for x in rng.sample(lists, min(3, len(lists))):
            yield f"{x}.append(§E)"
            yield f"{x}.insert(0, §I)"
            yield f"{x}[:] = [§E]"
            yield f"{x}.extend([§I, §I])"
            yield f"{x}.reverse()"
            yield f"{x}[1:] = []"
            yield f"list.append({x}, §I)"
            yield f"for i in range(2):\n    {x}.append(i)"
            yield f"_seen = [{x}.append(v) for v in (§I, 1)]"
            yield f"if {x}:\n    {x}[0] = §E\nelse:\n    {x}.append(0)"
            yield f"if {x}:\n    del {x}[0]"
            yield f"for row in {x}:\n    if isinstance(row, list):\n        row.append(7)"
        dicts = self._dicts()
        for x in rng.sample(dicts, min(2, len(dicts))):
            key = rng.choice(KEYS)
            yield f"{x}[{key!r}] = §E"
            yield f"{x}.update({key}=§E)"
            yield f"{x}.pop({key!r}, None)"
            yield f"{x}.setdefault({key!r}, []) "
            yield f"for key in ('k', 'm'):\n    {x}[key] = §I"

    def _calls(self) -> Iterator[str]:
        for name in self._functions():
            yield f"{name}({self.rng.randint(0, 4)})"
            yield f"{self.rng.choice(DATA)} = {name}({self.rng.randint(0, 4)})"
            yield f"{self.rng.choice(DATA)} = [{name}(v) for v in range(2)]"
            yield f"for i in range(2):\n    {name}(i)"

    def _blocks(self) -> Iterator[str]:
        name = self.rng.choice(DATA)
        one, two, number = "§E", "§E", "§I"
        yield f"if {number} > 3:\n    {name} = {one}\nelse:\n    {name} = {two}"
        yield f"try:\n    {name} = {one}\n    {name}.nothing\nexcept AttributeError:\n    {name} = [{name}]"
        yield f"for i in range(3):\n    {name} = [i, {number}]\n    if i:\n        break\nelse:\n    {name} = 0"
        yield f"i = 0\nwhile i < 2:\n    i += 1\n    {name} = i"
        yield f"match {one}:\n    case [x, *_]:\n        {name} = x\n    case _:\n        {name} = 'no'"
        yield f"{name} = json.loads(json.dumps([{number}]))"

    def _definitions(self) -> Iterator[str]:
        name = self.rng.choice(FUNCTIONS)
        k = self.rng.randint(1, 5)
        yield f"def {name}(x):\n    return x + {k}"
        yield f"def {name}(x, y=§I):\n    return x * y + {k}"
        yield f"{name} = lambda x: x + §I"
        yield f"def make(n):\n    def inner(x):\n        nonlocal n\n        n += x\n        return n\n    return inner\n{name} = make({k})"
        for other in self._functions():
            yield f"{name} = {other}"
            yield f"old_{name} = {other}\ndef {name}(x):\n    return old_{name}(x) + {k}"
            yield f"{name} = functools.partial({other})"
            yield f"def logged(fn):\n    log = []\n    def inner(x):\n        log.append(x)\n        return fn(x) + len(log)\n    return inner\n{name} = logged({other})"
            yield f"def {name}(x, fn={other}):\n    return fn(x) + {k}"
        for x in self._of(int):
            yield f"def {name}(x):\n    return x + {x}"
            yield f"def {name}(x):\n    global {x}\n    {x} += x\n    return {x}"
            yield f"def {name}(x, y={x}):\n    return x + y"
        for x in self._of(list):
            yield f"def {name}(x):\n    {x}.append(x)\n    return len({x})"
            yield f"def {name}(x, to={x}):\n    to.append(x)\n    return len(to)"
            yield f"def {name}(x):\n    alias = {x}\n    alias += [x]\n    return len(alias)"
        for x in self._of(dict):
            yield f"def {name}(x):\n    {x}['n'] = x\n    return len({x})"

    def _class_statements(self) -> Iterator[str]:
        rng = self.rng
        name, k = rng.choice(CLASSES), "§I"
        yield (
            f"class {name}:\n    items = []\n    rate = {k}\n    def __init__(self, size=1):\n"
            "        self.size = size\n        self.own = []\n"
            "    def add(self, x):\n        self.own.append(x)\n        self.items.append(x)\n"
            f"        self.size += 1\n        return self.size\n{REPR}"
        )
        for base in self._classes():
            yield f"class {name}({base}):\n    rate = {base}.rate + 1\n    def twice(self):\n        return self.size * 2"
            yield f"class {name}({base}):\n    items = list({base}.items)\n"
            for obj in OBJECTS:
                yield f"{obj} = {base}(§I)"
                yield f"{obj} = {base}()\n{obj}.add(2)"
            yield f"{base}.rate = §I"
            yield f"{base}.items.append(§I)"
        for obj in self._objects():
            yield f"{obj}.add(§I)"
            yield f"{obj}.size += §I"
            yield f"setattr({obj}, 'extra', §E)"
            yield f"{obj}.own = §E if False else [1]"
            yield f"{rng.choice(DATA)} = {obj}.own"
            yield f"{rng.choice(FUNCTIONS)} = {obj}.add"
            yield f"{rng.choice(OBJECTS)} = {obj}"
            yield f"{rng.choice(DATA)} = [{obj}, 1]"

    def _effects(self) -> Iterator[str]:
        rng = self.rng
        yield f"os.environ['SETTING_X'] = 'v{rng.randint(0, 9)}'"
        yield f"random.seed({rng.randint(0, 99)})"
        yield f"logging.getLogger('made.up').setLevel({rng.choice([10, 20, 30])})"
        yield f"sys.setrecursionlimit({rng.choice([1500, 2000, 2500])})"
        yield f"json.made_up = {rng.randint(0, 9)}"
        yield f"{rng.choice(DATA)} = random.Random({rng.randint(0, 99)}).randint(0, 99)"

    # -- the worker --------------------------------------------------------------------------------------

    def _add_worker(self) -> None:
        rng = self.rng
        values = [*self._observations()]
        if not values:
            raise Dropped("there is nothing to tell")
        chosen = rng.sample(values, min(len(values), rng.randint(1, 5)))
        told = "".join(f"            {value},\n" for value in chosen)
        source = "%%worker demo\n@worker.on_event('ask')\nasync def on_ask(event, client):\n"
        if (ints := self._of(int)) and rng.random() < 0.3:
            name = rng.choice(ints)
            source += f"    global {name}\n    {name} = {name} + 1 if isinstance({name}, int) else 0\n"
        source += f"    await client.publish('told', {{\n        'values': [\n{told}        ]\n    }})"
        self.cells.append(NotebookCell(source, f"id-{len(self.cells) + 1}"))
        self.run.append(len(self.cells))

    def _observations(self) -> Iterator[str]:
        there = self._having(DATA + OBJECTS, lambda v: True)
        yield from (f"repr({name})" for name in there)
        for one in there:
            for two in there:
                if one < two:
                    yield f"{one} is {two}"
        lists = self._of(list)
        for x in lists:
            other = self.rng.choice(there)
            yield f"({x}.append('new'), repr({other}))[1]"
        for name in self._functions():
            yield f"repr({name}(3))"
            yield f"repr(({name}(1), {', '.join(lists) or 1}))"
        for name in self._classes():
            yield f"repr(({name}.rate, {name}.items, {name}(4).size))"
            yield f"len({name}.__mro__)"
        for name in self._objects():
            yield f"repr(({name}.add(5), {name}))"
            yield from (f"isinstance({name}, {kind})" for kind in self._classes())
        if self.rng.random() < 0.25:
            yield "os.environ.get('SETTING_X')"
            yield "random.randint(0, 1000)" if self._is_seeded() else "0"
            yield "logging.getLogger('made.up').level"
            yield "sys.getrecursionlimit()"
            yield "getattr(json, 'made_up', None)"

    def _is_seeded(self) -> bool:
        return any("random.seed(" in cell.source and not cell.fails for cell in self.cells)


def _python(source: str) -> str:
    """Return a cell's source as Python without magics."""
    return re.sub(r"^%time |^%%\w+", "", source, flags=re.MULTILINE)


# -- smaller ---------------------------------------------------------------------------------------------


def smaller(harness: Harness, result: Result, *, tries: int = 150) -> Result:
    """Return the result of a notebook without what is not needed to go wrong the same way."""
    best = result
    by_file = result.kernel.verdict in ("same", "refused")

    def verdict(found: Result) -> str:
        return (found.file if by_file else found.kernel).verdict

    changed = True
    while changed and tries > 0:
        changed = False
        for candidate in _without_one(best.notebook):
            tries -= 1
            found = harness.compare(candidate, file=by_file)
            if not found.broken and verdict(found) == verdict(best):
                best, changed = found, True
                break
            if tries <= 0:
                break
    return best


def _without_one(notebook: Notebook) -> Iterator[Notebook]:
    """Yield the notebook without each of its runs, cells, statements and told values, large parts first."""
    if len(notebook.fires) > 1:
        yield replace(notebook, fires=notebook.fires[:1])
    for number in range(len(notebook.run)):
        yield _without_unused(replace(notebook, run=[n for at, n in enumerate(notebook.run) if at != number]))
    if not notebook.run:
        for number, cell in enumerate(notebook.cells):
            if not cell.source.startswith("%%worker"):
                yield replace(notebook, cells=[c for at, c in enumerate(notebook.cells) if at != number])
    for number, cell in enumerate(notebook.cells):
        for source in _shorter(cell.source):
            cells = copy.copy(list(notebook.cells))
            cells[number] = replace(cell, source=source)
            yield replace(notebook, cells=cells)


def _without_unused(notebook: Notebook) -> Notebook:
    """Return the notebook without cells that never run."""
    used = sorted(set(notebook.run))
    numbers = {old: new for new, old in enumerate(used, 1)}
    run = [numbers[n] for n in notebook.run]
    return replace(
        notebook,
        cells=[notebook.cells[n - 1] for n in used],
        run=[] if run == [*range(1, len(run) + 1)] else run,
    )


def _shorter(source: str) -> Iterator[str]:
    if source.startswith("%%worker"):
        lines = source.split("\n")
        told = [n for n, line in enumerate(lines) if line.startswith(" " * 12)]
        if len(told) > 1:
            yield from ("\n".join(line for at, line in enumerate(lines) if at != n) for n in told)
        return
    if source.startswith("%%"):
        yield source.partition("\n")[2]
    try:
        nodes = ast.parse(re.sub(r"^%%\w+", "#", source)).body
    except SyntaxError:  # %time
        lines = source.split("\n")
        if all(not line.startswith(" ") for line in lines):
            yield from (
                "\n".join(line for at, line in enumerate(lines) if at != n) for n in range(len(lines))
            )
        return
    lines = source.split("\n")
    for node in nodes:
        if len(nodes) > 1:
            yield "\n".join(lines[: node.lineno - 1] + lines[node.end_lineno :])
