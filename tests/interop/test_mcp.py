"""Real SDK: what it connects MCP servers with, what it names their tools, and what their answers are."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dnworker import Runtime
from dnworker.capability.components import read_capability
from dnworker.capability.flags import gate_is_open
from dnworker.core.errors import ManifestError
from dnworker.engine.capability import Capability
from dnworker.mcp_client.settings import CannotConnect, settings_of
from dnworker.mcp_client.tools import MCPToolError

from ..listings import names, write_listing
from ..unit.mcp_client.servers import stdio, write
from .environment import LIMIT, reference_python

pytestmark = [pytest.mark.interop, pytest.mark.timeout(LIMIT)]

INHERITED = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")


def asked_of_the_reference(**question: Any) -> Any:
    answer = subprocess.run(
        [reference_python(), Path(__file__).with_name("mcp_servers.py")], input=json.dumps(question),
        capture_output=True, text=True, check=False, timeout=LIMIT,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    return json.loads(answer.stdout)


def declared_here(root: Path) -> dict[str, Any]:
    """Return what this runtime would connect the servers of a capability with, in the reference's form."""
    try:
        capability = Capability(*read_capability(root.resolve()))
    except ManifestError:
        return {}
    found: dict[str, Any] = {}
    for server in capability.parts.mcp.values():
        if server.problem is not None:
            continue
        is_open = gate_is_open(server.when, capability.flags)
        try:
            connect = settings_of(server, capability.manifest, capability.flags, os.environ).connect
        except CannotConnect as exc:
            found[server.name] = {"open": is_open, "refused": str(exc)}
            continue
        flags = {key for key in connect.env if key.startswith("CAPABILITY_FLAG__")}
        env = {
            k: v
            for k, v in connect.env.items()
            if k not in flags and (k not in INHERITED or v != os.environ.get(k))
        }
        is_url = connect.url is not None
        found[server.name] = {
            "open": is_open, "command": connect.command, "args": None if is_url else connect.args,
            "env": env or None, "url": connect.url, "headers": connect.headers or None,
            "init_timeout": connect.init_timeout, "cwd": connect.cwd,
        }  # fmt: skip
    return found


@pytest.mark.clause("4.2 mcp")
def test_servers_of_capabilities_are_gated_and_connected_with_what_the_reference_has(tmp_path):
    roots = [write_listing(name, tmp_path) for name in names()]
    theirs = asked_of_the_reference(roots=[str(root) for root in roots])
    compared = 0
    for root in roots:
        ours = declared_here(root)
        assert set(ours) == set(theirs[str(root)]), root.name
        for name, there in theirs[str(root)].items():
            here = ours[name]
            assert here["open"] == there["open"], (root.name, name)
            if "refused" in here:  # a variable that is not set; or, here alone, a command that is not there
                assert (
                    "refused" in there or "is not there" in here["refused"] or "is empty" in here["refused"]
                ), here
                continue
            compared += 1
            assert Path(here["command"] or "").name == Path(there["command"] or "").name
            for key in ("args", "url", "headers", "init_timeout", "env"):
                assert (here[key] or None) == (there[key] or None), (root.name, name, key)
            if here["url"] is None:
                assert Path(here["cwd"]).resolve() == Path(there["cwd"] or root).resolve()
    assert compared >= 3


@pytest.mark.clause("4.2 mcp tools")
async def test_tools_have_the_names_schemas_and_answers_that_the_reference_gives(tmp_path):
    long = "a-server-with-a-name-that-is-much-too-long-for-models"
    servers = {
        "good": stdio("good.py"), long: stdio("good.py"), "crash": stdio("hostile.py", "crash-at-start"),
        "sign-in": stdio("hostile.py", "wants-sign-in"), "gone": {"command": "no-such-command"},
    }  # fmt: skip
    root = write(tmp_path / "demo", servers)
    calls: list[Any] = [
        ["good", "add", {"a": 2, "b": 3}], ["good", "echo", {"text": "hello"}], ["good", "where", {}],
        ["good", "fail", {"why": "because"}], ["good", "variable", {"name": "HOME"}],
        ["good", "variable", {"name": "DREADNODE_RUNTIME_TOKEN"}],
    ]  # fmt: skip
    # The servers run in this environment: they are compared by what two clients make of them.
    theirs = asked_of_the_reference(root=str(root), calls=calls)
    async with Runtime(port=None) as runtime:
        await runtime.load(root)
        for managed in runtime.mcp.all():
            await managed.wait()
        for name, there in theirs["servers"].items():
            status = {"failed": "error"}.get(there["status"], there["status"])
            if name == "sign-in" and status == "error":
                status = "needs_auth"  # the reference may look before it has read why the server ended
            assert runtime.mcp.detail("demo", name)["status"] == status, name
            ours = [t for t in runtime.catalog.tools() if t.server == name]
            shown = [[t.name, t.wire_name, t.description, t.parameters_schema] for t in ours]
            assert shown == there.get("tools", []), name
        for (server, tool, arguments), (is_error, text) in zip(calls, theirs["calls"], strict=True):
            try:
                here = [False, await runtime.tools.get(f"demo__{server}__{tool}").call(arguments)]
            except MCPToolError as exc:
                here = [True, str(exc)]
            assert here == [is_error, text], tool
