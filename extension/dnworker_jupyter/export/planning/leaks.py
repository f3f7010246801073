"""Finds secrets in exported code, and files beside the notebook that it reads; used by planning and proof."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from dnworker_jupyter.export.slicing.nodes import find, text_constants
from dnworker_jupyter.export.slicing.problems import ExportProblem
from dnworker_jupyter.export.slicing.statements import Statement
from dnworker_jupyter.syntax.cell import Cell

_SECRETS = (
    (
        "an API key",
        re.compile(r"\b(?:sk|pk|rk)[-_](?:live[-_]|test[-_]|ant[-_]|proj[-_])?[A-Za-z0-9_-]{20,}"),
    ),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})")),
    ("a GitLab token", re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}")),
    ("a Slack token", re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}")),
    ("an AWS key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a Google API key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}")),
    ("a Hugging Face token", re.compile(r"\bhf_[A-Za-z0-9]{30,}")),
    (
        "a JSON web token",
        re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    ),
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    ("a password in an address", re.compile(r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s:@]{3,}@")),
)
_NAMES = (  # the last words of the names of secrets
    r"(?:access_?|auth_?|client_?)?(?:token|secret|password|passwd|passphrase|credentials?|authorization"
    r"|api_?key|private_?key|access_?key|secret_?key)"
)
_SECRET_NAME = re.compile(rf"(?:^|[^a-z]){_NAMES}$", re.IGNORECASE)
_SECRET_WITHIN = re.compile(rf"(?:^|[^a-z]){_NAMES}s?(?:[^a-z]|$)", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(r"(?:^|_)(?:KEY|PWD|PASS|DSN)$", re.IGNORECASE)
"""Names that are those of secrets only in an environment."""
_PLACEHOLDER = re.compile(
    r"^(?:<.*>|\$?\{.*\}|x{3,}|\*+|\.{3}|changeme|your[-_ ].*|test|none|null)$", re.IGNORECASE
)
_SHORTEST_SECRET = 8
_SHORTEST_VARIABLE = 4
_NO_SECRET = re.compile(r"(?:\d{1,5}|true|false|yes|no|on|off|[~.]?/\S*)$", re.IGNORECASE)
"""Values of variables that are none, whatever the name: switches, numbers and paths."""
_REFERENCE = re.compile(r"\$\{\w+(?::-([^}]*))?\}")
_SCHEME = re.compile(r"^(?:Bearer|Basic|Token)\s+", re.IGNORECASE)

HIDDEN = "(not shown)"
"""Stands in messages for what is, or may be, a secret."""

_WRITES = re.compile(r"[wax]")
_READER = re.compile(r"(?:read|load)_\w+|loadtxt|genfromtxt|fromfile|memmap")
"""Functions of libraries that open the file they are given; a plain `read` is a method of an archive."""

_FILE_ARGUMENTS = ("file", "path", "fname", "filename", "filepath_or_buffer")


def redacted(text: str) -> str:
    """Return a text for a message, without what looks like a secret."""
    for _, pattern in _SECRETS:
        text = pattern.sub(HIDDEN, text)
    return text


def may_hold_secret(name: str) -> bool:
    """Return whether a name, or a way to a value such as `config['token'].x`, is that of a secret."""
    return _SECRET_WITHIN.search(name) is not None


def _kind_of(text: str) -> str | None:
    """Return which secret a text looks like."""
    return next((kind for kind, pattern in _SECRETS if pattern.search(text)), None)


def secrets_in_manifest(
    entries: Mapping[str, Mapping[str, Any]],
    head: Mapping[str, Any],
    cell_of: Callable[[str, str], Cell | None],
    head_cell: Cell | None,
) -> Iterator[ExportProblem]:
    """Warn of literals in the manifest that look like secrets; a warning never contains the value itself.

    Args:
        entries: the workers, as the manifest has them.
        head: the rest of it.
        cell_of: returns the cell that sets a variable of a worker, or that defines it.
        head_cell: the `%%capability` cell, if there is one.
    """
    for worker, entry in entries.items():
        for name, value in entry.get("env", {}).items():
            if (kind := _kind_of_variable(name, value)) is not None:
                yield _in_manifest(
                    f"variable {name!r} of worker {worker!r}",
                    kind,
                    f"write {name}=${{{name}}}, and set {name} in the runtime's environment",
                    cell_of(worker, name),
                )
        for word in (entry.get("command", ""), *entry.get("args", ())):
            if (kind := _kind_of(_literal(word))) is not None:
                remedy = "write ${NAME} instead, and set NAME in the runtime's environment"
                yield _in_manifest(f"the command of worker {worker!r}", kind, remedy, cell_of(worker, ""))
    for where, name, value in _texts_of(head, ""):
        if (kind := _kind_of_variable(name, value)) is not None:
            remedy = f"write ${{{_variable(name)}}} instead, and set that in the runtime's environment"
            yield _in_manifest(f"{where} of the manifest", kind, remedy, head_cell)


def _in_manifest(name: str, kind: str, remedy: str, cell: Cell | None) -> ExportProblem:
    why = f"looks like {kind}, and would be in capability.yaml for everybody to read"
    return ExportProblem(name, why, remedy, cell)


def _kind_of_variable(name: str, value: str) -> str | None:
    """Return which secret the literal part of a value looks like, by itself or by the variable's name."""
    literal = _literal(value)
    if (kind := _kind_of(literal)) is not None:
        return kind
    word = _SCHEME.sub("", literal).strip()
    if not (_SECRET_NAME.search(name) or _SECRET_VARIABLE.search(name)) or len(word) < _SHORTEST_VARIABLE:
        return None
    if " " in word or _PLACEHOLDER.match(word) or _NO_SECRET.match(word):
        return None
    return f"a secret, to judge by the name {name!r}"


