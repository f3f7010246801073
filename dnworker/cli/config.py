"""`dnworker config`: shows each option of `serve` with its value and where that is from; checks a file."""

from __future__ import annotations

import argparse
import os
import sys

from dnworker.cli import serve
from dnworker.cli.config_options import sources_of
from dnworker.cli.made_runtime import check_start, placed
from dnworker.cli.settings.writing import aligned, shown_value, to_json, to_toml
from dnworker.cli.text import print_json, printable
from dnworker.core.errors import DnworkerError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `config`: those of `serve`, and how it is shown."""
    serve.add_arguments(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--changed", action="store_true", help="only what differs from its default")
    how.add_argument("--toml", action="store_true", help="print a file that says the same")
    parser.set_defaults(command=_show)


def _show(options: argparse.Namespace) -> int:
    sources = sources_of(serve.own_parser(), options, os.environ)
    resolved = sources.read()
    effective = argparse.Namespace()
    resolved.put_into(effective)
    try:
        check_start(effective)
    except DnworkerError as exc:
        raise placed(exc, resolved.values) from exc
    for note in resolved.notes:
        print(printable(f"dnworker: {note}"), file=sys.stderr)
    if options.toml:
        text = to_toml(resolved)
        if options.json:
            print_json({"ok": True, "toml": text})
        else:
            print(text, end="")
        return 0
    values = [one for one in resolved.values.values() if one.is_changed or not options.changed]
    values.sort(key=lambda one: not one.is_changed)
    if options.json:
        file = None if resolved.file is None else str(resolved.file.path)
        print_json(
            {"ok": True, "file": file, "settings": [to_json(one) for one in values], "notes": resolved.notes}
        )
        return 0
    rows = [(one.setting.key, shown_value(one.value), one.source) for one in values]
    print(printable("\n".join(aligned(rows))) if rows else "every option has its default")
    return 0
