"""The proof of planned scripts: equal values pass, and whatever else happens is said with its place."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from dnworker_jupyter.export.proof.prove import Difference, Proof

from .notebooks import HEAD, TAIL, proved

CELLS = """
import json, math
from os import environ
worker = Worker(name="bridge")
RATES = {"a": [1, 2, 3]}
API_KEY = "k-123456789"
def rate(a): return RATES[a][0] + math.sqrt(json.loads("4"))
class Point:
    x = 1
@worker.on_event("a")
async def on_a(event, client): print(rate(event.payload), Point, json)
@worker.every(seconds=3)
async def tick(client): ...
"""
SCRIPT = HEAD + CELLS + TAIL
NAMES = ("json", "environ", "RATES", "API_KEY", "rate", "Point", "on_a")


async def prove_one(script: str, cwd: Path, names=NAMES, cells=CELLS, **options) -> Proof:
    return await proved(cells, {"bridge": script}, names, cwd, **options)


async def test_a_script_that_defines_what_the_kernel_has_is_proved(tmp_path):
    assert await prove_one(SCRIPT, tmp_path) == Proof()


async def test_a_value_that_differs_is_shown_with_its_place(tmp_path):
    proof = await prove_one(SCRIPT.replace("2, 3", "2, 4"), tmp_path)
    assert proof == Proof((Difference("bridge", "RATES", "['a'][2]", "3", "4"),))


async def test_the_value_of_a_secret_is_not_shown(tmp_path):
    proof = await prove_one(SCRIPT.replace("k-123456789", "k-987654321"), tmp_path)
    assert proof == Proof((Difference("bridge", "API_KEY", "", "(not shown)", "(not shown)"),))


async def test_handlers_are_compared_by_kind_and_code(tmp_path):
    changed = SCRIPT.replace('on_event("a")', 'on_event("b")').replace("client): ...", "client): print()")
    proof = await prove_one(changed, tmp_path)
    assert {(d.name, d.where, d.here, d.there) for d in proof.differences} >= {
        ("handler on_a", "", "on_event a: def on_a(event, client)", "nothing"),
        ("handler on_a", "", "nothing", "on_event b: def on_a(event, client)"),
    }
    assert {d.name for d in proof.differences} == {"handler on_a", "handler tick"}


async def test_a_handler_that_is_registered_twice_is_two(tmp_path):
    proof = await prove_one(SCRIPT.replace(TAIL, '\nworker.on_event("a")(on_a)\n' + TAIL), tmp_path)
    assert [(d.name, d.here) for d in proof.differences] == [("handler on_a#2", "nothing")]


async def test_code_in_a_shared_module_is_that_of_the_notebook(tmp_path):
    shared = 'RATES = {"a": [1, 2, 3]}\nclass Point:\n    x = 1\n'
    script = SCRIPT.replace('RATES = {"a": [1, 2, 3]}', "from demo_shared import RATES, Point").replace(
        "class Point:\n    x = 1\n", ""
    )
    beside = {"workers/demo_shared.py": shared, "workers/other.py": "raise SystemExit"}
    proof = await prove_one(script, tmp_path, beside=beside, shared=["demo_shared"])
    assert proof == Proof()
    beside["workers/demo_shared.py"] = shared.replace("x = 1", "x = 2")
    proof = await prove_one(script, tmp_path, beside=beside, shared=["demo_shared"])
    assert [(d.name, d.where) for d in proof.differences] == [("Point", ".x")]


async def test_a_script_has_no_effect_on_another(tmp_path):
    effect = SCRIPT.replace("RATES =", "import os\nos.environ['NEW_ONE'] = '1'; json.new_one = 1\nRATES =")
    check = SCRIPT.replace(
        "RATES =", "import os\nNEW = os.environ.get('NEW_ONE'), hasattr(json, 'new_one')\nRATES ="
    )
    cells = CELLS + "NEW = None, False\n"
    proof = await proved(cells, {"one": effect, "two": check, "three": check}, (*NAMES, "NEW"), tmp_path)
    assert {(d.worker, d.name) for d in proof.differences} == {("one", "NEW")}
    assert "NEW_ONE" not in os.environ


async def test_a_module_beside_the_notebook_that_is_not_exported_is_missing(tmp_path, monkeypatch):
    (tmp_path / "left_out.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend("")
    proof = await prove_one(HEAD + "\nimport left_out\n", tmp_path)
    assert [f.detail for f in proof.failures] == ["ModuleNotFoundError: No module named 'left_out'"]
    beside = {"workers/left_out.py": "X = 1\n"}
    assert (await prove_one(HEAD + "\nimport left_out\n", tmp_path, beside=beside)).failures == ()


async def test_what_cannot_be_compared_is_listed(tmp_path):
    line = "LINES = [map(str, [1])]\n"
    proof = await prove_one(SCRIPT.replace("RATES =", line + "RATES ="), tmp_path, ("LINES",), CELLS + line)
    assert proof.differences == proof.failures == ()
    assert proof.uncompared == (("bridge", "LINES", "[0]: map: it is used up by reading"),)


BAD = {
    # what a script does at line 5: category, line, part of the detail
    "1 / 0": ("error", 5, "ZeroDivisionError: division by zero"),
    "def x(:": ("error", 5, "SyntaxError"),
    "import nowhere_at_all": ("error", 5, "No module named 'nowhere_at_all'"),
    "raise SystemExit(3)": ("error", 5, "SystemExit: 3"),
    "raise KeyboardInterrupt": ("error", 5, "KeyboardInterrupt"),
    "import json; json.loads('x')": ("error", 5, "JSONDecodeError"),
    "class E(Exception):\n    def __str__(self): 1 / 0\nraise E": ("error", 7, "(its text cannot be read)"),
    "open('data.csv')": ("file-read", 5, "data.csv"),
    "import os; os.listdir('.')": ("file-read", 5, "os.listdir"),
    "from pathlib import Path; Path('/etc/passwd').read_text()": ("file-read", 5, "/etc/passwd"),
    "open('new.txt', 'w')": ("file-write", 5, "new.txt"),
    "import os; os.mkdir('new')": ("file-write", 5, "new"),
    "import tempfile; tempfile.mkdtemp()": ("file-write", 5, "open"),
    "import sqlite3; sqlite3.connect('new.db')": ("file-write", 5, "new.db"),
    "try:\n    open('data.csv')\nexcept BaseException: pass": ("file-read", 6, "data.csv"),
    "try:\n    open('data.csv')\nexcept: pass\nraise ValueError": ("file-read", 6, "data.csv"),
    "import socket; socket.create_connection(('127.0.0.1', 9))": ("network", 5, "127.0.0.1"),
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')": ("network", 5, "http://127.0.0.1:9"),
    "import urllib.request as r; r.urlopen('http://me:pass@127.0.0.1:9/x?key=y')": ("network", 5, "'http://127.0.0.1:9/x'"),
    "import subprocess; subprocess.run(['true'])": ("process", 5, "subprocess.Popen"),
    "import os; os.system('true')": ("process", 5, "os.system"),
    "import os; os.fork()": ("process", 5, "os.fork"),
    "input()": ("input", 5, "input"),
    "X = bytearray(10 ** 13)": ("memory", 5, "MemoryError"),
    "import os; os._exit(3)": ("error", None, "its process ended with code 3"),
    "import os; print('last words', flush=True); os._exit(3)": ("error", None, "code 3: last words"),
    "import os; os._exit(0)": ("error", None, "without an answer"),
    "import ctypes; ctypes.string_at(0)": ("error", 5, "signal 11"),
    "import threading\ndef f(): open('data.csv')\nt = threading.Thread(target=f); t.start(); t.join()": (
        "file-read", 6, "data.csv"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def bad_proof(tmp_path_factory) -> Proof:
    """The proof of all bad scripts at once: each of them is a process of its own."""
    before = f"{HEAD}\n\nX = 1\n"
    cwd = tmp_path_factory.mktemp("notebook")
    (cwd / "data.csv").write_text("1\n")
    scripts = {f"w-{n}": before + line + "\n" for n, line in enumerate(BAD)}
    proof = asyncio.run(proved("X = 1", scripts, ["X"], cwd, timeout=30))
    assert [file.name for file in cwd.iterdir()] == ["data.csv"]
    return proof


@pytest.mark.parametrize("line", BAD)
def test_what_a_script_may_not_do_is_a_failure_with_its_line(line, bad_proof):
    worker = f"w-{list(BAD).index(line)}"
    [failure] = [f for f in bad_proof.failures if f.worker == worker][:1]
    category, number, detail = BAD[line]
    assert (failure.category, failure.line) == (category, number)
    assert detail in failure.detail
    assert failure.path == f"workers/{worker}.py"


async def test_a_failure_in_a_module_beside_the_script_has_its_place_there(tmp_path):
    beside = {"workers/helper.py": "def f():\n    open('x.csv')\n"}
    proof = await prove_one(HEAD + "import helper\nhelper.f()\n", tmp_path, beside=beside)
    assert [(f.path, f.line, f.category) for f in proof.failures] == [("workers/helper.py", 2, "file-read")]


GOOD = """
import zoneinfo, ssl, importlib.metadata, inspect, asyncio, os, tempfile, sqlite3, logging, threading, pathlib, locale
Z = zoneinfo.ZoneInfo("Europe/Berlin")
ssl.create_default_context()
V = importlib.metadata.version("httpx")
inspect.getsource(asyncio.sleep)
asyncio.run(asyncio.sleep(0))
os.environ["X"] = "1"
sqlite3.connect(":memory:").close()
logging.basicConfig()
t = threading.Thread(target=print); t.start(); t.join()
DATA = (pathlib.Path(__file__).parent / "data.txt").read_text()
locale.setlocale(locale.LC_ALL, "C")
open(os.devnull, "w").close()
"""


async def test_what_the_standard_library_does_for_itself_is_no_failure(tmp_path):
    proof = await prove_one(HEAD + GOOD, tmp_path, (), beside={"workers/data.txt": "x"}, cells="")
    assert proof == Proof()


async def test_a_script_that_replaces_attributes_of_modules_is_proved_all_the_same(tmp_path):
    effect = "\nimport os, time, builtins\njson.dumps = time.monotonic = builtins.open = os.replace = None\n"
    assert await prove_one(SCRIPT.replace(TAIL, effect + TAIL), tmp_path) == Proof()


PACKAGES = {
    "numpy": """
