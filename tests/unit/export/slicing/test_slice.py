"""What a worker's script contains: the handlers that count, and all that they need, in an order that works."""

from __future__ import annotations

from tests.unit.export.builders import handler, problems, script


def test_of_a_name_defined_twice_the_last_counts():
    assert "LIMIT = 2" in script("LIMIT = 1", handler("print(LIMIT)"), "LIMIT = 2")


def test_a_handler_run_again_in_a_later_cell_replaces_the_first():
    text = script(handler("print('old')"), handler("print('new')"))
    assert ("'old'" in text, "'new'" in text) == (False, True)


def test_all_refusals_are_told_at_once_and_through_helpers():
    told = problems(
        "a = input()", "b = input()", "def helper():\n    return b", handler("print(a, helper())")
    )
    assert [t.partition(":")[0] for t in told] == [
        "cell [3], line 2, column 12",
        "cell [4], line 4, column 11",
    ]


def test_a_shared_cell_is_exported_whole():
    shared = "%%worker bridge --shared\nimport asyncio\nLOCK = asyncio.Lock()\n"
    assert "LOCK = asyncio.Lock()" in script(shared, handler("print(LOCK)"))


TWICE = """
%%worker bridge
@worker.on_event("a")
async def handle(event, client): ...

@worker.on_event("b")
async def handle(event, client): ...
"""


def test_one_name_for_two_kinds_in_one_cell_is_two_handlers():
    assert script(TWICE).count("async def handle") == 2


def test_submodules_of_one_package_are_all_imported():
    text = script("import xml.etree.ElementTree\nimport xml.dom.minidom", handler("xml.dom, xml.etree"))
    assert "import xml.etree.ElementTree" in text
    assert "import xml.dom.minidom" in text


def test_what_is_read_when_it_is_defined_stands_before():
    text = script("B = A * 2\n@wrap\ndef f(): return B", "A = 2\ndef wrap(f): return f", handler("f()"))
    assert text.index("A = 2") < text.index("B = A * 2")
    assert text.index("def wrap") < text.index("@wrap")


REGISTRY = """
COMMANDS = {}
OTHER = {}
def command(name):
    def keep(function):
        COMMANDS[name] = function
        return function
    return keep
def other(function):
    OTHER[function.__name__] = function
    return function
@command("hi")
def hi(): return helper()
@other
def unused(): ...
def helper(): return 1
"""


def test_what_registers_itself_is_exported_with_its_registry():
    text = script(REGISTRY, handler("print(COMMANDS)"))
    assert '@command("hi")\ndef hi()' in text
    assert "def helper()" in text
    assert "unused" not in text
    assert text.index("COMMANDS = {}") < text.index("def command") < text.index("def hi")


def test_a_name_that_is_bound_anew_after_a_change_is_exported():
    assert "X = [2]" in script("X = []\nX.append(1)\nX = [2]", handler("print(X)"))
