"""`Modules`: what the names of a capability's Python files are bound to, read from their text."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from dnworker.capability.reading import Budget, UnreadableFile, is_directory, is_file, read_bytes, shown
from dnworker.core.parsing import parse

_SDK = "dreadnode"
_SDK_TOOLS = "dreadnode.tools"
_SDK_TOOL_NAMES = frozenset({
    *("apply_patch", "dreadnode_cli", "delete_lines", "edit_file", "insert_lines", "multiedit", "bash"),
    *("execute", "python", "fetch", "glob", "grep", "ask_user", "confirm", "ls"),
})  # fmt: skip
"""The tools in modules of the SDK (2.0.52); a file that imports one lists it."""

LONGEST_SOURCE = 200_000
"""Bytes of one Python file; parsing one of this size holds everything up for about 0.3 s."""

MOST_SOURCE = 1_000_000
"""Bytes of all Python files of one kind of component."""

_TOO_DEEP = "is nested too deep to be read"

_CATCHING = ("ImportError", "ModuleNotFoundError", "Exception", "BaseException")


class Modules:
    """The Python files below the root of a capability, each parsed once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._trees: dict[Path, ast.Module | str] = {}
        self._problems: dict[Path, str | None] = {}
        self._names: dict[Path, dict[str, ast.AST]] = {}
        self._meanings: dict[tuple[Path, str, str, int], bool] = {}
        self._directories: dict[Path, list[Path]] = {}
        self._tops: list[Path] | None = None
        """The directories in which a module could be meant by a plain name."""
        self._left = MOST_SOURCE

    def problem(self, file: Path) -> str | None:
        """Return why a file cannot be imported, as far as its text and those that it imports tell."""
        if file in self._problems:
            return self._problems[file]
        self._problems[file] = None  # files that import each other
        try:
            self._problems[file] = self._problem(file)
        except RecursionError:  # a thousand files, each of which imports the next
            self._problems[file] = f"{shown(str(file))}: {_TOO_DEEP}"
        return self._problems[file]

    def _problem(self, file: Path) -> str | None:
        packages = [
            p / "__init__.py" for p in file.parents if p.is_relative_to(self._root) and p != self._root
        ]
        found = next(
            (why for p in reversed(packages) if is_file(p) and p != file and (why := self.problem(p))), None
        )
        tree = self._tree(file)
        if found is None:
            found = tree if isinstance(tree, str) else self._first_problem(file, tree)
        return found

    def names(self, file: Path) -> Iterator[tuple[Path, str, ast.AST]]:
        """Yield what each name of a module is bound to last: the file and name of its definition, and that.

        What a sibling defines is followed to it. A tool that comes from the SDK is its `ast.alias`.
        """
        for name in self._bound(file):
            if (found := self.find(file, name)) is not None:
                node = found[1]
                own = getattr(node, "name", None) if not isinstance(node, ast.alias) else node.name
                yield found[0], own or name, node

    def find(self, file: Path, name: str, depth: int = 0) -> tuple[Path, ast.AST] | None:
        """Return where a name of a module is defined, and the statement; None where it is not known."""
        node = self._bound(file).get(name)
        if not isinstance(node, ast.ImportFrom):
            return None if node is None else (file, node)
        alias = next((a for a in node.names if (a.asname or a.name) == name), None)
        if alias is None or depth > 20:
            return None
        if node.level:
            other = self._relative(file, node.level, node.module or "")
            return None if other is None else self.find(other, alias.name, depth + 1)
        is_tool = f"{node.module}.".startswith(f"{_SDK_TOOLS}.") and alias.name in _SDK_TOOL_NAMES
        return (Path(_SDK), alias) if is_tool else None

    def bases(self, file: Path, node: ast.ClassDef) -> list[tuple[Path, ast.ClassDef]]:
        """Return the classes of the capability that a class derives from, nearest first."""
        found: dict[tuple[Path, ast.ClassDef], None] = {}
        waiting = self._direct_bases(file, node)
        while waiting:  # each class once, also where they derive from each other
            home, one = waiting.pop()
            if one is not node and (home, one) not in found:
                found[home, one] = None
                waiting += self._direct_bases(home, one)
        return list(found)

    def _direct_bases(self, file: Path, node: ast.ClassDef) -> list[tuple[Path, ast.ClassDef]]:
        """Return the classes of the capability among a class's bases, the last first."""
        known = (self.find(file, base.id) for base in reversed(node.bases) if isinstance(base, ast.Name))
        return [(k[0], k[1]) for k in known if k is not None and isinstance(k[1], ast.ClassDef)]

    def foreign_bases(self, file: Path, node: ast.ClassDef) -> set[str]:
        """Return the names of the classes from elsewhere that a class derives from, over several steps."""
        names = set()
        for home, one in [(file, node), *self.bases(file, node)]:
            for base in one.bases:
                inner = base.value if isinstance(base, ast.Subscript) else base
                known = self.find(home, inner.id) if isinstance(inner, ast.Name) else None
                if known is None:
                    names |= {self._imported_name(home, called(inner))}
        return names

    def means(self, file: Path, name: str, wanted: str, depth: int = 0) -> bool:
        """Return whether a name is the SDK's `wanted`, or a function of the capability that calls it.

        Such a function is often loaded by its file's path (`safe_tool = module.safe_tool`), so that only its
        name tells which it is.
        """
        key = (file, name, wanted, depth)
        if key not in self._meanings:
            self._meanings[key] = False  # what means itself means nothing
            self._meanings[key] = self._means(file, name, wanted, depth)
        return self._meanings[key]

    def _means(self, file: Path, name: str, wanted: str, depth: int) -> bool:
        if self._imported_name(file, name) == wanted:
            return True
        found = self.find(file, name)
        if found is None or depth > 3:
            return False
        home, node = found
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
            attr = node.value.attr
            beside = (f for f in self._beside(home.parent) if f != home)
            return any(self.means(f, attr, wanted, depth + 1) for f in beside if attr in self._bound(f))
        if not isinstance(node, ast.FunctionDef):
            return False
        calls = {called(n) for n in ast.walk(node) if isinstance(n, ast.Call)} - {node.name}
        calls |= {name for name, _ in decorators(node)}
        return any(self.means(home, call, wanted, depth + 1) for call in calls)

    def _beside(self, directory: Path) -> list[Path]:
        if directory not in self._directories:
            found = Budget().files_in(directory, lambda name: name.endswith(".py"))
            self._directories[directory] = found
        return self._directories[directory]

    def _imported_name(self, file: Path, name: str) -> str:
        """Return the name that a class has where it comes from: `Toolset` of `import Toolset as T`."""
        node = self._bound(file).get(name)
        if isinstance(node, ast.ImportFrom):
            return next((a.name for a in node.names if a.asname == name), name)
        return name

    # -- reading -------------------------------------------------------------------------------------------

    def _tree(self, file: Path) -> ast.Module | str:
        if file not in self._trees:
            self._trees[file] = self._parsed(file)
        return self._trees[file]

    def _parsed(self, file: Path) -> ast.Module | str:
        """Return the tree of a file, or why there is none; a tree takes up to 500 times the file's memory."""
        name = shown(str(file))
        try:
            source = read_bytes(file, LONGEST_SOURCE)
            self._left -= len(source)
            if self._left < 0:
                return f"{name}: is not read, as those before it have {MOST_SOURCE:,} bytes together"
            return parse(source, str(file))
        except UnreadableFile as exc:
            return str(exc)
        except SyntaxError as exc:
            return shown(f"{name}{f':{exc.lineno}' if exc.lineno else ''}: {exc.msg}")
        except (RecursionError, MemoryError):
            return f"{name}: {_TOO_DEEP}"
        except ValueError as exc:
            return shown(f"{name}: {exc}")

    def _bound(self, file: Path) -> dict[str, ast.AST]:
        """Return the statements that bind the names of a module; of a star import, one for each name."""
        if file in self._names:
            return self._names[file]
        tree = self._tree(file)
        found = self._names[file] = {}
        for node in [] if isinstance(tree, str) else _bindings(tree.body):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    found[node.name] = node
                case ast.Assign(targets=targets):
                    found |= {t.id: node for t in targets if isinstance(t, ast.Name)}
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                    found[name] = node
                case ast.ImportFrom(names=[ast.alias(name="*")]):
                    other = self._relative(file, node.level, node.module or "") if node.level else None
                    for name in [] if other is None else [*self._bound(other)]:
                        if not name.startswith("_"):
                            found[name] = ast.ImportFrom(node.module, [ast.alias(name)], node.level)
                case ast.ImportFrom():
                    found |= {a.asname or a.name: node for a in node.names}
        return found

    def _relative(self, file: Path, level: int, module: str) -> Path | None:
        """Return the file of a relative import; None where there is none."""
        home = file.parents[level - 1] if level <= len(file.parents) else None
        if home is None or not home.is_relative_to(self._root):
            return None
        place = home.joinpath(*module.split(".")) if module else home
        found = (p for p in (place.with_suffix(".py"), place / "__init__.py") if module or p.parent == home)
        return next((p for p in found if is_file(p)), None)

    # -- what cannot be imported ---------------------------------------------------------------------------

    def _first_problem(self, file: Path, tree: ast.Module) -> str | None:
        for node in _certain(tree.body):
            why: str | None = None
            if isinstance(node, ast.Raise):
                why = "raises when it is imported"
            elif isinstance(node, ast.Import):
                why = next((w for a in node.names if (w := self._absolute_problem(a.name))), None)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                why = self._absolute_problem(node.module or "") or _name_problem(node)
            elif isinstance(node, ast.ImportFrom):
                why = self._relative_problem(file, node)
            if why is not None:
                return shown(f"{file}:{node.lineno}: {why}")
        return None

    def _absolute_problem(self, module: str) -> str | None:
        """Return why a module of the capability cannot be imported by its plain name."""
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or top == _SDK or _is_installed(top):
            return None
        if self._tops is None:
            self._tops = [self._root, *Budget().directories_in(self._root)]
        if any(is_file(d / f"{top}.py") or is_directory(d / top) for d in self._tops):
            return f"no module named {top!r}; files of a capability import each other relatively"
        return None  # a distribution that the machine of the reference may have

    def _relative_problem(self, file: Path, node: ast.ImportFrom) -> str | None:
        home = file.parents[node.level - 1] if node.level <= len(file.parents) else None
        if home is None or not home.is_relative_to(self._root):
            return "imports relative to a directory above the capability"
        targets = [node.module] if node.module else [a.name for a in node.names if a.name != "*"]
        for target in targets:
            other = self._relative(file, node.level, target)
            is_package = is_directory(home.joinpath(*target.split(".")))
            if other is None and not is_package and node.module:
                return f"no module {'.' * node.level}{target}"
            if other is not None and other != file and (why := self.problem(other)) is not None:
                return f"imports {other.name}: {why}"
        return None


