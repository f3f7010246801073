"""`Page`: what a code of a message means, read from the Markdown files beside it; `explain` shows it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

import msgspec

from dnworker.core.errors import UsageError
from dnworker.core.text import closest, shorten

GROUPS = {
    "1": "Cells and magics",
    "2": "Events, fire and replay",
    "3": "Workers, handlers and schedules",
    "4": "Capabilities and manifests",
    "5": "Export, check and import",
    "6": "Sessions, turns and agents",
    "7": "What is kept: events, journals and state",
    "8": "Nodes and brokers",
    "9": "Command line, server and client",
}
"""The title of each group, by the first digit of its codes."""

_CODE = re.compile(r"\(?\[?((?:DN|CAP-)[\w-]*\d)[\])]*[:;,.]?", re.IGNORECASE)
_ALSO = re.compile(r"^<!-- also: (.+) -->$", re.MULTILINE)
_COMMENT = re.compile(r"^ *<!--.*?-->\n{0,2}", re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"^(`{3,}).*?\n(.*?)^\1 *$", re.MULTILINE | re.DOTALL)


class Page(msgspec.Struct, frozen=True):
    """The page of one code.

    Attributes:
        code: such as `DN104`.
        source: the text of its file, in Markdown.
    """

    code: str
    source: str

    @property
    def title(self) -> str:
        """What the mistake is, in a few words."""
        return self.source.partition("\n")[0].partition(": ")[2]

    @property
    def group(self) -> str:
        """The title of its group."""
        return GROUPS[self.code[2]]

    @property
    def also(self) -> tuple[str, ...]:
        """Beginnings of codes of a manifest's rules that it explains, too, such as `CAP-FLAG`."""
        found = _ALSO.search(self.source)
        return tuple(found[1].split()) if found else ()

    @property
    def markdown(self) -> str:
        """The page without what its comments tell the tests."""
        return _COMMENT.sub("", self.source).strip()

    @property
    def text(self) -> str:
        """The page for a terminal: code is indented, and marks of Markdown are left out."""
        parts, end = [], 0
        for fence in _FENCE.finditer(self.markdown):
            parts.append(_plain(self.markdown[end : fence.start()]))
            parts.append("".join(f"    {line}\n" if line else "\n" for line in fence[2].splitlines()))
            end = fence.end()
        parts.append(_plain(self.markdown[end:]))
        return re.sub(r"\n{3,}", "\n\n", "".join(parts)).strip()


def _plain(markdown: str) -> str:
    text = re.sub(r"^#+ ", "", markdown, flags=re.MULTILINE)
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)
    return re.sub(r"\*\*|`", "", text)


@cache
def pages() -> dict[str, Page]:
    """Return all pages by code, in order."""
    found = {}
    for file in sorted(files("dnworker.explain").iterdir(), key=lambda one: one.name):
        code, _, kind = file.name.partition(".")
        if kind == "md":
            found[code] = Page(code, file.read_text(encoding="utf-8"))
    return found


def is_code(word: str) -> bool:
    """Return whether a word looks like a code, `DN104` or `CAP-FLAG-001`, also as a message ends in it."""
    return _CODE.fullmatch(word) is not None


def page_of(word: str) -> Page:
    """Return the page of a code, in any case and with the brackets of a message.

    Raises:
        UsageError: no page has it; names the nearest code.
    """
    match = _CODE.fullmatch(word)
    code = (match[1] if match else word).upper()
    if (page := pages().get(code)) is not None:
        return page
    for page in pages().values():
        if any(code.startswith(beginning) for beginning in page.also):
            return page
    near = closest(code, pages(), cutoff=0.5)
    hint = f"did you mean {near}: {pages()[near].title}?" if near else "explain lists those that there are"
    raise UsageError(f"there is no message {shorten(code, 40)!r}; {hint}", code="DN909")


def search(words: Iterable[str]) -> list[Page]:
    """Return the pages that have all words, those with more of them in the title first."""
    wanted = [word.casefold() for word in words]

    def misses(page: Page) -> int:
        return sum(word not in page.title.casefold() for word in wanted)

    found = [page for page in pages().values() if all(word in page.markdown.casefold() for word in wanted)]
    return sorted(found, key=misses)


def _asked(words: list[str]) -> list[Page]:
    if any(map(is_code, words)):
        return list(dict.fromkeys(page_of(word) for word in words))
    if found := search(words):
        return found
    quoted = shorten(" ".join(words), 60)
    raise UsageError(
        f"no page has {quoted!r}; give a code, such as DN104, or fewer words; explain lists all", code="DN909"
    )


class Answer(msgspec.Struct, frozen=True):
    """What is shown for some words: pages, or only their titles where several have the words.

    Attributes:
        pages: those that were found.
        is_list: whether only their titles are shown.
    """

    pages: tuple[Page, ...]
    is_list: bool

    @property
    def text(self) -> str:
        """The answer for a terminal."""
        if not self.is_list:
            return "\n\n".join(page.text for page in self.pages)
        lists = [
            "\n".join([group, *(f"  {page.code}  {page.title}" for page in shown)])
            for group, shown in _by_group(self.pages)
        ]
        return "\n\n".join(lists)

    @property
    def markdown(self) -> str:
        """The answer for a notebook."""
        if not self.is_list:
            return "\n\n".join(page.markdown for page in self.pages)
        parts = []
        for group, shown in _by_group(self.pages):
            parts += [f"**{group}**", "\n".join(f"- `{page.code}` {page.title}" for page in shown)]
        return "\n\n".join(parts)


def answer(words: list[str]) -> Answer:
    """Return what is shown for words: pages of codes, pages that have the words, or the titles of all.

    Raises:
        UsageError: there is no such page.
    """
    if not words:
        return Answer(tuple(pages().values()), is_list=True)
    found = _asked(words)
    return Answer(tuple(found), is_list=len(found) > 1 and not any(map(is_code, words)))


def _by_group(shown: Iterable[Page]) -> list[tuple[str, list[Page]]]:
    by_group: dict[str, list[Page]] = {}
    for page in shown:
        by_group.setdefault(page.group, []).append(page)
    return [*by_group.items()]
