"""`dnworker map`: what flows where in a capability, read from its directory; nothing of it is executed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dnworker.capability.manifest import load_manifest
from dnworker.cli.text import print_json, printable
from dnworker.core.files import write_atomically
from dnworker.flow.flow_map import OPTIONS, FlowMap, form_of
from dnworker.flow.graph import Facts
from dnworker.flow.scripts import facts_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `map`; `--json` is there already."""
    parser.add_argument("capability", nargs="+", type=Path, help="directories with a capability.yaml")
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--mermaid", action="store_true", help="a Mermaid flowchart, as GitHub draws it")
    forms.add_argument("--svg", action="store_true", help="an SVG file")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write it there; .svg, .mmd and .json name the form"
    )
    parser.set_defaults(command=show_map)


def show_map(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code.

    Raises:
        ManifestError: a manifest is missing or breaks rules.
        UsageError: two forms are wanted.
        OSError: the file cannot be written.
    """
    form = form_of([name for name in OPTIONS if getattr(options, name)], options.output)
    facts = Facts([worker for root in options.capability for worker in facts_of(load_manifest(root)).workers])
    names = ", ".join(dict.fromkeys(worker.capability for worker in facts.workers))
    made = FlowMap(facts, f"What flows where in {names}" if names else "What flows where")
    if form == "json" and options.output is None:
        print_json(made.to_json())
        return 0
    text = made.as_text(form)
    if options.output is None:
        sys.stdout.write(
            text if form != "text" else "".join(f"{printable(line)}\n" for line in text.splitlines())
        )
    else:
        write_atomically(options.output, text, mode=0o644)
    return 0
