"""`Displays`: keeps what handlers display in the log of their worker, in the forms it has; used by `output`.

A display that is updated later, by `display_id`, changes its entry. What is too large for the log is stored
in a file, whose name its entry says.
"""

from __future__ import annotations

import atexit
import base64
import json
import threading
import weakref
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnworker.core.invocation import Invocation
from dnworker.core.logs import LogLine
from dnworker.engine.engine import Engine
from dnworker.panel.forms import JSON_FORMS, KEPT, words_of
from dnworker_jupyter.kernel.directory import Directory, remove_left

DISPLAY_KEPT = 2_000_000
"""Characters of one displayed thing that the log keeps beside its text."""

FILES_KEPT = 20
FILES_BYTES = 500_000_000
"""Displays that are stored in files: so many, and so many bytes; the oldest go first."""

_SUFFIXES = {
    "text/html": ".html",
    "text/markdown": ".md",
    "text/latex": ".tex",
    "image/svg+xml": ".svg",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "text/plain": ".txt",
}


class Displays:
    """What the handlers of one runtime display."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lines: weakref.WeakValueDictionary[str, LogLine] = weakref.WeakValueDictionary()
        """The lines of displays that have an id."""
        self._files = LargeDisplays()

    def take(self, invocation: Invocation, data: Mapping[str, Any], display_id: str | None) -> None:
        """Make one line of the log of what a handler displays."""
        text, kept = self._kept(data)
        line = self._engine.log_line(
            invocation.worker, text, source="display", data=kept, invocation=invocation
        )
        if display_id is not None:
            self._lines[display_id] = line

    def update(self, data: Mapping[str, Any], display_id: str | None) -> bool:
        """Replace what the display of this id shows; returns False where it is no display of a handler."""
        line = self._lines.get(display_id) if display_id is not None else None
        if line is None:
            return False
        text, kept = self._kept(data)
        self._engine.logs.change(line, text, kept)
        return True

    def _kept(self, data: Mapping[str, Any]) -> tuple[str, dict[str, str] | None]:
        """Return the text of a display and its forms as text; what is too much is taken out, and told."""
        forms, notes = {}, []
        for kind in KEPT:
            if kind in data:
                try:
                    forms[kind] = _as_text(kind, data[kind])
                except (TypeError, ValueError, RecursionError) as exc:
                    notes.append(f"[its {kind} is not kept: {type(exc).__name__}: {exc}]")
        left = DISPLAY_KEPT
        for kind in sorted(forms, key=lambda one: len(forms[one])):
            left -= len(forms[kind])
            if left < 0:
                notes.append(self._files.store(kind, forms.pop(kind)))
        return " ".join([_title(data, forms), *notes]), forms or None


def _title(data: Mapping[str, Any], forms: Mapping[str, str]) -> str:
    """Return the line of a display: its plain text, or the words of its HTML where that says nothing."""
    plain = data.get("text/plain")
    text = plain if isinstance(plain, str) else "".join(plain) if isinstance(plain, list) else ""
    if (not text or text.startswith("<IPython.core.display.")) and "text/html" in forms:
        text = words_of(forms["text/html"]) or text
    if (not text or text.startswith("<IPython.core.display.")) and "text/markdown" in forms:
        text = forms["text/markdown"].strip()
    return text or f"({', '.join(map(str, data)) or 'nothing'})"


def _as_text(kind: str, value: Any) -> str:
    """Return one form as text: JSON of an object, Base64 of bytes.

    Raises:
        TypeError: it is nothing that can be sent.
        ValueError: it is an object that contains itself.
    """
    if kind in JSON_FORMS:
        return json.dumps(value, default=str)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "".join(value)  # lines, as a notebook's file has them
    if isinstance(value, str):
        return value
    raise TypeError(f"it is {type(value).__name__}, not text")


class LargeDisplays:
    """A temporary directory of displays that are too large for the log, made when there is one."""

    def __init__(self) -> None:
        self._directory: Directory | None = None
        self._files: deque[tuple[Path, int]] = deque()
        self._number = 0
        self._lock = threading.Lock()

    def store(self, kind: str, content: str) -> str:
        """Store one form whole; returns what is said in its place."""
        size = f"{kind} of {len(content):,} characters"
        try:
            path = self._write(kind, content)
        except OSError as exc:
            return f"[cut: {size}, which could not be stored either: {exc}]"
        if path is None:
            return f"[cut: {size}; more than {FILES_BYTES:,} bytes are not stored]"
        return f"[cut: {size}; all of it is in {path}, until the kernel ends]"

    def _write(self, kind: str, content: str) -> Path | None:
        is_picture = kind.startswith("image/") and kind != "image/svg+xml"
        try:
            data = base64.b64decode(content) if is_picture else content.encode("utf-8", "replace")
        except ValueError:
            data = content.encode("utf-8", "replace")
        if len(data) > FILES_BYTES:
            return None
        with self._lock:
            if self._directory is None:
                self._directory = Directory("displays")
                atexit.register(self._directory.remove)
                remove_left()
            self._number += 1
            path = self._directory.path / f"{self._number}{_SUFFIXES.get(kind, '.json')}"
            path.write_bytes(data)
            self._files.append((path, len(data)))
            while len(self._files) > FILES_KEPT or sum(size for _, size in self._files) > FILES_BYTES:
                self._files.popleft()[0].unlink(missing_ok=True)
        return path
