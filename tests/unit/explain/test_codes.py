"""Each mistake of a user has a code, each code has a page, and no code changes its meaning."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest

from dnworker.core import errors
from dnworker.core.errors import DnworkerError
from dnworker.explain.pages import GROUPS, pages
from tests.unit.test_architecture import modules

RELEASED = Path(__file__).parents[2] / "data" / "message_codes.txt"

WITHOUT_CODE = {
    "InvalidTransition": "a defect of dnworker's own, not a mistake of a user",
    "Unreachable": "asked by one node of another, which says in its own words what that means",
    "ApiError": "the base; `sessions/peers.py` rebuilds what another node has raised, with its code",
}


@cache
def user_errors() -> dict[tuple[str, str], type[DnworkerError]]:
    """Return the classes of our errors by module and name, as each module of ours sees them."""
    found = {}
    for name in modules():
        if name.endswith("__main__") or ".child." in name or ".testing.plugin" in name:
            continue  # run as programs
        module = importlib.import_module(name)
        for word, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, DnworkerError):
                found[name, word] = value
    return found


def made(name: str) -> list[tuple[int, type[DnworkerError], ast.Call]]:
    """Return where a module makes errors of ours: at a `raise`, or to be raised by somebody else."""
    found = []
    for node in ast.walk(ast.parse(modules()[name].read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            word = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            kind = user_errors().get((name, word))
            if (
                kind is None
                and isinstance(node.func, ast.Attribute)
                and ast.unparse(node.func.value) == "errors"
            ):
                kind = getattr(errors, word, None)
            if kind is not None:
                found.append((node.lineno, kind, node))
    return found


def given(call: ast.Call) -> set[str]:
    """Return the codes in an argument `code=`, of which one may be the code of an error that is passed on."""
    code = next((word.value for word in call.keywords if word.arg == "code"), None)
    return set() if code is None else set(re.findall(r"DN\d+", ast.unparse(code))) | {""}


@pytest.mark.parametrize("module", sorted(modules()))
def test_an_error_of_a_user_has_a_code_or_its_class_has(module):
    lacking = [
        f"{module}, line {line}: {kind.__name__} has no code"
        for line, kind, call in made(module)
        if kind.__name__ not in WITHOUT_CODE and kind.code is None and not given(call)
    ]
    assert lacking == []


@cache
def used() -> frozenset[str]:
    """Return the codes that errors can have."""
    codes = {kind.code for kind in user_errors().values() if kind.code is not None}
    for file in modules().values():
        codes |= set(re.findall(r'["(](DN\d+)["\)]', file.read_text()))
    return frozenset(codes)


def test_every_code_has_a_page():
    assert used() - set(pages()) == set()


def test_every_page_is_of_a_code_that_an_error_can_have():
    rules = {page.code for page in pages().values() if page.also}
    assert set(pages()) - used() - rules == set()


def test_the_rules_of_manifests_have_pages():
    source = "".join(file.read_text() for name, file in modules().items() if ".capability" in name)
    families = set(re.findall(r'(?:"|CAP-)([A-Z]+)-\d{3}', source))
    explained = {name.removeprefix("CAP-") for page in pages().values() for name in page.also}
    assert families <= explained


def test_a_released_code_keeps_its_meaning():
    """Add a line for a new code; a line that is there stays, also when nothing raises the code any more."""
    released = dict(line.split(" ", 1) for line in RELEASED.read_text().splitlines() if line)
    assert {code: page.title for code, page in pages().items()} == released


@pytest.mark.parametrize("code", sorted(pages()))
def test_a_page_is_short_and_says_what_why_and_what_to_do(code):
    page = pages()[code]
    lines = page.source.splitlines()
    assert len(lines) <= 40
    assert lines[0] == f"# {code}: {page.title}"
    assert page.code[2] in GROUPS
    assert 0 < len(page.title) <= 60
    assert page.source.count("**Why.** ") == 1
    assert page.source.count("**What to do.** ") == 1
    assert "```" in page.source, "an example"
