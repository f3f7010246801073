"""What values are, as data: equal for equal sources, unequal after any change, whatever the values do."""

from __future__ import annotations

import gc
import sys
import tracemalloc

import pytest

from dnworker_jupyter.export.proof.compare import Unknown
from dnworker_jupyter.export.proof.describe import describe

from .notebooks import differ, found_between

EQUAL = {
    "scalars": "A = [1, True, None, 2.5, float('nan'), 3j, 'x', b'y', ..., 10 ** 5000, 'long' * 500]",
    "containers": "A = [{'a': (1, {2, 'x', (3, 4)})}, frozenset({'p', 'q'})]; A.append(A)",
    "collections": "from collections import *\nA = [deque([1], maxlen=3), defaultdict(list, a=[1]), Counter('aab'),"
    " OrderedDict(a=1), ChainMap({})]",
    "large ones": "A = list(range(100_000)); B = dict.fromkeys(range(5000)); C = tuple(map(str, range(500)))",
    "an enum": "import enum\nclass E(enum.Enum):\n    P = 1\n    Q = 'a'\nclass F(enum.Flag):\n    P = 1\n    Q = 2\n"
    "class I(enum.IntEnum):\n    P = 1\nA = {E.P: [F.P | F.Q, I.P]}",
    "a dataclass": "from dataclasses import *\n@dataclass(order=True)\nclass D:\n    x: int = 3\n"
    "    y: list = field(default_factory=list)\n    def m(self): return super().__repr__()\nA = [D(), D(4, [5])]\n"
    "@dataclass(frozen=True, slots=True)\nclass S:\n    x: int = 3\nB = S(4)",
    "namedtuples": "from collections import namedtuple\nfrom typing import NamedTuple\nN = namedtuple('N', 'a b')\n"
    "class M(NamedTuple):\n    a: int = 3\nA = [N(1, [2]), M(3)]",
    "slots": "class S:\n    __slots__ = ('a', 'b')\n    def __init__(self): self.a = [1]\nA = S()",
    "an abstract class": "import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def x(self): ...\n"
    "    @property\n    def p(self): return 1\n    @staticmethod\n    def s(): return 2\n    @classmethod\n"
    "    def c(cls): return 3\nclass B(A):\n    def x(self): return self.s()\nb = B()\n@A.register\nclass C: pass",
    "builtin bases": "class L(list): pass\nl = L([1]); l.z = 3\nclass St(str): pass\ns = St('x')\n"
    "class E(ValueError): pass\ne = E('a')\nclass D(dict): pass\nd = D(a=1)\nclass T(tuple): pass\nt = T([1])\n"
    "class Se(set): pass\nse = Se(['a', 'b'])\nse.y = [1]",
    "functions": "import functools\nX = []\ndef f(a, *args, k=[3], **kw):\n    'doc'\n    def g(): return a, X\n"
    "    return [g, lambda: {1, 2}, f'{a!r}', [i for i in args], ('x', 'y')]\ng = f(3)[0]\nf.seen = X\n"
    "async def h():\n    async for x in f(1):\n        yield x\np = functools.partial(f, 1, k=g)\n"
    "c = functools.lru_cache(maxsize=3)(f)\n@functools.wraps(f)\ndef w(*a): return f(*a)",
    "a closure that counts": "def make():\n    n = [0]\n    def up(): n[0] += 1; return n\n    def down(): return n\n"
    "    return up, down\nup, down = make(); up()",
    "singledispatch": "import functools\n@functools.singledispatch\ndef f(x): return 1\n@f.register\ndef _(x: int): return 2\n"
    "f(True)",
    "methods of classes": "import functools\nclass P:\n    def __init__(self): self.x = 1\n    @functools.cached_property\n"
    "    def y(self): return 2\n    @functools.singledispatchmethod\n    def m(self, a): ...\nclass Q(P):\n"
    "    def __init__(self): super().__init__()\nA = [P(), Q()]; m = A[0].__init__",
    "locks": "import threading, asyncio, queue\nA = [threading.Lock(), threading.RLock(), threading.Event(), "
    "threading.Condition(), threading.Semaphore(3), asyncio.Lock(), asyncio.Queue(3), asyncio.Event(), "
    "asyncio.Semaphore(2), asyncio.Condition(), queue.Queue(), queue.PriorityQueue()]",
    "the standard library": "import datetime, decimal, fractions, pathlib, uuid, re, logging, random, io, types, array\n"
    "import contextvars, zoneinfo, ipaddress, itertools, string, weakref, functools, argparse\n"
    "A = [datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc), decimal.Decimal('1.5'), datetime.timedelta(3),"
    " fractions.Fraction(1, 3), pathlib.Path('/a'), uuid.UUID(int=3), re.compile('a+', re.I), logging.getLogger('x'),"
    " random.Random(3), io.StringIO('a'), io.BytesIO(b'a'), types.MappingProxyType({'a': [1]}),"
    " types.SimpleNamespace(a=1), array.array('i', [1]), range(3), slice(1, 2), bytearray(b'a'), memoryview(b'a'),"
    " contextvars.ContextVar('v'), ipaddress.ip_address('::1'), itertools.count(4), string.Template('$a'), [].append,"
    " str.upper, 'x'.upper, len, object(), functools.cmp_to_key, zoneinfo.ZoneInfo('UTC'), argparse.ArgumentParser()]\n"
    "class C: pass\nB = [weakref.ref(C), weakref.WeakValueDictionary(), weakref.WeakKeyDictionary({C: 1})]",
    "typing": "import typing\nfrom typing import *\nA = [list[int], Optional[int], int | str, TypeVar('T', bound=int), "
    "NewType('U', int), Callable[[int], str], Literal['a'], Any, Annotated[int, 'x']]\nT = TypeVar('T')\n"
    "class G(Generic[T]): pass\nclass P(Protocol):\n    def x(self) -> int: ...\nclass D(TypedDict):\n    a: int\nB = G[int]",
    "what is of this process": "import sys, os\nA = [sys.stdout, os.environ, sys.path]",
}  # fmt: skip


