"""The memory that frames hold is estimated within bounds, and runs no code of what it looks at but sizes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dnworker_jupyter.kernel.held_memory import bytes_held

VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=50) | st.binary(max_size=50),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)


def raised(*values):
    kept = values
    try:
        raise ValueError(len(kept))
    except ValueError as exc:
        return exc


@given(VALUES)
def test_any_value_has_a_size(value):
    assert bytes_held(raised(value)) > 0


def test_a_large_value_counts_where_it_is_held():
    assert bytes_held(raised(["x" * 1_000_000])) > 1_000_000
    assert bytes_held(raised()) < 10_000


def test_circles_hostile_objects_and_endless_containers_end():
    class Bad:
        def __sizeof__(self):
            raise SystemError

        def __eq__(self, other):
            raise SystemError

        __hash__ = None

    circle: list[object] = []
    circle.append(circle)
    assert bytes_held(raised(circle, Bad(), [[n] for n in range(100_000)])) > 0


def test_an_exception_that_was_not_raised_holds_nothing():
    assert bytes_held(ValueError()) == 0
