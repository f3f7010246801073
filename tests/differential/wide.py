"""More for random notebooks: containers and objects of the standard library, registries, odd ways to change things."""

from __future__ import annotations

from collections.abc import Iterator

from .vocabulary import DATA, FUNCTIONS, OBJECTS, Vocabulary

OTHERS = ("q", "r", "s", "t")
"""Names of what is neither data nor a function nor a class."""

IMPORTS = """import bisect
import collections
import contextlib
import dataclasses
import datetime
import decimal
import enum
import gc
import heapq
import io
import itertools
import operator
import re
import types"""

MADE = {
    "deque": ("collections.deque([1, 2, 3])", "repr({})"),
    "Counter": ("collections.Counter('abca')", "repr(sorted({}.items()))"),
    "defaultdict": ("collections.defaultdict(list, k=[1])", "repr(sorted({}.items()))"),
    "OrderedDict": ("collections.OrderedDict(k=1, m=2)", "repr(list({}.items()))"),
    "ChainMap": ("collections.ChainMap({}, {'k': 1})", "repr(sorted({}.items()))"),
    "SimpleNamespace": ("types.SimpleNamespace(k=[1], n=0)", "repr({})"),
    "set": ("{1, 2}", "repr(sorted({}))"),
    "bytearray": ("bytearray(b'abc')", "repr(bytes({}))"),
    "StringIO": ("io.StringIO()", "{}.getvalue()"),
    "list_iterator": ("iter([1, 2, 3, 4, 5, 6, 7])", "repr(next({}, None))"),
    "count": ("itertools.count(3)", "repr(next({}))"),
    "cycle": ("itertools.cycle([1, 2])", "repr(next({}))"),
    "Random": ("random.Random(5)", "repr({}.randint(0, 99))"),
    "Pattern": ("re.compile('a+')", "repr({0}.findall('aab') if isinstance({0}, re.Pattern) else 0)"),
    "Decimal": ("decimal.Decimal('1.10')", "repr({})"),
    "timedelta": ("datetime.timedelta(minutes=5)", "repr({})"),
    "generator": ("(n * n for n in range(9))", "repr(next({}, None))"),
    "builtin_function_or_method": ("[4].append", "repr({}(1))"),
    "mappingproxy": ("types.MappingProxyType({'k': [1]})", "repr({})"),
    "dict_keys": ("{'k': 1}.keys()", "repr(list({}))"),
    "Item": ("Item('a')", "repr({})"),
    "Point": ("Point(1, [2])", "repr({})"),
}
"""By the name of the type: an expression that makes one, and one that tells of it."""

CHANGES = {
    "deque": [
        "{}.rotate(1)",
        "{}.append(§I)",
        "{}.popleft() if {} else None",
        "{}.extendleft([§I])",
        "{} += [§I]",
    ],
    "Counter": ["{}.update('ab')", "{}['z'] += 2", "{} += collections.Counter('z')", "{}.subtract('a')"],
    "defaultdict": ["{}['k'].append(§I)", "{}['new'].append(§E)", "{}['probe']", "{}.pop('k', None)"],
    "OrderedDict": [
        "{}.move_to_end(next(iter({})))",
        "{}['n'] = §E",
        "{}.popitem(last=False) if {} else None",
    ],
    "ChainMap": ["{}['n'] = §I", "{}.maps.append({{'z': §I}})", "{} = {}.new_child({{'y': 1}})"],
    "SimpleNamespace": [
        "{}.k.append(§I)",
        "{}.n += 1",
        "{}.extra = §E",
        "vars({})['late'] = §I",
        "{}.__dict__.update(up=§I)",
    ],
    "set": ["{}.add(§I)", "{} |= {{§I}}", "{}.discard(1)", "{} -= {{2}}", "{}.update(range(3))"],
    "bytearray": ["{}.extend(b'!')", "{}[0:1] = b'x'", "{}.reverse()"],
    "StringIO": ["{}.write('w')", "print('p', file={})"],
    "list_iterator": ["next({}, None)", "list(itertools.islice({}, 2))", "for _v in {}:\n    break"],
    "count": ["next({})", "first = [next({}) for _ in range(2)]"],
    "cycle": ["next({})"],
    "Random": ["{}.random()", "{}.seed(§I)", "{}.shuffle([1, 2, 3])", "{}.choice([1, 2])"],
    "Pattern": ["{} = re.compile('b+')", "{} = re.compile({}.pattern + 'b', re.I)"],
    "Decimal": ["{} *= 3", "{} = {}.quantize(decimal.Decimal('0.1'))"],
    "timedelta": ["{} *= 2", "{} = {} + datetime.timedelta(seconds=§I)"],
    "generator": ["next({}, None)", "for _v in {}:\n    break"],
    "builtin_function_or_method": ["{}(§I)"],
    "mappingproxy": [],
    "dict_keys": [],
    "Item": ["{}.tags.append(§I)", "{}.name = 'b'", "{} = dataclasses.replace({}, name='c')"],
    "Point": ["{}.y.append(§I)", "{} = {}._replace(x=§I)"],
}

