"""Reads the lines and bodies of magics: options, key=value payloads, objects; each error says what to do."""

from __future__ import annotations

import argparse
import ast
import json
import re
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import PurePosixPath
from typing import Any, NoReturn, TypeVar

import msgspec

from dnworker.core.errors import UsageError
from dnworker.core.handlers import check_worker_name
from dnworker.core.retry_policies import parse_retry
from dnworker.core.text import closest, shorten
from dnworker.core.topology import TOPOLOGIES

T = TypeVar("T")

LONGEST_QUOTED = 40
"""Characters of a wrong body that its error quotes."""

_UNRECOGNIZED = "unrecognized arguments: "
_NAME_REFERENCE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Options(msgspec.Struct, frozen=True):
    """The options of a `%%worker` line that belong to the worker."""

    when: tuple[str, ...] = ()
    env: dict[str, str] = msgspec.field(default_factory=dict)
    topology: str | None = None
    """How the export runs it; None for the topology of the export."""
    file: str | None = None
    """The path of its file in the export; None for one by its name."""
    keep_state: bool = False
    """Whether its state outlives it."""
    check_payloads: bool = False
    """Whether it publishes only what meets the types that are declared."""
    retry: tuple[str, ...] = ()
    """Which of its events are given to it again whose handlers have failed; only this runtime knows it."""


def merged(given: Iterable[Options]) -> Options:
    """Return the options of a worker of several cells: of each, what the last cell that gives it says."""
    found = Options()
    for options in given:
        found = Options(
            options.when or found.when,
            found.env | options.env,
            options.topology or found.topology,
            options.file or found.file,
            options.keep_state or found.keep_state,
            options.check_payloads or found.check_payloads,
            options.retry or found.retry,
        )
    return found


class WorkerLine(msgspec.Struct, frozen=True):
    """A `%%worker` line as it was read."""

    name: str
    options: Options
    shared: bool
    restart: bool
    quiet: bool
    command: str | None = None
    test: bool = False
    debug: bool = False
    wait: bool = False


@cache
def worker_parser() -> Parser:
    """Return the parser of the `%%worker` line."""
    parser = Parser("%%worker", "Register the cell's handlers live; running it again replaces them.")
    parser.add_argument("name", nargs="?", help="the worker: lower-case letters, digits and dashes")
    parser.add_argument("--when", action="append", default=[], metavar="FLAG", help="run only if FLAG is on")
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="K=V",
        help="a variable, here too; not with --topology in-process in an export",
    )
    parser.add_argument("--shared", action="store_true", help="the whole cell is exported")
    parser.add_argument("--restart", action="store_true", help="start the worker anew, with empty state")
    parser.add_argument(
        "--keep-state", action="store_true", help="keep worker.state over restarts of worker and runtime"
    )
    parser.add_argument(
        "--check-payloads",
        action="store_true",
        help="refuse what it publishes that breaks the type declared for its kind",
    )
    parser.add_argument(
        "--test", action="store_true", help="the body is an event, and what the worker should do with it"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing when all is well")
    parser.add_argument(
        "--command", metavar="CMD", help="run a program in any language; the body is its file"
    )
    parser.add_argument(
        "--debug", action="store_true", help="with --command python: let a debugger attach to the process"
    )
    parser.add_argument("--wait", action="store_true", help="with --debug: begin when one has attached")
    parser.add_argument("--file", metavar="PATH", help="the path of the worker's file in the capability")
    parser.add_argument(
        "--retry",
        action="append",
        default=[],
        metavar="[KIND=]TIMES",
        help="give it events again whose handlers fail: 5, or demo.kind=5,backoff=1s..5m,on=OSError",
    )
    parser.add_argument(
        "--topology", choices=TOPOLOGIES, help="how the export runs it, whatever the others do"
    )
    return parser


def read_worker_line(line: str) -> WorkerLine:
    """Read what follows `%%worker`.

    Raises:
        UsageError: the name is missing or not allowed, or an option is wrong.
    """
    options = worker_parser().read(split(line))
    if options.name is None:
        raise UsageError("%%worker needs the worker's name, as in: %%worker bridge", code="DN101")
    try:
        name = check_worker_name(options.name)
    except ValueError as exc:
        raise UsageError(f"%%worker: {exc}", code="DN303") from None
    env = {}
    for pair in options.env:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"%%worker: --env {pair!r} is not of the form NAME=value", code="DN114")
        env[key] = value
    if options.command is not None:
        _check_program(options)
    _check_debug(name, options.debug, options.wait, is_program=options.command is not None)
    parse_retry(options.retry, "%%worker: --retry")
    given = [options.command, options.file, options.topology, options.when, env, options.shared]
    if options.test and any([*given, options.keep_state, options.check_payloads, options.retry]):
        raise UsageError(
            "%%worker: --test stands alone: its body is an event, which runs nothing of its own", code="DN103"
        )
    if options.file is not None:
        _check_file(options.file, is_python=options.command is None)
    return WorkerLine(
        name,
        _of_worker(options, env),
        options.shared,
        options.restart,
        options.quiet,
        options.command,
        options.test,
        options.debug,
        options.wait,
    )


