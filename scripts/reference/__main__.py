"""`python -m scripts.reference [--check]`: write the generated pages, or say which are not what their sources say."""

from __future__ import annotations

import argparse
import sys

from .pages import PAGES, WRITE, made, place_of


def main() -> int:
    """Write or check every page; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is old")
    is_check = parser.parse_args().check
    old = []
    for name in PAGES:
        page, text = place_of(name), made(name)
        if page.is_file() and page.read_text(encoding="utf-8") == text:
            continue
        old.append(name)
        if not is_check:
            page.parent.mkdir(exist_ok=True)
            page.write_text(text, encoding="utf-8")
    if old and is_check:
        print(f"not what their sources say: {', '.join(old)}; write them with: {WRITE}", file=sys.stderr)
    elif old:
        print(f"written: {', '.join(old)}")
    return 1 if old and is_check else 0


if __name__ == "__main__":
    sys.exit(main())
