"""`entries_on_disk`: the kinds of capabilities that do not run, read from their sources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dnworker.capability.manifest import CapabilityManifest, WorkerDefinition
from dnworker.catalogue.entries import KindEntry, Listener, Publisher
from dnworker.catalogue.making import effective_schema
from dnworker.catalogue.schemas import disagreements
from dnworker.catalogue.written import declared_in
from dnworker.core.declared import DeclaredPayload
from dnworker.core.event_kinds import KINDS
from dnworker.core.payloads import guess_payload
from dnworker.flow.scripts import beside, handler_sources, parsed, script_of, worker_facts


def entries_on_disk(manifests: Iterable[CapabilityManifest]) -> list[KindEntry]:
    """Return an entry for each kind that a worker publishes or hears, by the sources."""
    entries: dict[str, KindEntry] = {}
    sources: dict[str, list[str]] = {}

    def entry(kind: str) -> KindEntry:
        if kind not in entries:
            of_runtime = KINDS.get(kind)
            when = "" if of_runtime is None else of_runtime.when
            entries[kind] = KindEntry(kind=kind, is_runtimes=of_runtime is not None, when=when)
        return entries[kind]

    for manifest in manifests:
        for worker in manifest.workers.values():
            facts = worker_facts(manifest, worker)
            declared = {(one.kind, one.handler): one for one in declared_of_file(manifest, worker)}
            for kind in facts.writes:
                if "*" not in kind:
                    one = entry(kind)
                    one.published_by = [*one.published_by, Publisher(name=facts.name, is_written=True)]
            for kind in facts.hears:
                one = entry(kind)
                own = [found for found in declared.values() if found.kind == kind]
                one.heard_by = [*one.heard_by, *_listeners(facts.name, own)]
            for kind, text in handler_sources(manifest, worker):
                sources.setdefault(kind, []).append(text)
    return [_finished(entries[kind], sources.get(kind, [])) for kind in sorted(entries)]


def declared_of_file(manifest: CapabilityManifest, worker: WorkerDefinition) -> list[DeclaredPayload]:
    """Return what the handlers in a worker's file declare; nothing where it cannot be read."""
    file = script_of(manifest, worker)
    tree = None if file is None else parsed(file)
    if file is None or tree is None:
        return []
    try:
        return declared_in(tree, beside(file, tree))
    except (RecursionError, ValueError):  # nested deeper than it can be looked at
        return []


def _listeners(worker: str, declared: list[DeclaredPayload]) -> list[Listener]:
    return [
        Listener(
            worker=worker,
            handler=one.handler,
            type=one.type,
            schema=one.schema,
            note=one.note,
            refuses=one.refuses,
        )
        for one in declared
    ] or [Listener(worker=worker)]


def _finished(entry: KindEntry, sources: list[str]) -> KindEntry:
    declared: list[tuple[str, dict[str, Any]]] = [
        (f"{one.worker}.{one.handler}", one.schema) for one in entry.heard_by if one.schema is not None
    ]
    entry.reads = guess_payload(sources)
    entry.schema, entry.schema_source = effective_schema(entry.kind, declared, None, entry.reads)
    entry.disagreements = disagreements(declared)
    entry.publishers = sorted({one.name for one in entry.published_by})
    entry.listeners = sorted({one.worker for one in entry.heard_by})
    entry.types = [*dict.fromkeys(one.type for one in entry.heard_by if one.type)]
    return entry
