"""The code blocks of a page of the documentation, as its text has them; `running` runs them in order.

A block is what stands between two fences. What it is for, its fence says, or a comment on the line before:

    ```python                        a cell of the page's notebook
    ```python title="workers/x.py"   a file of the page's directory, in any language
    ```sh                            commands, run in the page's directory; $PORT is a free port, as is what stands for
                                     8787, the port of `dnworker serve`, and for 8788, 8789, 4222 and 8222
    ```text                          what the block before answers; `...` stands for anything, times and bars do not count
    ```json, yaml, toml              must be legal
    <!-- run: fails -->              the block after it ends with an error
    <!-- run: background until "X" -->  it goes on until the page ends; X appears in what it prints
    <!-- run: answers "X", "Y" -->   a cell that asks: at a debugger's prompt, say; these are typed
    <!-- run: no, REASON -->         it is not run, and the reason is one that people would accept
    <!-- hidden LANGUAGE ... -->     a block that is run and not shown
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"^(?P<indent>[ ]*)(?P<fence>`{3,}|~{3,})[ ]*\{?[ ]*\.?(?P<language>[\w+-]*)(?P<info>[^\n]*)\n"
    r"(?P<code>.*?)^(?P=indent)(?P=fence)[ ]*$"
    r"|^(?P<inset>[ ]*)<!-- hidden (?P<secret>[\w-]+)(?P<facts>[^\n]*)\n(?P<hidden>.*?)-->[ ]*$"
    r"|^[ ]*<!-- run: (?P<how>[^\n]+?) -->[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')
_ANSWERS = re.compile(r'answers ("[^"]*"(?:, *"[^"]*")*)')
_UNTIL = re.compile(r'background until "([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One code block.

    Attributes:
        page: the file.
        line: of the fence, from 1.
        language: as the fence names it; empty for none.
        code: without the indentation of the fence.
        title: the file that it is, relative to the page's directory; None for what is no file.
        how: what the comment before it says after `run:`; empty for none.
    """

    page: Path
    line: int
    language: str
    code: str
    title: str | None
    how: str

    @property
    def place(self) -> str:
        """Return where it stands."""
        return f"{self.page.name}, line {self.line}"

    @property
    def why_not_run(self) -> str | None:
        """Return why it is not run; None for one that is."""
        return self.how.partition(",")[2].strip() if self.how.startswith("no") else None

    @property
    def fails(self) -> bool:
        """Return whether it is to end with an error."""
        return self.how == "fails"

    @property
    def answers(self) -> list[str] | None:
        """Return what is typed where the cell asks; None for one that asks for nothing."""
        found = _ANSWERS.fullmatch(self.how)
        return re.findall(r'"([^"]*)"', found[1]) if found else None

    @property
    def until(self) -> str | None:
        """Return what one in the background prints when it is ready; None for one that is waited for."""
        found = _UNTIL.fullmatch(self.how)
        return found[1] if found else None


def blocks_of(page: Path) -> list[Block]:
    """Return the code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    blocks, how = [], ""
    for found in _BLOCK.finditer(text):
        if found["how"] is not None:
            how = found["how"]
            continue
        is_hidden = found["secret"] is not None
        code = found["hidden"] if is_hidden else found["code"]
        indent = found["inset"] if is_hidden else found["indent"]
        title = _TITLE.search(found["facts"] if is_hidden else found["info"])
        blocks.append(
            Block(
                page,
                text.count("\n", 0, found.start()) + 1,
                found["secret"] if is_hidden else found["language"],
                re.sub(rf"^{indent}", "", code, flags=re.MULTILINE),
                title[1] if title else None,
                how,
            )
        )
        how = ""
    return blocks
