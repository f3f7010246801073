"""The command line, `dnworker`. Exit codes: 0 done, 1 failed, 2 wrong use."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from dnworker.cli.text import NearParser, print_json, printable
from dnworker.cli.version import Version, print_version_json
from dnworker.core.errors import DnworkerError, UsageError, code_of, with_code

Command = Callable[[argparse.Namespace], int]

NEED_RUNTIME = ("init", "serve", "config", "validate", "pack", "deploy", "map")
"""Commands that need the libraries of the extra `runtime`; the others do with those of a worker's script."""

OF_RUNTIME = ("yaml", "starlette", "uvicorn", "httptools", "genson", "regex")
"""Libraries of that extra, by their modules; an upgrade of dnworker alone installs none that it lacks."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; an error is one sentence on stderr, or JSON on stdout.

    Wrong use, which ends with code 2, is always said on stderr: what is wrong may be `--json` itself.
    """
    return run(read_options(sys.argv[1:] if arguments is None else arguments))


def read_options(words: Sequence[str]) -> argparse.Namespace:
    """Return the options that the words say, with the command to run; wrong use ends the program."""
    if sorted(words) == ["--json", "--version"]:
        return argparse.Namespace(command=print_version_json, json=True)
    parser = make_parser(only=words[0] if words else "")
    if misplaced := _before_command(words):
        parser.error(misplaced)
    return parser.parse_args(words)


def run(options: argparse.Namespace) -> int:
    """Run the command that options name, as `main` does."""
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
        if not (options.json and _print_as_json(exc)):
            print(printable(f"dnworker: {with_code(exc)}"), file=sys.stderr)
        return 1
    except Exception as exc:
        if options.json:
            print_json({"ok": False, "error": f"{type(exc).__name__}: {exc}"})
        raise


def _before_command(words: Sequence[str]) -> str | None:
    """Return what is wrong where options of a command stand before it."""
    place = next((place for place, word in enumerate(words) if word in COMMANDS), 0)
    before = words[:place]
    if not before or not before[0].startswith("-") or before[0] in ("-h", "--help", "--version"):
        return None
    put_right = shlex.join(["dnworker", words[place], *before, *words[place + 1 :]])
    return printable(f"options stand after the command: {put_right}")


def _print_as_json(exc: DnworkerError | OSError) -> bool:
    """Return whether standard output has taken the error; on a full disk it is the error."""
    as_json = getattr(exc, "as_json", None)  # a refused export has a list of reasons
    found = as_json() if as_json else {"error": str(exc)}
    try:
        print_json({"ok": False, **found, "code": code_of(exc)})
    except OSError:
        _leave_stdout()
        return False
    return True


def _leave_stdout() -> None:
    """Have standard output lead nowhere, or the interpreter's end would fail to write to it again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


class _CommandParser(NearParser):
    """The parser of a command; its arguments are declared when it is used, as importing all takes long."""

    declare: Callable[[_CommandParser], object] | None = None
    is_refused = False
    """Whether the command lacks libraries, so that it is refused whatever is asked of it."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Declare its arguments, then parse; of a command that is refused the others are not known."""
        self.complete()
        if self.is_refused:
            args = [word for word in args if word in ("--json", "-h", "--help")]
        return super().parse_known_args(args, namespace)

    def complete(self) -> None:
        """Declare its arguments, unless they are."""
        declare, self.declare = self.declare, None
        if declare is not None:
            declare(self)


def make_parser(*, only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the whole command line.

    Args:
        only: the first word of a command line: where that is a command it has this one alone, which takes a
            tenth of the time. None for all commands, with their arguments.
    """
    parser = NearParser(prog="dnworker", description="Run, check, control and export workers.")
    parser.add_argument("--version", action=Version, help="show the version, the build and Python, and end")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_CommandParser)
    common = _CommandParser(add_help=False)
    common.add_argument("--json", action="store_true", help="answer in JSON")
    for name in [only] if only in COMMANDS else COMMANDS:
        command = commands.add_parser(name, parents=[common], help=COMMANDS[name])
        command.declare = partial(_declare, name)
        if only is None:
            command.complete()
    return parser


COMMANDS = {
    "init": "make a capability's directory, with a notebook, tests and a README",
    "serve": "run capabilities until Ctrl-C or SIGTERM",
    "config": "show the options of `serve`, and where each is from",
    "validate": "check capabilities",
    "pack": "make one archive of capabilities, with locks and hashes",
    "verify": "compare an archive, or what was unpacked of it, with its hashes",
    "deploy": "write what runs capabilities on a server, in containers or a cluster",
    "map": "show what flows where in a capability",
    "cursors": "show or change how far workers are with events that are kept",
    "dead": "show, retry or drop what workers could not handle",
    "events": "show what happened, and what handlers did with it",
    "trace": "show what an event has caused, as a tree",
    "logs": "show the lines that workers have written",
    "nodes": "show who shares the broker, and what each node holds",
    "doctor": "look at all that makes dnworker fail, and say the way out",
    "mcp": "let a coding agent look, test and write, by MCP",
    "probe": "ask a runtime whether it is there and ready, as for a health check",
    "explain": "show what the code at the end of a message means",
    "ps": "show the workers of a runtime, and what they have done",
    "tail": "show events, or the log, as they come",
    "reload": "read capabilities again, on one node or on all",
    "restart": "start workers again that stopped",
    "fire": "publish an event",
    "panel": "open the panel in a browser",
    "export": "make a capability of a notebook file",
    "import": "make a notebook of a capability",
    "completion": "print the script by which a shell completes dnworker",
    "lab": "open a notebook in JupyterLab, ready to run",
}
"""Each command, and what it does."""

_BESIDE = {"restart": "remote", "fire": "remote", "panel": "remote", "import": "importing"}
"""The modules of commands that have none of their name."""


def _declare(name: str, parser: _CommandParser) -> None:
    """Declare the arguments of a command; without the libraries that it needs its use is refused."""
    lacking = next((one for one in OF_RUNTIME if name in NEED_RUNTIME and find_spec(one) is None), None)
    if lacking is not None:
        refusal = f"`dnworker {name}` needs {lacking}; install it with: pip install 'dnworker[runtime]'"
        parser.is_refused, parser.description = True, refusal
        parser.set_defaults(command=partial(_refuse, refusal))
        return
    module = import_module(f"dnworker.cli.{_BESIDE.get(name, name)}")
    if name == "completion":
        module.add_arguments(parser, make_parser)
    else:
        getattr(module, f"add_{name}" if _BESIDE.get(name) == "remote" else "add_arguments")(parser)


def _refuse(refusal: str, _: argparse.Namespace) -> int:
    raise UsageError(refusal, code="DN902")
