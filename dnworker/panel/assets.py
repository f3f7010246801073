"""The files of the front end, joined into the one module and the one sheet that notebooks and pages load."""

from __future__ import annotations

import hashlib
import posixpath
import re
from functools import cache
from pathlib import Path

from dnworker.panel import shrink

STATIC = Path(__file__).parent / "static"

SHEETS = ("tokens", "components", "shell")
"""The sheets that come first, in this order; those of the views follow by name."""

_IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.[^"]+)";\n', re.MULTILINE)
_FORWARDED = re.compile(r'^export \{([^}]*)\} from "(\.[^"]+)";\n', re.MULTILINE)
_EXPORTED = re.compile(r"^export (?:async )?(?:function\*?|class|const) (\w+)", re.MULTILINE)
_EXPORTED_TOGETHER = re.compile(r"^export const \{([^}]*)\} =", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const)\b)", re.MULTILINE)


@cache
def module() -> str:
    """Return the panel's module, which imports nothing: all that `panel.js` imports, before it.

    The modules import each other by `import { a, b as c } from "./file.js";`, never in a circle. Each is a
    scope of its own, so that two of them may use the same name for different things.
    """
    texts: dict[str, str] = {}

    def add(path: str) -> None:
        if path in texts:
            return
        source = (STATIC / path).read_text(encoding="utf-8")
        for _, needed in [*_IMPORT.findall(source), *_FORWARDED.findall(source)]:
            add(_resolved(path, needed))
        text = (_with_imports if path == "panel.js" else _scoped)(path, source)
        texts[path] = text if path.startswith("vendor/") else shrink.script(text)

    add("panel.js")
    return "\n".join(texts.values())


def _resolved(path: str, needed: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), needed))


def _variable(path: str) -> str:
    return "$" + re.sub(r"\W", "_", path.removesuffix(".js"))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _with_imports(path: str, source: str) -> str:
    """Return a module with its imports as variables that are taken of the modules before it."""

    def taken(found: re.Match[str]) -> str:
        names = ", ".join(name.replace(" as ", ": ") for name in _names(found[1]))
        return f"const {{ {names} }} = {_variable(_resolved(path, found[2]))};\n"

    return _IMPORT.sub(taken, source)


def _scoped(path: str, source: str) -> str:
    """Return a module as a function that runs once and returns what it exports."""
    exported = _EXPORTED.findall(source)
    for together in _EXPORTED_TOGETHER.findall(source):
        exported += [name.split(":")[-1].strip() for name in _names(together)]
    given = ", ".join(exported)
    for names, needed in _FORWARDED.findall(source):
        for name in _names(names):
            old, _, new = name.partition(" as ")
            given += f", {new or old}: {_variable(_resolved(path, needed))}.{old}"
    body = _EXPORT.sub("", _with_imports(path, _FORWARDED.sub("", source)))
    return f"const {_variable(path)} = (() => {{\n{body}return {{ {given.lstrip(', ')} }};\n}})();"


@cache
def style() -> str:
    """Return the panel's style sheet."""
    sheets = sorted(file.stem for file in (STATIC / "css").glob("*.css"))
    names = [*SHEETS, *(name for name in sheets if name not in SHEETS)]
    return "\n".join(
        shrink.sheet((STATIC / "css" / f"{name}.css").read_text(encoding="utf-8")) for name in names
    )


@cache
def stub() -> str:
    """Return the small module that a notebook stores; it fetches the other one from the kernel."""
    return (STATIC / "stub.js").read_text(encoding="utf-8")


@cache
def page_link() -> str:
    """Return the module of the link to the page of a notebook's runtime."""
    return (STATIC / "page_link.js").read_text(encoding="utf-8")


@cache
def version() -> str:
    """Return a hash of these files, by which a page knows whether it has loaded them."""
    return hashlib.sha256((module() + style()).encode()).hexdigest()[:16]
