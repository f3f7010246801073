"""What views send, as structs; and that the front end sends and takes the same."""

from __future__ import annotations

import re
from typing import get_args

import msgspec
import pytest

from dnworker.core.errors import UsageError
from dnworker.panel import assets, messages
from dnworker.panel.log_rows import LogFilter
from dnworker.panel.parts import PARTS


def test_a_message_is_read_by_its_type():
    found = messages.read({"type": "log", "view": "v", "id": 1, "filter": {"text": "x", "regex": True}})
    assert found == messages.Log(view="v", id=1, filter=LogFilter(text="x", is_regex=True))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "Expected `object`"),
        ({"view": "v"}, "missing required field `type`"),
        ({"type": "dance", "view": "v"}, "Invalid value 'dance'"),
        ({"type": "bye"}, "missing required field `view`"),
        ({"type": "control", "view": "v", "id": 1, "verb": "explode", "worker": "w"}, "'explode'"),
        ({"type": "log", "view": "v", "id": "1", "filter": {}}, "Expected `int`"),
    ],
    ids=["none", "no type", "unknown type", "no view", "unknown verb", "a number as text"],
)
def test_a_malformed_message_is_refused_with_what_is_wrong(content, problem):
    with pytest.raises(UsageError, match=re.escape(problem)):
        messages.read(content)


@pytest.mark.parametrize("kind", get_args(messages.Message), ids=lambda kind: kind.__name__)
def test_the_front_end_sends_each_message(kind):
    tag = msgspec.inspect.type_info(kind).tag
    assert re.search(rf'type: ?"{tag}"', assets.module())


@pytest.mark.parametrize("part", PARTS)
def test_the_front_end_looks_at_each_part(part):
    assert re.search(rf"""[lL]ook\([^()]*["'`]{part}["'`#]""", assets.module())
