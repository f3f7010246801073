"""Attacks by what stands in the files of a capability: bombs, pipes, loops, too much of everything."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.attack.attack import Scale, attack
from tests.attack.served import Served, make_capability, serving

ECHO = """
from dnworker import Worker
worker = Worker()

@worker.on_event("ping")
async def ping(event, client):
    await client.publish("pong", {})
"""

MOST_MIB = 200
"""Resident memory of a runtime that has read the worst that it reads; an idle one has about 80."""

SLOWEST = 2.0
"""Seconds in which the API answers on a busy machine while something is read; before, it was 30."""


def laughs(levels: int = 9, width: int = 9) -> str:
    """Return 427 bytes that were 43 million values."""
    rows = (f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * width)}]\n" for i in range(1, levels))
    return f"a0: &a0 lol\n{''.join(rows)}"


def head(name: str, more: str = "") -> str:
    """Return the head of a manifest that is right, and more of it."""
    return f"schema: 1\nname: {name}\nversion: 0.1.0\ndescription: d\n{more}"


TEXTS: dict[str, Callable[[], str]] = {
    "laughs": laughs,
    "unused": lambda: head(
        "unused", f"workers: {{w: {{path: w.py}}}}\nx:\n  {laughs().replace(chr(10), chr(10) + '  ')}"
    ),
    "quoted": lambda: f"name: [&a {'x' * 100_000}, {', '.join(['*a'] * 9_000)}]\n",
    "nodes": lambda: "[" + "a," * 490_000 + "]",
    "pairs": lambda: "\n".join(f"k{n}: 1" for n in range(90_000)),
    "deep": lambda: "[" * 900_000,
    "circle": lambda: "a: &a [*a]\n",
    "merge": lambda: (
        f"a: &a {{{','.join(f'k{n}: 1' for n in range(4_000))}}}\nb: {{<<: [{','.join(['*a'] * 4_000)}]}}\n"
    ),
    "digits": lambda: "schema: " + "1" * 900_000,
    "sexagesimal": lambda: "schema: 1" + ":1" * 450_000,
    "directives": lambda: "%TAG !e! tag:x\n" * 60_000 + "--- x",
    "large": lambda: "#" * 50_000_000,
    "workers": lambda: head("workers", "workers: {" + ",".join(f"w{n}: 1" for n in range(4_000)) + "}"),
    "nul": lambda: head("nul", 'workers: {w: {command: "a\\0", env: {A: "b\\0"}}, v: {path: "c\\0"}}'),
}


def put_manifests(directory: Path) -> int:
    """Write a capability for each text, one for each thing that is no file, and a good one; returns how many."""
    for name, text in TEXTS.items():
        (directory / name).mkdir(parents=True)
        (directory / name / "capability.yaml").write_text(text())
    (directory / "utf16").mkdir()
    (directory / "utf16" / "capability.yaml").write_bytes(head("utf16").encode("utf-16"))
    make: dict[str, Callable[[Path], object]] = {
        "pipe": os.mkfifo,
        "zero": lambda p: p.symlink_to("/dev/zero"),
        "loop": lambda p: p.symlink_to(p),
    }
    for name, put in make.items():
        (directory / name).mkdir()
        put(directory / name / "capability.yaml")
    make_capability(directory / "good", "echo: {path: echo.py}", {"echo.py": ECHO}, name="good")
    return len(TEXTS) + 1 + len(make)


async def answers_meanwhile(served: Served, work: asyncio.Task[object]) -> float:
    """Return the longest time that the API took to answer until `work` was done."""
    longest = 0.0
    while not work.done():
        began = time.monotonic()
        await served.get("/api/sessions")
        longest = max(longest, time.monotonic() - began)
        await asyncio.sleep(0.005)
    await work
    return longest


async def reload_under_watch(served: Served) -> tuple[float, float]:
    """Reload everything; returns the seconds that it took, and the longest that the API did not answer."""
    began = time.monotonic()
    longest = await answers_meanwhile(served, asyncio.create_task(served.post("/api/reload", {})))
    assert longest < SLOWEST, f"the API did not answer for {longest:.1f} s while capabilities were read"
    return time.monotonic() - began, longest


def component_errors(info: dict[str, object], capability: str) -> list[str]:
    """Return the errors of the components of a capability."""
    found = [c for c in info["capabilities"] if c["name"] == capability]  # type: ignore[attr-defined]
    return [part["error"] for one in found for part in one["components"] if part.get("error")]


@attack(limit=240)
async def bombs_as_manifests(scale: Scale) -> str:
    """Manifests that are bombs, pipes, devices or loops are refused with the reason, and the others run."""
    directory = scale.directory / "capabilities"
    broken = put_manifests(directory)
    async with serving(scale.directory, "--capabilities-dir", directory) as served:
        longest = took = 0.0
        for _ in range(scale.of(10, 1)):
            once, slowest = await reload_under_watch(served)
            took, longest = max(took, once), max(longest, slowest)
        info = await served.get("/api/runtime")
        failed = {c["name"]: component_errors(info, c["name"]) for c in info["capabilities"]}
        silent = [name for name, errors in failed.items() if name != "good" and not errors]
        assert len(failed) == broken + 1, (
            f"{len(failed)} capabilities are listed, not {broken + 1}: {[*failed]}"
        )
        assert not silent, f"no error for {silent}"
        bare = [
            name
            for name, errors in failed.items()
            if name != "good" and str(directory / name) not in errors[0]
        ]
        assert not bare, f"no place in the errors of {bare}"
        assert (await served.detail("good:echo"))["state"] == "running"
        peak = served.peak_mib()
        assert peak < MOST_MIB, f"{peak:.0f} MiB"
        traces = [line for line in served.err if line.startswith("Traceback")]
        assert not traces, f"{len(traces)} tracebacks for files of a user"
    return f"{broken} manifests read in {took:.1f} s, the API answered within {longest:.2f} s, {peak:.0f} MiB"


@attack()
async def bombs_as_components(scale: Scale) -> str:
    """Agents, skills, MCP files, tools and workers that are bombs or pipes are entries with their error."""
    bomb = f"---\n{laughs()}---\ntext\n"
    workers = "echo: {path: echo.py}\npipe: {path: pipe.py}\nlarge: {path: large.py}"
    root = make_capability(
        scale.directory / "cap",
        workers,
        {
            "echo.py": ECHO,
            "agents/bomb.md": bomb,
            "agents/blank.md": "---\n" + "\n" * 900_000,
            "skills/bomb/SKILL.md": bomb,
            "mcp.json": '{"mcpServers": ' + "[" * 200_000,
            "tools/signs.py": "x = " + "-" * 100_000 + "1",
            "tools/large.py": "a\n" * 400_000,
            "tools/twice.py": "class A0: pass\n"
            + "".join(f"class A{n}(A{n - 1}, A{n - 1}): pass\n" for n in range(1, 99)),
        },
    )
    for name in ("pipe.py", "agents/pipe.md", "skills/pipe", ".mcp.json", "hooks/pipe.py"):
        (root / name).parent.mkdir(exist_ok=True)
        os.mkfifo(root / name)
    with (root / "large.py").open("wb") as file:
        file.truncate(1_000_000_000)
    async with serving(scale.directory, root) as served:
        took, longest = await reload_under_watch(served)
        errors = component_errors(await served.get("/api/runtime"), "demo")
        for part in (
            "skills/bomb",
            "mcp.json",
            ".mcp.json",
            "signs.py",
            "large.py",
            "agents/pipe.md",
            "hooks/pipe.py",
        ):
            assert any(part in error for error in errors), f"no error names {part}: {errors}"
        states = {name: (await served.detail(f"demo:{name}"))["state"] for name in ("echo", "pipe", "large")}
        assert states == {"echo": "running", "pipe": "error", "large": "error"}, states
        peak = served.peak_mib()
        assert peak < MOST_MIB, f"{peak:.0f} MiB"
    return (
        f"read in {took:.1f} s, {len(errors)} errors, the API answered within {longest:.2f} s, {peak:.0f} MiB"
    )


@attack(limit=300)
async def too_many_of_them(scale: Scale) -> str:
    """A hundred thousand agents, and as many tools, are read up to a number, and that is said."""
    count = scale.of(100_000, 10_050)
    kinds = {"agents": ".md"} if scale.short else {"agents": ".md", "tools": ".py"}
    root = make_capability(scale.directory / "cap", "echo: {path: echo.py}", {"echo.py": ECHO})
    for kind, suffix in kinds.items():
        (root / kind).mkdir()
        for number in range(count):
            (root / kind / f"x{number}{suffix}").touch()
    deep = root / "skills"
    for _ in range(scale.of(600, 120)):
        deep.mkdir()
        deep = deep / "d"
    async with serving(scale.directory, root, within=100) as served:
        took, longest = (0.0, 0.0) if scale.short else await reload_under_watch(served)
        errors = component_errors(await served.get("/api/runtime"), "demo")
        for kind in kinds:
            assert any(f"{kind}: 10,000 files and directories" in error for error in errors), (
                f"{kind} is not said"
            )
        peak = served.peak_mib()
    meanwhile = "" if scale.short else f" in {took:.1f} s, the API answered within {longest:.2f} s"
    return f"{count:,} files of {' and '.join(kinds)} read{meanwhile}, {peak:.0f} MiB"


def is_running(pid: str) -> bool:
    """Return whether a process is there, and is more than an entry that its parent has not removed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[2:])
