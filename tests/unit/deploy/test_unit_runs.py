"""What `install.sh` has installed and the unit starts runs, with the unit's environment, in another root."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from dnworker.cli.main import main
from dnworker.client.client import RuntimeClient

from .machine import Machine

MANIFEST = """\
schema: 1
name: shop
version: 0.1.0
description: Bills
workers:
  billing: {path: billing.py}
  aside: {command: python, args: ["${CAPABILITY_ROOT}/aside.py"]}
"""

SCRIPT = """\
from dnworker import Worker

worker = Worker(name="NAME")


@worker.on_event("shop.ordered")
async def on_order(event, client):
    await client.publish(f"shop.NAME.{event.payload['amount']}")
"""


class Service:
    """The root directory of a machine, and the process that its unit starts."""

    def __init__(self, machine: Machine, manager: socket.socket) -> None:
        self.machine, self.root, self.manager = machine, machine.root, manager
        self.process: subprocess.Popen[bytes] | None = None

    def install(self, made: Path) -> None:
        """Install, hand the token over as systemd does, and have the configuration name this root."""
        assert self.machine.install(made) == (0, "")
        (self.root / "run/credentials/dnworker.service").mkdir(parents=True)
        token = self.root / "run/credentials/dnworker.service/token"
        token.write_text("t" * 40)
        token.chmod(0o440)
        config = self.root / "etc/dnworker/serve.toml"
        text = re.sub(r'"(/[^"]*)"', rf'"{self.root}\1"', config.read_text())
        config.write_text(text.replace("port = 8787", "port = 0"))
        self.unit = (self.root / "etc/systemd/system/dnworker.service").read_text()

    def start(self) -> None:
        """Start what the unit names, in its environment alone."""
        (command,) = re.findall(r"^ExecStart=(.*)$", self.unit, re.M)
        program, *words = shlex.split(command)
        variables = [
            word for line in re.findall(r"^Environment=(.*)$", self.unit, re.M) for word in shlex.split(line)
        ]
        environment = dict(word.partition("=")[::2] for word in variables)
        environment |= {
            "HOME": str(self.root / "var/lib/dnworker"),
            "PATH": f"{self.root}{environment['PATH']}",
            "UV_CACHE_DIR": str(self.root / "var/cache"),
            "NOTIFY_SOCKET": str(self.manager.getsockname()),
            "WATCHDOG_USEC": "30000000",
        }
        words = [f"{self.root}{word}" if word.startswith("/") else word for word in words]
        self.process = subprocess.Popen(
            [f"{self.root}{program}", *words],
            cwd=self.root / "var/lib/dnworker",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def until(self, text: str) -> None:
        """Return when the service manager has heard a text."""
        while text not in self.manager.recv(4096).decode().splitlines():
            pass

    def url(self) -> str:
        """Return where it serves, as it says."""
        for line in self.process.stdout:
            if found := re.match(r"serving at (\S+?);", line.decode()):
                return found[1]
        raise AssertionError("it ended without an address")

    def command(self, word: str, url: str) -> str:
        """Return what the service's own command says, with the paths and the address of this test."""
        text = (self.root / "opt/dnworker/dnworker").read_text()
        text = re.sub(r"/(opt|etc)/dnworker/", rf"{self.root}/\1/dnworker/", text)
        text = text.replace("http://127.0.0.1:8787", url)
        (self.root / "etc/dnworker/token").write_text("t" * 40)
        done = subprocess.run(
            ["sh", "-c", text, "dnworker", word], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self) -> int:
        """End it as systemd does."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def service(tmp_path):
    for name in ("billing", "aside"):
        (tmp_path / "shop").mkdir(exist_ok=True)
        end = "\n\nworker.run()\n" if name == "aside" else ""
        (tmp_path / "shop" / f"{name}.py").write_text(SCRIPT.replace("NAME", name) + end)
    (tmp_path / "shop" / "capability.yaml").write_text(MANIFEST)
    assert main(["deploy", "systemd", str(tmp_path / "shop"), "-o", str(tmp_path / "made")]) == 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(50)
        made = Service(Machine(tmp_path), manager)
        made.install(tmp_path / "made")
        yield made
        if made.process is not None:
            if made.process.poll() is None:
                made.process.kill()  # its guard ends the workers
            made.process.communicate()


async def answers(url, amount):
    """Publish an event, and return which handlers publish one for it, once there are two."""
    async with RuntimeClient(url, auth_token="t" * 40) as client, asyncio.timeout(60):
        await client.publish("shop.ordered", {"amount": amount})
        query = {"kind": [f"shop.billing.{amount}", f"shop.aside.{amount}"]}
        while True:
            page = await client.connection.request("GET", "/api/history/events", query=query)
            found = {
                one["kind"].split(".")[1] for one in page["events"]
            }  # a handler may run twice for a kill
            if len(found) == 2:
                return found
            await asyncio.sleep(0.05)


async def test_the_unit_starts_reloads_and_stops_and_goes_on_after_a_kill(service):
    service.start()
    service.until("READY=1")
    url = service.url()
    assert await answers(url, 1) == {"billing", "aside"}
    assert re.findall(r"^(\S+) +(\w+)", service.command("ps", url), re.M)[1:] == [
        ("shop:billing", "running"),
        ("shop:aside", "running"),
    ]
    service.process.send_signal(signal.SIGHUP)
    service.until("READY=1")
    assert await answers(url, 2) == {"billing", "aside"}
    service.process.kill()
    service.process.communicate()
    service.start()
    service.until("READY=1")
    assert await answers(service.url(), 3) == {"billing", "aside"}
    assert service.end() == 0
