"""`dnworker completion`: prints the script by which a shell completes commands, options, files and workers.

Why the script is made once, and Python is not asked at each key: docs/decisions/0054-completion.md.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dnworker.cli.remote import client_of, find_runtime
from dnworker.cli.text import print_json, printable
from dnworker.core.errors import UsageError

SHELLS = ("bash", "zsh", "fish")

WORKERS_SECONDS = 2.0
"""How long a key press may wait for the names of workers."""

DIRECTORIES = frozenset({"path", "capability", "capabilities_dir", "directory"})
"""Arguments that take a directory, where their metavar does not say so."""

_BASH = """
_dnworker_workers() {
  local line=${COMP_LINE:0:COMP_POINT} head="" one
  local word=${line##*[[:space:]]}
  # bash takes a colon for the end of a word: what stands before it is not to be given again
  if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then head=${word%"${word##*:}"}; fi
  while IFS= read -r one; do
    if [[ $one == "$word"* ]]; then printf '%s\\n' "${one#"$head"}"; fi
  done < <(dnworker completion --workers 2>/dev/null)
}
"""

_ZSH = """
_dnworker_workers() {
  local -a found
  found=(${(f)"$(dnworker completion --workers 2>/dev/null)"})
  compadd -a found
}
"""

WORKERS: dict[str, Any] = {
    "bash": "_dnworker_workers",
    "zsh": "_dnworker_workers",
    "fish": "(dnworker completion --workers 2>/dev/null)",
    "preamble": {"bash": _BASH, "zsh": _ZSH},
}
"""How each shell asks for the workers of the runtime that runs here."""


def add_arguments(parser: argparse.ArgumentParser, whole: Callable[[], argparse.ArgumentParser]) -> None:
    """Declare the arguments of `completion`; `whole` makes the parser of all commands."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("shell", nargs="?", choices=SHELLS, help="whose script is printed")
    what.add_argument(
        "--workers",
        action="store_true",
        help="print the names of workers that run, which the scripts ask for",
    )
    parser.set_defaults(command=run, whole=whole)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code.

    Raises:
        UsageError: shtab is not installed, or with `--workers` no runtime answers in time.
    """
    if options.workers:
        names = asyncio.run(_workers())
        if options.json:
            print_json({"ok": True, "workers": names})
        elif names:
            print(printable("\n".join(names)))
        return 0
    text = script(options.whole(), options.shell)
    if options.json:
        print_json({"ok": True, "shell": options.shell, "script": text})
    else:
        print(text)
    return 0


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for a shell.

    Raises:
        UsageError: shtab is not installed.
    """
    try:
        import shtab
    except ModuleNotFoundError as exc:
        raise UsageError(
            "`dnworker completion` needs shtab; install it with: pip install 'dnworker[runtime]'",
            code="DN902",
        ) from exc
    for action in _actions(parser):
        if (values := _values(action)) is not None:
            action.complete = values  # type: ignore[attr-defined]  # where shtab looks
    return shtab.complete(parser, shell=shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in {id(below): below for below in action.choices.values()}.values():
                yield from _actions(one)
        else:
            yield action


def _values(action: argparse.Action) -> Any:
    """Return what an argument takes, as shtab words it; None for choices, numbers and free text."""
    import shtab

    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if metavar == "CAPABILITY:WORKER" or action.dest == "worker":
        return WORKERS
    if metavar == "DIR" or (action.type is Path and action.dest in DIRECTORIES):
        return shtab.DIRECTORY
    return shtab.FILE if action.type is Path else None


async def _workers() -> list[str]:
    found = find_runtime(None, None)
    try:
        async with asyncio.timeout(WORKERS_SECONDS), client_of(found) as client:
            info = await client.fetch_runtime_info()
    except TimeoutError:
        raise UsageError(f"{found.url} does not answer within {WORKERS_SECONDS:g} s", code="DN903") from None
    return [
        f"{capability.name}:{component.name}"
        for capability in info.capabilities
        for component in capability.components
        if component.kind == "worker"
    ]