with open(sys.argv[1], "w") as usage:
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=usage)
sys.exit(done.returncode)
"""
"""Runs a program, and writes the most memory that it or a child of it had into a file, in KiB."""


async def run_dnworker(*arguments: str | Path, cwd: Path) -> tuple[int, str, str, float]:
    """Run a command; returns its exit code, both outputs and the resident memory of it and its children, in MiB."""
    usage = cwd / "usage"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MEASURED, str(usage), sys.executable, "-m", "dnworker", *map(str, arguments)),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    peak = int(usage.read_text()) / 1024
    return process.returncode or 0, out.decode(), err.decode(), peak


@attack()
async def checks_that_do_not_end(scale: Scale) -> str:
    """Shell checks that print without end, hang or leave processes behind are ended, and announced before."""
    size = scale.of(1_000_000_000, 50_000_000)
    checks = {
        "prints": f"head -c {size} /dev/zero >&2; exit 1",
        "floods": "yes >&2",
        "leaves": "sleep 600 & echo $! > left; exit 0",
        "deaf": "trap '' TERM INT HUP; sleep 600 & echo $! > deaf; wait",
        "asks": "read x",
    }
    listed = "".join(
        f"  - {{name: {name}, command: {json.dumps(command)}}}\n" for name, command in checks.items()
    )
    root = make_capability(scale.directory / "cap", "echo: {path: echo.py}", {"echo.py": ECHO})
    (root / "capability.yaml").write_text((root / "capability.yaml").read_text() + f"checks:\n{listed}")
    began = time.monotonic()
    _, out, err, peak = await run_dnworker("validate", root, "--json", cwd=scale.directory)
    took = time.monotonic() - began
    (result,) = json.loads(out)
    failed = {problem.split()[1].rstrip(":") for problem in result["problems"]}
    assert failed == {"prints", "floods", "deaf", "asks"}, result["problems"]
    missing = [name for name in checks if f"running check {name!r}" not in err]
    assert not missing, f"{missing} ran unannounced"
    alive = [name for name in ("left", "deaf") if is_running((root / name).read_text().strip())]
    assert not alive, f"processes of {alive} are left"
    assert took < 60, f"{took:.0f} s"
    assert peak < MOST_MIB, f"{peak:.0f} MiB"
    for name in ("left", "deaf"):
        (root / name).unlink()
    _, _, err, _ = await run_dnworker("validate", root, "--no-checks", cwd=scale.directory)
    assert not (root / "left").exists(), "--no-checks ran a check"
    assert "shell checks are not run" in err, err
    return (
        f"5 checks done in {took:.1f} s, {size / 1e6:,.0f} MB of output, {peak:.0f} MiB at most, nothing left"
    )


@attack()
async def code_that_waits_to_be_read(scale: Scale) -> str:
    """Import and validate run nothing of a capability, wherever they are started."""
    mark = scale.directory / "ran"
    trap = f"open({str(mark)!r}, 'w').close()\n"
    names = (
        "echo.py",
        "helper.py",
        "conftest.py",
        "setup.py",
        "sitecustomize.py",
        "json.py",
        "tools/t.py",
        "hooks/h.py",
    )
    files = {name: trap + ("" if name != "echo.py" else "import helper\n" + ECHO) for name in names}
    root = make_capability(scale.directory / "cap", "echo: {path: echo.py}", files)
    (root / "capability.yaml").write_text(
        (root / "capability.yaml").read_text() + f"checks: [{{name: trap, command: 'touch {mark}'}}]\n"
    )
    made = scale.directory / "made.ipynb"
    for command in (["import", root, "-o", made, "--force"], ["validate", root, "--no-checks"]):
        # Not from the capability's own directory: `python -m` would import from there before dnworker runs.
        code, _, err, _ = await run_dnworker(*command, cwd=scale.directory)
        assert not mark.exists(), f"{command[0]} ran code of the capability"
        assert "Traceback" not in err, err
        assert command[0] == "import" or code == 0, err
    return f"{len(names) + 1} traps, none of them ran"