@pytest.mark.parametrize("what", EQUAL)
def test_equal_sources_are_described_alike(what):
    assert found_between(EQUAL[what], EQUAL[what]) == []


UNEQUAL = {
    "a type": ("A = 1", "A = True"),
    "a number": ("A = 0.0", "A = -0.0"),
    "an item in place": ("b = a = [1]", "b = a = [1]\nb.append(0)"),
    "an alias": ("a = [1]\nb = a", "a = [1]\nb = [1]"),
    "an alias that is new": ("a = [1]\nb = [1]", "a = [1]\nb = a"),
    "an alias within": ("x = []\nA = [x, x]", "A = [[], []]"),
    "a cycle": ("A = []\nA.append(A)", "A = []\nA.append([A])"),
    "the order of a dict": ("A = dict(a=1, b=2)", "A = dict(b=2, a=1)"),
    "an item of a set": ("A = {1, 2}", "A = {1, 3}"),
    "an item far inside": ("A = {'a': [{'b': (1, [2])}]}", "A = {'a': [{'b': (1, [3])}]}"),
    "the end of a long text": ("A = 'x' * 1000", "A = 'x' * 999 + 'y'"),
    "one of many numbers": ("A = [*range(1000)]", "A = [*range(1000)]\nA[500] = 0"),
    "the type of one of many": ("A = [*range(1000)]", "A = [*range(1000)]\nA[1] = True"),
    "maxlen": ("from collections import deque\nA = deque(maxlen=1)", "from collections import deque\nA = deque()"),
    "a factory": ("from collections import *\nA = defaultdict(int)", "from collections import *\nA = defaultdict(list)"),
    "move_to_end": ("from collections import *\nA = OrderedDict(a=1, b=2)",
                    "from collections import *\nA = OrderedDict(a=1, b=2)\nA.move_to_end('a')"),
    "an attribute": ("class P: pass\nA = P()\nA.x = 1", "class P: pass\nA = P()\nA.x = 2"),
    "an attribute of a list": ("class L(list): pass\nA = L()\nA.x = 1", "class L(list): pass\nA = L()"),
    "a slot": ("class S: __slots__ = 'a'\nA = S()", "class S: __slots__ = 'a'\nA = S()\nA.a = 1"),
    "a member": ("class P:\n    x = 1", "class P:\n    x = 2"),
    "a patched method": ("class P:\n    def m(self): return 1", "class P:\n    def m(self): return 1\nP.m = lambda self: 1"),
    "a base": ("class P(Exception): pass", "class P(ValueError): pass"),
    "a constant in code": ("def f(): return 1", "def f(): return 2"),
    "a name in code": ("def f(): return a", "def f(): return b"),
    "an operator": ("def f(a): return a + 1", "def f(a): return a - 1"),
    "a constant of an inner function": ("def f():\n    return lambda: 1", "def f():\n    return lambda: 2"),
    "async": ("def f(): pass", "async def f(): pass"),
    "a default": ("def f(a=1): pass", "def f(a=2): pass"),
    "a keyword's default": ("def f(*, a=1): pass", "def f(*, a=2): pass"),
    "a default that was changed": ("def f(a=[]): a.append(1)", "def f(a=[]): a.append(1)\nf()"),
    "a closure": ("def m(x): return lambda: x\nf = m(1)", "def m(x): return lambda: x\nf = m(2)"),
    "a cell": ("def m():\n    n = 0\n    def f():\n        nonlocal n\n        n += 1\n    return f\nf = m()",
               "def m():\n    n = 0\n    def f():\n        nonlocal n\n        n += 1\n    return f\nf = m()\nf()"),
    "an attribute of a function": ("def f(): pass", "def f(): pass\nf.x = 1"),
    "a decorator": ("def f(): pass", "from functools import cache\n@cache\ndef f(): pass"),
    "the size of a cache": ("from functools import *\nf = lru_cache(3)(len)", "from functools import *\nf = lru_cache(4)(len)"),
    "what is registered": ("import functools\n@functools.singledispatch\ndef f(x): ...",
                           "import functools\n@functools.singledispatch\ndef f(x): ...\n@f.register\ndef _(x: int): ..."),
    "a partial": ("from functools import partial\nA = partial(len, 1)", "from functools import partial\nA = partial(len, 2)"),
    "a method's object": ("A = [].append", "A = [1].append"),
    "a pattern": ("import re\nA = re.compile('a')", "import re\nA = re.compile('a', 2)"),
    "a lock that is held": ("import threading\nA = threading.Lock()", "import threading\nA = threading.Lock()\nA.acquire()"),
    "an event that is set": ("import asyncio\nA = asyncio.Event()", "import asyncio\nA = asyncio.Event()\nA.set()"),
    "a semaphore": ("import asyncio\nA = asyncio.Semaphore(2)", "import asyncio\nA = asyncio.Semaphore(3)"),
    "what is queued": ("import asyncio\nA = asyncio.Queue()", "import asyncio\nA = asyncio.Queue()\nA.put_nowait(1)"),
    "a seed": ("import random\nA = random.Random(3)", "import random\nA = random.Random(3)\nA.random()"),
    "a text in memory": ("import io\nA = io.StringIO('a')", "import io\nA = io.StringIO('b')"),
    "a bound": ("import typing\nT = typing.TypeVar('T', bound=int)", "import typing\nT = typing.TypeVar('T', bound=str)"),
    "an enum's value": ("import enum\nclass E(enum.Enum):\n    P = 1\nA = E.P", "import enum\nclass E(enum.Enum):\n    P = 2\nA = E.P"),
    "a default of a field": ("from dataclasses import *\n@dataclass\nclass D:\n    x: int = 1",
                             "from dataclasses import *\n@dataclass\nclass D:\n    x: int = 2"),
    "a missing name": ("A = 1", "B = 1"),
    "a function of another module": ("from json import dumps as f", "from pickle import dumps as f"),
    "an exception": ("A = ValueError(1)", "A = ValueError(2)"),
    "a registered class": ("import abc\nclass A(abc.ABC): pass", "import abc\nclass A(abc.ABC): pass\nA.register(int)"),
}  # fmt: skip


