"""`Generation`: one version of a worker made of cells, and what changes to the next; used by `LiveWorker`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from dnworker.workers.registry import Registered
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.names import bound_globally, names_in, reached
from dnworker_jupyter.live.records import Change, Handler, Registration, make_worker
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Options


class Generation(msgspec.Struct, frozen=True):
    """One version of a worker: what its cells have registered, by the key of the cell, in their order."""

    number: int = 0
    registrations: Mapping[str, Registration] = msgspec.field(default_factory=dict)
    options: Options = msgspec.field(default_factory=Options)
    at: float = 0.0
    """When it took effect, in seconds since 1970."""
    why: str = ""
    """What it came of, such as `Cell [9] ran again`."""

    def handlers(self) -> Iterator[tuple[Handler, Cell]]:
        """Go through the handlers, in the order of their cells."""
        for registration in self.registrations.values():
            for handler in registration.handlers:
                yield handler, registration.cell

    def plain_handlers(self) -> list[Handler]:
        """Return the handlers without their cells."""
        return [handler for handler, _ in self.handlers()]

    def as_at_start(self, name: str) -> Worker:
        """Make a Worker of this name with these handlers; its state is what cells put there."""
        worker = make_worker(name, self.plain_handlers())
        for registration in self.registrations.values():
            worker.state.update(registration.seeds)
        return worker

    def cell_of(self, handler: Registered | None) -> Cell | None:
        """Return the cell whose handler runs as `handler`; None where it is none of this generation."""
        if handler is None:
            return None
        found = (cell for own, cell in self.handlers() if own.function is handler.function)
        return next(found, None)

    def without(self, handlers: Collection[Handler]) -> dict[str, Registration]:
        """Return the registrations without some of their handlers; each notes those that it has lost."""
        gone = {id(handler) for handler in handlers}
        return {
            key: r.without([h for h in r.handlers if id(h) in gone]) for key, r in self.registrations.items()
        }

    def with_registration(
        self, new: Registration
    ) -> tuple[dict[str, Registration], list[tuple[Handler, Cell]]]:
        """Return the registrations with `new` among them, and the handlers it takes over from other cells."""
        declared = {handler.declared for handler in new.handlers}
        merged: dict[str, Registration] = {}
        taken: list[tuple[Handler, Cell]] = []
        for key, registration in self.registrations.items():
            if key == new.cell.key:
                merged[key] = new  # keeps its place among the cells
                continue
            kept = tuple(h for h in registration.handlers if h.declared not in declared)
            taken += [(h, registration.cell) for h in registration.handlers if h.declared in declared]
            if kept or registration.shared or not registration.handlers:  # there were none to take over
                merged[key] = replace(registration, handlers=kept)
        merged.setdefault(new.cell.key, new)
        return merged, taken

    def followed_by(self, registrations: Mapping[str, Registration], options: Options | None) -> Generation:
        """Return the next generation; tasks whose source did not change keep their running function."""
        running = {h.code: h for h in self.plain_handlers() if h.key.decorator == "task"}
        kept = {
            key: replace(r, handlers=tuple(running.get(h.code, h) for h in r.handlers))
            for key, r in registrations.items()
        }
        return Generation(self.number + 1, kept, options or self.options)


def change_between(before: list[Handler], after: list[Handler], *, restart: bool) -> Change:
    """Return what changed between the handlers of two generations."""
    old, new = {h.code for h in before}, {h.code for h in after}
    old_keys, new_keys = {h.key for h in before}, {h.key for h in after}
    fresh = [h for h in after if h.code not in old]
    return Change(
        added=tuple(h for h in fresh if h.key not in old_keys),
        changed=tuple(h for h in fresh if h.key in old_keys),
        removed=tuple(h for h in before if h.key not in new_keys),
        taken_over=(),
        restarted=bool(before) and restart and old != new,
    )


def namesakes(
    added: tuple[Handler, ...], generation: Generation, here: Cell
) -> tuple[tuple[Handler, Cell], ...]:
    """Return the handlers of other cells that share decorator and name with one that `here` has added."""
    names = {(h.key.decorator, h.name) for h in added if h.name != "_"}
    return tuple(
        (handler, cell)
        for handler, cell in generation.handlers()
        if cell.key != here.key and (handler.key.decorator, handler.name) in names
    )


def clashes(before: Generation, after: Generation) -> bool:
    """Return whether a startup of the next one binds a name of the notebook that a shutdown of either reads.

    Both generations share the name: started first, the new one would have its connection closed for the old
    one's, or close the old one's where it fails.
    """
    both = (*before.plain_handlers(), *after.plain_handlers())
    starting = [h.function for h in after.plain_handlers() if h.key.decorator == "on_startup"]
    ending = [h.function for h in both if h.key.decorator == "on_shutdown"]
    bound = {name for function in reached(starting) for name in bound_globally(function.__code__)}
    return any(name in bound for function in reached(ending) for name in names_in(function.__code__))


def life_cycle(generation: Generation) -> list[tuple[Any, ...]]:
    """Return what of a generation takes a start: its startup and shutdown handlers."""
    handlers = generation.plain_handlers()
    return [h.code for h in handlers if h.key.decorator in ("on_startup", "on_shutdown")]
