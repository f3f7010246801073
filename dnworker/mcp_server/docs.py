"""`search_docs`: finds what the guide and the pages of messages say of words or of a code; offline."""

from __future__ import annotations

import re
from typing import Any

from dnworker.explain.pages import is_code, page_of, search
from dnworker.mcp_server.untrusted import LONGEST_SOURCE, clean

MOST_PAGES = 8
LONGEST_PART = 1_500


def search_docs(words: str, guide: str) -> dict[str, Any]:
    """Return the page of a code whole, or the titles of pages and the part of the guide that fit words best.

    Raises:
        UsageError: nothing has these words, or there is no such code.
    """
    asked = re.findall(r"[\w%.-]+", words)[:20]
    if len(asked) == 1 and is_code(asked[0]):
        page = page_of(asked[0])
        return {"code": page.code, "title": page.title, "page": clean(page.markdown, LONGEST_SOURCE)}
    parts = re.split(r"(?m)^(?=## )", guide)
    best = max(parts, key=lambda part: _hits(asked, part))
    found: dict[str, Any] = {}
    if _hits(asked, best):
        found["guide"] = clean(best, LONGEST_PART)
    pages = search(asked)[:MOST_PAGES]
    found["pages"] = [{"code": page.code, "title": page.title, "group": page.group} for page in pages]
    return found


def _hits(words: list[str], text: str) -> int:
    lower = text.lower()
    return sum(min(3, lower.count(word.lower())) for word in words)
