"""The folders are the architecture: imports run from top to bottom, and nothing is longer than a reader can hold."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import dnworker

PROJECT = Path(__file__).parents[2]
LONG = (PROJECT / "ARCHITECTURE.md").read_text().partition("## Long files")[2]
"""The part of the page that gives the reasons."""

LONGEST_FUNCTION = 45
LONGEST_FILE = 450
LONGEST_CHAIN = 12

# What each folder may import, as in the picture of ARCHITECTURE.md: read from bottom to top. A line names only folders of
# lines above it, so that no arrow leads up. A root's file stands for itself. Every import statement counts: those
# in functions and those under TYPE_CHECKING, too.
FRAMEWORK = {
    "_version.py": "",
    "compat.py": "",
    "core": "",
    "explain": "core",
    "patterns": "core",
    "events/brokers": "core",
    "events": "core events/brokers",
    "events/brokers/kept": "core events/brokers",
    "events/brokers/sqlite": "core events events/brokers events/brokers/kept",
    "events/brokers/jetstream": "core events/brokers events/brokers/kept",
    "capability": "core",
    "flow": "core capability",
    "catalogue": "core capability flow",
    "project": "core events capability flow",
    "archive": "core capability",
    "deploy": "core capability archive _version.py",
    "client": "core",
    "doctor": "core client _version.py",
    "sessions": "core events events/brokers capability",
    "workers/child": "compat.py",
    "workers": "core events events/brokers capability client",
    "mcp_client": "core capability workers",
    "mcp_client/host": "core mcp_client _version.py",
    "engine": "core events events/brokers capability flow catalogue client sessions workers mcp_client _version.py",
    "attach": "core events client workers engine",
    "telemetry": "core workers engine _version.py",
    "panel": "core events flow catalogue sessions workers engine",
    "server": "core events events/brokers catalogue client sessions workers engine _version.py",
    "mcp_server": "core explain client engine server _version.py",
    "runtime.py": "core events/brokers flow engine telemetry panel server compat.py",
    "cli/settings": "core capability",
    "cli": "cli/settings core explain events events/brokers events/brokers/sqlite events/brokers/jetstream capability flow"
    " catalogue project archive deploy client doctor workers engine telemetry server mcp_server runtime.py"
    " _version.py compat.py",
    "testing": "core client events/brokers server workers runtime.py compat.py",
    "__main__.py": "cli",
    "__init__.py": "core events client sessions workers runtime.py _version.py",
}
EXTENSION = {
    "syntax": "",
    "kernel": "syntax",
    "live": "syntax kernel",
    "export/slicing": "syntax",
    "export/planning": "syntax export/slicing",
    "export/disk": "export/planning",
    "export/check": "export/planning export/disk",
    "export/proof": "export/slicing export/planning",
    "export": "syntax kernel export/slicing export/planning export/disk export/check export/proof",
    "importer": "syntax export/slicing export/planning export/disk",
    "display": "syntax kernel live",
    "magics": "syntax kernel live export/slicing export/planning export/check export/proof export display",
    "notebook.py": "kernel live display magics",
    "__init__.py": "syntax live display magics notebook.py",
    "loading.py": "syntax kernel live display magics notebook.py __init__.py",
}
PACKAGES = {
    "dnworker": (PROJECT / "dnworker", FRAMEWORK),
    "dnworker_jupyter": (PROJECT / "extension" / "dnworker_jupyter", EXTENSION),
}
ROOTS = {
    "dnworker": {"__init__.py", "__main__.py", "_version.py", "compat.py", "runtime.py"},
    "dnworker_jupyter": {"__init__.py", "loading.py", "notebook.py"},
}
NOTEBOOK_ONLY = {
    "IPython",
    "ipykernel",
    "ipywidgets",
    "anywidget",
    "traitlets",
    "jupyter_client",
    "dnworker_jupyter",
}
BASE = {"h11", "httpx", "msgspec", "websockets", "croniter"}


def folder_of(module: str) -> tuple[str, str]:
    """Return the package of one of our modules, and its folder there; a root's file is its own folder."""
    package, *parts = module.split(".")
    directory = PACKAGES[package][0].joinpath(*parts)
    if directory.is_dir():
        return package, "/".join(parts) or "__init__.py"
    return package, "/".join(parts[:-1]) or f"{parts[-1]}.py"


