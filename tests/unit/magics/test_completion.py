"""What Tab offers on the lines of magics."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dnworker_jupyter.magics.completion import complete
from dnworker_jupyter.magics.context import MagicContext


@pytest.fixture
def context():
    """As much of a context as the options of `%worker` need: two kept states."""
    kept = [
        SimpleNamespace(worker="notebook:bridge", seq=12),
        SimpleNamespace(worker="notebook:other", seq=14),
    ]
    parts: dict[str, Any] = dict.fromkeys(MagicContext.__struct_fields__)
    return MagicContext(**cast(Any, parts | {"states": SimpleNamespace(snapshots=kept)}))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("%worker state bridge --before ", ["#12"]),
        ("%worker state bridge --keep k --restore #1", ["#12"]),
        ("%worker state notebook:bridge --restore ", ["#12"]),
        ("%worker logs bridge --before ", []),
        ("%worker --before ", []),
        ("%worker state --before ", []),
    ],
)
def test_events_are_offered_where_a_state_before_them_is_kept(context, line, offered):
    assert complete(context, line, line.rpartition(" ")[2]) == offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [("%map b", ["bridge"]), ("%map --m", ["--mermaid", "--minutes"]), ("%map bridge ", [])],
)
def test_a_map_is_offered_workers_and_options(context, line, offered):
    workers = [SimpleNamespace(name="bridge"), SimpleNamespace(name="relay")]
    context.runtime = cast(Any, SimpleNamespace(workers=lambda: workers))
    assert complete(context, line, line.rpartition(" ")[2]) == offered
