"""`dnworker explain`: shows what the code at the end of a message means, without a network."""

from __future__ import annotations

import argparse

from dnworker.cli.text import print_json
from dnworker.explain.pages import answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `explain`."""
    parser.add_argument(
        "word", nargs="*", help="codes, such as DN104, or words to search for; all codes when left out"
    )
    parser.set_defaults(command=explain)


def explain(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code.

    Raises:
        UsageError: there is no such page.
    """
    found = answer(options.word)
    if options.json:
        shown = [{"code": one.code, "title": one.title, "text": one.markdown} for one in found.pages]
        print_json({"ok": True, "pages": shown})
        return 0
    print(found.text)
    if found.is_list:
        print("\n`dnworker explain CODE` shows the page of one")
    return 0
