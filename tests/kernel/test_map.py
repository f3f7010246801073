"""`dn.map()` in a real kernel: of cells before they ran, and of what ran."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.kernel

CELL = """
%%worker counter
@worker.on_event("order")
async def on_order(event, client):
    await client.publish("summed", {})
""".strip()


def test_a_map_is_a_picture_and_text_before_anything_ran_and_after(kernel):
    kernel.run(CELL)
    shown = kernel.run("dn.map()").result
    assert shown["image/svg+xml"].startswith("<svg ")
    assert "notebook:counter → summed" in shown["text/plain"]
    assert "! Nobody publishes order: notebook:counter waits for it" in shown["text/plain"]
    kernel.run("%fire order")
    text = kernel.run("print(dn.map())").text
    assert "Fired → order, " in text
    assert "! Nobody listens to summed" in text
    assert kernel.run("print(dn.map(0).mermaid)").text.startswith("flowchart LR\n")


OTHER = """
%%worker mailer
@worker.on_event("mail")
async def on_mail(event, client):
    await client.publish("sent", {})
""".strip()


def test_the_magic_shows_the_map_of_all_workers_or_around_one(kernel):
    kernel.run(CELL)
    kernel.run(OTHER)
    (shown,) = kernel.run("%map").displays
    assert shown["image/svg+xml"].startswith("<svg ")
    assert "notebook:mailer → sent" in shown["text/plain"]
    (around,) = kernel.run("%map counter").displays
    assert "notebook:counter → summed" in around["text/plain"]
    assert "! Nobody publishes order: notebook:counter waits for it" in around["text/plain"]
    assert "mail" not in around["text/plain"]
    assert kernel.run("print(dn.map(only='counter'))").text.strip() == around["text/plain"]
    kernel.run("drawn = %map mailer --minutes 0")
    assert "mailer" in kernel.run("print(drawn)").text


def test_the_magic_has_other_forms_and_writes_files(kernel, tmp_path):
    kernel.run(CELL)
    (shown,) = kernel.run("%map --mermaid").displays
    assert shown["text/plain"].startswith("flowchart LR\n")
    (note,) = kernel.run(f"%map counter -o {tmp_path / 'm.svg'}").displays
    assert note["text/plain"] == f"the map is in {tmp_path / 'm.svg'}"
    assert (tmp_path / "m.svg").read_text().startswith("<svg ")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%map nosuch", "no worker 'nosuch'"),
        ("%map --svg --json", "a map has one form"),
        ("%map --minutes 16", "15 minutes at most"),
        ("%map -o /dev/null/m.svg", "/dev/null/m.svg cannot be written"),
    ],
)
def test_the_magic_says_what_is_wrong(kernel, line, says):
    error = kernel.run(line).error
    assert error.startswith("UsageError: ")
    assert says in error
