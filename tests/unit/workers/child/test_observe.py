"""Workers of the SDK report what their handlers do, and behave as if nobody observed them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile

import pytest

from dnworker.core import masking, short_values
from dnworker.core.handler_error import describe
from dnworker.core.handlers import HandlerKey
from dnworker.workers.reports import Begin, End, Hello, Notice, Ran
from dnworker.workers.subprocess_worker import CHILD_HOOK

from .sdk import HEAD, TAIL, WORD, WORKER, Child, run, write_sdk


@pytest.fixture
def root(tmp_path):
    return write_sdk(tmp_path)


WHOLE = """
@worker.on_startup
async def start(client):
    print("starting")

@worker.on_event("a")
async def on_a(event, client):
    print("a", event.payload["n"])
    print(client.headers_of_a_request().get("traceparent"))

@worker.on_event("b")
async def on_b(event, client):
    api_token, items = "sesame", [1, 2]
    try:
        {}["x"]
    except KeyError as exc:
        raise ValueError("bad b") from exc

@worker.on_event("quick")
async def quick(event, client): ...

@worker.every(seconds=0.5)
async def beat(client): ...

@worker.task
async def spin(client):
    print("spinning")

@worker.on_shutdown
async def stop(client):
    print("bye", file=sys.stderr)

EVENTS = [event("a", 1, n=7), event("b", 2), *(event("quick", 3 + n) for n in range(5))]
"""


def test_handlers_and_their_runs_are_reported_and_what_they_print_is_theirs(root):
    child = run(root, WHOLE)
    (hello,) = child.of(Hello)
    assert child.code == 0
    assert hello.handlers == [
        HandlerKey("on_startup", "", "start"),
        HandlerKey("on_event", "a", "on_a"),
        HandlerKey("on_event", "b", "on_b"),
        HandlerKey("on_event", "quick", "quick"),
        HandlerKey("every", "0.5s", "beat"),
        HandlerKey("task", "", "spin"),
        HandlerKey("on_shutdown", "", "stop"),
    ]
    begun = child.of(Begin, Ran)
    assert [one.key.name for one in begun] == ["start", "spin", "on_a", "on_b", *["quick"] * 5, "stop"]
    assert all(one.delivered for one in begun if one.event_id)
    ids = {one.key.name: one.id for one in begun}
    ended = [*child.of(End), *child.of(Ran)]
    assert sorted(one.id for one in ended) == sorted(one.id for one in begun)
    owners = child.owners()
    assert owners["a 7"].id == ids["on_a"]
    assert owners["starting"].id == ids["start"]
    assert owners["spinning"].id == ids["spin"]
    assert (owners["bye"].id, owners["bye"].source) == (ids["stop"], "stderr")
    assert f"00-{1:032x}-{ids['on_a']}-01" in owners


def test_an_error_has_frames_causes_and_values_and_the_sdks_own_text_of_it_is_marked_as_logged(root):
    child = run(root, WHOLE)
    (failed,) = [one for one in child.of(End) if one.outcome == "error"]
    error = failed.error
    assert (error.type, error.message) == ("ValueError", "bad b")
    assert [frame.function for frame in error.frames] == ["on_b"]
    assert error.frames[0].source == 'raise ValueError("bad b") from exc'
    assert dict(error.frames[0].locals)["api_token"] == "***"
    assert dict(error.frames[0].locals)["items"] == "[1, 2]"
    assert error.cause.type == "KeyError"
    told = child.owners()["ValueError: bad b"]
    assert (told.id, told.is_logged) == (failed.id, True)


def test_values_are_read_only_where_they_are_wanted(root):
    child = run(root, WHOLE, DNWORKER_LOCALS="0")
    assert not any(end.error.has_values for end in child.of(End) if end.error is not None)


def test_only_the_last_handler_of_an_event_says_that_it_is_delivered(root):
    script = """
@worker.on_event("a")
async def first(event, client): ...
@worker.on_event("a")
async def second(event, client): ...
EVENTS = [event("a", 1)]
"""
    assert [one.delivered for one in run(root, script).of(Begin, Ran)] == [False, True]


def test_a_cancelled_handler_is_reported_as_cancelled(root):
    script = """
@worker.on_event("a")
async def first(event, client):
    raise asyncio.CancelledError
EVENTS = [event("a", 1)]
"""
    assert [one.outcome for one in run(root, script).of(End)] == ["cancelled"]


# -- nothing else differs --------------------------------------------------------------------------------

LOOKS = """
import atexit, json, signal, threading

@worker.on_event("a")
async def on_a(event, client):
    modules = sorted(n for n in sys.modules if "dnworker" in n or n in ("observe", "channel", "once"))
    print(json.dumps({
        "path": sys.path, "modules": modules, "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()), "environ": sorted(n for n in os.environ if "DNWORKER" in n),
        "signals": [str(signal.getsignal(s)) for s in (signal.SIGTERM, signal.SIGCHLD)],
        "files": len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
        "excepthook": sys.excepthook is sys.__excepthook__, "doc": on_a.__name__,
    }))

@worker.on_event("fails")
async def fails(event, client):
    raise ValueError("it")

