"""Files of events: what is read of them, what is refused, and that they are written whole or not at all."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.core.errors import UsageError
from dnworker.events import event_files
from dnworker.events.event_files import events_of, new_file, new_output, read_events, write_events
from dnworker.testing import make_envelope

EVENTS = [make_envelope("a", {"n": n}, session_id="s", seq=n + 1) for n in range(3)]
CLOUD = {"specversion": "1.0", "id": "x", "source": "urn:x", "type": "a", "data": {"n": 1}}


def read(text: str | bytes) -> list:
    return [*events_of(io.BytesIO(text if isinstance(text, bytes) else text.encode()), "f")]


def test_events_are_the_same_after_a_batch_of_cloud_events(tmp_path):
    assert write_events(tmp_path / "e.json", EVENTS, cloud=True) == 3
    assert read_events(tmp_path / "e.json") == EVENTS
    assert len(json.loads((tmp_path / "e.json").read_text())) == 3


@pytest.mark.parametrize("cloud", [True, False])
def test_a_file_of_no_events_is_read_as_none(tmp_path, cloud):
    assert write_events(tmp_path / "e", [], cloud=cloud) == 0
    assert read_events(tmp_path / "e") == []


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(CLOUD),
        json.dumps(CLOUD, indent=2),
        json.dumps([CLOUD]),
        json.dumps([CLOUD], indent=2),
        "\ufeff" + json.dumps(CLOUD),
        "\n\n" + json.dumps(CLOUD) + "\r\n\r\n",
        '{"kind": "a", "payload": {"n": 1}}',
        '[{"kind": "a", "payload": {"n": 1}}]',
    ],
)
def test_each_form_is_recognised_by_its_content(text):
    (event,) = read(text)
    assert (event.kind, event.payload) == ("a", {"n": 1})


def test_envelopes_and_cloud_events_may_stand_in_one_file():
    assert [event.kind for event in read(f'{{"kind": "b"}}\n{json.dumps(CLOUD)}\n')] == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            json.dumps(CLOUD) + "\n" + json.dumps({**CLOUD, "specversion": "0.3"}),
            r"f, line 2: specversion is '0.3'",
        ),
        (json.dumps([CLOUD, {**CLOUD, "id": 5}]), r"f, item 2: id is an int"),
        ("[1, 2]", "f, item 1: not an event"),
        ("[{]", "f, line 1: not an event, nor a list"),
        ("{\n", "f, line 1: not an event"),
        ("\xff", "f, line 1: not an event"),
        ('{"kind": "a"}\n{"kind', "f, line 2: not an event"),
        ('{"kind": "a", "timestamp": "0001-01-01T00:00:00+23:00"}', None),
        ('{"kind": "a", "payload": [1]}', "f, line 1: not an event"),
        (b"\xff\xfe{\x00", "f, line 1: not an event"),
    ],
)
def test_what_is_no_event_is_named_by_line_or_item_in_one_line(text, message):
    if message is None:
        assert len(read(text)) == 1
        return
    with pytest.raises(UsageError, match=message) as error:
        read(text)
    assert "\n" not in str(error.value)


class Endless(io.RawIOBase):
    def __init__(self, piece: bytes) -> None:
        self.piece, self.given = piece, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        count = min(len(buffer), len(self.piece))
        buffer[:count] = self.piece[:count]
        self.given += count
        return count


@pytest.mark.parametrize(
    ("piece", "message"),
    [
        (b"0" * 8192, "line 1: it has over"),
        (b'{"kind": "a"}\n' * 500, "more than is read"),
        (b"[" * 8192, "more than"),
    ],
)
def test_a_file_without_an_end_is_given_up(monkeypatch, piece, message):
    monkeypatch.setattr(event_files, "FILE_BYTES", 3_000_000)
    monkeypatch.setattr(event_files, "LINE_BYTES", 1_000_000)
    source = Endless(piece)
    with pytest.raises(UsageError, match=message):
        list(events_of(io.BufferedReader(source, 8192), "f"))
    assert source.given < 4_000_000


def test_a_long_line_is_refused_with_its_number(monkeypatch):
    monkeypatch.setattr(event_files, "LINE_BYTES", 1_000)
    with pytest.raises(UsageError, match="f, line 2: it has over 1,000 bytes"):
        read('{"kind": "a"}\n{"kind": "' + "b" * 2_000 + '"}')


def test_a_batch_in_one_long_line_is_read(monkeypatch):
    monkeypatch.setattr(event_files, "LINE_BYTES", 1_000)
    assert len(read(json.dumps([CLOUD] * 50))) == 50


def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(UsageError, match="cannot be read"):
            read_events(place)
        with pytest.raises(UsageError, match="cannot be written: it is no file"):
            write_events(place, EVENTS)
    assert [file.name for file in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("cloud", [True, False])
def test_a_file_is_whole_or_as_it_was(tmp_path, cloud):
    file = tmp_path / "e"
    file.write_text("before")

    def events():
        yield EVENTS[0]
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        write_events(file, events(), cloud=cloud)
    assert file.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["e"]


def test_a_full_disk_is_said_in_one_line_and_changes_nothing(tmp_path, monkeypatch):
    def fsync(handle):
        raise OSError(28, "No space left on device")

    (tmp_path / "e").write_text("before")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UsageError, match="e cannot be written: No space left on device; nothing was changed"):
        write_events(tmp_path / "e", EVENTS)
    assert (tmp_path / "e").read_text() == "before"
    assert len([*tmp_path.iterdir()]) == 1


def test_a_link_to_a_file_stays(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "e")
    write_events(tmp_path / "link", EVENTS)
    assert (tmp_path / "link").is_symlink()
    assert read_events(tmp_path / "e") == EVENTS


def test_output_gets_nothing_of_what_failed():
    output = io.BytesIO()
    with pytest.raises(KeyError), new_output(output) as writer:
        writer.write(EVENTS[0])
        raise KeyError
    assert output.getvalue() == b""
    with new_output(output) as writer:
        writer.write(EVENTS[0])
    assert read(output.getvalue()) == EVENTS[:1]


def test_a_kind_that_no_cloud_event_may_have_is_named_with_its_event(tmp_path):
    with pytest.raises(UsageError, match="event #9: type"), new_file(tmp_path / "e", cloud=True) as writer:
        writer.write(make_envelope("a\nb", {}, seq=9))
    assert not [*tmp_path.iterdir()]


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_is_in_a_file_is_events_or_one_line(text):
    try:
        read(text)
    except UsageError as error:
        assert "\n" not in str(error)
