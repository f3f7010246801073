"""The README's part about a capability says what its files say, and nothing that they name breaks its Markdown."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.capability.manifest import parse_manifest
from dnworker.project.guide import code
from dnworker.project.readme import END, block_in, make_block, new_readme, with_block

HEAD = "schema: 1\nname: shop\nversion: 0.1.0\ndescription: Sells\n"
MAILER = """
import os
from helpers import URL
from dnworker import Worker

worker = Worker(name="mailer")

@worker.on_event("shop.order")
async def send(event, client):
    await client.publish("mail.sent", {"key": os.environ["SHOP_KEY"], "url": os.getenv("SHOP_URL", URL)})

@worker.every(minutes=5)
async def tick(client):
    await client.publish("shop.order", {})

@worker.every(cron="0 7 * * *")
async def morning(client): ...
"""
FILES = {
    "workers/mailer.py": MAILER.encode(),
    "workers/helpers.py": b"import os\nURL = os.environ.get('BASE')\n",
}


def block(workers="  mailer: {path: workers/mailer.py}\n", files=FILES, head=HEAD):
    manifest = parse_manifest(f"{head}workers:\n{workers}", Path("/"), source="capability.yaml")
    scripts = {"mailer": "workers/mailer.py"}
    return make_block(manifest, files, scripts)


def section(text, title):
    """Return the text below a heading."""
    return text.partition(f"## {title}\n\n")[2].partition("\n\n## ")[0]


def test_events_say_who_publishes_and_who_hears_and_what_is_in_and_out():
    events = section(block(), "Events")
    assert "| `mail.sent` | `mailer` | outside |" in events
    assert "| `shop.order` | `mailer` | `mailer` |" in events
    assert "In, from outside: nothing. Out, for others: `mail.sent`." in events


def test_kinds_of_the_runtime_are_not_from_outside():
    script = b"from dnworker import Worker\nworker = Worker(name='mailer')\n@worker.on_event('turn.completed')\nasync def f(e, c): ..."
    events = section(block(files={"workers/mailer.py": script}), "Events")
    assert "| `turn.completed` | the runtime | `mailer` |" in events
    assert "In, from outside: nothing." in events


def test_schedules_have_their_times():
    assert (
        section(block(), "Schedules") == "- `mailer.tick`: every 5 min\n- `mailer.morning`: `cron 0 7 * * *`"
    )


def test_flags_say_what_turns_them_on_and_what_they_gate():
    head = HEAD + "flags:\n  e-mail: {description: sends mail., default: false}\n"
    text = section(block("  mailer: {path: workers/mailer.py, when: [e-mail]}\n", head=head), "Flags")
    assert text.startswith("- `e-mail`, off by default: sends mail; `mailer` runs while it is on. ")
    assert "`dnworker serve . --flag shop.e-mail=on`" in text
    assert "`DREADNODE_CAPABILITY_FLAG__SHOP__E_MAIL=on`" in text


def test_variables_are_those_of_sources_of_the_manifest_and_of_secrets():
    workers = (
        "  mailer: {command: python, args: ['${CAPABILITY_ROOT}/workers/mailer.py'],"
        " env: {MODE: '${MODE:-fast}', SHOP_KEY: fixed, A: '${NEEDED}'}}\n"
    )
    head = HEAD + "secrets:\n- {name: TOKEN, required: true}\n"
    lines = section(block(workers, head=head), "Environment").splitlines()
    assert lines == [
        "- `BASE`: may be set; `mailer` reads it",
        "- `MODE`: may be set; `mailer` reads it",
        "- `NEEDED`: must be set; `mailer` reads it",
        "- `SHOP_URL`: may be set; `mailer` reads it",
        "- `TOKEN`: must be set",
    ]


def test_a_worker_that_is_no_python_is_said_to_be_unread():
    text = block("  relay: {command: node, args: [relay.mjs]}\n", files={"relay.mjs": b"1"})
    assert "`relay` is no Python" in section(text, "Events")
    assert "The machine needs `node`, too." in section(text, "Run")


@pytest.mark.parametrize(("tests", "said"), [({}, "no tests yet"), ({"tests/test_a.py": b""}, "\npytest\n")])
def test_it_says_how_to_test(tests, said):
    assert said in section(block(files=FILES | tests), "Test")


def test_somebodys_words_around_it_are_kept():
    manifest = parse_manifest(HEAD + "workers:\n  a: {command: x}\n", Path("/"), source="x")
    readme = f"Mine.\n\n{new_readme(manifest, block())}\nMine, too.\n"
    new = with_block(readme, block(files={}))
    assert new == readme.replace(block(), block(files={}))
    assert with_block("All mine.\n", block()) is None


@given(st.text(max_size=60))
def test_no_name_ends_the_part_a_cell_or_the_line(kind):
    kind = kind or "x"
    script = (
        "from dnworker import Worker\nworker = Worker(name='mailer')\n"
        f"@worker.on_event({kind + END!a})\nasync def f(e, c): ..."
    )
    ast.parse(script)
    text = block(files={"workers/mailer.py": script.encode()})
    assert block_in(text) == text
    row = next(line for line in text.splitlines() if line.startswith("| ") and "| outside |" in line)
    assert row.count("|") == 4
    assert len(code(kind).splitlines()) == 1
    assert "<script" not in code(f"{kind}<script>")
