"""State files of earlier releases open in this version, and those of later ones are refused in one line."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from dnworker.capability.flags import read_persisted, resolve_flags, write_persisted
from dnworker.capability.manifest import load_manifest
from dnworker.cli.main import main
from dnworker.core.clock import VirtualClock
from dnworker.core.errors import BrokerError, JournalError, ManifestError
from dnworker.events.brokers.sqlite.broker import SqliteBroker
from dnworker.events.journal import JournalReader
from dnworker.runtime import Runtime
from dnworker_jupyter.importer.importer import first_notebook

RELEASES = sorted((Path(__file__).parents[1] / "data" / "releases").iterdir())


@pytest.fixture(params=RELEASES, ids=lambda directory: directory.name)
def left(request, tmp_path):
    """What a release has left on a user's disk."""
    return Path(shutil.copytree(request.param, tmp_path / "left"))


def payloads(journal: Path) -> list[int]:
    with JournalReader(journal) as reader:
        return [event.payload["by"] for event in reader.events(kind="demo.count")]


async def test_the_journal_of_a_release_is_read_and_written_on(left):
    assert payloads(left / "journal.sqlite") == [1, 2, 3]
    clock = VirtualClock(begun(left / "journal.sqlite"))  # entries are kept for 30 days
    async with Runtime(port=None, journal=left / "journal.sqlite", clock=clock) as runtime:
        await runtime.load(left / "counting")
        assert (await runtime.fire("demo.count", {"by": 4})).ok
    assert payloads(left / "journal.sqlite") == [1, 2, 3, 4]


async def test_what_waited_in_the_durable_file_of_a_release_is_handled_with_the_state_that_was_kept(left):
    file, kept = left / "durable.sqlite", ["counting:counter"]
    clock = VirtualClock(begun(file))  # keys count for a day
    async with Runtime(port=None, broker=SqliteBroker(file), keep_state=kept, clock=clock) as runtime:
        await runtime.load(left / "counting")
        assert (await runtime.fire("demo.count", {"by": 100})).ok
        counted = [event for event in runtime.history.events(100) if event.kind == "demo.counted"]
        assert counted == []  # its key was used in the release
        session = await runtime.client().get_session("kept")
        assert session is not None
        assert session.labels == {"of": [left_version(left)]}
    with closing(sqlite3.connect(file)) as connection:
        ((state,),) = connection.execute(
            "SELECT value FROM kv WHERE key = 'state/counting:counter'"
        ).fetchall()
    assert f'"n":{1 + 2 + 3 + 4 + 100}' in state.decode().replace(" ", "")


def begun(file: Path) -> datetime:
    """Return when the runtime began that wrote a file."""
    with closing(sqlite3.connect(file)) as connection:
        return datetime.fromisoformat(connection.execute("SELECT max(started_at) FROM runs").fetchone()[0])


def left_version(left: Path) -> str:
    return load_manifest(left / "counting").version


def test_the_flags_of_a_release_count_and_stay_when_another_is_set(left):
    file, manifest = left / "flags.json", load_manifest(left / "counting")
    loud = resolve_flags(manifest, persisted=read_persisted(file, "counting"))["loud"]
    assert (loud.effective, loud.source) == (True, "binding")
    write_persisted(file, "counting", "new", False, version="9.0.0")
    assert read_persisted(file, "counting") == {"loud": True, "new": False}


def test_the_export_of_a_release_is_valid_and_is_exported_over_without_force(left, capsys):
    assert main(["validate", str(left / "export")]) == 0
    notebook = left / "first.ipynb"
    notebook.write_bytes(first_notebook().as_ipynb())
    assert main(["export", str(notebook), "-o", str(left / "export")]) == 0, capsys.readouterr().err


# -- what a later version has written ----------------------------------------------------------------------


def from_the_future(file: Path) -> bytes:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")
    return file.read_bytes()


def test_a_journal_of_a_later_version_is_refused_in_one_line_and_left_as_it_is(left):
    file = left / "journal.sqlite"
    before = from_the_future(file)
    with pytest.raises(
        JournalError, match=r"was written by a later version of dnworker: it is of format 99"
    ) as said:
        JournalReader(file)
    assert "\n" not in str(said.value)
    assert file.read_bytes() == before


async def test_a_durable_file_of_a_later_version_is_refused_in_one_line_and_left_as_it_is(left):
    file = left / "durable.sqlite"
    before = from_the_future(file)
    with pytest.raises(
        BrokerError, match=r"later version of dnworker.*format 99.*update, or name another"
    ) as said:
        await SqliteBroker(file).open("rt")
    assert "\n" not in str(said.value)
    assert file.read_bytes() == before


def test_flags_of_a_later_version_keep_what_this_one_does_not_know(left):
    file = left / "flags.json"
    later = json.loads(file.read_text())
    later["counting"]["rollout"] = {"percent": 5}
    file.write_text(json.dumps(later | {"format": 2}))
    assert read_persisted(file, "counting") == {"loud": True}
    write_persisted(file, "counting", "loud", False, version="0.1.0")
    kept = json.loads(file.read_text())
    assert (kept["format"], kept["counting"]["rollout"]) == (2, {"percent": 5})


def test_a_manifest_of_a_later_schema_is_refused_with_its_line(left):
    file = left / "export" / "capability.yaml"
    file.write_text(file.read_text().replace("schema: 1", "schema: 2"))
    with pytest.raises(ManifestError, match=r"capability\.yaml:\d+:\d+: schema is 2; this is version 1"):
        load_manifest(left / "export")
