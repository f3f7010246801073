"""What all tests share: a home of their own, the check that nothing is left in the user's, and the marker of clauses."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from uv import find_uv_bin

from scripts.website.surroundings import reproducible

from .clauses import CLAUSES
from .ports import free_port

# No test asserts a time, and a machine that is busy is no failure. A change is judged by the same generated cases
# each time; `make explore` looks for new ones, and what it finds becomes a test or an @example.
settings.register_profile(
    "dnworker", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", settings.get_profile("dnworker"), derandomize=False, max_examples=1_000)
settings.load_profile("dnworker")

# jsonschema builds a grammar of IRIs when it is imported, which takes over a second in every process. No schema
# here uses that format, and jsonschema goes on without the module.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


OURS = ".dreadnode"
"""The directory of the user's home in which dnworker keeps things: a run that leaves something there fails."""

LEFT_AT_HOME = (OURS, ".ipython", ".jupyter", ".local/share/jupyter")
"""The directories in which a process that a test starts could leave something, or the user's own Jupyter does."""

REAL_HOME = pytest.StashKey[Path]()
FOUND_AT_START = pytest.StashKey[dict[str, int]]()
LEFT, WRITTEN = pytest.StashKey[list[str]](), pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a home of its own and no model of the developer, and let Ctrl-C end what it starts.

    Every process that it starts inherits this.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for what a shell runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as under nohup, which children inherit
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if hasattr(config, "workerinput"):  # the controller of pytest-xdist has done it
        return
    home = Path.home()
    config.stash[REAL_HOME] = home
    config.stash[FOUND_AT_START] = files_at(home)
    _keep_caches_and_settings(home)
    own = reproducible(os.environ)
    for name in os.environ.keys() - own.keys():
        del os.environ[name]
    os.environ.update(own)
    os.environ["HOME"] = tempfile.mkdtemp(prefix="dnworker-tests-home-")


def _keep_caches_and_settings(home: Path) -> None:
    """Name what programs look for in the home and what every test may share: caches, and settings of installers."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    asked = [find_uv_bin(), "cache", "dir"]
    os.environ["UV_CACHE_DIR"] = subprocess.run(
        asked, capture_output=True, text=True, check=True
    ).stdout.strip()
    for variable, file in {
        "GIT_CONFIG_GLOBAL": home / ".gitconfig",
        "PIP_CONFIG_FILE": config / "pip" / "pip.conf",
        "UV_CONFIG_FILE": config / "uv" / "uv.toml",
    }.items():
        if file.is_file():
            os.environ.setdefault(variable, str(file))


def files_at(home: Path) -> dict[str, int]:
    """Return the files below the directories of `LEFT_AT_HOME`, and when each was written."""
    found = dict[str, int]()
    for path in (path for name in LEFT_AT_HOME for path in (home / name).rglob("*")):
        with suppress(OSError):  # it is gone meanwhile
            if path.is_file():
                found[str(path)] = path.stat().st_mtime_ns
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that left something in the user's home."""
    config = session.config
    if REAL_HOME not in config.stash:
        return
    before, after = config.stash[FOUND_AT_START], files_at(config.stash[REAL_HOME])
    ours = str(config.stash[REAL_HOME] / OURS)
    config.stash[LEFT] = sorted(after.keys() - before.keys())
    # What was there may be that of a runtime of the developer: it is named, and fails nothing.
    config.stash[WRITTEN] = sorted(
        p for p, at in before.items() if p.startswith(ours) and after.get(p, at) != at
    )
    if any(path.startswith(ours) for path in config.stash[LEFT]):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what was left in the user's home."""
    left = config.stash.get(LEFT, [])
    if left:
        terminalreporter.section("left in the home directory", red=True)
        terminalreporter.line(
            f"These files are new since the run began; a run that leaves something in {OURS} fails:"
        )
        for path in left:
            terminalreporter.line(f"  {path}")
    if written := config.stash.get(WRITTEN, []):
        terminalreporter.section("written in the home directory", yellow=True)
        terminalreporter.line(
            "These were there, and something has written them: a runtime of yours, or a test:"
        )
        for path in written:
            terminalreporter.line(f"  {path}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the home of the run."""
    if REAL_HOME in config.stash:
        shutil.rmtree(os.environ["HOME"], ignore_errors=True)
        os.environ["HOME"] = str(config.stash[REAL_HOME])


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory of the test's own: logs and state of its workers meet those of no other test."""
    directory = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(directory))
    for name in ("DREADNODE_RUNTIME_URL", "DREADNODE_RUNTIME_TOKEN", "DREADNODE_RUNTIME_ID"):
        monkeypatch.delenv(name, raising=False)
    return directory


@pytest.fixture
def unused_tcp_port() -> int:
    """In place of the one of pytest-asyncio, whose port the system may give to a connection meanwhile."""
    return free_port()


TESTS = Path(__file__).parent


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Keep what pytest makes of the files of tests, and in a run of all of them make it in turns.

    It is half of a collection, and each process of pytest-xdist collects all tests: each first imports a part
    of the files, and finds what the others have made of the rest. PYTHONDONTWRITEBYTECODE counts again for
    what tests import while they run.
    """
    config, before = session.config, sys.dont_write_bytecode
    sys.dont_write_bytecode = False
    try:
        if hasattr(config, "workerinput") and [Path(arg).resolve() for arg in config.args] == [TESTS]:
            number, count = int(config.workerinput["workerid"][2:]), config.workerinput["workercount"]
            _import_files(sorted(TESTS.rglob("test_*.py"))[number::count])
        yield
    finally:
        sys.dont_write_bytecode = before


def _import_files(files: list[Path]) -> None:
    for file in files:
        name = ".".join(file.relative_to(TESTS.parent).with_suffix("").parts)
        with suppress(Exception, pytest.skip.Exception):  # the collection imports it again, and says so
            importlib.import_module(name)


LONGEST_FIRST = (
    "tests/interop",
    "tests/browser/test_panel.py",
    "tests/browser",
    "tests/packaging",
    "tests/docs/test_how_to.py",
    "tests/docs",
    "tests/kernel/test_surface.py",
    "tests/kernel",
    "tests/unit/export",
)
"""What takes longest, so that no process of pytest is left alone with it at the end; all other files come after it."""


BUSY = 6
"""How often the limit that a test names it gets: limits end what hangs, on a machine with a load of 8 too."""


def rank(item: pytest.Item) -> int:
    """Return a file's place in the order of a run."""
    return next(
        (n for n, begin in enumerate(LONGEST_FIRST) if item.nodeid.startswith(begin)), len(LONGEST_FIRST)
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first, and refuse a clause that is not on the list: the table would lack it."""
    # Hypothesis imports it at its first use and pytest parses it, which fails in Python 3.11 and 3.12 where a thread
    # of a test parses at the same time (see core/parsing.py).
    importlib.import_module("hypothesis.strategies._internal.regex")
    items.sort(key=rank)
    for item in items:
        mark = item.get_closest_marker("timeout")
        limit = float(mark.args[0] if mark is not None else item.config.getini("timeout"))
        item.add_marker(pytest.mark.timeout(limit * BUSY), append=False)
    for item in items:
        for mark in item.iter_markers("clause"):
            if mark.args[0] not in CLAUSES:
                raise pytest.UsageError(
                    f"{item.nodeid}: there is no clause {mark.args[0]!r} in tests/clauses.py"
                )