def _of_worker(options: argparse.Namespace, env: dict[str, str]) -> Options:
    """Return the options of a line that belong to the worker."""
    return Options(
        when=tuple(options.when),
        env=env,
        topology=options.topology,
        file=options.file,
        keep_state=options.keep_state,
        check_payloads=options.check_payloads,
        retry=tuple(options.retry),
    )


def _check_program(options: argparse.Namespace) -> None:
    """Refuse what a worker that is a program cannot have."""
    if options.topology is not None:
        raise UsageError(
            "%%worker: --topology is for Python workers; --command says already how this one runs",
            code="DN114",
        )
    if options.keep_state:
        raise UsageError(
            "%%worker: --keep-state keeps worker.state, and a program has none that is ours", code="DN114"
        )


def _check_debug(name: str, debug: bool, wait: bool, *, is_program: bool) -> None:
    if (debug or wait) and not is_program:
        raise UsageError(
            "%%worker: --debug is for programs; JupyterLab's debugger stops in this cell, and "
            f"%worker topology {name} python --debug makes it a process to attach to",
            code="DN120",
        )
    if wait and not debug:
        raise UsageError("%%worker: --wait waits for a debugger, and goes with --debug", code="DN103")


def _check_file(text: str, *, is_python: bool) -> None:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise UsageError(
            f"--file {text!r} must be a path inside of the capability, such as workers/relay.mjs",
            code="DN114",
        )
    if is_python and path.suffix != ".py":
        raise UsageError(f"--file {text!r}: the file of a Python worker ends in .py", code="DN114")


