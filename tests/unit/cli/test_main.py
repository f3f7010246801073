"""The command line, as a process: what it prints and how it exits."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from dnworker.cli.main import OF_RUNTIME, main

from ..capabilities import ECHO, make_capability

TUTORIAL = Path(__file__).parents[3] / "notebooks" / "01-quickstart.ipynb"


def run(*arguments: str, **options):
    command = [sys.executable, "-m", "dnworker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.mark.clause("10.1 validate")
def test_a_good_manifest_validates(tmp_path):
    make_capability(tmp_path, "echo: {path: echo.py}")
    answer = run("validate", str(tmp_path))
    assert (answer.returncode, answer.stdout) == (0, f"{tmp_path}: ok (1 worker)\n")


def test_a_bad_manifest_fails_with_its_place_and_code(tmp_path):
    make_capability(tmp_path, "echo: {pat: echo.py}")
    answer = run("validate", str(tmp_path), "--json")
    (result,) = json.loads(answer.stdout)
    assert (answer.returncode, result["ok"]) == (1, False)
    assert "capability.yaml:6:10: worker 'echo' has the unknown key 'pat'" in result["problems"][0]


@pytest.mark.clause("11.14")
def test_strict_validation_fails_for_a_dropped_worker(tmp_path):
    make_capability(tmp_path, "echo: {path: echo.py, when: [nope]}")
    assert run("validate", str(tmp_path)).returncode == 0
    assert run("validate", "--strict", str(tmp_path)).returncode == 1


BARE = (
    "import sys; sys.modules['yaml'] = None; from dnworker.cli.main import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.mark.parametrize(
    ("command", "rest"),
    [("serve", ["x"]), ("serve", ["--port", "8787", "x"]), ("validate", ["--strict", "x"])],
)
def test_without_the_runtimes_libraries_a_command_says_what_to_install(command, rest):
    answer = subprocess.run(
        [sys.executable, "-c", BARE, command, *rest], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 1
    assert (
        answer.stderr
        == f"dnworker: `dnworker {command}` needs yaml; install it with: pip install 'dnworker[runtime]' (DN902)\n"
    )


@pytest.mark.parametrize("lacking", OF_RUNTIME)
def test_each_library_that_serve_imports_late_is_looked_for_before(lacking, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, lacking, None)
    assert main(["serve", "--json", "x"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (
        told["error"] == f"`dnworker serve` needs {lacking}; install it with: pip install 'dnworker[runtime]'"
    )


def test_the_commands_for_a_running_runtime_need_no_more_than_a_worker_does():
    answer = subprocess.run(
        [sys.executable, "-c", BARE, "ps", "--help"], capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stderr) == (0, "")


def test_wrong_use_exits_with_two():
    assert run("sevre").returncode == 2
    assert run("export", "x.ipynb").returncode == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--events", "f"], "--events is for a check; add --check, or leave it out"),
        (["--sdk", "python"], "--sdk is for a check; add --check, or leave it out"),
        (["--diff", "--lock"], "--diff writes nothing; leave --check, --lock and --force out"),
        (["--timeout", "5"], "--timeout is for a notebook that runs; add --execute, or leave it out"),
        (
            ["--cell-timeout", "5"],
            "--cell-timeout is for a notebook that runs; add --execute, or leave it out",
        ),
        (["--execute", "--timeout", "0"], "argument --timeout: '0' is no number of seconds above 0"),
        (["--execute", "--timeout", "inf"], "argument --timeout: 'inf' is no number of seconds above 0"),
    ],
)
def test_options_of_an_export_that_do_not_go_together_are_wrong_use(options, told, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["export", "n.ipynb", "-o", "out", *options])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_notebook_file_is_exported_and_a_missing_one_named(tmp_path):
    answer = run("export", str(TUTORIAL), "-o", str(tmp_path / "out"))
    assert answer.returncode == 0, answer.stderr
    assert "capability quickstart is in" in answer.stdout
    assert answer.stdout.endswith(
        "nothing ran, so values are not proved; --execute runs the notebook first, and proves them\n"
    )
    answer = run("export", str(tmp_path / "none.ipynb"), "-o", str(tmp_path / "out"))
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "none.ipynb cannot be read: No such file or directory" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.clause("10.2 serve")
def test_serve_runs_until_it_is_asked_to_stop_and_never_prints_its_token(tmp_path, number):
    root = make_capability(tmp_path / "cap", "echo: {path: echo.py}", {"echo.py": ECHO})
    token_file = tmp_path / "token"
    command = [
        sys.executable,
        "-m",
        "dnworker",
        "serve",
        str(root),
        "--port",
        "0",
        "--token-file",
        str(token_file),
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        told = server.stdout.readline()
        url = json.loads(told)["url"]
        token = token_file.read_text().strip()
        answer = httpx.get(
            f"{url}/api/workers/demo/echo", headers={"Authorization": f"Bearer {token}"}, trust_env=False
        )
        server.send_signal(number)
        out, err = server.communicate(timeout=60)
    assert answer.json()["state"] == "running"
    assert server.returncode == 0
    assert token not in told + out + err
    assert token_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [("", 0o600, "is empty"), ("word", 0o644, "chmod 600"), ("word", 0o640, "chmod 600")],
    ids=["empty", "readable", "readable by the group"],
)
def test_serve_refuses_a_token_file_that_is_empty_or_open_to_others(tmp_path, text, mode, said):
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    answer = run("serve", "--port", "0", "--token-file", str(file))
    assert (answer.returncode, answer.stdout) == (1, "")
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr


STUBBORN = """
import asyncio
from dnworker import Worker
worker = Worker("stubborn")