@pytest.mark.parametrize("what", UNEQUAL)
def test_a_difference_is_seen(what):
    here, there = UNEQUAL[what]
    assert differ(here, there)
    assert differ(there, here)


@pytest.mark.filterwarnings("ignore")  # nobody closes what the sources open
@pytest.mark.parametrize(
    "source",
    [
        "A = (i for i in [1])",
        "A = open('/dev/null')",
        "A = iter([1])",
        "import threading\nA = threading.Thread()",
        "import socket\nA = socket.socket()",
        "A = map(str, [1])",
        "import itertools\nA = itertools.cycle([1])",
        "import sqlite3\nA = sqlite3.connect(':memory:')",
        "import threading\nA = threading.local()",
        "class P:\n    __dict__ = property(lambda self: 1 / 0)\nA = P()",
    ],
)
def test_what_no_other_process_can_have_is_said_to_be_so(source):
    found = found_between(source, source, ["A"])
    gc.collect()  # while what nobody closes is no error
    assert [type(one) for one in found] == [Unknown]
    assert found[0].why


def test_what_cannot_be_compared_is_a_difference_to_what_is_no_such_thing():
    assert differ("A = (i for i in [1])", "A = None")


HOSTILE = """
class Liar:
    def __eq__(self, other): return True
    def __hash__(self): raise RuntimeError
    def __repr__(self): raise SystemExit
    def __reduce__(self): raise SystemExit
    def __reduce_ex__(self, n): raise SystemExit
    def __getattribute__(self, name): raise SystemExit
    def __getattr__(self, name): raise SystemExit
    def __bool__(self): raise SystemExit
    def __len__(self): raise SystemExit
    def __iter__(self): raise SystemExit
    def __getstate__(self): raise SystemExit
    __class__ = property(lambda self: 1 / 0)
    def __init__(self, x): object.__setattr__(self, 'x', x)
class Meta(type):
    def __eq__(cls, other): raise SystemExit
    def __hash__(cls): raise SystemExit
    def __repr__(cls): raise SystemExit
    def __getattribute__(cls, name): raise SystemExit
    def __instancecheck__(cls, other): raise SystemExit
    def __subclasses__(cls): raise SystemExit
class Odd(metaclass=Meta):
    x = 1
class List(list):
    def __iter__(self): raise SystemExit
    def __len__(self): raise SystemExit
class Dict(dict):
    def items(self): raise SystemExit
    def __iter__(self): raise SystemExit
class Text(str):
    def __str__(self): raise SystemExit
    def __repr__(self): raise SystemExit
a, b, c, d = [Liar(N)], List([N]), Dict(a=N), Text(N)
"""


