"""Writes what a README says about a capability: map, events, schedules, flags, variables, how to run it.

Exports and `dnworker init` use it. The same files give the same text; nothing of it is from what happened.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from dnworker.capability.manifest import CapabilityManifest, FlagDefinition
from dnworker.core.envelope import is_reserved
from dnworker.core.schedule import seconds_of
from dnworker.flow.flow_map import FlowMap
from dnworker.flow.graph import Facts
from dnworker.flow.scripts import from_handlers
from dnworker.flow.words import shown, span
from dnworker.project.sources import WorkerSource

OUTSIDE, RUNTIME = "outside", "the runtime"
LONGEST = 200
"""Characters of a name that is shown."""

_PLAIN = re.compile(r"[\w .:/*,@%+=#-]+")


def guide(manifest: CapabilityManifest, workers: Sequence[WorkerSource], tests: Collection[str]) -> str:
    """Return the part: Markdown that begins with the map, and has its other headings at level 2.

    Args:
        manifest: the capability's.
        workers: what the files of its workers say.
        tests: the paths of its tests.
    """
    name = manifest.name
    facts = Facts([from_handlers(f"{name}:{w.name}", name, [*w.handlers]) for w in workers])
    parts = [
        f"```mermaid\n{FlowMap(facts, name).mermaid}```",
        *_events(workers),
        *_schedules(workers),
        *_flags(manifest, workers),
        *_environment(manifest, workers),
        *_run(manifest, workers),
        *_test(tests),
    ]
    return "\n\n".join(parts) + "\n"


def code(text: str) -> str:
    """Return a text as code of Markdown, also in a table; nothing of it ends the code or the line."""
    text = shown(text)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    if _PLAIN.fullmatch(text):
        return f"`{text}`"
    escaped = "".join(f"&#{ord(c)};" if c in "`|*_[]\\~$-" else c for c in html.escape(text))
    return f"<code>{escaped}</code>"


def _prose(text: str) -> str:
    """Return somebody's words as one line in which nothing is a tag."""
    return html.escape(shown(" ".join(text.split())), quote=False).rstrip(".").replace("`", "'")


def _events(workers: Sequence[WorkerSource]) -> Iterator[str]:
    heard = _by_kind((w.name, h.trigger) for w in workers for h in w.handlers if h.decorator == "on_event")
    published = _by_kind((w.name, kind) for w in workers for h in w.handlers for kind in h.publishes)
    rows = [
        f"| {code(kind)} | {_names(publishers, is_reserved(kind))} | {_names(hearers)} |"
        for kind in sorted({*heard, *published})
        if "*" not in kind or kind in heard or not _matching(kind, heard)
        for publishers in [_matching(kind, published, other_way=True)]
        for hearers in [_matching(kind, heard)]
    ]
    yield "## Events"
    if rows:
        yield "\n".join(["| Kind | Published by | Heard by |", "| --- | --- | --- |", *rows])
    into = [k for k in sorted(heard) if not (is_reserved(k) or _matching(k, published, other_way=True))]
    out = [kind for kind in sorted(published) if not _matching(kind, heard)]
    yield f"In, from outside: {_listed(into)}. Out, for others: {_listed(out)}."
    if unread := [code(w.name) for w in workers if not w.is_read]:
        what = "is no Python, so what it hears" if len(unread) == 1 else "are no Python, so what they hear"
        yield f"{', '.join(unread)} {what} and publishes stands in the source."


