"""Two processes that execute one source are described alike, and any change of a value is seen."""

from __future__ import annotations

import collections

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from .notebooks import differ

PRELUDE = """
import collections, functools, types
class Point:
    scale = 2
    def __init__(self, x): self.x = x
    def __eq__(self, other): return True
    __hash__ = None
class Slots:
    __slots__ = ("x",)
    def __init__(self, x): self.x = x
class Items(list): pass
class Other(Point): pass
def other():
    x = 1
    def inner(a, b=x, *, c=x): return b, a, c, x
    return inner.__code__
def make(x):
    def inner(a, b=x, *, c=x): return a, b, c, x
    return inner
"""

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.binary(max_size=5),
).map(repr)
KEYS = st.one_of(st.integers(0, 9), st.text("abc", max_size=2)).map(repr)
CONTAINERS = (
    "[{0}, {1}]", "({0}, {1})", "{{{2}: {0}, 'z': {1}}}", "Point({0})", "Slots({0})", "Items([{0}, {1}])", "make({0})",
    "collections.deque([{0}, {1}], maxlen=9)", "types.SimpleNamespace(x={0}, y={1})", "functools.partial(make, {0}, b={1})",
    "collections.OrderedDict([({2}, {0}), ('z', {1})])", "types.MappingProxyType({{{2}: {0}}})", "{{{2}, 'y'}}",
)  # fmt: skip


@st.composite
def values(draw: st.DrawFn) -> list[str]:
    """Draw statements that bind v0, v1, …: each may contain those before it, more than once, and cycles."""
    count = draw(st.integers(2, 7))
    lines = []
    for number in range(count):
        earlier = [f"v{n}" for n in range(number)]
        parts = [
            draw(st.sampled_from(earlier) if earlier and draw(st.booleans()) else SCALARS) for _ in range(2)
        ]
        lines.append(f"v{number} = " + draw(st.sampled_from(CONTAINERS)).format(*parts, draw(KEYS)))
    a, b = draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1))
    lines.append(f"if type(v{a}) in (list, Items): v{a}.append(v{b})")
    lines.append(f"if type(v{b}) is Point: v{b}.other = v{a}")
    return lines


CHANGES = {
    "list": ["{v}.append(...)", "{v}.insert(0, ...)", "{v}.clear()", "{v}[1] = ...", "{v} = [*{v}]; {v}.pop()"],
    "Items": ["{v}.append(...)", "{v}.new = ...", "{v} = list({v})"],
    "tuple": ["{v} += (...,)", "{v} = (..., *{v}[1:])", "{v} = list({v})"],
    "dict": ["{v}['new'] = ...", "{v}.popitem()", "{v}['z'] = ...", "{v} = collections.OrderedDict({v})"],
    "OrderedDict": ["{v}['new'] = ...", "{v}.new = ...", "{v}.popitem()", "{v}['a'] = ...; {v}['b'] = ...; {v}['c'] = 1"],
    "Point": ["{v}.x = ...", "{v}.new = ...", "del {v}.x", "{v}.__class__ = Other", "Point.scale = 3", "Point.new = len"],
    "Slots": ["{v}.x = ...", "del {v}.x"],
    "function": ["{v}.__defaults__ = (...,)", "{v}.__kwdefaults__['c'] = ...", "{v}.new = ...", "make.new = ...",
                 "{v}.__closure__[0].cell_contents = ...", "make = functools.cache(make)", "{v}.__code__ = other()"],
    "deque": ["{v}.append(...)", "{v}.clear()", "{v} = collections.deque({v})"],
    "SimpleNamespace": ["{v}.x = ...", "{v}.new = ...", "del {v}.y"],
    "partial": ["{v}.__setstate__((print, (), {{}}, None))", "{v}.new = ...", "{v} = {v}.func"],
    "mappingproxy": ["{v} = types.MappingProxyType({{'new': 1}})", "{v} = dict({v})"],
    "set": ["{v}.add('new')", "{v}.discard('y')", "{v} = frozenset({v})"],
}  # fmt: skip
"""By type, statements each of which changes what a name is."""


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.data())
def test_one_source_is_described_alike_and_any_change_is_seen(data):
    lines = data.draw(values())
    source = PRELUDE + "\n".join(lines)
    assert not differ(source, source)
    names: dict[str, object] = {"__name__": "notebook"}
    exec(source, names)
    chosen = f"v{data.draw(st.integers(0, len(lines) - 3))}"
    change = data.draw(st.sampled_from(CHANGES[type(names[chosen]).__name__])).format(v=chosen)
    assert differ(source, f"{source}\n{change}"), change


@settings(max_examples=30, deadline=None)
@given(values())
def test_an_alias_is_seen(lines):
    source = PRELUDE + "\n".join(lines)
    names: dict[str, object] = {"__name__": "notebook"}
    exec(source, names)
    assume(type(names["v0"]) in (list, dict, set, collections.deque, collections.OrderedDict))
    assert differ(f"{source}\nfirst, second = [v0], [v0.copy()]", f"{source}\nfirst, second = [v0], [v0]")