DEFINED = """@dataclasses.dataclass
class Item:
    name: str
    tags: list = dataclasses.field(default_factory=list)
Point = collections.namedtuple('Point', 'x y')
class Level(enum.Enum):
    LOW = 1
    HIGH = 2
class Base:
    kinds = {}
    def __init_subclass__(cls, **kw):
        super().__init_subclass__(**kw)
        Base.kinds[cls.__name__] = cls
    def say(self):
        return type(self).__name__
REG = {}
def reg(key):
    def add(fn):
        REG[key] = fn
        return fn
    return add
def push(to, x):
    to.append(x)
    return to
def deep(to, x):
    inner = to
    push(inner, x)
@functools.singledispatch
def show(x):
    return 'any'"""


class WideVocabulary(Vocabulary):
    """Chooses among many more statements."""

    head = f"{IMPORTS}\n{DEFINED}"

    def statement(self) -> str:
        """Return a statement that can be executed now."""
        rng = self.rng
        if rng.random() < 0.5:
            return super().statement()
        kinds = rng.choice(
            [
                self._makes,
                self._changes_made,
                self._changes_made,
                self._aliases,
                self._odd,
                self._odd,
                self._registers,
            ]
        )
        options = [*kinds()] or [*self._makes()]
        return self._filled(rng.choice(options))

    def _made(self) -> list[tuple[str, str]]:
        """Return the names of what was made, with its type."""
        found = [(name, type(self.names[name]).__name__) for name in OTHERS if name in self.names]
        return [(name, kind) for name, kind in found if kind in MADE]

    def _makes(self) -> Iterator[str]:
        for kind in self.rng.sample(sorted(MADE), 6):
            yield f"{self.rng.choice(OTHERS)} = {MADE[kind][0]}"
        for x in self.of(list):
            yield f"{self.rng.choice(OTHERS)} = {x}.append"
            yield f"{self.rng.choice(OTHERS)} = collections.deque({x}, maxlen=3)"
            yield f"{self.rng.choice(OTHERS)} = iter({x} + [1, 2])"
            yield f"{self.rng.choice(OTHERS)} = types.SimpleNamespace(k={x}, n=0)"
            yield f"{self.rng.choice(OTHERS)} = (n for n in {x})"
            yield f"{self.rng.choice(OTHERS)} = Item('i', {x})"
            yield f"{self.rng.choice(OTHERS)} = Point(0, {x})"
        for x in self.of(dict):
            yield f"{self.rng.choice(OTHERS)} = types.MappingProxyType({x})"
            yield f"{self.rng.choice(OTHERS)} = collections.ChainMap({{}}, {x})"
            yield f"{self.rng.choice(OTHERS)} = {x}.keys()"
            yield f"{self.rng.choice(OTHERS)} = collections.defaultdict(list, {x})"

    def _changes_made(self) -> Iterator[str]:
        for name, kind in self._made():
            for template in CHANGES[kind]:
                yield template.format(*[name] * template.count("{}"))

    def _aliases(self) -> Iterator[str]:
        rng = self.rng
        for name, kind in self._made():
            yield f"{rng.choice(OTHERS)} = {name}"
            if kind in ("list_iterator", "generator", "count", "cycle"):
                yield f"{rng.choice(DATA)} = next({name}, 0)"
            if kind in ("SimpleNamespace", "Item", "Point"):
                yield f"{rng.choice(DATA)} = {name}.{ {'SimpleNamespace': 'k', 'Item': 'tags', 'Point': 'y'}[kind] }"
            if kind == "defaultdict":
                yield f"{rng.choice(DATA)} = {name}['k']"
            if kind in ("deque", "set", "Counter", "dict_keys"):
                yield f"{rng.choice(DATA)} = list({name})"

    def _odd(self) -> Iterator[str]:
        rng = self.rng
        lists = self.lists()
        for x in rng.sample(lists, min(2, len(lists))):
            yield f"push({x}, §I)"
            yield f"deep({x}, §E)"
            yield f"{rng.choice(DATA)} = push({x}, §I)"
            yield f"list(map({x}.append, [§I, 2]))"
            yield f"heapq.heappush({x}, 1) if not {x} else None"
            yield f"operator.iadd({x}, [§I])"
            yield f"with contextlib.suppress(KeyError):\n    {x}.append(§I)\n    {{}}['missing']\n    {x}.append('never')"
            yield f"try:\n    {x}.append(§I)\n    1 / 0\nexcept ZeroDivisionError:\n    {x}.append('except')\nfinally:\n    {x}.append('finally')"
            yield f"{x}.append({x}.pop()) if {x} else None"
            yield f"{rng.choice(DATA)} = functools.reduce(lambda acc, v: acc.append(v) or acc, [1, 2], {x})"
            yield f"for _v, {x}[:] in [(1, [§I])]:\n    pass" if "[" not in x else f"{x}.clear()"
            yield f"(lambda to: to.append(§I))({x})"
            yield f"class _T:\n    {x}.append('in a class body')" if "." not in x else f"{x}.append(0)"
            yield f"assert {x}.append('assert') is None"
            yield f"f'{{{x}.append(1)}}'"
        name = rng.choice(DATA)
        yield f"globals()['{name}'] = §E" if rng.random() < 0.2 else f"{name} = [§E for _ in range(2)]"
        yield f"{name} = {name} if '{name}' in globals() else §E" if rng.random() < 0.2 else f"{name} = §E"
        yield f"def fill():\n    global {name}\n    {name} = §E\nfill()"
        yield f"{name} = Level.HIGH.value if §I > 2 else Level.LOW.name"
        for obj in self.objects():
            yield f"vars({obj})['late'] = §E"
            yield f"{obj}.__dict__.update(up=§I)"
            yield f"object.__setattr__({obj}, 'size', §I)"
            yield f"{rng.choice(OBJECTS)} = copy.copy({obj})"
            yield f"{rng.choice(OBJECTS)} = copy.deepcopy({obj})"
        for kind in self.classes():
            yield f"{kind}.extra = §I"
            yield f"setattr({kind}, 'rate', §I)"
            yield f"def add2(self, x):\n    self.size += 2 * x\n    return self.size\n{kind}.add = add2"
            yield f"{kind}.twice = property(lambda self: 2)"

    def _registers(self) -> Iterator[str]:
        rng = self.rng
        k = rng.randint(0, 3)
        name = rng.choice(FUNCTIONS)
        yield f"@reg('r{k}')\ndef {name}(x):\n    return x + {k}"
        yield f"REG['r{k}'] = lambda x: x * {k}"
        yield f"class Sub{k}(Base):\n    value = §I\n    def say(self):\n        return 'sub' + super().say()"
        yield f"@show.register(int)\ndef _show_int(x):\n    return 'int{k}'"
        yield f"@show.register\ndef _show_list(x: list):\n    return f'list{k}{{len(x)}}'"
        yield "REG.pop('r0', None)"
        yield f"@functools.lru_cache\ndef {name}(x):\n    return x * 2"
        yield f"def {name}(x):\n    {name}.calls = getattr({name}, 'calls', 0) + 1\n    return x + {name}.calls"
        yield f"def {name}(x, seen=[]):\n    seen.append(x)\n    return len(seen)"

    def observations(self) -> Iterator[str]:
        """Yield expressions that tell what is there."""
        yield from super().observations()
        for name, kind in self._made():
            yield MADE[kind][1].format(name)
            yield f"type({name}).__name__"
        yield "repr(sorted((k, v(2)) for k, v in REG.items()))"
        yield "repr(sorted((k, c().say()) for k, c in Base.kinds.items()))"
        yield "repr((show(1), show([1]), show('s')))"
        yield "(gc.collect(), sorted({c.__name__ for c in Base.__subclasses__()}))[1]"
        made = [name for name, _ in self._made()]
        for one in made:
            for two in made:
                if one < two:
                    yield f"{one} is {two}"
        for name, kind in self._made():
            for x in self.of(list)[:1]:
                if kind in ("SimpleNamespace", "Item", "Point", "deque", "builtin_function_or_method"):
                    yield f"({x}.append('late'), {MADE[kind][1].format(name)})[1]"
