"""The docstrings of everything public: which objects there are, what their sections say, and their examples.

An object is public if it is in the `__all__` of a module of `MODULES`, or a member of a class that is, unless its name
begins with an underscore. `EXEMPT` and `NO_EXAMPLE` say what is left out, and why.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import EnumType
from typing import Any

from dnworker import Worker
from dnworker.core.errors import DnworkerError

MODULES = {
    "dnworker": None,
    "dnworker.patterns": None,
    "dnworker.testing": None,
    "dnworker.compat": ("install", "uninstall"),
    "dnworker_jupyter": None,
    "dnworker_jupyter.live.handles": ("LiveHandle",),
    "dnworker_jupyter.display.panel": ("Panel", "StaticPanel"),
}
"""The modules, and their public names where `__all__` does not say them: what functions of the notebook return."""

MADE_BY_US = {"Trace", "Turn", "LiveHandle", "Panel", "StaticPanel"}
"""Classes whose constructors only the product calls: readers get an instance."""

PARTS = {
    "Runtime": set(
        "actions app catalog commands connection declare deduped feed flow listen look_again loop make_target "
        "between_pages drain node_reloads nodes note_unhandled once payload_checks server thread_id usage use_broker".split()
    )
}
"""Parts of a runtime that its server, the panel, a cluster and the extension use; no page shows them."""

NO_EXAMPLE = {
    "they need an MCP server": {
        "RuntimeClient.fetch_mcp_detail",
        "RuntimeClient.reconnect_mcp_server",
        "RuntimeClient.reauthenticate_mcp_server",
    },
    "they need a platform": {"RuntimeClient.archive_session", "RuntimeClient.freeze_session"},
    "they end with the process": {"Worker.run", "Worker.arun"},
    "it is deprecated": {"RuntimeClient.workflow", "FakeClient.workflow"},
    "they need several nodes": {"Runtime.reload_nodes"},
    "it is for what makes other connections": {"RuntimeClient.over"},
    "it is for a clock that serves several loops": {"SwitchClock.bind"},
    "it runs what `runtime.agents.register` was given": {"Turn.run_script"},
    "they are for the front end": {"Panel.report_paused", "Panel.close", "Panel.ask_for_cell"},
}
"""Public callables without an example, by reason."""

_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Examples|Example):$", re.MULTILINE)
_ENTRY = re.compile(r"^    (\S[^:]*):", re.MULTILINE)


@dataclass(frozen=True)
class Public:
    """One public object: where it is found, and what it says of itself."""

    module: str
    name: str
    value: Any
    is_member: bool = False

    @property
    def path(self) -> str:
        """Return module and name, as a test is named after it."""
        return f"{self.module}.{self.name}"

    @property
    def text(self) -> str:
        """Return its docstring without indentation; empty for none of its own."""
        return inspect.getdoc(self.value) or ""

    @property
    def first(self) -> str:
        """Return the sentence on its first lines."""
        return self.text.partition("\n\n")[0]

    def section(self, *titles: str) -> str:
        """Return the lines below a title, of several sections together."""
        parts = _SECTION.split(self.text)
        return "\n".join(
            body for title, body in zip(parts[1::2], parts[2::2], strict=True) if title in titles
        )

    def names_in(self, *titles: str) -> set[str]:
        """Return what the sections list: `a, b: text` lists two, `*kinds: text` the name `kinds`."""
        entries = _ENTRY.findall(self.section(*titles))
        return {name.strip().lstrip("*") for entry in entries for name in entry.split(",")}

    @property
    def is_callable(self) -> bool:
        """Return whether people call it; no attribute and no property is."""
        return inspect.isclass(self.value) or inspect.isroutine(self.value)

    @property
    def parameters(self) -> set[str]:
        """Return the names of its parameters, `self` aside; none of what only the product makes."""
        if not self.is_callable or self.name in MADE_BY_US or isinstance(self.value, EnumType):
            return set()
        try:
            found = inspect.signature(self.value).parameters
        except ValueError:  # an exception with the constructor of all exceptions
            return set()
        names = [*found]
        is_method = self.is_member and inspect.isfunction(self.value)
        is_error = inspect.isclass(self.value) and DnworkerError in self.value.__mro__[1:]
        return set(names[1:] if is_method else names) - (OF_EVERY_ERROR if is_error else set())


OF_EVERY_ERROR = {"args", "code"}
"""What `DnworkerError` explains for all that are derived from it."""


def public_objects() -> Iterator[Public]:
    """Yield every public object once, each class before its members."""
    seen: list[object] = []
    for module, names in MODULES.items():
        home = importlib.import_module(module)
        for name in names or home.__all__:
            value = getattr(home, name)
            if value in seen:
                continue
            seen.append(value)
            yield Public(module, name, value)
            if inspect.isclass(value):
                yield from members_of(module, name, value)


def members_of(module: str, name: str, of: type) -> Iterator[Public]:
    """Yield the methods and properties of a class that are ours and public."""
    left_out = PARTS.get(name, set()) | _asked_by_the_runtime(of)
    for member in sorted({*dir(of)} - left_out):
        owner = next((base for base in of.__mro__ if member in vars(base)), None)
        if member.startswith("_") or owner is None or not owner.__module__.startswith("dnworker"):
            continue
        static = inspect.getattr_static(of, member)
        value = getattr(of, member) if isinstance(static, classmethod | staticmethod) else static
        value = getattr(value, "func", value)  # of a cached property
        if name == "LiveHandle" and inspect.getdoc(value) == inspect.getdoc(getattr(Worker, member, None)):
            continue  # a decorator, as `Worker` has it
        if isinstance(value, property) or inspect.isfunction(value) or inspect.ismethod(value):
            yield Public(module, f"{name}.{member}", value, is_member=True)


def _asked_by_the_runtime(of: type) -> set[str]:
    """Return the methods that a broker has for its runtime; a test calls those that it has beside."""
    from dnworker.events.brokers.base import Broker

    if of.__name__ not in ("SharedBroker", "SharedStore"):
        return set()
    return {*dir(Broker), "bring", "miss", "consumer_type", "latest_seq", "let_go", "drop", "keep"}


def magics() -> Iterator[Public]:
    """Yield the magics, by the names that are typed."""
    from dnworker_jupyter.magics.magics import DnworkerMagics

    for kind, sign in (("line", "%"), ("cell", "%%")):
        for name, method in DnworkerMagics.magics[kind].items():
            yield Public("magic", f"{sign}{name}", getattr(DnworkerMagics, method))


def examples_of(one: Public) -> list[doctest.Example]:
    """Return the examples of a docstring."""
    return doctest.DocTestParser().get_examples(one.text, one.path)


def wants_example(one: Public) -> bool:
    """Return whether it must have one."""
    return one.is_callable and not any(one.name in names for names in NO_EXAMPLE.values())
