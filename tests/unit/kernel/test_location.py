"""Where the notebook's file is: asked on a thread, at most every two seconds, waited for in bounded time."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

from dnworker_jupyter.kernel import location
from dnworker_jupyter.kernel.location import NotebookLocation, notebook_path


def shell(**names):
    return SimpleNamespace(user_ns=names)


def test_the_front_end_names_the_notebook(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/a.ipynb")
    assert notebook_path(shell()) == Path("/notebooks/a.ipynb")
    assert notebook_path(shell(__vsc_ipynb_file__="/notebooks/b.ipynb")) == Path("/notebooks/b.ipynb")
    monkeypatch.setenv("JPY_SESSION_NAME", "console")
    assert notebook_path(shell()) is None


async def test_the_servers_answer_counts_more_than_the_name_at_the_start(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/a.ipynb")
    names = [Path("/notebooks/b.ipynb"), Path("/notebooks/c.ipynb"), None]
    here = NotebookLocation(shell(), lambda: names.pop(0))
    assert here.path == Path("/notebooks/a.ipynb")
    assert await here.fresh() == Path("/notebooks/b.ipynb")
    assert await here.fresh() == Path("/notebooks/c.ipynb")
    assert await here.fresh() == Path("/notebooks/c.ipynb")  # a server that does not know any more


async def test_vs_code_knows_better_than_a_server():
    here = NotebookLocation(shell(__vsc_ipynb_file__="/v.ipynb"), lambda: Path("/s.ipynb"))
    assert await here.fresh() == Path("/v.ipynb")


async def test_cells_ask_once_in_two_seconds_and_wait_for_nothing():
    asked, answer = [], threading.Event()

    def ask():
        asked.append(1)
        answer.wait(10)
        return Path("/a.ipynb")

    here = NotebookLocation(shell(), ask)
    for _ in range(3):
        here.look()
    assert here.path is None
    answer.set()
    assert await here.fresh() == Path("/a.ipynb")
    here.look()
    assert len(asked) == 1


async def test_an_answer_that_does_not_come_leaves_what_is_known(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/a.ipynb")
    never = threading.Event()
    here = NotebookLocation(shell(), lambda: never.wait(10) and None)
    assert await here.fresh(0.01) == Path("/notebooks/a.ipynb")
    never.set()


async def test_what_fails_on_the_way_is_nobodys_error(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/a.ipynb")
    here = NotebookLocation(shell(), lambda: 1 / 0)
    assert await here.fresh() == Path("/notebooks/a.ipynb")


async def test_who_keeps_the_journal_hears_where_the_notebook_is(monkeypatch):
    heard = []
    here = NotebookLocation(shell(), lambda: Path("/a.ipynb"))
    here.looked.add(heard.append)
    await here.fresh()
    assert heard == [Path("/a.ipynb")]


async def test_outside_of_a_kernel_nobody_is_asked(monkeypatch):
    monkeypatch.setattr(location, "ask_servers", lambda *_: 1 / 0)
    here = NotebookLocation(shell())
    here.look()
    assert await here.fresh() is None or here.path is not None
