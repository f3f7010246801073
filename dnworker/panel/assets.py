"""The files of the front end, joined into the one module that notebooks and pages load."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent / "static"

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const)\b)", re.MULTILINE)


@cache
def module() -> str:
    """Return the panel's module, which imports nothing: all that `panel.js` imports, before it.

    The modules import each other by `import { names } from "./file.js";`, a line each, and no two of them
    have a name of the same text at their top.
    """
    texts: dict[str, str] = {}

    def add(name: str) -> None:
        if name in texts:
            return
        source = (STATIC / f"{name}.js").read_text(encoding="utf-8")
        for needed in _IMPORT.findall(source):
            add(needed)
        texts[name] = _EXPORT.sub("", _IMPORT.sub("", source))

    add("panel")
    return "\n".join(texts.values())


@cache
def style() -> str:
    """Return the panel's style sheet."""
    return (STATIC / "panel.css").read_text(encoding="utf-8")


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
