"""The command line, `dnworker`. Exit codes: 0 done, 1 failed, 2 wrong use."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from dnworker.cli import completion, lab, remote
from dnworker.cli import export as exporting
from dnworker.cli.progress import progress
from dnworker.cli.text import NearParser, print_json, printable
from dnworker.cli.version import Version, print_version_json
from dnworker.core.errors import DnworkerError, UsageError, code_of, with_code

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; an error is one sentence on stderr, or JSON on stdout.

    Wrong use, which ends with code 2, is always said on stderr: what is wrong may be `--json` itself.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if sorted(words) == ["--json", "--version"]:
        return print_version_json()
    options = make_parser().parse_args(words)
    command: Command = options.command
    try:
        code = command(options)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a reader that has gone can be handled
        return code
    except BrokenPipeError:  # such as `dnworker tail | head -1`
        _leave_stdout()
        return 1
    except KeyboardInterrupt:
        print(f"dnworker: interrupted{getattr(options, 'aside', '')}", file=sys.stderr)
        return 130
    except (DnworkerError, OSError) as exc:
        if options.json:
            as_json = getattr(exc, "as_json", None)  # a refused export has a list of reasons
            found = as_json() if as_json else {"error": str(exc)}
            print_json({"ok": False, **found, "code": code_of(exc)})
        else:
            print(printable(f"dnworker: {with_code(exc)}"), file=sys.stderr)
        return 1
    except Exception as exc:
        if options.json:
            print_json({"ok": False, "error": f"{type(exc).__name__}: {exc}"})
        raise


def _leave_stdout() -> None:
    """Have standard output lead nowhere, or the interpreter's end would fail to write to it again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = NearParser(prog="dnworker", description="Run, check, control and export workers.")
    parser.add_argument("--version", action=Version, help="show the version, the build and Python, and end")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = NearParser(add_help=False)
    common.add_argument("--json", action="store_true", help="answer in JSON")
    _add(commands, common, "init", "make a capability's directory, with a notebook, tests and a README")
    _add(commands, common, "serve", "run capabilities until Ctrl-C or SIGTERM")
    _add(commands, common, "config", "show the options of `serve`, and where each is from")
    _add(commands, common, "validate", "check capabilities")
    _add(commands, common, "pack", "make one archive of capabilities, with locks and hashes")
    _add(commands, common, "verify", "compare an archive, or what was unpacked of it, with its hashes")
    _add(commands, common, "deploy", "write what runs capabilities on a server, in containers or a cluster")
    _add(commands, common, "map", "show what flows where in a capability")
    _add(commands, common, "cursors", "show or change how far workers are with events that are kept")
    _add(commands, common, "dead", "show, retry or drop what workers could not handle")
    _add(commands, common, "events", "show what happened, and what handlers did with it")
    _add(commands, common, "trace", "show what an event has caused, as a tree")
    _add(commands, common, "logs", "show the lines that workers have written")
    _add(commands, common, "nodes", "show who shares the broker, and what each node holds")
    _add(commands, common, "doctor", "look at all that makes dnworker fail, and say the way out")
    _add(commands, common, "mcp", "let a coding agent look, test and write, by MCP")
    _add(commands, common, "probe", "ask a runtime whether it is there and ready, as for a health check")
    _add(commands, common, "explain", "show what the code at the end of a message means")
    _add(commands, common, "ps", "show the workers of a runtime, and what they have done")
    _add(commands, common, "tail", "show events, or the log, as they come")
    _add(commands, common, "reload", "read capabilities again, on one node or on all")
    remote.add_commands(commands, common)
    export = commands.add_parser("export", parents=[common], help="make a capability of a notebook file")
    exporting.add_arguments(export)
    taking = commands.add_parser("import", parents=[common], help="make a notebook of a capability")
    taking.add_argument("capability", type=Path, help="the capability's directory")
    taking.add_argument("-o", "--output", type=Path, required=True, help="the .ipynb file to write")
    taking.add_argument("--force", action="store_true", help="write over the notebook, and modules beside it")
    taking.set_defaults(command=_import, aside="; nothing was written")
    completing = commands.add_parser(
        "completion", parents=[common], help="print the script by which a shell completes dnworker"
    )
    completion.add_arguments(completing, make_parser)
    opening = commands.add_parser("lab", parents=[common], help="open a notebook in JupyterLab, ready to run")
    lab.add_arguments(opening)
    return parser


def _add(commands: Any, common: argparse.ArgumentParser, name: str, purpose: str) -> None:
    """Declare a command that needs the runtime's libraries; without them its use is refused."""
    parser = commands.add_parser(name, parents=[common], help=purpose)
    try:
        import_module(f"dnworker.cli.{name}").add_arguments(parser)
    except ModuleNotFoundError as exc:
        lacking = exc.name
        parser.add_argument("rest", nargs=argparse.REMAINDER)

        def refuse(_: argparse.Namespace) -> int:
            raise UsageError(
                f"`dnworker {name}` needs {lacking}; install it with: pip install 'dnworker[runtime]'",
                code="DN902",
            )

        parser.set_defaults(command=refuse)


def _import(options: argparse.Namespace) -> int:
    importer = exporting.extension("import")
    with progress() as on_progress:
        made = importer.import_capability(options.capability, options.output.parent, on_progress=on_progress)
    written = exporting.extension("notebook-file").write_notebook(made, options.output, force=options.force)
    if options.json:
        print_json({"ok": True, "files": [str(path) for path in written], "notes": made.notes})
    else:
        print("\n".join(f"{path} is written" for path in written))
        for note in made.notes:
            print(printable(f"an export of it will not have: {note}"))
    return 0