class Parser(argparse.ArgumentParser):
    """argparse that raises instead of exiting, and names the option that was meant."""

    def __init__(self, magic: str, description: str) -> None:
        super().__init__(prog=magic, description=description, allow_abbrev=False, add_help=False)
        self.add_argument("-h", "--help", action="store_true", help="show this text")
        self.color = False  # Python 3.14 would colour the text that notebooks show
        self._reading = threading.Lock()  # argparse changes its parser meanwhile, and takes it back

    def read(self, words: list[str]) -> argparse.Namespace:
        """Parse the words of a magic's line.

        Raises:
            UsageError: an option is unknown or has no value.
        """
        with self._reading:
            if self.usage is None:  # else argparse makes it for each line
                self.usage = self.format_usage().removeprefix("usage: ").replace("%", "%%")
            return self.parse_intermixed_args(words)

    def read_as(self, kind: type[T], words: list[str]) -> T:
        """Parse the words of a magic's line into a record, which has a field for each option.

        Raises:
            UsageError: an option is unknown or has no value.
        """
        options = vars(self.read(words))
        options.pop("help")
        return kind(**options)

    def options(self) -> list[str]:
        """Return all options, in their long form."""
        return [o for action in self._actions for o in action.option_strings if o.startswith("--")]

    def choices(self, option: str) -> list[str]:
        """Return the choices of an option, if it has choices."""
        action = next((a for a in self._actions if option in a.option_strings), None)
        return [str(choice) for choice in (action.choices or ())] if action is not None else []

    def words(self) -> list[str]:
        """Return the choices of the first word, if it has choices."""
        positional = [action for action in self._actions if not action.option_strings]
        return [str(choice) for choice in (positional[0].choices or ())] if positional else []

    def error(self, message: str) -> NoReturn:
        """Raise with the nearest option's name, if there is one near."""
        if message.startswith(_UNRECOGNIZED):
            word = message.removeprefix(_UNRECOGNIZED).split()[0]
            known = [option for action in self._actions for option in action.option_strings]
            hint = nearest(word.partition("=")[0], known) or f"; options: {', '.join(sorted(known))}"
            message = f"unknown option {word!r}{hint}" if word.startswith("-") else f"unexpected {word!r}"
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if choice is not None:
            message += nearest(choice[1], re.findall(r"[\w-]+", choice[2]))
        stop = "" if message.endswith("?") else "."
        raise UsageError(f"{self.prog}: {message}{stop} {self.prog} --help shows how", code="DN101")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?`; an empty text when no known word is near."""
    near = closest(word, known, cutoff=0.5)
    return f"; did you mean {near}?" if near is not None else ""


def split(line: str) -> list[str]:
    """Split a line at blanks outside quotes and brackets; quotes around a whole word are taken off.

    Raises:
        UsageError: a quote or bracket is not closed.
    """
    words: list[str] = []
    word = ""
    closing: list[str] = []
    pairs = {"(": ")", "[": "]", "{": "}"}
    quote = ""
    for char in line.strip():
        if quote:
            word += char
            escaped = (len(word) - 1 - len(word[:-1].rstrip("\\"))) % 2  # by an odd number of backslashes
            quote = "" if char == quote and not escaped else quote
        elif char.isspace() and not closing:
            if word:
                words.append(word)
            word = ""
        else:
            word += char
            if char in "'\"":
                quote = char
            elif char in pairs:
                closing.append(pairs[char])
            elif closing and char == closing[-1]:
                closing.pop()
    if quote or closing:
        raise UsageError(f"{line.strip()!r}: {quote or closing[-1]!r} is missing at the end", code="DN101")
    if word:
        words.append(word)
    if "#" in words:  # a comment, as in Python
        words = words[: words.index("#")]
    return [_unquote(word) for word in words]


def asks_help(line: str) -> bool:
    """Return whether a line asks for help: `-h` or `--help` as a word of its own, not within quotes."""
    try:
        words = split(line)
    except UsageError:
        words = line.split()
    return "-h" in words or "--help" in words


def read_value(text: str, names: Mapping[str, Any]) -> Any:
    """Read a value: JSON, a Python literal, `{name}` from the notebook, else the text itself.

    Raises:
        UsageError: `{name}` names nothing in the notebook, or text in braces is none of these.
    """
    if match := _NAME_REFERENCE.fullmatch(text):
        if match[1] not in names:
            raise UsageError(
                f"there is no variable {match[1]!r} in this notebook to put for {text}", code="DN205"
            )
        return names[match[1]]
    problem = ""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except json.JSONDecodeError as exc:
            problem = f"column {exc.colno}: {exc.msg}"
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    if text.startswith("{") and text.endswith("}"):
        raise UsageError(
            f"{text} is neither JSON ({problem}), a Python dict nor the name of a variable; "
            "quote it if it is text",
            code="DN205",
        )
    return text


def read_payload(words: list[str], names: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read `key=value` words; None when there are none. One word in braces is the whole payload.

    Raises:
        UsageError: a word is not of the form, or the whole is no object.
    """
    if not words:
        return None
    if len(words) == 1 and not re.match(r"[A-Za-z_][\w.-]*=", words[0]):
        return _object(read_value(words[0], names), words[0])
    payload: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(
                f"{word!r} is not of the form key=value; a text with blanks needs quotes: key='a b'",
                code="DN205",
            )
        payload[key] = read_value(value, names)
    return payload


def read_body(body: str, what: str = "payload") -> dict[str, Any]:
    """Read a cell's body as JSON, a Python dict or YAML; it must be an object, which errors call `what`.

    Raises:
        UsageError: it is none of these; names line and column of the most likely mistake.
    """
    text = body.strip()
    if not text:
        raise UsageError(f"the body is empty; write the {what} as JSON, a Python dict or YAML", code="DN205")
    if text.startswith("{"):
        try:
            return _object(json.loads(body), text)
        except RecursionError:
            raise UsageError(f"the {what} is nested too deep to be read", code="DN205") from None
        except json.JSONDecodeError as exc:
            try:
                return _object(ast.literal_eval(text), text)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                location = f"line {exc.lineno + 1}, column {exc.colno}"
                raise UsageError(
                    f"{what}, {location}: {exc.msg}; a {what} is a JSON object, a Python dict or YAML",
                    code="DN205",
                ) from None
    from dnworker.capability.yaml_reading import parse
    from dnworker.capability.yamltree import YamlError

    try:
        return _object(parse(body).value, text)
    except YamlError as exc:
        raise UsageError(f"{what}, line {exc.line + 1}, column {exc.column}: {exc}", code="DN205") from None


def _object(value: Any, text: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    quoted = repr(shorten(text, LONGEST_QUOTED))
    raise UsageError(
        f'a payload is an object with names, such as {{"turn_id": "t1"}}; '
        f"{quoted} is {_type_in_words(value)}",
        code="DN205",
    )


def _type_in_words(value: Any) -> str:
    names: dict[type, str] = {
        list: "a list",
        str: "text",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names.get(type(value), f"a {type(value).__name__}")


def _unquote(word: str) -> str:
    if len(word) >= 2 and word[0] == word[-1] and word[0] in "'\"":
        try:
            value = ast.literal_eval(word)
        except (ValueError, SyntaxError):
            return word
        return str(value)
    return word
