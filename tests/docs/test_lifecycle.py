"""The page on the lifecycle of a worker has the steps of the table that the code takes."""

from __future__ import annotations

import re

from dnworker.core.lifecycle import NEXT

from .pages import DOCS


def test_the_page_has_each_state_with_the_states_that_may_follow():
    text = (DOCS / "understand/lifecycle.md").read_text(encoding="utf-8")
    table = text.partition("| state | the worker | next |")[2].partition("\n\n")[0]
    rows = [[re.findall(r"`(\w+)`", cell) for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]
    assert {state: set(following) for (state,), _, following in rows} == {
        str(state): {str(one) for one in following} for state, following in NEXT.items()
    }
