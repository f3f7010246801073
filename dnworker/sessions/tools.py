"""`Tools`: Python functions that agents may call, with the schema that a model gets."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable
from copy import copy
from functools import partial
from typing import Any, Protocol, get_type_hints

import msgspec

from dnworker.core.errors import NotFound

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


class Tool(Protocol):
    """Something that an agent may call."""

    @property
    def name(self) -> str:
        """What models call it by."""

    @property
    def bare_name(self) -> str:
        """What it is called where it comes from; rules of agents may name it so, too."""

    @property
    def description(self) -> str:
        """What models are told of it."""

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its arguments."""

    async def call(self, arguments: dict[str, Any] | str) -> str:
        """Call it and return its result as text.

        Raises:
            Exception: whatever went wrong; the text is for the model.
        """


class FunctionTool(msgspec.Struct, frozen=True):
    """One function an agent may call."""

    name: str
    description: str
    function: Callable[..., Any]
    arguments: type[msgspec.Struct]

    @property
    def bare_name(self) -> str:
        """Its name: it has no other."""
        return self.name

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its arguments: one flat object, as models expect it."""
        (_,), components = msgspec.json.schema_components([self.arguments], ref_template="#/$defs/{name}")
        schema = components.pop(self.arguments.__name__)
        schema.pop("title", None)
        return {**schema, "$defs": components} if components else schema

    async def call(self, arguments: dict[str, Any] | str) -> str:
        """Call it and return its result as text.

        Raises:
            ValueError: the arguments are not what the function takes; names the field.
            Exception: whatever the function raises.
        """
        given = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
        checked = msgspec.convert(given, self.arguments, strict=False)
        result = self.function(**{f: getattr(checked, f) for f in self.arguments.__struct_fields__})
        if inspect.isawaitable(result):
            result = await result
        return result if isinstance(result, str) else msgspec.json.encode(result, enc_hook=str).decode()


class Tools:
    """The tools of one runtime, by name: functions that were registered, and what `more` gives."""

    def __init__(self) -> None:
        self._tools: dict[str, FunctionTool] = {}
        self.more: Callable[[], Iterable[Tool]] = tuple
        """Gives tools that come and go, as those of MCP servers; a function of the same name wins."""

    def register(self, function: Callable[..., Any], *, name: str | None = None) -> Callable[..., Any]:
        """Let agents call `function`, sync or async; its signature and docstring are what a model sees.

        Raises:
            ValueError: the name is none that models take, or an argument has no place in an object.
        """
        called = str(name or getattr(function, "__name__", ""))
        if not _NAME.fullmatch(called):
            raise ValueError(f"tool name {called!r} is not allowed; use letters, digits, _ and -, up to 64")
        self._tools[called] = FunctionTool(
            called, inspect.getdoc(function) or "", function, _arguments(called, function)
        )
        return function

    def remove(self, name: str) -> None:
        """Forget a tool; harmless when there is none."""
        self._tools.pop(name, None)

    def get(self, name: str) -> Tool:
        """Return a tool.

        Raises:
            NotFound: there is none of this name.
        """
        if (function := self._tools.get(name)) is not None:
            return function
        tools = {tool.name: tool for tool in reversed(self.all())}
        if name not in tools:
            known = ", ".join(sorted(tools)) or "none"
            raise NotFound(f"there is no tool {name!r}; there are: {known}", code="DN612")
        return tools[name]

    def functions(self) -> list[FunctionTool]:
        """Return the functions that were registered."""
        return list(self._tools.values())

    def all(self) -> list[Tool]:
        """Return every tool, each name once."""
        found: dict[str, Tool] = dict(self._tools)
        for tool in self.more():
            found.setdefault(tool.name, tool)
        return list(found.values())


def _arguments(name: str, function: Callable[..., Any]) -> type[msgspec.Struct]:
    hints = get_type_hints(function, include_extras=True)
    fields: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ValueError(f"tool {name!r}: argument {parameter} cannot be given by name")
        field: tuple[Any, ...] = (parameter.name, hints.get(parameter.name, Any))
        default = parameter.default
        if isinstance(default, list | dict | set):
            field += (msgspec.field(default_factory=partial(copy, default)),)
        elif default is not parameter.empty:
            field += (default,)
        fields.append(field)
    return msgspec.defstruct(f"{name}_arguments", fields, kw_only=True)