def test_what_objects_say_of_themselves_is_not_asked():
    assert not differ(HOSTILE.replace("N", "1"), HOSTILE.replace("N", "1"))
    found = found_between(HOSTILE.replace("N", "1"), HOSTILE.replace("N", "2"), "abcd")
    assert [(one.here, one.there) for one in found] == [("1", "2"), ("1", "2"), ("1", "2"), ("'1'", "'2'")]


def test_a_class_that_a_cell_left_behind_is_no_subclass():
    base, child = "class A: pass\n", "class B(A): pass\n"
    assert not differ(base + child + child, base + child)
    found = found_between(base + child, base)
    assert [one.aspect for one in found if one.where] == ["subclasses"]


def test_an_annotation_is_the_same_as_its_text():
    source = "import datetime as dt\nclass P: pass\n"
    source += "def f(x: int, y: dict[str, int], z: dict[str, int] | None, d: dt.datetime, p: P) -> None: ..."
    assert found_between(source, f"from __future__ import annotations\n{source}", "f") == []


def test_annotations_as_other_texts_are_another_aspect():
    source = "Number = int\ndef f(x: Number) -> str: return ''"
    found = found_between(source, f"from __future__ import annotations\n{source}", "f")
    assert found
    assert {one.aspect for one in found} == {"annotations"}


def test_a_name_that_is_imported_is_its_place_in_its_module():
    import logging

    names = {"root": logging.root}
    here = describe(names, ["root"], [], imported={"root": ("logging", "root")})
    assert here.names == {"root": "external:logging:root"}
    assert describe({"root": 1}, ["root"], [], imported={"root": ("logging", "root")}).names == {
        "root": "int:1"
    }


@pytest.mark.parametrize("code", ["[0] * 10**7", "dict.fromkeys(range(2 * 10**6))", "'x' * 10**8"])
def test_what_is_too_large_is_not_even_copied(code, monkeypatch):
    monkeypatch.setattr("dnworker_jupyter.export.proof.describe.MOST_BYTES", 10**7)
    value = eval(code)
    tracemalloc.start()
    description = describe({"A": value}, ["A"], [])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < sys.getsizeof(value) / 4
    assert "cut" in str(description) or "too large" in str(description)


def test_one_large_value_leaves_time_for_the_others():
    names = {"large": [[[n] for n in range(300)] for _ in range(1000)], "small": [1, [2]]}
    description = describe(names, ["large", "small"], [], seconds=0.2)
    cut = [node for node in description.nodes if node.kind == "?cut"]
    assert cut
    assert description.nodes[description.names["small"]].kind == "list"


def test_a_list_of_any_depth_is_described():
    source = "A = []\nfor _ in range(3000): A = [A]"
    assert not differ(source, source)
    assert differ(source, source + "\nA = [A]")


def test_what_looks_like_a_secret_is_not_shown_whatever_its_name():
    keys = ("sk-live-0123456789abcdef01234567", "https://user:hunter22@host/")
    for key in keys:
        found = found_between(f"A = [1, {{'Accept': {key!r}}}]", "A = 3", "A")
        assert found
        assert not any(key in str(one) or "hunter22" in str(one) for one in found)
    assert "Bearer" not in str(found_between("H = {'Authorization': 'Bearer a'}", "H = {'Authorization': 1}"))


def test_what_msgspec_remembers_of_a_class_is_no_difference():
    source = "from typing import TypedDict\nimport msgspec\nclass Placed(TypedDict):\n    amount: int\n"
    checked = f"{source}msgspec.convert({{'amount': 1}}, Placed)\n"
    assert found_between(checked, source, ["Placed"]) == []