import numpy as np
A = np.arange(10).reshape(2, -1); V = A[0]; V[0] = 5
O = np.array([1, "a", [2]], dtype=object); S = np.zeros(3, dtype=[("a", "i4"), ("b", "f8")]); L = np.zeros(10_000)
R = np.random.default_rng(3); M = np.ma.array([1, 2], mask=[0, 1]); F = np.float64(3); U = np.add
""",
    "pandas": """
import pandas as pd
A = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.Categorical(["p", "q"])}); A["d"] = A.a * 2
V = A.set_index("b"); S = A.a; T = pd.Timestamp("2020-01-01", tz="UTC"); I = pd.MultiIndex.from_product([[1], ["a"]])
""",
    "pydantic": """
from pydantic import BaseModel, Field, field_validator
class V(BaseModel):
    x: int = 3
    items: list[int] = Field(default_factory=list)
    other: "V | None" = None
    @field_validator("x")
    @classmethod
    def check(cls, x): return x
A = V(x=5, other=V())
""",
    "attrs": """
import attrs
@attrs.define
class V:
    x: int = 3
    y: list = attrs.field(factory=list)
A = V(5)
""",
    "sqlalchemy": """
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
class Base(DeclarativeBase): pass
class V(Base):
    __tablename__ = "v"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(5))
    children: Mapped[list["Child"]] = relationship(back_populates="parent")