def _by_kind(pairs: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for worker, kind in pairs:
        if worker not in found.setdefault(kind, []):
            found[kind].append(worker)
    return found


def _matching(kind: str, found: Mapping[str, Sequence[str]], *, other_way: bool = False) -> list[str]:
    """Return the workers of a kind; `*` in what is published stands for any text."""
    names: list[str] = []
    for other, workers in found.items():
        is_same = fnmatchcase(kind, other) if other_way else fnmatchcase(other, kind)
        names += [name for name in workers if (is_same or other == kind) and name not in names]
    return names


def _names(names: Collection[str], by_runtime: bool = False) -> str:
    return ", ".join(map(code, names)) or (RUNTIME if by_runtime else OUTSIDE)


def _listed(kinds: Collection[str]) -> str:
    return ", ".join(map(code, kinds)) or "nothing"


def _schedules(workers: Sequence[WorkerSource]) -> Iterator[str]:
    lines = []
    for worker in workers:
        for one in worker.handlers:
            if one.decorator == "every":
                seconds = seconds_of(one.trigger)
                when = code(one.trigger) if seconds is None else f"every {span(seconds)}"
                lines.append(f"- {code(f'{worker.name}.{one.name}')}: {when}")
    if lines:
        yield "## Schedules"
        yield "\n".join(lines)


def _flags(manifest: CapabilityManifest, workers: Sequence[WorkerSource]) -> Iterator[str]:
    if not manifest.flags:
        return
    yield "## Flags"
    yield "\n".join(_flag(manifest.name, flag, workers) for flag in manifest.flags.values())


def _flag(capability: str, flag: FlagDefinition, workers: Sequence[WorkerSource]) -> str:
    gated = [code(w.name) for w in workers if flag.name in w.definition.when]
    gates = f"; {', '.join(gated)} {'runs' if len(gated) == 1 else 'run'} while it is on" if gated else ""
    variable = f"DREADNODE_CAPABILITY_FLAG__{_upper(capability)}__{_upper(flag.name)}"
    state, other = ("on", "off") if flag.default else ("off", "on")
    return (
        f"- {code(flag.name)}, {state} by default: {_prose(flag.description)}{gates}. "
        f"{code(f'dnworker serve . --flag {capability}.{flag.name}={other}')} turns it {other}, as "
        f"{code(f'{variable}={other}')} does."
    )


def _upper(name: str) -> str:
    return name.upper().replace("-", "_")


def _environment(manifest: CapabilityManifest, workers: Sequence[WorkerSource]) -> Iterator[str]:
    readers: dict[str, list[str]] = {}
    optional: dict[str, bool] = {}
    for worker in workers:
        for variable, does_without in worker.variables.items():
            if variable in worker.definition.env and variable not in _filled(worker):
                continue  # the manifest sets it
            readers.setdefault(variable, []).append(code(worker.name))
            optional[variable] = optional.get(variable, True) and does_without
    for secret in manifest.raw.get("secrets") or ():
        readers.setdefault(secret["name"], [])
        optional[secret["name"]] = optional.get(secret["name"], True) and secret.get("required") is not True
    if not readers:
        return
    yield "## Environment"
    yield "\n".join(
        f"- {code(name)}: {'may be set' if optional[name] else 'must be set'}"
        + (
            f"; {', '.join(readers[name])} {'reads' if len(readers[name]) == 1 else 'read'} it"
            * bool(readers[name])
        )
        for name in sorted(readers)
    )


def _filled(worker: WorkerSource) -> set[str]:
    """Return the variables that the manifest takes from the runtime's environment."""
    return set(re.findall(r"\$\{([A-Za-z_][A-Za-z0-9_]*)", " ".join(worker.definition.env.values())))


def _run(manifest: CapabilityManifest, workers: Sequence[WorkerSource]) -> Iterator[str]:
    yield "## Run"
    yield "\n".join(
        ["```sh", "pip install 'dnworker[runtime]'", "dnworker validate .", "dnworker serve .", "```"]
    )
    under_uv = [code(w.name) for w in workers if w.definition.command == "uv"]
    if under_uv:
        yield (
            f"uv runs {', '.join(under_uv)}, and installs what the script names at the first start. "
            "The machine needs uv, which `dnworker[runtime]` brings."
        )
    programs = dict.fromkeys(w.definition.command for w in workers if not w.is_read and w.definition.command)
    if programs := {command: None for command in programs if not command.startswith("/")}:
        yield f"The machine needs {', '.join(map(code, programs))}, too."
    yield "The runtime of the dreadnode SDK takes this directory as a capability, as it is."


def _test(tests: Collection[str]) -> Iterator[str]:
    yield "## Test"
    if tests:
        yield "\n".join(["```sh", "pip install 'dnworker[runtime]' pytest pytest-asyncio", "pytest", "```"])
    else:
        yield "There are no tests yet. A cell `%%worker NAME --test` in the notebook makes one."