def _literal(value: str) -> str:
    """Return a value without its references to variables; the default of one is a literal."""
    end = value.rfind("}") + 1  # what is never closed is no reference, and would be searched again and again
    return _REFERENCE.sub(lambda match: match[1] or "", value[:end]) + value[end:]


def _variable(name: str) -> str:
    """Return a name of a variable for a field."""
    return re.sub(r"\W+", "_", name).strip("_").upper() or "NAME"


def _texts_of(value: object, where: str) -> Iterator[tuple[str, str, str]]:
    """Yield the texts of a part of a manifest: where it is, the last key above it, and the text."""
    match value:
        case str():
            yield where, where.rpartition(".")[2].partition("[")[0], value
        case dict():
            for key, inner in value.items():
                yield from _texts_of(inner, f"{where}.{key}" if where else str(key))
        case list():
            for number, inner in enumerate(value):
                yield from _texts_of(inner, f"{where}[{number}]")


def secrets_in(statement: Statement) -> Iterator[ExportProblem]:
    """Warn of texts that look like secrets; a warning never contains the text itself."""
    named = _named_texts(statement.node) if text_constants(statement.node) else {}
    for node in find(statement.node, ast.Constant):
        if not isinstance(node.value, str):
            continue
        kind = _kind_of(node.value)
        if kind is None and (name := named.get(id(node))) is not None:
            kind = f"a secret, to judge by the name {name!r}"
        if kind is not None:
            yield ExportProblem(
                "a text",
                f"looks like {kind}, and would be in the script for everybody to read",
                "read it from os.environ, and give it with --env or the runtime's environment",
                statement.cell.cell,
                node.lineno,
                node.col_offset + 1,
            )


def _named_texts(node: ast.AST) -> dict[int, str]:
    """Return the texts whose name says that they are secret: the name, by the identity of the node."""
    found: dict[int, str] = {}

    def note(name: str | None, value: ast.expr | None) -> None:
        if name is None or not _SECRET_NAME.search(name):
            return
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            text = value.value
            if len(text) >= _SHORTEST_SECRET and not _PLACEHOLDER.match(text) and " " not in text:
                found[id(value)] = name

    for inner in (*find(node, ast.Assign, ast.AnnAssign), *find(node, ast.keyword, ast.Dict)):
        match inner:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                note(name, value)
            case ast.AnnAssign(target=ast.Name(id=name), value=value):
                note(name, value)
            case ast.keyword(arg=name, value=value):
                note(name, value)
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        note(key.value, value)
    return found


