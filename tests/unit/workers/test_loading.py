"""Loading a worker's module from its file."""

from __future__ import annotations

import sys

import pytest

from dnworker.core.handler_error import describe
from dnworker.workers.loading import LoadError, forget_helpers, load_worker

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


@pytest.mark.clause("1.1 key")
def test_the_manifests_key_names_a_nameless_worker(load):
    assert load(GOOD).name == "bridge"


@pytest.mark.clause("4.7 module")
def test_the_module_has_the_name_of_the_contract(load):
    worker = load(GOOD + "worker.state['name'] = __name__\n")
    assert worker.state["name"] == "dreadnode.capabilities.worker.demo.workers.kebab_file"


@pytest.mark.clause("4.7 module")
def test_every_load_executes_the_file_afresh(load):
    assert load(GOOD) is not load(GOOD)


def test_relative_imports_of_siblings_work(load, tmp_path):
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "helper.py").write_text("VALUE = 7\n")
    assert load(GOOD + "from .helper import VALUE\nworker.state['v'] = VALUE\n").state["v"] == 7


STYLES = ["import helper", "from . import helper", "import helper as helper"]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.clause("11.10")
def test_both_styles_of_sibling_import_give_the_same_module(load, tmp_path, style):
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "helper.py").write_text("VALUE = 7\n")
    worker = load(f"{GOOD}{style}\nworker.state['m'] = helper\n")
    assert worker.state["m"].VALUE == 7
    assert worker.state["m"].__name__ == "dreadnode.capabilities.worker.demo.workers.helper"


def test_packages_beside_a_worker_are_imported_both_ways(load, tmp_path):
    (tmp_path / "workers" / "lib").mkdir(parents=True)
    (tmp_path / "workers" / "lib" / "__init__.py").write_text("TOP = 1\n")
    (tmp_path / "workers" / "lib" / "deep.py").write_text("import other\nVALUE = other.VALUE + 1\n")
    (tmp_path / "workers" / "other.py").write_text("VALUE = 40\n")
    source = "import lib.deep\nfrom lib import deep as again\nfrom .lib.deep import VALUE\n"
    worker = load(f"{GOOD}{source}worker.state.update(a=lib.TOP, b=lib.deep is again, c=VALUE)\n")
    assert worker.state == {"a": 1, "b": True, "c": 41}


def test_imports_inside_handlers_find_siblings_too(load, tmp_path):
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "helper.py").write_text("VALUE = 7\n")
    worker = load(
        GOOD + "def late():\n    import helper\n    return helper.VALUE\nworker.state['f'] = late\n"
    )
    assert worker.state["f"]() == 7


def test_a_sibling_hides_no_module_from_anybody_else(load, tmp_path):
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "json.py").write_text("VALUE = 7\n")
    assert load(GOOD + "import json\nworker.state['v'] = json.VALUE\n").state["v"] == 7
    import json

    assert json.loads("1") == 1
    assert str(tmp_path) not in " ".join(sys.path)


def test_an_edited_helper_is_read_again_after_a_reload(load, tmp_path):
    (tmp_path / "workers").mkdir()
    helper = tmp_path / "workers" / "helper.py"
    source = GOOD + "import helper\nworker.state['v'] = helper.VALUE\n"
    for value in (1, 2):  # of the same size and in the same second
        helper.write_text(f"VALUE = {value}\n")
        forget_helpers("demo")
        assert load(source).state["v"] == value
    assert not (tmp_path / "workers" / "__pycache__").exists()


def test_an_error_in_a_helper_shows_the_users_frames_only(load, tmp_path):
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "helper.py").write_text("x = 1\n1 / 0\n")
    with pytest.raises(ZeroDivisionError) as failed:
        load(GOOD + "import helper\n")
    places = [frame.place.rpartition("/")[2] for frame in describe(failed.value).frames]
    assert places[-2:] == ["kebab-file.py, line 3", "helper.py, line 2"]


@pytest.mark.clause("13.13")
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
@pytest.mark.clause("1.1 key")
@pytest.mark.clause("4.7 one")
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


def test_helpers_of_another_directory_are_forgotten(tmp_path):
    for value in (1, 2):
        root = tmp_path / str(value)
        (root / "workers").mkdir(parents=True)
        (root / "workers" / "helper.py").write_text(f"VALUE = {value}\n")
        file = root / "workers" / "w.py"
        file.write_text(GOOD.replace("bridge", "w") + "import helper\nworker.state['v'] = helper.VALUE\n")
        assert load_worker(root, "demo", "w", file).state["v"] == value
    forget_helpers("demo")
