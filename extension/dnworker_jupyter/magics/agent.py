"""`%%agent NAME`: an agent answers turns by the function of the cell, or by a model."""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dnworker.core.errors import ApiError, UsageError, code_of
from dnworker.runtime import Runtime
from dnworker.sessions.cassette import Cassette
from dnworker.sessions.output_schema import OutputSchema
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Parser, read_value, split

REPLY = "reply"
EVERYBODY = "default"


def agent_parser() -> Parser:
    """Return the parser of the `%%agent` line."""
    parser = Parser(
        "%%agent", "Define how an agent answers turns: the body is its script, or a model's system prompt."
    )
    parser.add_argument(
        "name",
        nargs="?",
        help=f"the agent; {EVERYBODY!r}: all without a script; with --model, turns that name no agent",
    )
    parser.add_argument("--model", metavar="M", help="let this model answer; the body is its system prompt")
    parser.add_argument(
        "--base-url", metavar="URL", help="of an OpenAI-compatible API, such as http://127.0.0.1:11434/v1"
    )
    parser.add_argument(
        "--key-env", metavar="NAME", help="the environment variable with the key (OPENAI_API_KEY by default)"
    )
    parser.add_argument(
        "--record", metavar="FILE", help="keep what it is asked and answers in a file, without keys"
    )
    parser.add_argument(
        "--replay", metavar="FILE", help="answer from such a file: no model is asked, and no key needed"
    )
    parser.add_argument(
        "--output",
        metavar="FORM",
        help="the form of its answers: a TypedDict, dataclass, msgspec or pydantic model of the notebook, or "
        "a JSON Schema, as a dict or a file",
    )
    return parser


class AgentOptions(msgspec.Struct, frozen=True):
    """The options of an `%%agent` line."""

    name: str | None
    model: str | None
    base_url: str | None
    key_env: str | None
    record: str | None = None
    replay: str | None = None
    output: str | None = None


def form_of(options: AgentOptions, names: Mapping[str, Any]) -> OutputSchema | None:
    """Return the form of the answers that a line names.

    Raises:
        UsageError: there is no such name or file, or it describes no object.
    """
    if options.output is None:
        return None
    if options.name == EVERYBODY:
        raise UsageError("%%agent: --output is for one agent; name it, as in: %%agent triage", code="DN103")
    named = options.output
    if named in names:
        form = names[named]
    elif (file := Path(named).expanduser()).is_file():
        form = file
    else:
        raise UsageError(
            f"%%agent {options.name}: --output {named}: there is no such name in the notebook, and no such "
            "file; define a TypedDict or a dataclass of this name before",
            code="DN973",
        )
    try:
        return OutputSchema.of(form, "" if isinstance(form, Path) else named)
    except ApiError as exc:
        raise UsageError(f"%%agent {options.name}: {exc}", code=code_of(exc) or "DN973") from None


def check_cassette(options: AgentOptions) -> None:
    """Refuse what cannot be recorded or replayed, before anything is registered.

    Raises:
        UsageError: options do not go together, or the file cannot be used.
    """
    flag, file = ("--record", options.record) if options.record is not None else ("--replay", options.replay)
    if options.record is not None and options.replay is not None:
        raise UsageError("%%agent: --record writes a file, --replay reads one; leave one out", code="DN103")
    if file is None:
        return
    if options.name == EVERYBODY:
        raise UsageError(f"%%agent: {flag} is for one agent; name it, as in: %%agent triage", code="DN103")
    opened = Cassette.to_record if options.record is not None else Cassette.to_replay
    try:
        opened(Path(file).expanduser())
    except ApiError as exc:
        raise UsageError(f"%%agent {options.name}: {exc}", code=code_of(exc) or "DN994") from None


def use_cassette(runtime: Runtime, options: AgentOptions) -> str:
    """Let an agent that is registered be recorded, or answer from a file; returns what to say of it."""
    if options.name is not None and options.record is not None:
        runtime.agents.record(options.name, Path(options.record).expanduser())
        return f"; it is recorded in {options.record}"
    if options.name is not None and options.replay is not None:
        runtime.agents.replay(options.name, Path(options.replay).expanduser())
        return f"; it answers from {options.replay}"
    return ""


