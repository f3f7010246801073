"""`make cluster`: NATS servers and three nodes on loopback, with the panel; Ctrl-C ends all of it.

Everything is in a temporary directory, which is removed at the end. With `--for SECONDS` it ends by itself,
opens no browser, and exits with 1 where a process has ended before or a node is not ready.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

from nats_servers import nats_servers

from dnworker.core.errors import BrokerError
from dnworker.testing.nats_server import NatsServer

PROJECT = Path(__file__).parent.parent
CAPABILITY = PROJECT / "examples" / "cluster" / "capability"
NAMESPACE = "demo"
READY_WITHIN = 60.0
END_WITHIN = 15.0
"""Seconds in which a node must be ready, and in which one must have ended after SIGTERM."""


class NotReady(Exception):
    """A node did not start; the text has what it said."""


class Node:
    """One `dnworker serve`, with a home of its own; tests use it, too.

    Args:
        name: of the node.
        directory: for its home and what it says.
        broker: the servers.
        token: of its API.
        options: further words of its command line.
        environment: variables beside those of this process.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        broker: str,
        token: str,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        home = directory / name
        home.mkdir(parents=True)
        self.name, self.token = name, token
        self.url = ""
        self.said = home / "stderr.txt"
        command = [
            *(sys.executable, "-m", "dnworker", "serve", "--port", "0", "--json"),
            *("--broker", broker, "--namespace", NAMESPACE, "--node", name, *options),
        ]
        own = {"HOME": str(home), "DREADNODE_RUNTIME_TOKEN": token}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("DREADNODE_")}
        variables = inherited | own | dict(environment or {})
        path = [str(PROJECT), str(PROJECT / "extension"), variables.get("PYTHONPATH", "")]
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        with self.said.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=variables,
                cwd=home,
                start_new_session=True,
            )  # a session of its own: Ctrl-C is for this program, which ends them in order

    def wait_ready(self) -> dict[str, Any]:
        """Return what the node said when it was ready.

        Raises:
            NotReady: it ended, or was not ready in time.
        """
        assert self.process.stdout is not None
        late = threading.Timer(READY_WITHIN, self.process.kill)
        late.start()
        try:
            line = self.process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            raise NotReady(
                f"{self.name}: {self.said.read_text(errors='replace').strip()[-800:] or 'no answer'}"
            )
        report: dict[str, Any] = json.loads(line)
        if not report["ok"]:
            raise NotReady(f"{self.name}: {report['error']}")
        self.url = report["url"]
        return report

    def end(self) -> None:
        """Ask it to end, and kill it where it does not."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def main() -> int:
    """Run the cluster; returns the exit code."""
    options = _options()
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    try:
        with ExitStack() as stack:
            return _run(options, stack, stop)
    except (NotReady, RuntimeError, BrokerError) as exc:
        print(f"cluster: {exc}", file=sys.stderr)
        return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="cluster")
    parser.add_argument("--servers", type=int, choices=(1, 3), default=1, help="NATS servers (default: 1)")
    parser.add_argument(
        "--nodes", type=int, choices=range(1, 10), default=3, metavar="N", help="(default: 3)"
    )
    parser.add_argument("--for", dest="seconds", type=float, metavar="SECONDS", help="end after so long")
    parser.add_argument("--no-browser", action="store_true", help="print the panel's address only")
    return parser.parse_args()


def _run(options: argparse.Namespace, stack: ExitStack, stop: threading.Event) -> int:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dnworker-cluster-")))
    servers = stack.enter_context(nats_servers(directory, options.servers))
    broker = "nats://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
    print(f"{options.servers} NATS server(s) at {broker}", flush=True)
    token = secrets.token_urlsafe(32)
    file = directory / "token"
    file.touch(mode=0o600)
    file.write_text(token)
    nodes: list[Node] = []
    for number in range(1, options.nodes + 1):
        if stop.is_set():
            return 0
        labels = ["--label", "gpu"] if number == 1 else []
        everywhere = ["--require", "shop:render=gpu", "--keep-state", "shop:orders"]
        node = Node(f"node-{number}", directory, broker, token, [str(CAPABILITY), *labels, *everywhere])
        nodes.append(node)
        stack.callback(node.end)
    # Ctrl-C ends a node that is not ready, so that nobody waits for it.
    threading.Thread(target=_end_early, args=(nodes, stop), name="end early", daemon=True).start()
    for node in nodes:
        try:
            node.wait_ready()
        except NotReady:
            if stop.is_set():
                return 0
            raise
        print(
            f"  {node.name} at {node.url}, process {node.process.pid}; {' '.join(labels_of(node))}",
            flush=True,
        )
    print(f"the token of all is in {file}", flush=True)
    print(
        f"join from a notebook: %runtime join {broker} --namespace {NAMESPACE}\n"
        f"see what a node's end does: kill -9 {nodes[-1].process.pid}\n"
        f"the panel: dnworker panel --url {nodes[0].url} --token-file {file}",
        flush=True,
    )
    if options.seconds is None and not options.no_browser:
        _open_panel(nodes[0], file)
    print("Ctrl-C ends all of it", flush=True)
    return _watch(nodes, servers, stop, options.seconds)


def _end_early(nodes: list[Node], stop: threading.Event) -> None:
    """Have all nodes end as soon as the end is asked for."""
    stop.wait()
    for node in nodes:
        if node.process.poll() is None:
            node.process.terminate()


def labels_of(node: Node) -> list[str]:
    """Return the labels of a node, from its command line."""
    words = node.process.args
    assert isinstance(words, list)
    return [str(words[i + 1]) for i, word in enumerate(words) if word == "--label"]


def _open_panel(node: Node, token: Path) -> None:
    """Open the panel of a node in the browser; the address is printed above where that is not possible."""
    command = [sys.executable, "-m", "dnworker", "panel", "--url", node.url, "--token-file", str(token)]
    try:
        subprocess.run(command, check=False, timeout=30)
    except subprocess.TimeoutExpired:
        print("the browser did not open within 30 s: the command above opens the panel", flush=True)


def _watch(nodes: list[Node], servers: list[NatsServer], stop: threading.Event, seconds: float | None) -> int:
    """Wait for the end; say of each process that ends before by itself; returns the exit code."""
    running: dict[str, subprocess.Popen[bytes]] = {node.name: node.process for node in nodes}
    running |= {s.directory.name: s.process for s in servers if s.process is not None}
    until = None if seconds is None else time.monotonic() + seconds
    ended_early = False
    while not stop.wait(0.2) and (until is None or time.monotonic() < until):
        for name in [name for name, process in running.items() if process.poll() is not None]:
            ended_early = True
            print(f"  {name} has ended (exit code {running.pop(name).returncode})", flush=True)
    return 1 if ended_early and seconds is not None else 0


if __name__ == "__main__":
    sys.exit(main())
