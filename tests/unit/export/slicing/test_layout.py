"""The order of a script: imports first and handlers last, wherever that changes nothing."""

from __future__ import annotations

import gc

from tests.unit.export.builders import handler, script


def test_an_import_whose_name_is_bound_in_another_way_too_stays_where_it_ran():
    text = script("json = 1\nx = json\nimport json", handler("print(x, json)"))
    assert text.index("x = json") < text.index("import json")


def test_imports_of_one_thing_that_ran_twice_stand_at_the_top():
    text = script("import json\nx = json.dumps(1)\nimport json", handler("print(x, json)"))
    assert text.count("import json\n") == 1
    assert text.index("import json") < text.index("x = json")


def test_an_import_of_python_itself_passes_an_effect_that_it_cannot_see():
    text = script("import os\nos.environ['A'] = '1'\nimport json", handler("print(json)"))
    assert text.index("import json") < text.index("os.environ")


def test_in_a_file_a_statement_stands_after_those_that_bind_what_it_reads_at_once():
    text = script("y = x + 1", "x = 1", handler("print(y)"))
    assert text.index("x = 1") < text.index("y = x + 1")


def test_names_that_read_each_other_in_a_file_end_in_no_circle():
    text = script("x = y", "y = x", handler("print(x)"))
    assert "x = y" in text


def test_a_handlers_name_that_gets_a_value_later_has_it_in_the_script():
    text = script(handler("print(on_a)"), "on_a = 5")
    assert text.index("async def on_a") < text.index("on_a = 5")


def test_a_long_chain_of_names_that_stands_upside_down_in_a_file_is_put_in_order():
    cells = [f"x{n} = x{n + 1}" for n in range(1_500)]
    text = script(*cells, "x1500 = 1", handler("print(x0)"))
    assert text.index("x1500 = 1") < text.index("x1499 = x1500") < text.index("x0 = x1")


def test_planning_leaves_nothing_for_the_collection_of_cycles():
    script("x = 1", handler("print(x)"))
    gc.collect()
    gc.disable()
    try:
        script("y = x + 1", "x = 1", handler("print(y)"))
        assert gc.collect() < 100
    finally:
        gc.enable()
