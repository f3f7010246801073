"""The command line: `dnworker serve`, `validate`, `export`. Exit codes: 0 done, 1 failed, 2 wrong use."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from dnworker import __version__
from dnworker.capability.flags import parse_cli_flags
from dnworker.capability.manifest import load_manifest
from dnworker.errors import DnworkerError, ManifestError

if TYPE_CHECKING:
    from dnworker.runtime import Runtime

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; a mistake of the user is one sentence on stderr."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except (DnworkerError, OSError) as exc:
        if options.json:
            print(json.dumps({"ok": False, "error": str(exc)}))
        else:
            print(f"dnworker: {exc}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dnworker", description="Run, check and export workers.")
    parser.add_argument("--version", action="version", version=f"dnworker {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="answer in JSON")
    serve = commands.add_parser("serve", parents=[common], help="run capabilities until Ctrl-C or SIGTERM")
    serve.add_argument("path", nargs="*", type=Path, help="directories with a capability.yaml")
    serve.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
    serve.add_argument("--port", type=int, default=8787, help="0 picks a free one (default: %(default)s)")
    serve.add_argument("--token-file", type=Path, help="read the bearer token here, or write the minted one")
    serve.add_argument("--flag", action="append", default=[], metavar="CAP.FLAG=on", help="set a flag")
    serve.set_defaults(command=_serve)
    validate = commands.add_parser("validate", parents=[common], help="check manifests")
    validate.add_argument("path", nargs="+", type=Path, help="directories with a capability.yaml")
    validate.add_argument("--strict", action="store_true", help="fail for a worker that could not start, too")
    validate.set_defaults(command=_validate)
    export = commands.add_parser("export", parents=[common], help="make a capability of a notebook file")
    export.add_argument("notebook", type=Path, help="an .ipynb file")
    export.add_argument("-o", "--output", type=Path, required=True, help="the capability's directory")
    export.add_argument("--target", choices=["dreadnode", "dnworker"], default="dreadnode")
    export.add_argument("--topology", choices=["uv", "python", "in-process"], default="uv")
    export.add_argument("--force", action="store_true", help="write over files that were edited by hand")
    export.set_defaults(command=_export)
    return parser


# -- serve ---------------------------------------------------------------------------------------------


def _serve(options: argparse.Namespace) -> int:
    return asyncio.run(_run_server(options))


async def _run_server(options: argparse.Namespace) -> int:
    from dnworker.runtime import Runtime

    stop, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: (again if stop.is_set() else stop).set())
    runtime = Runtime(
        host=options.host,
        port=options.port,
        token=_read_token(options.token_file),
        runtime_id=os.environ.get("DREADNODE_RUNTIME_ID"),
        flags=parse_cli_flags(options.flag),
    )
    await runtime.start()
    where = _write_token(options.token_file, runtime.tokens.main)
    try:
        for path in options.path:
            await runtime.load(path)
    except ManifestError:
        await runtime.stop()
        raise
    _announce(runtime, where, as_json=options.json)
    await stop.wait()
    stopping = asyncio.create_task(runtime.stop())
    impatient = asyncio.create_task(again.wait())
    await asyncio.wait({stopping, impatient}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():  # a second Ctrl-C: at once, and the guard ends what is left
        runtime.guard.close()
        os._exit(1)
    impatient.cancel()
    return 0


def _announce(runtime: Runtime, token_file: Path | None, *, as_json: bool) -> None:
    workers = {w.qualified_name: {"state": str(w.state), "error": w.error} for w in runtime.workers()}
    if as_json:
        print(json.dumps({"ok": True, "url": runtime.url, "workers": workers}), flush=True)
        return
    where = f"the token is in {token_file}" if token_file else "the token is that of DREADNODE_RUNTIME_TOKEN"
    print(f"serving at {runtime.url}; {where}", flush=True)
    for name, worker in workers.items():
        why = f": {worker['error']}" if worker["error"] else ""
        print(f"  {name} is {worker['state']}{why}", flush=True)


def _read_token(file: Path | None) -> str | None:
    if file is not None and file.exists():
        return file.read_text(encoding="utf-8").strip() or None
    return os.environ.get("DREADNODE_RUNTIME_TOKEN") or None


def _write_token(file: Path | None, token: str) -> Path | None:
    """Keep a minted token where only its owner can read it; it is never printed."""
    if file is None:
        if os.environ.get("DREADNODE_RUNTIME_TOKEN"):
            return None
        file = Path.home() / ".dreadnode" / "dnworker-token"
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(token + "\n")
    return file


# -- validate and export -------------------------------------------------------------------------------


class _Result(TypedDict):
    path: str
    ok: bool
    problems: list[str]


def _validate(options: argparse.Namespace) -> int:
    results: list[_Result] = []
    for path in options.path:
        try:
            manifest = load_manifest(path.resolve())
        except ManifestError as exc:
            results.append({"path": str(path), "ok": False, "problems": list(exc.problems)})
            continue
        dropped = [w.problem for w in manifest.workers.values() if w.problem is not None]
        results.append({"path": str(path), "ok": not (dropped and options.strict), "problems": dropped})
    if options.json:
        print(json.dumps(results))
    else:
        for result in results:
            print(f"{result['path']}: {'ok' if result['ok'] else 'not ok'}")
            for problem in result["problems"]:
                print(f"  {problem}")
    return 0 if all(result["ok"] for result in results) else 1


def _export(options: argparse.Namespace) -> int:
    from importlib import import_module

    # By name: the framework does not import the notebook, this command of it uses it.
    exporter = import_module("dnworker_jupyter.export.live")
    told = exporter.export_file(
        options.notebook,
        options.output,
        target=options.target,
        topology=options.topology,
        force=options.force,
    )
    print(json.dumps({"ok": True, "output": str(options.output)}) if options.json else told)
    return 0