@worker.on_event("order")
async def one(event, client):
    asyncio.get_running_loop().call_soon(print, "called")
    await asyncio.sleep(0)
    print("one")

@worker.on_event("order")
async def two(event, client):
    print("two")
    await asyncio.sleep(0)
    print("two again")

atexit.register(print, "at exit")
EVENTS = [event("a", 1), event("fails", 2), event("order", 3)]
"""


def test_a_script_sees_and_prints_the_same_with_and_without(root):
    observed, plain = run(root, LOOKS), run(root, LOOKS, observed=False)
    assert observed.of(Hello)
    assert not plain.reports
    seen, other = (
        child.text.replace(f'"DNWORKER_{name}"', "") for child, name in ((observed, ""), (plain, ""))
    )
    variables = '"environ": ["DNWORKER_LOCALS", "DNWORKER_OBSERVE", "DNWORKER_REPORTS"]'
    assert observed.text == plain.text.replace(variables, '"environ": []')
    assert str(CHILD_HOOK) not in observed.text


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("@worker.on_startup\nasync def start(client):\n    sys.exit(7)\n", 7),
        ("@worker.on_startup\nasync def start(client):\n    raise KeyError('ws')\n", 1),
        ("@worker.on_startup\nasync def start(client):\n    os.kill(os.getpid(), 9)\n", -9),
        ("@worker.on_startup\nasync def start(client):\n    os._exit(3)\n", 3),
    ],
)
def test_it_ends_as_it_would_and_with_the_same_traceback(root, script, code):
    observed, plain = run(root, script), run(root, script, observed=False)
    assert (observed.code, plain.code) == (code, code)
    assert observed.of(Begin)
    assert observed.text == plain.text


def test_children_that_it_forks_or_spawns_do_not_report_and_print_as_they_would(root):
    script = """
import multiprocessing, subprocess

def child():
    print("from a child", flush=True)

@worker.on_event("a")
async def on_a(event, client):
    for how in ("fork", "spawn"):
        process = multiprocessing.get_context(how).Process(target=child)
        process.start()
        process.join()
    subprocess.run([sys.executable, "-c", "from w import worker; worker.run()"], check=True)

EVENTS = [event("a", 1)] if os.environ.get("DNWORKER_REPORTS") else []
"""
    child = run(root, script)
    assert child.text.count("from a child") == 2
    assert len(child.of(Hello)) == 1
    assert [one.key.name for one in child.of(Begin, Ran)] == ["on_a"]


def test_the_users_own_sitecustomize_runs_and_modules_named_as_ours_are_the_users(root):
    (root / "sitecustomize.py").write_text("print('customized')\n")
    (root / "observe.py").write_text("NAME = 'theirs'\n")
    script = "import observe\n@worker.on_startup\nasync def start(client):\n    print(observe.NAME)\n"
    assert run(root, script).text.splitlines() == ["customized", "theirs"]


@pytest.mark.parametrize("option", ["-I", "-S", "-E"])
def test_a_python_that_leaves_the_hook_out_runs_as_it_would(root, option):
    text = (
        f"import sys\nsys.path.insert(0, {str(root)!r})\n"
        "from dreadnode.capabilities.worker import Worker\nprint('ran')\n"
    )
    child = run_text(root, text, option)
    assert child.text == "ran\n"
    assert not child.reports


def run_text(root, text, *python):
    (root / "x.py").write_text(text)
    environ = {"PYTHONPATH": str(CHILD_HOOK), "DNWORKER_REPORTS": WORD, "DNWORKER_OBSERVE": "1"}
    done = subprocess.run(
        [sys.executable, *python, str(root / "x.py")], env=environ, stdout=-1, stderr=-2, check=False
    )
    return Child(done.returncode, done.stdout)


def test_an_sdk_within_an_archive_is_observed_and_its_other_modules_are_loaded_once(tmp_path):
    sdk = write_sdk(tmp_path / "sdk")
    archive = tmp_path / "app.pyz"
    with zipfile.ZipFile(archive, "w") as made:
        for path in sdk.rglob("*.py"):
            made.write(path, path.relative_to(sdk))
    script = "@worker.on_startup\nasync def start(client):\n    print(Worker.__module__)\n"
    child = run(tmp_path, script, PYTHONPATH=f"{CHILD_HOOK}:{archive}")
    assert child.text == "dreadnode.capabilities.worker\n"
    assert len(child.of(Hello)) == 1


# -- what fails in it ------------------------------------------------------------------------------------


def test_an_sdk_that_is_made_otherwise_runs_and_it_is_said_once_why_it_does_not_report(tmp_path):
    root = write_sdk(tmp_path, worker=WORKER.replace("_run_until", "_run_to"))
    child = run(root, "@worker.on_startup\nasync def start(client):\n    print('ran')\n")
    assert child.text == "ran\n"
    assert child.of(Notice) == [Notice("this version of its SDK has no Worker._run_until", is_over=True)]
    assert child.of(Begin) == []


def test_a_worker_without_a_registry_runs_and_it_is_said_once(tmp_path):
    root = write_sdk(tmp_path, worker=WORKER.replace("self._task_handlers = [], [], []", "_ = [], [], []"))
    child = run(root, "@worker.on_startup\nasync def start(client):\n    print('ran')\n")
    assert "object has no attribute '_task_handlers'" in child.text  # the SDK's own
    (notice,) = child.of(Notice)
    assert notice.is_over
    assert "AttributeError" in notice.text


def test_what_fails_in_a_report_ends_the_reports_and_no_handler(root):
    script = """