def register_agent(runtime: Runtime, name: str, reply: Any, output: OutputSchema | None = None) -> None:
    """Let a function answer the turns of an agent; as `default`, those of every agent without a script."""
    if name == EVERYBODY:
        runtime.agents.default(reply)
    else:
        runtime.agents.register(name, reply, output=output)


class AgentCell(msgspec.Struct, frozen=True):
    """A scripted agent's cell, while it runs."""

    context: MagicContext
    name: str
    cell: Cell
    options: AgentOptions

    async def commit(self) -> str:
        """Let the function that the cell defined answer from now on; returns the cell's output.

        Raises:
            UsageError: the cell defines no function that could.
        """
        names = self._functions()
        chosen = REPLY if REPLY in names else names[-1] if names else None
        reply = self.context.names.get(chosen) if chosen else None
        if not callable(reply):
            raise UsageError(
                f"%%agent {self.name}: the cell defines no async function of the turn, such as: "
                "async def reply(turn): return 'hello'",
                code="DN115",
            )
        if not _takes_one(reply):
            raise UsageError(
                f"%%agent {self.name}: {chosen} must take one argument, the turn: async def {chosen}(turn)",
                code="DN115",
            )
        output = form_of(self.options, self.context.names)
        register_agent(self.context.runtime, self.name, reply, output)
        if self.name == EVERYBODY:
            return f"every agent without a script is answered for by {chosen}"
        cassette = use_cassette(self.context.runtime, self.options)
        beside = beside_files(self.context.runtime, self.name)
        form = "" if output is None else f", as {output.name}"
        return f"agent {self.name} answers by {chosen}{form}{beside}{cassette}"

    def _functions(self) -> list[str]:
        """Return the names of the functions that the cell defines at its top level, async ones last."""
        lines = self.cell.source.splitlines()
        body = "\n".join("#" if line.lstrip().startswith(("%%", "%", "!")) else line for line in lines)
        try:
            tree = compile(body, "<agent>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except (SyntaxError, ValueError):
            return []
        plain = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        return plain + [node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)]


def open_agent(context: MagicContext, line: str) -> None:
    """Begin a scripted agent's cell.

    Raises:
        UsageError: the line is wrong.
    """
    options = agent_parser().read_as(AgentOptions, split(line))
    running = context.cells.now
    context.transactions.show_magic(f"%%agent {line}")
    if options.name is None:
        raise UsageError("%%agent needs the agent's name, as in: %%agent triage", code="DN115")
    if running is None:
        raise UsageError("%%agent must be the first line of a cell", code="DN104")
    if options.base_url or options.key_env:
        raise UsageError("%%agent: --base-url and --key-env are for an agent with a --model", code="DN115")
    check_cassette(options)
    context.transactions.end_with(AgentCell(context, options.name, running.cell, options).commit)


async def run_agent(context: MagicContext, options: AgentOptions, prompt: str) -> object:
    """Let a model answer an agent's turns.

    Raises:
        UsageError: the line is wrong, or the variable of the key is not set.
    """
    if options.name is None or options.model is None:
        raise UsageError(
            "%%agent needs a name and a model here, as in: %%agent triage --model gpt-x", code="DN115"
        )
    check_cassette(options)
    output = form_of(options, context.names)
    key = None
    if options.key_env is not None:
        key = os.environ.get(options.key_env)
        if not key and options.replay is None:
            raise UsageError(
                f"%%agent: the environment has no {options.key_env}; set it before the kernel starts",
                code="DN611",
            )
    url = None if options.base_url is None else str(read_value(options.base_url, context.names))
    context.runtime.agents.register_model(
        options.name, options.model, base_url=url, api_key=key, prompt=prompt.strip(), output=output
    )
    where = url or os.environ.get("OPENAI_BASE_URL") or "OpenAI"
    beside = beside_files(context.runtime, options.name)
    cassette = use_cassette(context.runtime, options)
    form = "" if output is None else f", as {output.name}"
    return Note(f"agent {options.name} is answered for by {options.model} at {where}{form}{beside}{cassette}")


def beside_files(runtime: Runtime, name: str) -> str:
    """Return what to say of a cell's agent that capabilities declare too; an empty text where none does."""
    homes = [
        home for home, agents in runtime.capabilities.agents().items() if any(a.name == name for a in agents)
    ]
    if not homes:
        return ""
    return f", in place of agents/ of {', '.join(homes)}, which answers in a deploy"


def _takes_one(function: Any) -> bool:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # a callable without a signature
        return True
    return True
