"""Imports that may be missing, and those by name."""

from __future__ import annotations

import pytest

from tests.unit.export.builders import handler, problems, script


def test_a_module_that_may_be_missing_is_no_requirement():
    text = script(
        "try:\n    import no_such as json\nexcept ImportError:\n    import json", handler("print(json)")
    )
    assert 'dependencies = [\n#     "dreadnode' in text
    assert "no_such" not in text.partition('# ///\n"""')[0]


@pytest.mark.parametrize(
    ("cell", "asked"),
    [
        ("try:\n    import nobody_has_this as y\nexcept ImportError:\n    import yaml as y", {"pyyaml"}),
        ("try:\n    import yaml as y\nexcept ImportError:\n    import nobody_has_this as y", {"pyyaml"}),
        ("try:\n    import nobody_has_this as y\nexcept ImportError:\n    y = None", set()),
        ("def y():\n    import importlib\n    return importlib.import_module('yaml.nodes')", {"pyyaml"}),
        ("def y():\n    return __import__('yaml')", {"pyyaml"}),
    ],
)
def test_what_may_be_missing_is_taken_where_it_is_known(cell, asked):
    text = script(cell, handler("print(y)"))
    assert {name for name in ("pyyaml", "nobody") if f'"{name}' in text} == asked


@pytest.mark.parametrize(
    "cell",
    [
        "try:\n    import nobody_a as y\nexcept ImportError:\n    import nobody_b as y",
        "try:\n    import nobody_a\nexcept ImportError:\n    nobody_a = None\ndef y():\n    import nobody_a\n    nobody_a",
        "def y():\n    return __import__('nobody_a')",
    ],
    ids=["neither is known", "needed elsewhere", "by name"],
)
def test_what_nobody_knows_and_the_code_needs_is_refused(cell):
    told = problems(cell, handler("print(y)"))
    assert any("'nobody_a'" in one and "is not installed here" in one for one in told)
