"""A process that is forked for every job, so that a job starts with everything imported and nothing done.

Run as a program it is that process: `python zygote.py kernel` for what happens in a kernel, `... script` for what
happens in a worker's process, where nothing of the notebook is imported. It reads a JSON line for each job, forks,
and answers with how the child ended; the child writes its answer to a file. `Zygote` is the side of the tests.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]

LIMIT = 60
"""Seconds after which a job is killed."""

_KEPT = ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "UV_CACHE_DIR")


class Zygote:
    """The process that jobs of one role are forked from; used by one thread at a time."""

    def __init__(self, role: str) -> None:
        environ = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)])
        environ |= {
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "extension")]),
            "PYTHONHASHSEED": "0",
            "DNWORKER_JOURNAL": "off",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.differential.zygote", role],
            cwd=REPOSITORY,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()

    def do(self, job: str, directory: Path, **fields: Any) -> dict[str, Any]:
        """Do a job in a directory, with that as its home too, and return its answer."""
        answer = directory / f"answer-{job}-{fields.get('label', '')}.json"
        wanted = {"job": job, "dir": str(directory), "answer": str(answer), **fields}
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with self._lock:
            process.stdin.write(json.dumps(wanted) + "\n")
            process.stdin.flush()
            status = process.stdout.readline().strip()
        if not answer.exists():
            output = (
                Path(f"{answer}.out").read_text(errors="replace") if Path(f"{answer}.out").exists() else ""
            )
            return {"crash": f"{job}: the process ended with {status or 'its zygote'}\n{output[-3000:]}"}
        found: dict[str, Any] = json.loads(answer.read_text())
        return found

    def close(self) -> None:
        """End it."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait()
        process.stdout.close()


def main() -> None:
    """Fork a child for each line of standard input; in the child, do the job and end."""
    preload(sys.argv[1])
    gc.collect()
    gc.freeze()
    answers = os.dup(1)
    os.dup2(2, 1)
    while line := _line():
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            _child(json.loads(line))
        os.write(answers, f"{_wait(pid)}\n".encode())


def preload(role: str) -> None:
    """Import what jobs of the role import, and compute what they compute each time anew."""
    from tests.differential import jobs

    for name in _imported_by_a_job(role):
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    jobs.warm_up(role)


def _imported_by_a_job(role: str) -> list[str]:
    """Do a job of the role in a child, and return what that has imported."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        with tempfile.TemporaryDirectory() as directory:
            out = os.open(f"{directory}/out", os.O_WRONLY | os.O_CREAT)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.chdir(directory)
            os.environ["HOME"] = os.environ["IPYTHONDIR"] = directory
            with contextlib.suppress(Exception):
                from tests.differential import jobs

                jobs.example(role, Path(directory))
            os.write(writer, json.dumps([name for name in sys.modules if "__main" not in name]).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        names: list[str] = json.loads(answer.read() or "[]")
    os.waitpid(pid, 0)
    return names


def _child(wanted: dict[str, Any]) -> None:
    code = 1
    try:
        os.setsid()
        out = os.open(f"{wanted['answer']}.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(wanted["dir"])
        os.environ["HOME"] = os.environ["IPYTHONDIR"] = wanted["dir"]
        os.environ.pop("PYTHONPATH", None)
        signal.alarm(LIMIT)
        from tests.differential import jobs

        found = getattr(jobs, wanted["job"].replace("-", "_"))(wanted)
        text = json.dumps(found)
        temporary = Path(wanted["answer"] + ".new")
        temporary.write_text(text)
        temporary.rename(wanted["answer"])
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _wait(pid: int) -> str:
    """Wait for a child, and kill what it has left in its session."""
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    return f"code {os.waitstatus_to_exitcode(status)}"


def _line() -> bytes:
    """Read a line; not through a buffer, which a child would inherit."""
    line = b""
    while not line.endswith(b"\n") and (more := os.read(0, 1)):
        line += more
    return line


if __name__ == "__main__":
    main()
