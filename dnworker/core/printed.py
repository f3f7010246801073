"""What a printed line says of itself: its level, and whether it is of a traceback; for `engine/worker_log`.

Programs print their log and their tracebacks as text: `logging`, `loguru`, uvicorn, pino and others put the
level first, after the time; Python and Node print a traceback line by line.
"""

from __future__ import annotations

import re

LOOKED_AT = 240
"""Characters of a line in which its level is looked for."""

_TIME = r"(?:[\[(<]?(?:\d{4}[-/]\d\d[-/]\d\d[T ])?\d\d:\d\d:\d\d[\w.,:+-]*[\])>]?\s*(?:[|:-]\s*)?)"
_NAME = r"(?:[\w.:<>/-]{1,80}\s+-\s+)"
_WORD = r"TRACE|DEBUG|INFO|NOTICE|SUCCESS|WARN(?:ING)?|ERROR|CRITICAL|FATAL|PANIC"
_FIRST = re.compile(rf"(?:{_TIME})?{_NAME}?[\[(<|]?\s*({_WORD})(?=[\s:|\])>-]|$)")
_GLOG = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+\s")
_FIELD = re.compile(
    r"""[LlSs](?<!\w[LlSs])(?i:(?<=l)(?:evel|evelname|vl)|(?<=s)everity)["']?\s*[=:]\s*["']?(\w+)"""
)  # it begins with a set of characters, by which a search is fast
_FIELDS_FIRST = ("{", "level=", "lvl=", "time=", "ts=")
_WORD_STARTS = "TDINSWECFP"
_AFTER_SPACE = f"{_WORD_STARTS}[(<|\x1b"
_LOWER_FIRST = (*_FIELDS_FIRST, "error", "warning")
_COMPILER = re.compile(r"(error|warning)(?:\[\w+\])?: ")
_PYTHON_WARNING = re.compile(r"\S+:\d+: \w*Warning: ")

_LEVELS = {
    "trace": "trace",
    "debug": "debug",
    "info": "info",
    "notice": "info",
    "success": "success",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "critical": "critical",
    "fatal": "critical",
    "panic": "critical",
    "10": "trace",
    "20": "debug",
    "30": "info",
    "40": "warning",
    "50": "error",
    "60": "critical",
}
"""Our level by the word of others, and by the numbers of pino and bunyan."""

_GLOG_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "critical"}

_ANSI = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]")


def level_of(text: str) -> str | None:
    """Return the level that a line names where log lines have it; None if it names none."""
    head = text[:LOOKED_AT]
    first = head[:1]
    if first.isalpha() and (first not in _WORD_STARTS or head[1:2].islower()):
        if not head.startswith(_LOWER_FIRST) and " - " not in head:
            return "warning" if "Warning: " in head and _PYTHON_WARNING.match(head) else None
    elif first.isspace() and head.lstrip()[:1] not in _AFTER_SPACE:
        return None
    if "\x1b" in head:
        head = _ANSI.sub("", head)
    if not head.startswith("{") and (found := _FIRST.match(head)):
        return _LEVELS[found[1].lower()]
    if head.startswith(_FIELDS_FIRST) and (found := _FIELD.search(head)):
        return _LEVELS.get(found[1].lower())
    if found := _GLOG.match(head):
        return _GLOG_LEVELS[found[1]]
    if found := _COMPILER.match(head):
        return _LEVELS[found[1]]
    return "warning" if _PYTHON_WARNING.match(head) else None


# -- tracebacks ----------------------------------------------------------------------------------------

_PYTHON_STARTS = (
    "Traceback (most recent call last)",
    "  + Exception Group Traceback",
    "Exception Group Traceback",
)
_BROKEN_FILE = re.compile(r'  File ".+", line \d+$')
_DIGITS = frozenset("0123456789")
_BOX = "\u256d"  # rich draws its tracebacks into a box
_BOX_SIDES = ("\u2502", "\u2570", "\u256d", "\u2771")
_INSIDE = (" ", "\t", ">", *_BOX_SIDES)
_GROUP_SIDES = ("| ", "+-")
_LINKS = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_END = re.compile(r"[A-Za-z_][\w.<>]*(?::(?:\s|$)|$)")
_MEMBER_END = re.compile(r"  \| ([A-Za-z_][\w.<>]*: .*)")
_NODE_PLACE = re.compile(r"\S.*\.[cm]?[jt]sx?:\d+$")
_NODE_ERROR = re.compile(r"(?:Uncaught )?(?:\w+ )?\[?[\w$.]*(?:Error|Exception)\b")
_NODE_FRAME = "    at "
_NODE_END = ("Node.js v", "}")


def begins_traceback(text: str) -> bool:
    """Return whether a traceback of Python or Node begins with this line, whatever came before."""
    if text.startswith(_PYTHON_STARTS):
        return True
    if text.startswith(_BOX):
        return "Traceback" in text
    if text[-1:] not in _DIGITS:
        return False
    if text.startswith("  File "):
        return _BROKEN_FILE.match(text) is not None
    return ("s:" in (end := text[-12:]) or "sx:" in end) and _NODE_PLACE.match(text) is not None


def is_node_frame(text: str) -> bool:
    """Return whether the line is a frame of Node, which makes an error of the line before."""
    return text.startswith(_NODE_FRAME)


def is_node_error(text: str) -> bool:
    """Return whether the line is an error's, so that frames of Node may follow."""
    return ("Error" in text or "Exception" in text) and _NODE_ERROR.match(text) is not None


class Traceback:
    """A traceback that is being printed: tells which lines belong to it.

    Args:
        first: its first line.
        is_node: whether a frame of Node follows it.
    """

    def __init__(self, first: str, *, is_node: bool = False) -> None:
        is_place = not first.startswith(("  File ", *_PYTHON_STARTS, _BOX))
        self.is_certain = is_node or not is_place
        """Whether it is one: a place in a script alone is none."""
        self._is_node = is_place
        self._has_ended = False
        """Whether its last line was there; what it caused may still follow."""

    def takes(self, text: str) -> bool:
        """Return whether the next line belongs to it."""
        return self._takes_of_node(text) if self._is_node else self._takes_of_python(text)

    def _takes_of_python(self, text: str) -> bool:
        if text.startswith(_LINKS):
            self._has_ended = False
            return True
        if self._has_ended:
            return text.startswith("  ") and text.lstrip(" ").startswith(_GROUP_SIDES)
        if text.startswith(_INSIDE):
            self._has_ended = _MEMBER_END.match(text) is not None
            return True
        if text.startswith(_PYTHON_STARTS):
            return True
        self._has_ended = _END.match(text) is not None
        return self._has_ended

    def _takes_of_node(self, text: str) -> bool:
        if text.startswith((" ", "\t")):
            self.is_certain = self.is_certain or is_node_frame(text) or text.strip("~ ") in ("^", "")
            return True
        if not self._has_ended and _NODE_ERROR.match(text):
            self.is_certain = self._has_ended = True
            return True
        if text.startswith(_NODE_END):
            return self.is_certain
        self._has_ended = True
        return False


def headline(texts: list[str]) -> str:
    """Return what an error says, of its lines: a traceback says it last in Python, first in Node."""
    frames = next((n for n, text in enumerate(texts) if is_node_frame(text)), None)
    if frames is not None:
        return next((text for text in reversed(texts[:frames]) if _NODE_ERROR.match(text)), texts[0])
    flat = [text for text in texts if not text.startswith((" ", "\t", ">", *_BOX_SIDES))]
    if flat:
        return flat[-1]
    return next((found[1] for text in texts if (found := _MEMBER_END.match(text))), texts[0])