def called(node: ast.expr) -> str:
    """Return the last name of `a.b.c`, or of its call."""
    inner = node.func if isinstance(node, ast.Call) else node
    return inner.id if isinstance(inner, ast.Name) else inner.attr if isinstance(inner, ast.Attribute) else ""


def decorators(node: ast.AST) -> Iterator[tuple[str, ast.Call | None]]:
    """Yield the last name of each decorator, and its call, where it is one."""
    for decorator in getattr(node, "decorator_list", []):
        yield called(decorator), decorator if isinstance(decorator, ast.Call) else None


def constant(call: ast.Call, keyword: str) -> str | None:
    """Return the text that a call gives for a keyword."""
    value = next((k.value for k in call.keywords if k.arg == keyword), None)
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def _bindings(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that may bind names of a module."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.With | ast.Try | ast.For | ast.While):
            yield from _bindings([*node.body, *getattr(node, "orelse", [])])
        if isinstance(node, ast.Try):
            yield from _bindings([s for h in node.handlers for s in h.body])


def _certain(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run whenever a module is imported, and whose failure ends that."""
    for node in body:
        match node:
            case ast.With():
                yield from _certain(node.body)
            case ast.Try(handlers=handlers):
                caught = [ast.unparse(h.type) if h.type else "Exception" for h in handlers]
                if not any(word in one for one in caught for word in _CATCHING):
                    yield from _certain(node.body)
            case _:
                yield node


def _is_installed(top: str) -> bool:
    try:
        return top in sys.modules or importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _name_problem(node: ast.ImportFrom) -> str | None:
    """Return the name that a module of this Python's has not, where the module is imported here already."""
    module = sys.modules.get(node.module or "")
    if module is None or (node.module or "").partition(".")[0] not in sys.stdlib_module_names:
        return None
    missing = [a.name for a in node.names if a.name != "*" and not hasattr(module, a.name)]
    return f"{node.module} has no {missing[0]} in this Python" if missing else None
