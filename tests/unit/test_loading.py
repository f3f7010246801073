"""Loading a worker's module from its file."""

from __future__ import annotations

import sys

import pytest

from dnworker.capability.loading import LoadError, forget_helpers, load_worker

GOOD = "from dnworker import Worker\nworker = Worker()\n"


@pytest.fixture
def load(tmp_path):
    def load(source: str, path: str = "workers/kebab-file.py"):
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(source)
        return load_worker(tmp_path, "demo", "bridge", file)

    yield load
    forget_helpers("demo")


def test_the_manifests_key_names_a_nameless_worker(load):
    assert load(GOOD).name == "bridge"


def test_the_module_has_the_name_of_the_contract(load):
    worker = load(GOOD + "worker.state['name'] = __name__\n")
    assert worker.state["name"] == "dreadnode.capabilities.worker.demo.workers.kebab_file"


def test_every_load_executes_the_file_afresh(load):
    assert load(GOOD) is not load(GOOD)


def test_relative_imports_of_siblings_work(load, tmp_path):
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "helper.py").write_text("VALUE = 7\n")
    assert load(GOOD + "from .helper import VALUE\nworker.state['v'] = VALUE\n").state["v"] == 7


def test_two_names_for_one_worker_are_one_worker(load):
    assert load(GOOD + "same = worker\n").name == "bridge"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n", "no Worker at module level"),
        (GOOD + "second = Worker()\n", "2 Workers at module level"),
        (
            "from dnworker import Worker\nworker = Worker('other')\n",
            "named 'other', the manifest says 'bridge'",
        ),
    ],
)
def test_a_module_without_exactly_this_worker_is_refused(load, source, message):
    with pytest.raises(LoadError, match=message):
        load(source)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        load_worker(tmp_path, "demo", "bridge", tmp_path / "missing.py")


def test_helpers_are_forgotten_on_request(load):
    load(GOOD)
    forget_helpers("demo")
    assert not [name for name in sys.modules if name.startswith("dreadnode.capabilities.worker.demo")]
