"""The state of a worker as the last value of a cell, and every other dict."""

from __future__ import annotations

from collections import OrderedDict, defaultdict

import pytest
from IPython.core.interactiveshell import InteractiveShell

from dnworker_jupyter.display.states import StateTree, register_state_formatter


class Bad:
    def __repr__(self) -> str:
        raise AssertionError("it was run")


class Drawn(dict):
    def _repr_html_(self) -> str:
        return "<b>drawn</b>"

    def _repr_pretty_(self, printer, cycle) -> None:
        printer.text("drawn")


STATE = {"count": 1, "api_key": "sk-hidden", "bad": Bad()}


@pytest.fixture
def shell():
    shell = InteractiveShell()
    before = shell.display_formatter.format({"a": 1})
    undo = register_state_formatter(
        shell, lambda value: StateTree(value, "state") if value is STATE else None
    )
    yield shell
    undo()
    assert shell.display_formatter.format({"a": 1}) == before


def formatted(shell, value) -> dict[str, str]:
    data, _ = shell.display_formatter.format(value)
    return data


def test_the_text_of_a_state_is_its_tree_too(shell):
    data = formatted(shell, STATE)
    assert data["text/plain"].startswith('state\n  "count"  int  1\n  "api_key"  str  ***')
    assert "sk-hidden" not in data["text/html"]


@pytest.mark.parametrize(
    "value", [{"b": {1: 2}}, defaultdict(int, a=1), OrderedDict(a=1), {str(i): [i] * 9 for i in range(20)}]
)
def test_every_other_dict_is_printed_as_before(shell, value):
    assert formatted(shell, value) == formatted(InteractiveShell(), value)


def test_a_state_within_another_value_is_printed_as_before():
    shell, found = InteractiveShell(), []
    register_state_formatter(shell, found.append)
    assert formatted(shell, [{"a": {}}]) == {"text/plain": "[{'a': {}}]"}
    assert not found


def test_a_subclass_keeps_its_own_forms(shell):
    assert formatted(shell, Drawn(a=1)) == {"text/plain": "drawn", "text/html": "<b>drawn</b>"}


def test_a_printer_that_was_there_before_draws_the_other_dicts():
    shell = InteractiveShell()
    shell.display_formatter.formatters["text/html"].for_type(dict, lambda value: "<i>mine</i>")
    undo = register_state_formatter(shell, lambda value: None)
    assert formatted(shell, {})["text/html"] == "<i>mine</i>"
    undo()
    assert formatted(shell, {})["text/html"] == "<i>mine</i>"