class Child(Base):
    __tablename__ = "child"
    id: Mapped[int] = mapped_column(primary_key=True)
    v_id: Mapped[int] = mapped_column(ForeignKey("v.id"))
    parent: Mapped["V"] = relationship(back_populates="children")
A = V(name="a")
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
async def test_values_of_packages_are_proved_where_these_are_installed(package, tmp_path):
    pytest.importorskip(package)
    source = PACKAGES[package]
    names = ("A", "V", *"OSLRMFUTI", "Base", "Child")
    assert (
        await prove_one(HEAD + source, tmp_path, [n for n in names if n in source], source, timeout=30)
        == Proof()
    )
    if "5" in source:
        changed = await prove_one(HEAD + source.replace("5", "6"), tmp_path, ("A", "V"), source, timeout=30)
        assert changed.differences


async def test_what_the_sdk_has_is_what_dnworker_has(tmp_path):
    cells = "from dnworker import TurnFailedError\n" + CELLS
    script = SCRIPT.replace("RuntimeClient,", "RuntimeClient, TurnFailedError,")
    assert await prove_one(script, tmp_path, (*NAMES, "TurnFailedError"), cells) == Proof()


async def test_a_module_that_another_script_imports_is_not_there(tmp_path):
    scripts = dict.fromkeys(("a", "b"), "import xml.dom.minidom\nX = 1\n") | {
        "c": "import xml\nX = xml.dom\n"
    }
    proof = await proved("X = 1", scripts, ["X"], tmp_path)
    assert [(f.worker, f.line) for f in proof.failures] == [("c", 2)]