def texts_in(statements: Iterable[Statement]) -> dict[str, str]:
    """Return the texts that statements bind, `NAME = "text"`, by name."""
    return texts_bound(statement.node for statement in statements)


def texts_bound(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """Return the texts that nodes bind, by name."""
    found: dict[str, str] = {}
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str() as text)):
                found[name] = text
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str() as text)):
                found[name] = text
    return found


def files_beside(
    statement: Statement, beside: Path | None, texts: Mapping[str, str]
) -> Iterator[ExportProblem]:
    """Refuse to read files beside the notebook: an export does not contain them.

    Args:
        statement: a statement that is exported.
        beside: the directory of the notebook; None where it has none.
        texts: the texts that the code binds, by name.
    """
    for call, argument in (
        files_read(find(statement.node, ast.Call), beside, texts) if beside is not None else ()
    ):
        yield ExportProblem(
            call,
            "reads a file beside the notebook, which is not exported",
            "put the file where the worker runs and name its place by --env, or keep what it holds in a cell",
            statement.cell.cell,
            argument.lineno,
            argument.col_offset + 1,
        )


def files_read(
    nodes: Iterable[ast.AST], directory: Path, texts: Mapping[str, str]
) -> Iterator[tuple[str, ast.expr]]:
    """Yield the calls that read files below a directory by relative paths, and the argument of each."""
    nodes = list(nodes)
    written = _written_paths(nodes)
    for node in nodes:
        if not isinstance(node, ast.Call) or id(node) in written or not (name := _reads_file(node)):
            continue
        argument = _file_argument(node)
        path = _text(argument, texts)
        if argument is not None and path is not None and _lies(directory, path):
            yield f"{name}({path!r})", argument


def _file_argument(call: ast.Call) -> ast.expr | None:
    """Return the argument of a call that names a file."""
    named = [k.value for k in call.keywords if k.arg in _FILE_ARGUMENTS]
    return next(iter([*call.args[:1], *named]), None)


def _text(node: ast.expr | None, texts: Mapping[str, str]) -> str | None:
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.Name(id=name):
            return texts.get(name)
    return None


def _lies(beside: Path, path: str) -> bool:
    if not path or "\0" in path or "://" in path or PurePath(path).is_absolute():
        return False
    return os.path.isfile(beside / path)  # noqa: PTH113  Path.is_file() raises for a text that is too long


def _written_paths(nodes: Iterable[ast.AST]) -> set[int]:
    """Return the identities of calls `Path(...)` whose file is written, removed or queried, and not read."""
    found: set[int] = set()
    for node in nodes:
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Call() as path, attr=attr)) as call:
                reads = attr.startswith("read") or (attr == "open" and not _writes(call, call.args[:1]))
                if not reads:
                    found.add(id(path))
    return found


def _writes(call: ast.Call, positional: Iterable[ast.expr]) -> bool:
    """Return whether the mode that a call gives, `positional` or by name, is for writing."""
    given = [*positional, *(k.value for k in call.keywords if k.arg == "mode")]
    return any(
        _WRITES.search(a.value) for a in given if isinstance(a, ast.Constant) and isinstance(a.value, str)
    )


def _reads_file(call: ast.Call) -> str | None:
    """Return the name of the function if a call opens its first argument to read; None if it does not."""
    match call.func:
        case ast.Name(id="open" as name) | ast.Attribute(value=ast.Name(), attr="open" as name):
            return None if _writes(call, call.args[1:2]) else name
        case ast.Name(id="Path" | "FilePath" as name) | ast.Attribute(attr="Path" as name):
            return name
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(), attr=name) if _READER.fullmatch(name):
            return name
    return None


def unique(problems: Iterable[ExportProblem]) -> list[ExportProblem]:
    """Return each problem once: several workers may have the same statement."""
    return list(dict.fromkeys(problems))
