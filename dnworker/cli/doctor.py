"""`dnworker doctor`: looks at all that makes dnworker fail, and says each in one line with the way out."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from dnworker.cli.tables import print_table
from dnworker.cli.terminal import is_terminal, print_line
from dnworker.cli.text import NearParser, print_json, printable
from dnworker.core.errors import DnworkerError, with_code
from dnworker.doctor import environment, home, jupyter, machine, packages, runtimes
from dnworker.doctor.findings import Check, Finding, examine, ok, problem, warning
from dnworker.doctor.uv import uv
from dnworker.engine.running import entries
from dnworker.workers.cgroups import own_cgroup

WITHIN = 10.0
"""Seconds for all checks, which run at the same time."""

USUAL_PORT = 8787


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `doctor`."""
    parser.add_argument(
        "capability", nargs="*", type=Path, help="directories with a capability.yaml, to be looked at, too"
    )
    parser.add_argument(
        "--notebook", type=Path, metavar="FILE", help="look at the kernel of this notebook, too"
    )
    parser.add_argument(
        "--broker",
        metavar="URL[,URL]...",
        help="ask these NATS servers, too; nothing else leaves the machine",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=USUAL_PORT,
        help="the port that `serve` is to listen at (default: %(default)s)",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    findings = examine(checks_of(options), WITHIN)
    problems = sum(one.mark == "problem" for one in findings)
    if options.json:
        rows = [
            {"subject": one.subject, "mark": one.mark, "text": one.text, "remedy": one.remedy}
            for one in findings
        ]
        print_json({"ok": not problems, "findings": rows})
    else:
        warnings = sum(one.mark == "warning" for one in findings)
        if is_terminal():
            print_table([["", "LOOKED AT", "FOUND"], *map(_row, findings)])
        else:
            print(printable("\n".join(map(str, findings))))
        print_line(f"{_count(problems, 'problem')}, {_count(warnings, 'warning')}")
    return 1 if problems else 0


def _row(one: Finding) -> list[str]:
    way_out = f"; {one.remedy}" if one.remedy else ""
    return ["OK" if one.mark == "ok" else one.mark, one.subject, f"{one.text}{way_out}"]


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'s' * (number != 1)}"


def checks_of(options: argparse.Namespace) -> dict[str, Check]:
    """Return everything that is looked at, in the order of the output."""
    known = [runtimes.Known(file, one.url, one.pid, one.token_file, one.is_alive) for file, one in entries()]
    checks: dict[str, Check] = {
        "python": packages.interpreter,
        "packages": packages.packages,
        "loop": packages.loop,
        "installed": packages.installations,
        "command": packages.command,
        "uv": uv,
        "home": home.directories,
        "tokens": home.token_files,
        "disk": home.room,
        "temporary": home.temporary,
        "runtimes": partial(runtimes.runtimes, known),
        "port": partial(runtimes.port, options.port, known),
        "variables": lambda: environment.variables(options=variables_of_serve()),
        "address": environment.address,
        "proxies": environment.proxies,
        "open files": machine.open_files,
        "processes": machine.processes,
        "cgroups": lambda: machine.cgroup(own_cgroup()),
        "clock": machine.clock,
        "time zones": machine.time_zones,
        "jupyterlab": jupyter.front_ends,
        "kernel": jupyter.kernels,
    }
    if options.notebook is not None:
        checks["notebook"] = partial(jupyter.notebook, options.notebook)
    if options.broker is not None:
        checks["broker"] = partial(broker, options.broker)
    for path in options.capability:
        checks[f"capability {path}"] = partial(capability, path)
    return checks


def variables_of_serve() -> list[str]:
    """Return the variables of the options of `serve`; none where its libraries are not installed."""
    try:
        from dnworker.cli import serve
    except ModuleNotFoundError:
        return []
    parser = NearParser(add_help=False)
    serve.add_arguments(parser)
    options = [option for action in parser._actions for option in action.option_strings]
    names = [option[2:].replace("-", "_").upper() for option in options if option.startswith("--")]
    return [f"DNWORKER_{name}" for name in names]


def capability(path: Path) -> Iterator[Finding]:
    """Look at the capabilities of a path as `dnworker validate --no-checks` does: no code of them runs."""
    try:
        from dnworker.cli.roots import roots_of
        from dnworker.engine.examine import examine as examine_capability
    except ModuleNotFoundError as exc:
        yield problem("capability", f"{exc.name} is missing", "pip install 'dnworker[runtime]'")
        return
    for root in roots_of(path):
        found = asyncio.run(examine_capability(root, with_checks=False))
        say = problem if found.manifest is None else warning
        for text in found.problems:
            yield say("capability", f"{root}: {text}", "`dnworker validate` says the same")
        if not found.problems:
            yield ok(
                "capability", f"{root}: its manifest is right; `dnworker validate --strict` imports its code"
            )


def broker(url: str) -> Iterator[Finding]:
    """Ask the servers of a broker whether they have what is needed."""
    try:
        from dnworker.events.brokers.jetstream.first_contact import check_servers
        from dnworker.events.brokers.jetstream.servers import parse_servers
        from dnworker.events.brokers.jetstream.settings import read_settings
    except ModuleNotFoundError as exc:
        yield problem("broker", f"{exc.name} is missing", "pip install 'dnworker[cluster]'")
        return
    try:
        settings = read_settings(url, "doctor", os.environ)
        servers = parse_servers(",".join(settings.servers))
        asyncio.run(check_servers(servers, settings.connect_options))
    except ModuleNotFoundError as exc:
        yield problem("broker", f"{exc.name} is missing", "pip install 'dnworker[cluster]'")
    except DnworkerError as exc:
        yield problem("broker", with_code(exc))
    else:
        yield ok("broker", f"{settings.address} takes a connection, and has JetStream")