@worker.on_event("a")
async def on_a(event, client):
    print("handled")
EVENTS = [event("a", 1), SimpleNamespace(kind="a"), event("a", 2)]
"""
    child = run(root, script)
    assert child.text == "handled\n" * 3
    (notice,) = child.of(Notice)
    assert notice.is_over
    assert "event_id" in notice.text


def test_a_second_worker_of_a_process_runs_and_says_that_it_does_not_report(root):
    script = """
other = Worker(name="other")

@other.on_startup
async def start(client):
    print("other runs")

@worker.on_startup
async def first(client):
    await other._run_until(None)
"""
    child = run(root, script)
    assert "other runs" in child.text
    assert len(child.of(Hello)) == 1
    assert [n.text for n in child.of(Notice)] == [
        "other runs without reporting: only one Worker of a process reports at a time"
    ]


def test_output_that_the_script_sends_elsewhere_gets_no_report(root):
    script = """
@worker.on_startup
async def start(client):
    sys.stdout.flush()
    target = os.open(os.path.join(os.environ["CAPABILITY_ROOT"], "elsewhere.txt"), os.O_CREAT | os.O_WRONLY)
    os.dup2(target, 1)
    print("to a file")

@worker.on_event("a")
async def on_a(event, client): ...
EVENTS = [event("a", 1)]
"""
    child = run(root, script)
    assert [one.key.name for one in child.of(Begin, Ran)] == ["start", "on_a"]  # by standard error
    assert (root / "elsewhere.txt").read_text() == "to a file\n"


def test_reports_that_a_full_pipe_does_not_take_are_counted_and_the_script_waits_for_nobody(root):
    script = """
@worker.on_event("a")
async def on_a(event, client):
    await asyncio.sleep(0)

@worker.on_event("read")
async def read(event, client):
    print("full", file=sys.stderr, flush=True)
    sys.stdin.readline()

@worker.on_event("late")
async def late(event, client):
    await asyncio.sleep(0.03)

os.set_blocking(1, False)
EVENTS = [*(event("a", n) for n in range(12_000)), event("read", 1), *(event("late", n) for n in range(40))]
"""
    (root / "w.py").write_text(HEAD + script + TAIL)
    environ = {"PYTHONPATH": f"{CHILD_HOOK}:{root}", "DNWORKER_REPORTS": WORD, "DNWORKER_OBSERVE": "1"}
    command = [sys.executable, str(root / "w.py")]
    with subprocess.Popen(command, env=environ, stdin=-1, stdout=-1, stderr=-1) as process:
        assert process.stderr.readline() == b"full\n"
        output, _ = process.communicate(b"\n", timeout=60)
    child = Child(process.returncode, output)
    assert child.code == 0
    begun = child.of(Begin, Ran)
    assert sum(one.lost for one in child.of(Notice)) > 0
    assert begun[-1].key.name == "late"
    assert len({one.id for one in begun}) == len(begun)


# -- errors as data --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def describing():
    spec = importlib.util.spec_from_file_location("_describing", CHILD_HOOK / "describing.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Hidden(dict):
    def __repr__(self):
        raise AssertionError("its code runs")


VALUES = [
    None, True, 1.5, 10**50, 10**500, "x", "x" * 500, b"y" * 500, [1, [2, [3, [4, [5]]]]], (1,), (), set(), {1},
    frozenset({2}), {}, {"password": "p", "a": {"b": [1] * 20}}, range(3), len, sys, Hidden(a=1), object, ...,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_is_the_text_that_a_worker_of_ours_makes_of_it(describing, value):
    if value in (sys, len):
        assert describing.short_value(value).startswith("<")
    else:
        assert describing.short_value(value, "v") == short_values.short_value(value, "v")


def test_what_is_secret_is_the_same_as_in_ours(describing):
    assert describing.SECRET.pattern == masking._SECRET.pattern
    assert describing.short_value("x", "my_api_key") == "***"


def test_an_error_is_bounded_and_never_runs_code_of_others(describing):
    class Broken(Exception):
        def __str__(self):
            sys.exit(3)

    def deep(count):
        if count:
            deep(count - 1)
        raise Broken

    try:
        deep(300)
    except Broken as exc:
        error = describing.describe(exc, with_locals=True)
    assert error["message"] == "<Broken.__str__ raised SystemExit>"
    assert len(error["frames"]) <= 100
    assert error["hidden"] > 200
    group = ExceptionGroup("many", [ValueError(str(n)) for n in range(90)])
    made = describing.describe(group, with_locals=False)
    assert tuple(made["classes"]) == describe(group).classes
    assert len(made["members"]) == 20
    assert made["more_members"] == 70
