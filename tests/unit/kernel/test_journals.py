"""Which journal belongs to which notebook: a rename keeps it, a new notebook of an old name gets another."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from dnworker_jupyter.kernel import journals as module
from dnworker_jupyter.kernel.journals import CELLS_KEPT, Journals, journal_file, journal_of, locate_journal


def write(file: Path, *ids: str, texts: tuple[str, ...] = ()) -> Path:
    cells = [{"cell_type": "code", "id": i, "source": "x"} for i in ids]
    cells += [{"cell_type": "code", "source": t} for t in texts]
    file.write_text(json.dumps({"cells": cells}))
    return file


@pytest.fixture
def here(tmp_path):
    (tmp_path / "journals").mkdir()
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def kernel(tmp_path):
    """A kernel that starts: what it knows of journals."""
    return lambda: Journals(tmp_path / "journals")


def test_a_notebook_finds_its_journal_again(here, kernel):
    notebook = write(here / "my notes.ipynb", "a", "b")
    claimed = kernel().claim(notebook)
    assert claimed.name.startswith("my-notes-")
    write(notebook, "b", "c")  # edited: one cell is the same
    assert kernel().claim(notebook) == claimed
    assert kernel().find(notebook) == claimed


def test_notebooks_of_one_name_in_two_directories_have_two_journals(here, kernel):
    (here / "x").mkdir()
    first, second = write(here / "n.ipynb", "a"), write(here / "x" / "n.ipynb", "b")
    assert kernel().claim(first) != kernel().claim(second)


def test_after_a_rename_that_a_cell_noticed_the_journal_goes_on(here, kernel):
    old, new = write(here / "Untitled.ipynb", "a"), here / "demo.ipynb"
    running = kernel()
    claimed = running.claim(old)
    old.rename(new)
    running.note(new, ["a", "c"])
    assert kernel().claim(new) == claimed
    assert kernel().claim(write(old, "z")) != claimed


def test_after_a_rename_of_a_notebook_of_very_many_cells_the_journal_goes_on(here, kernel):
    many = [f"c{n}" for n in range(CELLS_KEPT + 1)]
    old, new = write(here / "Untitled.ipynb", *many), here / "demo.ipynb"
    running = kernel()
    claimed = running.claim(old)
    old.rename(new)
    running.note(new, ["another"])
    new.rename(here / "again.ipynb")
    write(here / "Untitled.ipynb", *many)  # a copy that somebody put where it was
    assert kernel().claim(here / "again.ipynb") == claimed


def test_after_a_rename_without_a_kernel_the_journal_goes_on(here, kernel):
    old, new = write(here / "Untitled.ipynb", "a", "b"), here / "demo.ipynb"
    claimed = kernel().claim(old)
    old.rename(new)
    assert kernel().claim(new) == claimed
    assert kernel().claim(write(old, "z")) != claimed


def test_after_a_rename_to_a_place_of_which_the_old_one_is_taken_already_the_journal_goes_on(here, kernel):
    old, new = write(here / "Untitled.ipynb", "a", "b"), here / "demo.ipynb"
    claimed = kernel().claim(old)
    old.rename(new)
    write(old, "z")
    assert kernel().claim(new) == claimed


def test_a_new_notebook_of_the_name_of_a_deleted_one_inherits_nothing(here, kernel):
    notebook = write(here / "Untitled.ipynb", "a")
    first = kernel()
    claimed = first.claim(notebook)
    first.note(notebook, ["a", "b", "c"])
    fresh = kernel().claim(write(notebook, "z"))
    assert fresh != claimed
    assert kernel().claim(write(notebook, "z", "y")) == fresh
    assert kernel().claim(write(notebook, "c")) == claimed  # the first is restored
    assert kernel().claim(write(notebook, "third")).name.endswith("-3.db")


def test_a_notebook_is_the_same_by_a_link_to_its_directory(here, kernel):
    notebook = write(here / "n.ipynb", "a")
    (here.parent / "link").symlink_to(here)
    assert kernel().claim(here.parent / "link" / "n.ipynb") == kernel().find(notebook.resolve())


def test_a_copy_has_a_journal_of_its_own(here, kernel):
    notebook, copy = write(here / "n.ipynb", "a", "b"), write(here / "n-Copy1.ipynb", "a", "b")
    assert kernel().claim(notebook) != kernel().claim(copy)


def test_one_cell_in_common_makes_no_other_file_the_notebook(here, kernel):
    notebook = write(here / "n.ipynb", *"abcdefgh")
    claimed = kernel().claim(notebook)
    notebook.unlink()
    assert kernel().claim(write(here / "m.ipynb", "a", "1", "2", "3", "4")) != claimed


def test_a_notebook_without_ids_is_known_by_its_longer_cells(here, kernel):
    long, other = "result = compute_something(long_argument)", "result = compute_the_other(long_argument)"
    notebook = write(here / "n.ipynb", texts=("%load_ext dnworker", long))
    first = kernel()
    claimed = first.claim(notebook)
    first.note(notebook, ["made-up-by-the-front-end"])
    assert kernel().claim(write(notebook, texts=("%load_ext dnworker", long, "x"))) == claimed
    assert kernel().claim(write(notebook, texts=("%load_ext dnworker", other))) != claimed


def test_a_file_that_cannot_be_read_is_known_by_its_place(here, kernel):
    notebook = write(here / "n.ipynb", "a")
    claimed = kernel().claim(notebook)
    notebook.write_text("half wri")
    assert kernel().claim(notebook) == claimed
    assert kernel().claim(write(notebook, "a")) == claimed
    assert kernel().claim(write(notebook, "z")) != claimed


def test_the_journal_of_an_earlier_version_goes_on(here, kernel, tmp_path):
    notebook = write(here / "n.ipynb", "a")
    earlier = kernel().first_of(notebook)
    earlier.write_text("")
    assert kernel().claim(notebook) == earlier


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"notebook": 1, "cells": []}', '{"notebook": "x", "cells": 1}']
)
def test_a_broken_record_hurts_nobody(here, kernel, tmp_path, text):
    (tmp_path / "journals" / "x.json").write_text(text)
    assert kernel().claim(write(here / "n.ipynb", "a")).name.startswith("n-")


def test_records_are_readable_by_their_owner_only_and_written_whole(here, kernel, tmp_path):
    claimed = kernel().claim(write(here / "n.ipynb", "a"))
    assert claimed.with_suffix(".json").stat().st_mode & 0o077 == 0
    assert [f.name for f in (tmp_path / "journals").iterdir()] == [claimed.with_suffix(".json").name]


def test_addresses_of_vs_code_are_no_ids(here, kernel):
    notebook = write(here / "n.ipynb", "a")
    running = kernel()
    claimed = running.claim(notebook)
    running.note(notebook, ["vscode-notebook-cell:/n.ipynb#W0", "b"])
    assert json.loads(claimed.with_suffix(".json").read_text())["cells"] == ["a", "b"]


class Location:
    def __init__(self, path):
        self.path = path

    async def fresh(self):
        return self.path


async def test_a_journal_is_named_turned_off_or_the_notebooks_own(monkeypatch, here, kernel):
    notebook = write(here / "n.ipynb", "a")
    for value, expected in (("off", None), (str(here / "j.db"), here / "j.db")):
        monkeypatch.setenv("DNWORKER_JOURNAL", value)
        assert journal_of(notebook) == expected
        assert journal_file(Location(notebook)) == expected
        assert await locate_journal(Location(notebook), kernel()) is None
    monkeypatch.delenv("DNWORKER_JOURNAL")
    assert journal_of(notebook) == Journals().first_of(notebook)
    assert await locate_journal(Location(notebook), kernel()) == kernel().find(notebook)
    assert await locate_journal(Location(None), kernel()) is None


async def test_a_directory_that_cannot_be_written_costs_the_start_nothing(here, monkeypatch, caplog):
    (here / "file").write_text("")
    assert await locate_journal(Location(here / "n.ipynb"), Journals(here / "file")) is None
    assert "could not be found" in caplog.text


async def test_a_disk_that_hangs_holds_the_start_for_a_bounded_time(here, monkeypatch, caplog):
    import threading

    release = threading.Event()
    monkeypatch.setattr(module, "FIND_LIMIT", 0.01)
    slow = SimpleNamespace(claim=lambda _: release.wait(10))
    assert await locate_journal(Location(here / "n.ipynb"), slow) is None
    release.set()
    assert "the disk is slow" in caplog.text
