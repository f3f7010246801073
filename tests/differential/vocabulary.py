"""What random notebooks are made of: statements that fit what is there, and what handlers tell of it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

DATA = ("a", "b", "c", "d", "e")
FUNCTIONS = ("", "g", "h")
CLASSES = ("K", "L")
OBJECTS = ("o", "p")
KEYS = ("k", "m", "n")

HEAD = """import copy
import functools
import json
import logging
import os
import random
import sys"""

REPR = "    def __repr__(self):\n        return f'{type(self).__name__}{sorted(vars(self).items())}'"


class Vocabulary:
    """Chooses statements by the values that the names have now.

    Templates have §E where an expression is to be chosen, and §I where one of an int is.
    """

    head = ""
    """What the first cell has beside `HEAD`."""

    def __init__(self, rng: random.Random, names: dict[str, Any]) -> None:
        self.rng = rng
        self.names = names

    # -- what is there -----------------------------------------------------------------------------------

    def having(self, names: tuple[str, ...], test: Callable[[Any], bool]) -> list[str]:
        return [name for name in names if name in self.names and test(self.names[name])]

    def of(self, *types: type) -> list[str]:
        return self.having(DATA, lambda v: isinstance(v, types) and not isinstance(v, bool))

    def lists(self) -> list[str]:
        """Return expressions whose value is a list."""
        found = self.of(list)
        for name in self.of(list, tuple):
            found += [f"{name}[{n}]" for n, v in enumerate(self.names[name][:3]) if isinstance(v, list)]
        for name in self.of(dict):
            found += [f"{name}[{k!r}]" for k, v in self.names[name].items() if isinstance(v, list)]
        for name in self.objects():
            found += [f"{name}.{k}" for k, v in vars(self.names[name]).items() if isinstance(v, list)]
        for name in self.classes():
            found += [f"{name}.items"]
        return found

    def dicts(self) -> list[str]:
        found = self.of(dict)
        for name in self.of(list, tuple):
            found += [f"{name}[{n}]" for n, v in enumerate(self.names[name][:3]) if isinstance(v, dict)]
        return found

    def ints(self) -> list[str]:
        found = self.of(int)
        found += [f"{name}.size" for name in self.objects()]
        return found + [f"len({x})" for x in self.lists()[:2]]

    def objects(self) -> list[str]:
        return self.having(OBJECTS, lambda v: hasattr(v, "size"))

    def functions(self) -> list[str]:
        return self.having(FUNCTIONS, callable)

    def classes(self) -> list[str]:
        return self.having(CLASSES, lambda v: isinstance(v, type))

    # -- expressions -------------------------------------------------------------------------------------

    def _filled(self, template: str, depth: int = 0) -> str:
        """Return a template with an expression for each §E, and one of an int for each §I."""

        def fill(match: re.Match[str]) -> str:
            return self._int() if match[0] == "§I" else self._expression(depth)

        return re.sub("§[EI]", fill, template)

    def _int(self) -> str:
        rng = self.rng
        chance = rng.random()
        if chance < 0.45 and (ints := self.ints()):
            return rng.choice(ints) + (f" + {rng.randint(1, 5)}" if chance < 0.2 else "")
        if chance < 0.6 and (functions := self.functions()):
            return f"{rng.choice(functions)}({rng.randint(0, 4)})"
        return str(rng.randint(0, 9))

    def _expression(self, depth: int = 0) -> str:
        rng = self.rng
        options: list[str] = ["§I", "§I", repr(rng.choice(["x", "yy", "z"]))]
        if depth < 2:
            options += ["[§E, §E]", "[§E]", "{'k': §E}", "(§E, §E)", "[]", "{}"]
        if existing := self.having(DATA, lambda v: True):
            name = rng.choice(existing)
            options += [name] * 3 + [f"f'{{{name}}}'", f"[{name}, {name}]", f"{{'k': {name}, 'm': [1]}}"]
        if lists := self.lists():
            x = rng.choice(lists)
            options += [x, f"list({x})", f"{x}[:]", f"{x} + [§I]", f"copy.copy({x})"]
            options += [f"copy.deepcopy({x})", f"[str(v) for v in {x}]", f"{x} or [0]", f"len({x})"]
            options += [f"tuple({x})", f"sorted({x}, key=str)", f"{x}.copy()", f"({x})"]
        if dicts := self.dicts():
            x = rng.choice(dicts)
            options += [x, f"dict({x})", f"{x}.get('k')", f"{{**{x}, 'n': §I}}", f"sorted({x})"]
            options += [f"{x} if len({x}) > 1 else [{x}]"]
        return self._filled(rng.choice(options), depth + 1)

    # -- statements --------------------------------------------------------------------------------------

    def statement(self) -> str:
        rng = self.rng
        kinds = rng.choice([self._assignments, self._changes, self._changes, self._calls, self._blocks])
        chance = rng.random()
        if chance < 0.14 or not self.functions():
            kinds = self._definitions
        elif chance < 0.22 or not self.classes():
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
        there = self.having(DATA, lambda v: True)
        if len(there) > 1:
            one, two = rng.sample(there, 2)
            yield f"{one}, {two} = {two}, {one}"
            yield f"{one} = {two}"
            yield f"{one} = {two}"
        if len(there) > 3:
            yield f"del {rng.choice(there)}"

    def _changes(self) -> Iterator[str]:
        rng = self.rng
        for name in self.of(int):
            yield f"{name} += §I"
        for name in self.of(list, str, tuple):
            addition = {list: "[§I]", str: "'+'", tuple: "(§I,)"}
            yield f"{name} += {addition[type(self.names[name])]}"
        lists = self.lists()
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
        dicts = self.dicts()
        for x in rng.sample(dicts, min(2, len(dicts))):
            key = rng.choice(KEYS)
            yield f"{x}[{key!r}] = §E"
            yield f"{x}.update({key}=§E)"
            yield f"{x}.pop({key!r}, None)"
            yield f"{x}.setdefault({key!r}, []) "
            yield f"for key in ('k', 'm'):\n    {x}[key] = §I"

    def _calls(self) -> Iterator[str]:
        for name in self.functions():
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
        for other in self.functions():
            yield f"{name} = {other}"
            yield f"old_{name} = {other}\ndef {name}(x):\n    return old_{name}(x) + {k}"
            yield f"{name} = functools.partial({other})"
            yield f"def logged(fn):\n    log = []\n    def inner(x):\n        log.append(x)\n        return fn(x) + len(log)\n    return inner\n{name} = logged({other})"
            yield f"def {name}(x, fn={other}):\n    return fn(x) + {k}"
        for x in self.of(int):
            yield f"def {name}(x):\n    return x + {x}"
            yield f"def {name}(x):\n    global {x}\n    {x} += x\n    return {x}"
            yield f"def {name}(x, y={x}):\n    return x + y"
        for x in self.of(list):
            yield f"def {name}(x):\n    {x}.append(x)\n    return len({x})"
            yield f"def {name}(x, to={x}):\n    to.append(x)\n    return len(to)"
            yield f"def {name}(x):\n    alias = {x}\n    alias += [x]\n    return len(alias)"
        for x in self.of(dict):
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
        for base in self.classes():
            yield f"class {name}({base}):\n    rate = {base}.rate + 1\n    def twice(self):\n        return self.size * 2"
            yield f"class {name}({base}):\n    items = list({base}.items)"
            for obj in OBJECTS:
                yield f"{obj} = {base}(§I)"
                yield f"{obj} = {base}()\n{obj}.add(2)"
            yield f"{base}.rate = §I"
            yield f"{base}.items.append(§I)"
        for obj in self.objects():
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

    # -- what handlers tell ------------------------------------------------------------------------------

    def observations(self) -> Iterator[str]:
        there = self.having(DATA + OBJECTS, lambda v: True)
        yield from (f"repr({name})" for name in there)
        for one in there:
            for two in there:
                if one < two:
                    yield f"{one} is {two}"
        lists = self.of(list)
        for x in lists:
            other = self.rng.choice(there)
            yield f"({x}.append('new'), repr({other}))[1]"
        for name in self.functions():
            yield f"repr({name}(3))"
            yield f"repr(({name}(1), {', '.join(lists) or 1}))"
        for name in self.classes():
            yield f"repr(({name}.rate, {name}.items, {name}(4).size))"
            yield f"len({name}.__mro__)"
        for name in self.objects():
            yield f"repr(({name}.add(5), {name}))"
            yield from (f"isinstance({name}, {kind})" for kind in self.classes())
        if self.rng.random() < 0.25:
            yield "os.environ.get('SETTING_X')"
            yield "random.randint(0, 1000)"
            yield "logging.getLogger('made.up').level"
            yield "sys.getrecursionlimit()"
            yield "getattr(json, 'made_up', None)"