@cache
def modules() -> dict[str, Path]:
    """Return all our modules by name."""
    found = {}
    for package, (root, _) in PACKAGES.items():
        for file in sorted(root.rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            found[".".join((package, *(p for p in parts if p != "__init__")))] = file
    return found


def imported(file: Path) -> Iterator[str]:
    """Yield every module that a file imports: at its top, in functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}, line {node.lineno}: imports are absolute here"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules() else node.module or ""


@cache
def arrows() -> dict[str, frozenset[str]]:
    """Return which of our modules each module imports."""
    return {
        name: frozenset(i for i in imported(file) if i in modules() and i != name)
        for name, file in modules().items()
    }


def circles(graph: dict[str, frozenset[str]]) -> list[list[str]]:
    """Return the ways that lead back to where they began, one for each node that is on one."""

    def way_back(start: str) -> list[str] | None:
        ways = [[start, following] for following in sorted(graph[start])]
        seen = set()
        for way in ways:
            if way[-1] == start:
                return way
            if way[-1] not in seen:
                seen.add(way[-1])
                ways += [[*way, following] for following in sorted(graph[way[-1]])]
        return None

    return [way for node in sorted(graph) if (way := way_back(node))]


@cache
def folder_arrows() -> dict[str, frozenset[str]]:
    """Return which folders each folder of both packages imports."""
    found: dict[str, set[str]] = {}
    for module, others in arrows().items():
        here = ":".join(folder_of(module))
        found.setdefault(here, set())
        found[here] |= {there for other in others if (there := ":".join(folder_of(other))) != here}
    return {folder: frozenset(others) for folder, others in found.items()}


@pytest.mark.parametrize("module", sorted(modules()))
def test_every_import_is_an_arrow_of_the_table(module):
    package, folder = folder_of(module)
    allowed = set(PACKAGES[package][1][folder].split())
    wrong = []
    for other in sorted(arrows()[module]):
        owner, place = folder_of(other)
        if owner == package:
            if place != folder and place not in allowed:
                wrong.append(other)
        elif package == "dnworker":
            wrong.append(other)
    assert wrong == [], (
        f"{module} may import, besides its own folder: {' '.join(sorted(allowed)) or 'nothing'}"
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_no_line_of_the_table_names_a_line_below_it(package):
    lines = list(PACKAGES[package][1].items())
    for number, (folder, allowed) in enumerate(lines):
        above = {name for name, _ in lines[:number]}
        assert set(allowed.split()) <= above, folder


@pytest.mark.parametrize("package", PACKAGES)
def test_the_table_has_every_folder_and_no_other(package):
    assert {folder_of(module)[1] for module in modules() if module.partition(".")[0] == package} == set(
        PACKAGES[package][1]
    )


def test_no_file_imports_itself_by_way_of_others():
    assert circles(arrows()) == []


def test_no_folder_imports_itself_by_way_of_others():
    assert circles(folder_arrows()) == []


def test_the_way_from_the_top_to_the_bottom_is_short():
    graph = folder_arrows()

    @cache
    def longest(folder: str) -> tuple[str, ...]:
        return (folder, *max((longest(other) for other in graph[folder]), key=len, default=()))

    chain = max((longest(folder) for folder in graph if not folder.endswith(".py")), key=len)
    chain = ("the files at the root", *chain)
    assert len(chain) <= LONGEST_CHAIN, " -> ".join(chain)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_root_of_a_package_holds_what_puts_it_together_and_nothing_else(package):
    assert {file.name for file in PACKAGES[package][0].glob("*.py")} == ROOTS[package]


@pytest.mark.parametrize("module", sorted(m for m in modules() if m.partition(".")[0] == "dnworker"))
def test_the_framework_never_imports_the_notebook(module):
    assert not {name.partition(".")[0] for name in imported(modules()[module])} & NOTEBOOK_ONLY


def help_lines(*nodes: ast.AST) -> int:
    """Return how many lines of docstrings with an example the nodes have: what `help` shows may be long."""
    docs = [
        ast.get_docstring(node) or ""
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    return sum(len(doc.splitlines()) for doc in docs if "\nExamples:\n" in doc)


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_file_is_short_or_the_page_says_why_it_is_long(module):
    file = modules()[module]
    name = str(file.relative_to(PROJECT))
    text = file.read_text()
    tree = ast.parse(text)
    shown = name.removeprefix("extension/dnworker_jupyter/").removeprefix("dnworker/")
    if len(text.splitlines()) - help_lines(*ast.walk(tree)) > LONGEST_FILE:
        assert f"`{shown}`" in LONG, f"{name}: over {LONGEST_FILE} lines, and ARCHITECTURE.md gives no reason"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - help_lines(node)
            named = f"`{node.name}`" in LONG or f"`{shown}: {node.name}`" in LONG
            assert lines <= LONGEST_FUNCTION or named, f"{name}: {node.name} is {lines} lines long"


def test_what_a_worker_script_needs_is_the_base_install():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert {d.partition(">")[0] for d in project["dependencies"]} == BASE


def test_every_public_name_stands_in_the_reference():
    pages = (PROJECT / "docs" / "reference").glob("*.md")
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert [name for name in dnworker.__all__ if f"::: dnworker.{name}\n" not in text] == []
    assert set(dnworker.__all__) == set(dnworker._HOMES)