async def test_a_script_that_does_not_end_is_stopped_where_it_is(tmp_path):
    scripts = {
        "loop": HEAD + "def f():\n    while True: pass\nf()\n",
        "sleep": HEAD + "import time\ntime.sleep(600)\n",
        "late": SCRIPT,
        "lock": HEAD + "import threading\nx = threading.Lock(); x.acquire()\nx.acquire()\n",
    }
    proof = await proved(CELLS, scripts, NAMES, tmp_path, timeout=1)
    found = {f.worker: (f.category, f.line) for f in proof.failures}
    assert found["loop"] == ("time", 3)
    assert found["sleep"] == ("time", 3)
    assert all(category == "time" for category, _ in found.values())
    assert "lock" in found


async def test_without_fork_each_script_has_a_child_of_its_own(tmp_path):
    scripts = {
        "one": SCRIPT,
        "two": SCRIPT.replace("2, 3", "2, 4"),
        "bad": HEAD + "1 / 0\n",
        "gone": "import os\nos._exit(2)",
    }
    proof = await proved(CELLS, scripts, NAMES, tmp_path, fork=False)
    assert [(d.worker, d.where) for d in proof.differences] == [("two", "['a'][2]")]
    assert [(f.worker, f.line) for f in proof.failures] == [("bad", 2), ("gone", None)]


async def test_a_proof_that_is_cancelled_leaves_neither_processes_nor_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    line = "import sys; sys.stderr.write('x'); import time; time.sleep(600)\n"
    running = asyncio.create_task(prove_one(HEAD + line, tmp_path))
    me = psutil.Process()
    before = {child.pid for child in me.children(recursive=True)}

    def sleeping() -> list[psutil.Process]:
        return [c for c in me.children(recursive=True) if c.pid not in before]

    async with asyncio.timeout(60):
        while len(sleeping()) < 2:  # the child and its script
            await asyncio.sleep(0.02)
    children = sleeping()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    psutil.wait_procs(children, timeout=60)
    assert not [child for child in children if child.is_running() and child.status() != "zombie"]
    assert list(tmp_path.iterdir()) == []


PROGRAM = """
import asyncio, sys
from pathlib import Path
from dnworker_jupyter.export.proof.prove import Script, prove
files = {"workers/w.py": b"import time\\ntime.sleep(600)\\n"}
asyncio.run(prove(files, [Script("w", "workers/w.py", ())], {}, {}, cwd=Path.cwd(), timeout=600))
"""


async def test_a_kernel_that_is_killed_leaves_neither_processes_nor_files(tmp_path):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, env=environment)
    async with asyncio.timeout(30):
        while len(children := psutil.Process(process.pid).children(recursive=True)) < 3:
            await asyncio.sleep(0.02)
    process.kill()
    await process.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=10)
    assert alive == []
    assert list(tmp_path.iterdir()) == []


async def test_the_loop_goes_on_while_a_script_is_executed(tmp_path):
    task = asyncio.create_task(prove_one(SCRIPT, tmp_path))
    turns = 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    assert task.result() == Proof()
    assert turns > 100
