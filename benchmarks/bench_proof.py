"""The proof of an export of 20 workers with 15 names each, beside running each script by itself."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from common import RUNS, median, report

from dnworker.workers.registry import handlers_of
from dnworker_jupyter.export.proof.child import execute
from dnworker_jupyter.export.proof.prove import Proof, Script, prove

WORKERS = 20
HEAD = "from dreadnode.capabilities.worker import EventEnvelope, RuntimeClient, Worker\n"
TAIL = '\nif __name__ == "__main__":\n    worker.run()\n'


def cells(number: int) -> tuple[str, tuple[str, ...]]:
    """Return the source of one worker, and its 15 names."""
    lines = [
        "import json, math, re, asyncio",
        "from dataclasses import dataclass",
        f'worker = Worker("w-{number}")',
    ]
    names = ["json", "math", "dataclass"]
    for n in range(4):
        lines += [
            f"RATES_{n} = {{'a': [{n}, 2.5, None], 'b': {{'c': ('x', {number})}}}}",
            f"def helper_{n}(value: int, *, limit: int = {n}) -> float:",
            "    total = 0.0",
            *(f"    total += math.sqrt({k} + value) * len(RATES_{n})" for k in range(20)),
            "    return min(total, limit)",
        ]
        names += [f"RATES_{n}", f"helper_{n}"]
    lines += ["@dataclass\nclass Point:\n    x: int = 1\n    y: float = 2.0", "PATTERN = re.compile('a+')"]
    lines += [
        "@worker.on_event('a')\nasync def on_a(event, client):\n    print(helper_0(1), Point(), PATTERN)"
    ]
    lines += ["@worker.every(seconds=3)\nasync def tick(client):\n    await asyncio.sleep(helper_1(2))"]
    return "\n".join(lines), (*names, "Point", "PATTERN", "on_a", "tick")


def kernel(source: str) -> tuple[ModuleType, Any]:
    """Execute cells as a kernel does, as the module `__main__`."""
    made = ModuleType("__main__")
    sys.modules["__main__"] = made
    execute(ast.parse(f"{HEAD}{source}"), "<cell>", made.__dict__)
    return made, [(one.key, one.function) for one in handlers_of(made.__dict__["worker"])]


def main() -> None:
    """Prove some times and print one line."""
    from dnworker import compat

    compat.install()
    files, scripts, live, handlers, keep = {}, [], {}, {}, []
    for number in range(WORKERS):
        source, names = cells(number)
        source = source.replace("helper_", f"w{number}_helper_").replace("RATES_", f"W{number}_RATES_")
        renamed = [
            n.replace("helper_", f"w{number}_helper_").replace("RATES_", f"W{number}_RATES_") for n in names
        ]
        module, handlers[f"w-{number}"] = kernel(source)
        keep.append(module)
        live |= {
            name: value for name, value in module.__dict__.items() if name not in ("Point", "on_a", "tick")
        }
        scripts.append(
            Script(f"w-{number}", f"workers/w-{number}.py", tuple(n for n in renamed if n in live))
        )
        files[f"workers/w-{number}.py"] = f"{HEAD}{source}{TAIL}".encode()
    taken, held = [], []
    for _ in range(RUNS):
        began = time.perf_counter()
        proof, longest = asyncio.run(timed(files, scripts, live, handlers))
        taken.append(time.perf_counter() - began)
        held.append(longest)
        assert proof == Proof(), proof
    report(
        what="the proof of an export of 20 workers with 15 names each",
        seconds=median(taken),
        seconds_limit=2.0,
        loop_held_seconds=median(held),
        loop_held_limit_seconds=1.0,
        bare_seconds=bare(files),
        runs=RUNS,
    )


async def timed(*arguments: Any) -> tuple[Proof, float]:
    """Prove, and return also for how long the loop was held at most."""
    proving = asyncio.create_task(prove(*arguments, cwd=Path.cwd()))
    longest, before = 0.0, time.perf_counter()
    while not proving.done():
        await asyncio.sleep(0)
        longest, before = max(longest, time.perf_counter() - before), time.perf_counter()
    return proving.result(), longest


def bare(files: dict[str, bytes]) -> float:
    """Return the seconds to run each script by itself, one after the other, without its worker."""
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        for path, data in files.items():
            script = Path(directory, Path(path).name)
            text = data.decode().replace(TAIL, "").replace("dreadnode.capabilities.worker", "dnworker")
            script.write_text(text)
            subprocess.run([sys.executable, str(script)], check=True)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
