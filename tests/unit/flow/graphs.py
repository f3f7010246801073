"""Facts to draw maps of: those of a small shop, and any that hypothesis thinks of."""

from __future__ import annotations

from hypothesis import strategies as st

from dnworker.flow.graph import Facts, Flow, WorkerFacts


def worker(name, hears=(), publishes=(), *, calls=10, **more):
    """Return a worker that hears and publishes kinds, each so many times."""
    capability = name.partition(":")[0]
    flows = hears if isinstance(hears, dict) else {kind: Flow(calls) for kind in hears}
    return WorkerFacts(
        name,
        capability,
        state=more.pop("state", "running"),
        hears=flows,
        published=publishes if isinstance(publishes, dict) else dict.fromkeys(publishes, calls),
        handlers=1,
        **more,
    )


def shop():
    """Return orders that are placed, taken and paid, with a retry that leads back."""
    return Facts(
        [
            worker("orders:intake", ["orders.placed", "orders.retry"], ["orders.taken"]),
            worker("orders:payment", {"orders.taken": Flow(10, 4)}, ["orders.paid", "orders.retry"]),
            worker("orders:invoices", ["orders.paid"]),
        ],
        {"HTTP": {"orders.placed": 10}},
        5,
    )


_CAPABILITIES = st.sampled_from(["a", "b", "c"])
_KINDS = st.sampled_from([f"{band}.{n}" for band in "abc" for n in range(4)] + ["turn.completed"])


@st.composite
def some_facts(draw, most=14):
    """Draw the facts of up to so many workers."""
    names = draw(st.lists(st.tuples(_CAPABILITIES, st.integers(0, 30)), max_size=most, unique=True))
    workers = [
        worker(
            f"{capability}:w-{number}",
            draw(st.lists(_KINDS, max_size=3)),
            draw(st.lists(_KINDS, max_size=3)),
            gate=draw(st.sampled_from([(), (), ("mail",)])),
            waiting=draw(st.dictionaries(_KINDS, st.integers(0, 3), max_size=1)),
        )
        for capability, number in names
    ]
    outside = draw(st.dictionaries(_KINDS, st.integers(0, 9), max_size=3))
    return Facts(workers, {"HTTP": outside} if outside else {}, 1)
