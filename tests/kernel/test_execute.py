"""`dnworker export --execute`: the notebook runs in a kernel of its own, which is ended whatever it does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from dnworker.core.errors import UsageError
from dnworker_jupyter.export.execute import ExecutedExport, ExecutedFailure, NotExecuted, loads_extension

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]

WORKER = "%%worker bridge\n@worker.on_event('a')\nasync def h(event, client):\n    print('heard', FACTOR)"


def nothing(*_):
    pass


def save(file, *cells, kernel="python3", tags=None, language="python"):
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    made.metadata["kernelspec"] = {"name": kernel, "display_name": "A kernel", "language": language}
    for number, tag in (tags or {}).items():
        made.cells[number].metadata["tags"] = [tag]
    nbformat.write(made, file)
    return file


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty directory of notebooks; afterwards no process and no directory of a kernel is left."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    book = tmp_path / "book"
    book.mkdir()
    yield book
    left = [
        p.cmdline() for p in psutil.Process().children(recursive=True) if "ipykernel_launcher" in p.cmdline()
    ]
    assert left == []
    assert [p.name for p in (tmp_path / "tmp").glob("dnworker-kernel-*")] == []


def executed(file, directory, **options):
    limits = {name: options.pop(name) for name in ("cell_limit", "total_limit") if name in options}
    export = ExecutedExport(
        file, directory, target=options.pop("target", "dreadnode"), topology="uv", **limits
    )
    return asyncio.run(export.run(options.pop("on_progress", nothing), **options))


def journals(home):
    return list((home / ".dreadnode").rglob("*.db"))


def test_the_export_is_what_the_kernel_has_and_leaves_nothing_behind(place, home):
    file = save(place / "a.ipynb", "", "FACTOR = 3", WORKER, "%fire a")
    before, steps = file.read_bytes(), []
    done = executed(file, place / "out", on_progress=lambda *step: steps.append(step))
    assert "capability out is in" in done.text
    assert (place / "out" / "workers" / "bridge.py").is_file()
    assert steps[:2] == [("starting a kernel", 0, 4), ("running cell [1]", 0, 4)]
    assert file.read_bytes() == before
    assert journals(home) == []


def test_a_comparison_is_that_of_the_kernel(place):
    save(place / "a.ipynb", "FACTOR = 3", WORKER)
    executed(place / "a.ipynb", place / "out")
    file = save(
        place / "a.ipynb", "FACTOR = 3", WORKER, WORKER.replace("'a'", "'b'").replace("def h", "def g")
    )
    found = executed(file, place / "out", diff=True)
    assert "bridge: on_event b (g)" in found.text
    assert found.data["step"] == "minor"


@pytest.mark.parametrize(
    ("cells", "error", "place_of"),
    [
        (["x = 1", "y = 2\nprint(y)\nx / 0\n"], "ZeroDivisionError: division by zero", (2, 3)),
        (["def f():\n    return 1 / 0", "# why\nf()"], "ZeroDivisionError: division by zero", (2, 2)),
        (["x = (1,\n"], "SyntaxError", (1, None)),
        (["name = input('who? ')"], "asks for input, and here is nobody to give it", (1, 1)),
        (["%worker nobody"], "UsageError", (1, None)),
        (
            ["%%worker bridge\n@worker.on_startup\nasync def up(client):\n    1 / 0"],
            "ZeroDivisionError",
            (1, None),
        ),
        (["import os\nos._exit(0)"], "the kernel ended", (1, None)),
        (["exit()"], "ends the kernel, as exit() does", (1, None)),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_first_cell_that_fails_ends_it_with_cell_line_and_error(place, cells, error, place_of):
    with pytest.raises(NotExecuted) as failed:
        executed(save(place / "a.ipynb", *cells, WORKER), place / "out")
    told = failed.value.as_json()
    assert error in told["error"], told
    assert told["error"].endswith("; nothing was written")
    assert told["cell"] == place_of[0]
    if place_of[1] is not None:
        assert told["line"] == place_of[1]
    assert not (place / "out").exists()


def test_a_cell_that_may_fail_and_one_that_is_not_to_run_are_no_reason_to_stop(place):
    cells = ["1 / 0", "raise SystemError", "FACTOR = 1", WORKER]
    file = save(place / "a.ipynb", *cells, tags={0: "raises-exception", 1: "skip-execution"})
    assert "capability out is in" in executed(file, place / "out").text


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("import time\nwhile True:\n    time.sleep(0.01)", 3),
        ("import asyncio\nawait asyncio.sleep(600)", 2),
    ],
)
def test_a_cell_that_does_not_end_in_time_is_interrupted_and_said_where(place, cell, line):
    with pytest.raises(NotExecuted, match=r"it did not end within 2 s \(--cell-timeout\)") as failed:
        executed(save(place / "a.ipynb", cell), place / "out", cell_limit=2)
    assert failed.value.as_json()["line"] in (line, line - 1, None)


def test_a_cell_that_an_interrupt_does_not_end_is_killed(place):
    cell = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    time.sleep(1)"
    with pytest.raises(NotExecuted, match="and an interrupt does not end it"):
        executed(save(place / "a.ipynb", cell), place / "out", cell_limit=1)


def test_the_limit_of_all_cells_counts_them_together(place):
    cells = ["import time\ntime.sleep(1.5)"] * 4
    with pytest.raises(NotExecuted, match=r"the notebook did not end within 3 s \(--timeout\)"):
        executed(save(place / "a.ipynb", *cells), place / "out", total_limit=3)


def test_outputs_of_any_size_and_widgets_do_not_matter(place):
    cells = [
        "from IPython.display import display, HTML\nfor n in range(200):\n    display(HTML('x' * 200_000))",
        "print('y' * 20_000_000)",
        "%load_ext dnworker",
        "FACTOR = 2",
        WORKER,
        "%panel",
        "%fire a",
    ]
    assert "capability out is in" in executed(save(place / "a.ipynb", *cells), place / "out").text


def test_what_a_notebook_starts_ends_with_its_kernel(place):
    mark = f"mark{os.getpid()}"
    cell = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', {mark!r}])"
    executed(save(place / "a.ipynb", cell, "FACTOR = 2", WORKER), place / "out")
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and any(
        mark in p.info["cmdline"] or () for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"]
    ):
        time.sleep(0.05)
    assert not [p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or ())]


def test_a_refused_export_is_refused_as_in_the_kernel_with_its_reasons(place):
    file = save(place / "a.ipynb", "import socket\nFACTOR = socket.socket()", WORKER)
    with pytest.raises(ExecutedFailure, match="cannot be exported; nothing was written") as failed:
        executed(file, place / "out")
    assert failed.value.as_json()["refusals"][0]["cell"] in (1, 2)


def test_relative_paths_are_those_of_the_notebook_within_and_of_the_caller_without(place, monkeypatch):
    (place / "beside.py").write_text("FACTOR = 2\n")
    (place.parent / "elsewhere").mkdir()
    monkeypatch.chdir(place.parent / "elsewhere")
    save(place / "a.ipynb", "from beside import FACTOR", WORKER)
    executed(Path("../book/a.ipynb"), Path("out"))
    assert (place.parent / "elsewhere" / "out" / "workers" / "beside.py").is_file()


def test_a_kernel_that_is_not_here_is_replaced_by_this_interpreter_and_that_is_said(place):
    file = save(place / "a.ipynb", "FACTOR = 2", WORKER, kernel="no-such-kernel")
    done = executed(file, place / "out")
    assert (
        "the notebook's kernel 'no-such-kernel' is not installed here: this interpreter ran it" in done.text
    )


def install_kernel(home, name, argv, language="python"):
    directory = home / ".local" / "share" / "jupyter" / "kernels" / name
    directory.mkdir(parents=True)
    (directory / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": name, "language": language})
    )


def test_the_kernel_of_the_notebook_is_used(place, home):
    argv = [
        sys.executable,
        "-c",
        "import sys; print('no ipykernel in this one', file=sys.stderr); sys.exit(1)",
    ]
    install_kernel(home, "mine", [*argv, "{connection_file}"])
    with pytest.raises(
        UsageError, match="the kernel does not start: .*: no ipykernel in this one; it needs ipykernel"
    ):
        executed(save(place / "a.ipynb", WORKER, kernel="mine"), place / "out")


def test_a_kernel_without_dnworker_is_named(place, home):
    code = "import sys; sys.modules['dnworker'] = None; from ipykernel import kernelapp; kernelapp.launch_new_instance()"
    install_kernel(home, "bare", [sys.executable, "-c", code, "-f", "{connection_file}"])
    with pytest.raises(UsageError, match="cannot load dnworker: ModuleNotFoundError"):
        executed(save(place / "a.ipynb", WORKER, kernel="bare"), place / "out")


def test_a_notebook_of_another_language_is_refused(place, home):
    with pytest.raises(UsageError, match="is a notebook of R, and workers are of Python"):
        executed(save(place / "a.ipynb", "x <- 1", kernel="ir", language="R"), place / "out")


def test_without_ipykernel_it_says_what_to_install(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "jupyter_client.kernelspec", None)
    with pytest.raises(UsageError, match=r"install it with: pip install 'dnworker\[jupyter\]'"):
        executed(save(place / "a.ipynb", WORKER), place / "out")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_kernel_and_writes_nothing(place, tmp_path, number):
    cells = [
        "import os, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))\nwhile True:\n    pass",
        WORKER,
    ]
    file = save(place / "a.ipynb", *cells)
    command = [
        sys.executable,
        "-m",
        "dnworker",
        "export",
        str(file),
        "-o",
        str(tmp_path / "out"),
        "--execute",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (place / "pid").is_file() or not (place / "pid").read_text():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert "interrupted; nothing was written" in err
    assert not psutil.pid_exists(int((place / "pid").read_text()))
    assert not (tmp_path / "out").exists()


def test_the_command_line_passes_on_options_texts_and_codes(place, tmp_path):
    file = save(place / "a.ipynb", "FACTOR = 2", WORKER)

    def run(*options):
        command = [
            sys.executable,
            "-m",
            "dnworker",
            "export",
            str(file),
            "-o",
            str(tmp_path / "out"),
            "--execute",
        ]
        return subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=150)

    answer = run("--json", "--target", "dnworker", "--topology", "in-process", "--check")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == {"ok": True, "output": str(tmp_path / "out")}
    assert "from dnworker import" in (tmp_path / "out" / "workers" / "bridge.py").read_text()
    (tmp_path / "out" / "workers" / "bridge.py").write_text("edited = 1\n")
    answer = run("--target", "dnworker", "--topology", "in-process")
    assert answer.returncode == 1
    assert "was edited since the last export; nothing was written" in answer.stderr
    save(file, "1 / 0", WORKER)
    answer = run("--json")
    assert answer.returncode == 1
    assert json.loads(answer.stdout) == {
        "ok": False,
        "error": "cell [1], line 1: ZeroDivisionError: division by zero; nothing was written",
        "code": "DN511",
        "cell": 1,
        "cell_id": nbformat.read(file, 4).cells[0].id,
        "line": 1,
    }


@pytest.mark.parametrize(
    ("source", "loads"),
    [
        ("%load_ext dnworker", True),
        ("x = 1\n%reload_ext dnworker", True),
        ("get_ipython().extension_manager.load_extension('dnworker')", True),
        ("# %load_ext dnworker", False),
        ("X = '''\n%load_ext dnworker\n'''", False),
        ("%load_ext autoreload", False),
        ("import dnworker", False),
    ],
)
def test_a_cell_that_loads_the_extension_is_known(source, loads):
    assert loads_extension(source) == loads
