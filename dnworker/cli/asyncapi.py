"""`dnworker events --asyncapi`: kinds of a running runtime, or of capabilities on disk, as AsyncAPI 3.0."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.errors import UsageError
from dnworker.core.text import closest, shorten

if TYPE_CHECKING:
    from dnworker.catalogue.entries import KindEntry
    from dnworker.client.client import RuntimeClient

PAGE = 50


async def write_of_runtime(client: RuntimeClient, options: argparse.Namespace) -> int:
    """Write the document of the runtime that a client reaches."""
    found: list[KindEntry] = []
    after: str | None = None
    while True:
        query: dict[str, Any] = {
            "whole": "true",
            "limit": PAGE,
            **({} if after is None else {"after": after}),
        }
        page = await client.connection.request("GET", "/api/catalogue", query=query)
        found += _entries(page)
        after = page["next"]
        if after is None:
            break
    runtime = await client.connection.request("GET", "/api/runtime")
    title = f"Events of {runtime['runtime_id']}"
    return _write(found, options, title, str(runtime.get("version") or "0"), client.server_url)


def write_of_disk(options: argparse.Namespace) -> int:
    """Write the document of capabilities that `--of` names; nothing of them is executed.

    Raises:
        ManifestError: a manifest is missing or breaks rules.
    """
    from dnworker.capability.manifest import load_manifest
    from dnworker.catalogue.on_disk import entries_on_disk

    manifests = [load_manifest(root) for root in options.of]
    title = f"Events of {', '.join(manifest.name for manifest in manifests)}"
    version = manifests[0].version if len(manifests) == 1 else "0"
    return _write(entries_on_disk(manifests), options, title, version, None)


def _entries(page: dict[str, Any]) -> list[KindEntry]:
    from dnworker.catalogue.entries import KindEntry

    try:
        return msgspec.convert(page["entries"], list[KindEntry])
    except (KeyError, msgspec.ValidationError) as exc:
        raise UsageError(
            f"the runtime has no catalogue of events that is understood: {exc}", code="DN229"
        ) from exc


def _write(
    entries: list[KindEntry], options: argparse.Namespace, title: str, version: str, url: str | None
) -> int:
    from dnworker.catalogue.asyncapi import document
    from dnworker.core.files import write_atomically

    wanted = [one for one in entries if _takes(options.kind, one.kind)]
    if options.kind and not wanted:
        near = closest(options.kind[0], [one.kind for one in entries])
        meant = f"; did you mean {near}?" if near is not None else ""
        raise UsageError(f"there is no kind {shorten(options.kind[0], 80)!r}{meant}", code="DN227")
    made = document(wanted, title=title, version=version, url=url)
    text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
    if options.asyncapi == Path("-"):
        sys.stdout.write(text)
    else:
        write_atomically(options.asyncapi, text, mode=0o644)
        print(f"{options.asyncapi} has {len(wanted):,} kinds", file=sys.stderr)
    return 0


def _takes(patterns: list[str], kind: str) -> bool:
    if not patterns:
        return True
    return any(kind.startswith(one[:-1]) if one.endswith("*") else kind == one for one in patterns)
