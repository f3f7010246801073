"""`dnworker reload`: reads capabilities from disk again, on one node or on all that share its broker."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dnworker.cli.choosing import by_capability
from dnworker.cli.remote import add_address, with_client
from dnworker.cli.text import print_json, printable
from dnworker.core.errors import UsageError
from dnworker.core.text import closest

if TYPE_CHECKING:
    from dnworker.client.client import RuntimeClient

WAIT = 10.0
"""Seconds that workers have to start; one that starts longer is said, and is no failure."""

VERSIONS_SHOWN = 20
"""Capabilities whose versions are shown after a reload of all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reload`."""
    parser.add_argument("capability", nargs="?", help="the only one to reload (default: all)")
    parser.add_argument(
        "--all-nodes",
        action="store_true",
        help="this node, then all others, one by one; one that fails ends it",
    )
    parser.add_argument(
        "--make-target",
        action="store_true",
        help="then have all nodes run the version of this one, also where it is older",
    )
    parser.add_argument(
        "--no-wait",
        action="store_true",
        help=f"do not wait, for {WAIT:g} s at most, until the workers have started or failed",
    )
    add_address(parser)
    parser.set_defaults(command=with_client(_reload, by_capability()))


async def _reload(client: RuntimeClient, options: argparse.Namespace) -> int:
    if options.make_target and options.capability is None:
        raise UsageError(
            "--make-target: name the capability, such as `dnworker reload shop --make-target`", code="DN901"
        )
    if options.no_wait and options.all_nodes:
        raise UsageError(
            "--no-wait: with --all-nodes the next node is asked once the workers of the one before have "
            "started; leave one of the two out",
            code="DN901",
        )
    query = "" if options.capability is None else f"?capability={quote(options.capability, safe='')}"
    if options.all_nodes:
        answer = await client.connection.request("POST", f"/api/nodes/reload{query}", timeout=None)
        rows: list[dict[str, Any]] = answer["nodes"]
        problems, notes = [], []
        if options.capability and not any(row["is_reloaded"] or row["error"] for row in rows):
            raise await _unknown(client, options.capability)
    else:
        wait = "" if options.no_wait else f"{'&' if query else '?'}wait={WAIT:g}"
        info = await client.connection.request("POST", f"/api/reload{query}{wait}", timeout=None)
        rows, problems = [], _problems(info, options.capability)
        notes = _notes(info, options.capability)
    has_failed = bool(problems) or any(row["error"] is not None for row in rows)
    target = None
    if options.make_target and not has_failed:
        target = await client.connection.request("POST", f"/api/nodes/target{query}")
    if options.json:
        print_json({"ok": not has_failed, "nodes": rows, "target": target, "problems": problems})
        return int(has_failed)
    what = options.capability or "all capabilities"
    lines = [_line(row) for row in rows] or problems or notes
    print(printable("\n".join(lines)))
    if target is not None:
        text = (
            f"{what}: all nodes are to run version {target['version']} ({target['digest'][:8]}) of this one"
        )
        print(printable(f"{text}; workers move one at a time, `dnworker nodes --watch` shows them"))
    return int(has_failed)


async def _unknown(client: RuntimeClient, name: str) -> UsageError:
    """Return the error of a name that no node knows, with what was probably meant."""
    info = await client.connection.request("GET", "/api/runtime")
    near = closest(name.partition(":")[0], [one["name"] for one in info["capabilities"]])
    hint = f"; did you mean {near}?" if near else "; `dnworker nodes` shows those that there are"
    return UsageError(f"no node has a capability {name!r}{hint}", code="DN404")


def _problems(info: dict[str, Any], only: str | None) -> list[str]:
    """Return what does not run after a reload, a line each: capabilities that are refused, and workers."""
    found = []
    for capability in info["capabilities"]:
        if only not in (None, capability["name"]):
            continue
        for one in capability["components"]:
            error = (one["error"] or "").strip().splitlines()
            if one["kind"] == "capability":
                found.append(
                    f"{capability['name']} could not be loaded: {error[0] if error else one['status']}"
                )
            elif one["kind"] == "worker" and one["status"] == "error":
                why = f": {error[0]}" if error else ""
                found.append(f"{capability['name']}:{one['name']} does not run{why}")
    return found


def _notes(info: dict[str, Any], only: str | None) -> list[str]:
    """Return what runs after a reload, with its version, and which workers start still."""
    found = [one for one in info["capabilities"] if only in (None, one["name"])]
    versions = [f"{one['name']} {one['version']}" for one in found if one["version"]]
    if only is not None:
        text = f"{only}: reloaded" + "".join(f", version {one['version']}" for one in found if one["version"])
    else:
        more = f" and {len(versions) - VERSIONS_SHOWN} more" if len(versions) > VERSIONS_SHOWN else ""
        text = f"all capabilities: reloaded: {', '.join(versions[:VERSIONS_SHOWN])}{more}".removesuffix(": ")
    late = [
        f"{one['name']}:{part['name']} does not run yet; `dnworker ps` shows how it goes on"
        for one in found
        for part in one["components"]
        if part["kind"] == "worker" and part["status"] == "stopped"
    ]
    return [text, *late]


def _line(row: dict[str, Any]) -> str:
    if row["error"] is not None:
        how = "reloaded, and something does not run" if row["is_reloaded"] else "failed"
        return f"{row['node']}: {how}: {row['error']}"
    return f"{row['node']}: {row['note'] or 'reloaded'}"
