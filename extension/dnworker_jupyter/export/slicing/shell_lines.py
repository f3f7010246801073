"""Finds the commands that cells give to a shell or an installer, by magics or in Python; used by asked.py.

Cells are read as IPython reads them, so that a text which looks like a magic is a text.
"""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator, Sequence

from IPython.core.inputtransformer2 import TransformerManager

_VERBS = ("install", "add", "remove", "sync", "env")
_INSTALLERS = frozenset({"pip", "uv", "conda", "mamba", "micromamba"})
_SHELLS = frozenset({"bash", "sh", "system", "sx", "!"})
_PYTHON_BODIES = frozenset({"capture", "time", "timeit", "prun"})
_BETWEEN_COMMANDS = frozenset({"&&", "||", ";", "|", "&"})
_REDIRECTS = (">", "<", "1>", "2>", "&>")
_RUNNERS = frozenset({"run", "call", "check_call", "check_output", "Popen", "system", "getoutput"})


def commands_in(source: str) -> Iterator[list[str]]:
    """Yield the words of each command that a cell gives to a shell or to an installer's magic.

    `sys.executable` is the word `python`. A cell that is not valid Python gives none: it cannot run.
    """
    if not any(word in source for word in _VERBS):  # reading takes longer than this
        return
    try:
        text = TransformerManager().transform_cell(source)
        tree = compile(text, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _commands_of(node)


def _commands_of(call: ast.Call) -> Iterator[list[str]]:
    match call:
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr=attr)):
            given = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            yield from _commands_of_ipython(attr, given)
        case ast.Call(func=ast.Attribute(attr=attr) | ast.Name(id=attr), args=[first, *_]):
            if attr in _RUNNERS:
                yield from _commands_of_runner(first)


def _commands_of_ipython(method: str, given: Sequence[str]) -> Iterator[list[str]]:
    match method, given:
        case ("system" | "getoutput", [line]):
            yield from split_commands(line)
        case ("run_line_magic", [name, line]) if name in _INSTALLERS:
            yield from split_commands(f"{name} {line}")
        case ("run_line_magic", [name, line]) if name in _SHELLS:
            yield from split_commands(line)
        case ("run_line_magic", ["time" | "timeit" | "prun", line]):
            yield from commands_in(line)
        case ("run_cell_magic", [name, line, body]):
            if name in _SHELLS or (name == "script" and line.split()[:1] in (["bash"], ["sh"])):
                for one in body.replace("\\\n", " ").splitlines():
                    yield from split_commands(one)
            elif name in _PYTHON_BODIES:
                yield from commands_in(body)


def _commands_of_runner(first: ast.expr) -> Iterator[list[str]]:
    """Yield the command of `subprocess.run(...)` or `os.system(...)`, where its words are written there."""
    match first:
        case ast.Constant(value=str() as line):
            yield from split_commands(line)
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            yield [_word(element) for element in elements]


def _word(element: ast.expr) -> str:
    match element:
        case ast.Constant(value=str() as text):
            return text
        case ast.Attribute(attr="executable"):
            return "python"
    return f"{{{ast.unparse(element)}}}"  # what a name holds, as IPython writes it


def split_commands(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell's line, without redirections of their output.

    `pandas>=2` without quotes is one word, as it was meant, although a shell takes `>=2` for a file.
    """
    try:
        words = shlex.split(line)
    except ValueError:  # a quote is not closed, as in a comment
        words = line.split()
    words = words[: next((n for n, word in enumerate(words) if word.startswith("#")), None)]
    command: list[str] = []
    skips = False
    for word in words:
        if skips or word.startswith(_REDIRECTS):
            skips = not skips and word.endswith((">", "<"))  # the file is the next word
        elif word in _BETWEEN_COMMANDS:
            yield command
            command = []
        elif word.endswith(";") and len(word) > 1:
            yield [*command, word[:-1]]
            command = []
        else:
            command.append(word)
    if command:
        yield command
