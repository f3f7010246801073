"""What a runtime is attached to, as every view is sent it, and both sides by pages."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.attach.facts import Gap
from dnworker.panel import attached_part
from dnworker.panel.attached import LINES_SHOWN, LONGEST, mark_to_json
from dnworker.panel.attached_part import ROWS_SHOWN, attached_to_json
from dnworker.panel.pace import Pace

from ..attachments import URL, FakeAttachment


@pytest.fixture(autouse=True)
def without_gaps(monkeypatch):
    monkeypatch.setattr(attached_part, "ATTACHED_INTERVAL", 0.0)


@pytest.fixture
def attachment(runtime):
    runtime.attachment = made = FakeAttachment()
    made.engine = runtime
    return made


class Model:
    """What the part needs of a panel's model."""

    def __init__(self, attachment):
        self.engine = self
        self.attachment = attachment


async def test_a_runtime_that_is_attached_to_nothing_has_no_mark_and_no_rows(screen):
    snapshot = await screen.open(looks={"attached": {}})
    assert "attached" not in snapshot["runtime"]
    assert snapshot["attached"] is None


@pytest.mark.parametrize(("live", "mode"), [(False, "shadow"), (True, "live")])
async def test_every_view_is_sent_the_mark_unasked(runtime, screen, live, mode):
    runtime.attachment = FakeAttachment(live=live)
    mark = (await screen.open())["runtime"]["attached"]
    assert (mark["mode"], mark["url"], mark["state"]) == (mode, URL, "following")


async def test_rows_and_score_are_sent_as_they_come(attachment, screen):
    await screen.open(looks={"attached": {"last": 10}})
    attachment.compare(1)
    attachment.compare(
        2, "different", deployed=["publishes a {}"], notebook=["publishes b {}"], why="another kind"
    )
    part = await screen.part("attached", lambda part: len(part["rows"]) == 2)
    newest = part["rows"][0]
    assert (newest["seq"], newest["verdict"], newest["why"]) == (2, "different", "another kind")
    assert (newest["deployed"], newest["notebook"]) == (["publishes a {}"], ["publishes b {}"])
    assert newest["event"] == "local-2"
    assert part["score"] == {"same": 1, "different": 1, "pending": 0, "unknown": 0}
    assert part["workers"] == [{"worker": "notebook:pricer"} | part["score"]]


async def test_what_the_deployed_worker_did_is_none_where_it_is_not_known(attachment, screen):
    attachment.compare(1, "unknown", deployed=None)
    snapshot = await screen.open(looks={"attached": {}})
    assert snapshot["attached"]["rows"][0]["deployed"] is None


async def test_a_gap_is_sent_with_its_numbers_and_a_lost_runtime_with_since_when(attachment, screen):
    before = datetime.now(UTC).timestamp() * 1000
    attachment.gaps.append(Gap(4, 9, datetime.now(UTC), "kept no more"))
    attachment.change(state="lost", detail="connection refused")
    mark = (await screen.open())["runtime"]["attached"]
    assert (mark["gaps"], mark["gap"]["after"], mark["gap"]["until"]) == (1, 4, 9)
    assert (mark["state"], mark["detail"]) == ("lost", "connection refused")
    assert mark["since"] >= before


async def test_the_mark_goes_when_the_notebook_detaches(attachment, runtime, screen):
    assert "attached" in (await screen.open())["runtime"]
    await attachment.detach()
    runtime.look_again()
    await screen.part("runtime", lambda part: "attached" not in part)


@given(count=st.integers(0, 60), size=st.integers(1, 12), every=st.integers(1, 4), only=st.booleans())
async def test_pages_have_every_row_once_the_newest_first(count, size, every, only):
    attachment = FakeAttachment()
    for seq in range(1, count + 1):
        attachment.compare(seq, "different" if seq % every == 0 else "same")
    seen, before = [], None
    for _ in range(count + 2):
        wanted = {"last": size, "onlyDifferent": only, "before": before}
        part = await attached_to_json(Model(attachment), wanted, Pace())
        assert len(part["rows"]) <= size
        seen += [row["seq"] for row in part["rows"]]
        if not part["isMore"]:
            break
        before = part["rows"][-1]["key"]
    assert seen == [seq for seq in range(count, 0, -1) if not only or seq % every == 0]


@pytest.mark.parametrize(
    "wanted", [{"last": "x"}, {"last": -1}, {"last": 10**9}, {"before": "gone"}, {"worker": 7}]
)
async def test_what_no_view_asks_for_is_bounded_all_the_same(wanted):
    attachment = FakeAttachment()
    for seq in range(ROWS_SHOWN + 20):
        attachment.compare(seq, notebook=["x" * 10_000] * 1_000)
    part = await attached_to_json(Model(attachment), wanted, Pace())
    assert len(part["rows"]) <= ROWS_SHOWN
    for row in part["rows"]:
        assert len(row["notebook"]) <= LINES_SHOWN + 1
        assert all(len(line) <= LONGEST + 20 for line in row["notebook"])


def test_the_mark_has_the_score_of_now():
    attachment = FakeAttachment()
    attachment.compare(1, "different")
    assert mark_to_json(Model(attachment))["score"]["different"] == 1