@worker.on_shutdown
async def never(client):
    print("shutting down", flush=True)
    await asyncio.Event().wait()
"""


class Served:
    """A `dnworker serve` of its own, with a home of its own."""

    def __init__(self, tmp_path, *arguments, **environ):
        self.home = tmp_path / "home"
        self.home.mkdir(exist_ok=True)
        self.environ = {**os.environ, "HOME": str(self.home), **environ}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dnworker", "serve", "--port", "0", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ,
            cwd=tmp_path,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.process.kill()
        self.process.communicate()

    def told(self):
        return json.loads(self.process.stdout.readline())

    def run(self, *arguments, **options):
        return run(*arguments, env=self.environ, **options)


@pytest.mark.slow
def test_the_other_commands_find_the_runtime_that_runs_here(tmp_path):
    broken = "import dnworker\nw = dnworker.Worker()\n@w.on_startup\nasync def s(c):\n    raise OSError('no disk')\n"
    root = make_capability(
        tmp_path / "cap",
        "echo: {path: echo.py}\nbroken: {path: broken.py}\ngated: {path: echo.py2, when: [later]}",
        {"echo.py": ECHO, "broken.py": broken},
        "flags:\n  later: {description: d}\n",
    )
    with Served(tmp_path, str(root)) as served:
        told = served.told()
        table = served.run("ps").stdout.splitlines()
        assert table[0].split() == ["WORKER", "STATE", "RUNS", "AS", "WHY"]
        assert [" ".join(line.split()) for line in table[1:]] == [
            "demo:echo running in-process",
            "demo:broken error in-process no disk",
            "demo:gated gated_off in-process needs later",
        ]
        assert json.loads(served.run("ps", "--json").stdout)["url"] == told["url"]
        answer = served.run("restart", "demo:echo", "demo:broken")
        assert answer.returncode == 1
        assert answer.stdout.splitlines() == [
            "demo:echo was running, and is left alone (--force restarts it); it is running",
            "demo:broken was restarted; it is error",
        ]
        tail = subprocess.Popen(
            [sys.executable, "-m", "dnworker", "tail", "demo.pong", "--count", "1"],
            stdout=subprocess.PIPE,
            text=True,
            env=served.environ,
        )
        for _ in range(200):  # until the tail has subscribed
            fired = json.loads(served.run("fire", "demo.ping", "n=1", "name=ada", "--json").stdout)
            if tail.poll() is not None:
                break
        line = tail.communicate()[0]
        assert fired["ok"]
        assert 'demo.pong {"echo": {"n": 1, "name": "ada"}}' in line
        record = json.loads(served.run("tail", "--logs", "--count", "1", "--json").stdout)
        assert record["source"] == "demo:broken"
        forced = served.run("restart", "--force", "demo:echo").stdout
        assert forced == "demo:echo was restarted; it is running\n"
        refused = served.run("fire", "turn.completed")
        assert (refused.returncode, "is reserved" in refused.stderr) == (1, True)
        assert "is no worker; name it as capability:worker" in served.run("restart", "echo").stderr
        assert "404" in served.run("restart", "demo:none").stderr
        served.process.send_signal(signal.SIGINT)
        _, err = served.process.communicate(timeout=60)
    assert served.process.returncode == 0
    assert "stopping; Ctrl-C again stops at once" in err
    assert list((served.home / ".dreadnode" / "dnworker").iterdir()) == []
    assert "no runtime answers" in served.run("ps").stderr


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    root = make_capability(tmp_path / "cap", "stubborn: {path: w.py}", {"w.py": STUBBORN})
    with Served(tmp_path, str(root)) as served:
        served.told()
        served.process.send_signal(signal.SIGINT)
        assert "stopping" in served.process.stderr.readline()
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(60) == 1


def test_ctrl_c_stops_a_startup_that_hangs(tmp_path):
    hangs = STUBBORN.replace("on_shutdown", "on_startup").replace('"stubborn"', '"hangs"')
    root = make_capability(tmp_path / "cap", "hangs: {path: w.py}", {"w.py": hangs})
    with Served(tmp_path, str(root)) as served:
        told = iter(served.process.stderr.readline, "")
        assert any("waiting for the startup of demo:hangs" in line for line in told)
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(60) == 0


@pytest.mark.clause("10.2 serve")
def test_serve_without_a_path_serves_what_it_finds(tmp_path):
    own = tmp_path / ".dreadnode" / "capabilities"
    own.mkdir(parents=True)
    make_capability(own / "demo", "echo: {path: echo.py}", {"echo.py": ECHO})
    (own / "bad").mkdir()
    (own / "bad" / "capability.yaml").write_text("schema: 2\n")
    with Served(
        tmp_path, "--journal", str(tmp_path / "j.sqlite"), DREADNODE_PROJECT_ROOT=str(tmp_path)
    ) as served:
        told = served.told()
        assert told["workers"] == {"demo:echo": {"state": "running", "error": None}}
        assert list(told["failed"]) == ["bad"]
    assert (tmp_path / "j.sqlite").exists()


def test_several_runtimes_must_be_told_apart(tmp_path):
    root = make_capability(tmp_path / "cap", "echo: {path: echo.py}", {"echo.py": ECHO})
    with Served(tmp_path, str(root)) as one, Served(tmp_path, str(root)) as two:
        urls = [one.told()["url"], two.told()["url"]]
        listed = one.run("ps")
        assert listed.returncode == 0
        assert all(url in listed.stdout for url in urls)
        answer = one.run("fire", "demo.ping")
        assert answer.returncode == 1
        assert all(url in answer.stderr for url in urls)
        assert "demo:echo" in one.run("ps", "--url", urls[1]).stdout


@pytest.mark.clause("10.1 validate")
def test_strict_validation_imports_worker_modules_in_a_process_of_their_own(tmp_path):
    marker = tmp_path / "imported"
    files = {
        "good.py": ECHO.replace("echo", "good", 1),
        "ends.py": f"open({str(marker)!r}, 'w')\nimport sys\nsys.exit(3)\n",
        "raises.py": "import dnworker\n\n1 / 0\n",
        "empty.py": "",
    }
    workers = "\n".join(f"{name[:-3]}: {{path: {name}}}" for name in files)
    workers += "\ngone: {path: gone.py}\nprogram: {command: no-such-program}\nunset: {command: sh, args: ['${NOPE_X}']}"
    root = make_capability(tmp_path / "cap", workers, files)
    plain, strict = run("validate", str(root)), run("validate", "--strict", "--json", str(root))
    assert (plain.returncode, strict.returncode) == (0, 1)
    (result,) = json.loads(strict.stdout)
    told = {problem.partition(": ")[0].rpartition(":")[2]: problem for problem in result["problems"]}
    assert "good" not in told
    assert "SystemExit: 3" in told["ends"]
    assert "ZeroDivisionError: division by zero" in told["raises"]
    assert "line 3" in told["raises"]
    assert "no Worker at module level" in told["empty"]
    assert "No such file" in told["gone"]
    assert "'no-such-program' is not found" in told["program"]
    assert "NOPE_X" in told["unset"]
    assert marker.exists()


def test_the_environment_names_the_runtime_before_any_that_runs_here(tmp_path, monkeypatch):
    root = make_capability(tmp_path / "cap", "echo: {path: echo.py}", {"echo.py": ECHO})
    with Served(tmp_path, str(root)) as served:
        served.told()
        served.environ["DREADNODE_RUNTIME_URL"] = "http://127.0.0.1:9"
        assert "no runtime answers at http://127.0.0.1:9" in served.run("ps").stderr


def test_what_a_worker_says_does_not_drive_the_terminal(tmp_path):
    rude = "import dnworker\nw = dnworker.Worker()\n@w.on_startup\nasync def s(c):\n    raise OSError('\\x1b[2J')\n"
    root = make_capability(tmp_path / "cap", "rude: {path: rude.py}", {"rude.py": rude})
    with Served(tmp_path, str(root)) as served:
        served.told()
        shown = served.run("ps").stdout
    assert "\x1b" not in shown
    assert "\\x1b[2J" in shown


def test_a_failing_check_is_told_and_fails_strict_validation(tmp_path):
    head = "checks:\n  - {name: disk, command: 'echo no disk >&2; exit 3'}\n"
    root = make_capability(tmp_path / "cap", "echo: {path: echo.py}", {"echo.py": ECHO}, head)
    plain, strict = run("validate", str(root)), run("validate", "--strict", str(root))
    assert (plain.returncode, strict.returncode) == (0, 1)
    assert "check disk: no disk" in plain.stdout
    with Served(tmp_path, str(root)) as served:
        served.told()


def test_a_handler_that_fails_is_told_where_serve_runs(tmp_path):
    rude = "import dnworker\nw = dnworker.Worker()\n@w.on_event('demo.a')\nasync def s(e, c):\n    raise OSError('no disk')\n"
    root = make_capability(tmp_path / "cap", "rude: {path: rude.py}", {"rude.py": rude})
    with Served(tmp_path, str(root)) as served:
        served.told()
        served.run("fire", "demo.a")
        assert re.search(r"demo:rude: s failed \(event #\d+ demo\.a\):", served.process.stderr.readline())


@pytest.mark.clause("10.1 validate")
def test_a_directory_of_capabilities_is_validated_one_by_one(tmp_path):
    for name in ("b", "a"):
        make_capability(tmp_path / name, "echo: {path: echo.py}")
    assert run("validate", str(tmp_path)).stdout.splitlines() == [
        f"{tmp_path}/a: ok (1 worker)",
        f"{tmp_path}/b: ok (1 worker)",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["x=1", "nonsense"], "'nonsense' is not of the form key=value"),
        (["--payload", "{"], "--payload is no JSON"),
        (["--payload", "[1]"], "must be a JSON object"),
    ],
)
def test_a_payload_that_is_none_is_one_sentence(tmp_path, arguments, says):
    root = make_capability(tmp_path / "cap", "echo: {path: echo.py}", {"echo.py": ECHO})
    with Served(tmp_path, str(root)) as served:
        served.told()
        answer = served.run("fire", "demo.a", *arguments)
    assert answer.returncode == 1
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_port_in_use_is_one_sentence(tmp_path, unused_tcp_port):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", unused_tcp_port))
        taken.listen()
        answer = run("serve", "--port", str(unused_tcp_port), env={**os.environ})
    assert answer.returncode == 1
    assert (
        answer.stderr
        == f"dnworker: port {unused_tcp_port} on 127.0.0.1 is in use; port 0 picks a free one (DN908)\n"
    )


async def test_what_handlers_of_a_served_worker_print_is_in_its_log_and_on_the_stream(capfd):
    import logging
    import sys

    from dnworker import Runtime, Worker
    from dnworker.engine.output import kept_output

    worker = Worker("loud")
    before = sys.stdout.write

    @worker.on_event("say")
    async def say(event, client):
        print("one\ntwo", end="")
        logging.getLogger("theirs").warning("careful")

    async with Runtime(port=None) as runtime:
        handler = logging.StreamHandler(sys.stderr)
        logging.getLogger("theirs").addHandler(handler)
        try:
            with kept_output(runtime):
                await runtime.add(worker)
                print("nobody's")
                await runtime.fire("say", {})
        finally:
            logging.getLogger("theirs").removeHandler(handler)
        lines = [(line.text, line.source, line.level) for line in runtime.logs.tail()]
    assert lines == [("one", "stdout", "info"), ("careful", "log", "warning"), ("two", "stdout", "info")]
    assert sys.stdout.write == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["exprt", "n"], "did you mean export?"),
        (
            ["export", "n", "-o", "d", "--chek"],
            "dnworker export: unrecognized arguments: --chek; did you mean --check?",
        ),
        (["export", "n", "-o", "d", "--target", "dredanode"], "did you mean dreadnode?"),
    ],
)
def test_a_mistyped_word_of_the_command_line_is_named_with_the_one_that_was_meant(words, told, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    "command",
    [["validate", "."], ["validate", ".", "--json"], ["map", "."], ["config", "--json"], ["probe", "--json"]],
    ids=" ".join,
)
def test_an_output_that_cannot_be_written_is_one_line(tmp_path, command, unused_tcp_port):
    make_capability(tmp_path, "echo: {path: echo.py}")
    url = f"http://127.0.0.1:{unused_tcp_port}"
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "dnworker", *command],
            cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path), "DREADNODE_RUNTIME_URL": url},
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (answer.returncode, answer.stderr) == (1, "dnworker: [Errno 28] No space left on device\n")


@pytest.mark.parametrize(
    ("closed", "code"), [(">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0)], ids=["out", "err", "all"]
)
@pytest.mark.parametrize("command", ["map .", "validate .", "config --json"])
def test_a_command_runs_where_its_standard_streams_are_closed(tmp_path, command, closed, code):
    make_capability(tmp_path, "echo: {path: echo.py}")
    line = f"exec {sys.executable} -m dnworker {command} {closed}"
    environ = {**os.environ, "HOME": str(tmp_path)}
    answer = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stderr) == (code, "")
