"""`python -m scripts.website.messages`: write docs/messages out of the pages of `dnworker explain`."""

from __future__ import annotations

from pathlib import Path

from dnworker.explain.pages import GROUPS, pages

FOLDER = Path(__file__).parents[2] / "docs" / "messages"

INDEX = """# Messages and their codes

A message of dnworker ends in a code, such as `(DN104)`. The code names the page that says what the message
means and what to do.

You need no network for it. In a terminal:

```sh
dnworker explain DN104
```

In a notebook, `%explain DN104` shows the same. `dnworker explain retry policy` searches all pages for words,
and `dnworker explain CAP-FLAG-001` explains a rule of `capability.yaml`.

With `--json`, an error has its code in `code`. An answer over HTTP has it in the header `dnworker-code`.

A code keeps its meaning in later versions.
"""


def site_pages() -> dict[str, str]:
    """Return the texts of all files of docs/messages by name."""
    found = {f"{page.code}.md": f"{page.markdown}\n" for page in pages().values()}
    parts = [INDEX]
    for digit, title in GROUPS.items():
        listed = [page for page in pages().values() if page.code[2] == digit]
        parts.append(f"## {title}\n")
        parts.append("".join(f"- [{page.code}]({page.code}.md): {page.title}\n" for page in listed))
    return found | {"index.md": "\n".join(parts)}


def main() -> None:
    """Write the files, and remove those of pages that are gone."""
    texts = site_pages()
    for file in FOLDER.glob("*.md"):
        if file.name not in texts:
            file.unlink()
    for name, text in texts.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
