"""What handlers publish, as their source says it."""

from __future__ import annotations

import ast
from textwrap import dedent

import pytest

from dnworker.capability.manifest import load_manifest
from dnworker.flow.reading import handlers_in, published_by
from dnworker.flow.scripts import facts_of


def published(body, above=""):
    source = f'{above}\n@worker.on_event("a.b")\nasync def on(event, client):\n' + dedent(body).replace(
        "\n", "\n    "
    ).join(["    ", ""])
    found = handlers_in(ast.parse(source))
    assert len(found) == 1
    return set(found[0].publishes)


@pytest.mark.parametrize(
    ("call", "kinds"),
    [
        ('await client.publish("orders.taken", {})', {"orders.taken"}),
        ('await client.publish(kind="orders.taken", payload={})', {"orders.taken"}),
        ("await client.publish(KIND)", {"orders.paid"}),
        ("await client.publish(OTHER)", {"orders.paid"}),
        ('await client.publish(f"orders.{event.kind}")', {"orders.*"}),
        ('await client.publish(f"{PREFIX}.{name}")', {"orders.*"}),
        ('await client.publish("orders." + name)', {"orders.*"}),
        ('await client.publish("a" if event else "b")', {"a", "b"}),
        ("await client.publish(name)", set()),
        ("await client.publish(*parts)", set()),
        ('client.notpublish("x")', set()),
        ("asyncio.create_task(client.publish('later'))", {"later"}),
    ],
)
def test_the_kinds_of_a_call(call, kinds):
    assert published(call, 'KIND = "orders.paid"\nOTHER = KIND\nPREFIX = "orders"') == kinds


def test_what_helpers_publish_counts_for_the_handler_that_names_them():
    above = dedent("""
        async def deep(client): await client.publish("deep")
        async def helper(client): await deep(client)
        async def unused(client): await client.publish("never")
    """)
    assert published("run(helper)", above) == {"deep"}


def test_constants_that_lead_to_themselves_end():
    assert published("await client.publish(A)", "A = B\nB = A") == set()


def test_kinds_and_schedules_are_read_from_decorators_and_calls():
    source = """
        KIND = "k.two"
        worker = Worker(name="bridge")
        other = Worker("second")
        @worker.on_event("k.one")
        async def one(event, client): ...
        @worker.on_event(KIND)
        async def two(event, client): ...
        @other.every(minutes=2)
        async def often(client): ...
        @worker.every(cron="0 * * * *")
        async def hourly(client): ...
        @worker.task
        async def forever(client): ...
        async def plain(event, client): ...
        worker.on_event("k.three")(plain)
    """
    found = {(h.worker, h.decorator, h.trigger, h.name) for h in handlers_in(ast.parse(dedent(source)))}
    assert found == {
        ("bridge", "on_event", "k.one", "one"),
        ("bridge", "on_event", "k.two", "two"),
        ("bridge", "on_event", "k.three", "plain"),
        ("second", "every", "120s", "often"),
        ("bridge", "every", "cron 0 * * * *", "hourly"),
        ("bridge", "task", "", "forever"),
    }


def test_constants_and_functions_of_a_file_beside_are_followed():
    beside = {
        "shared": ast.parse('KIND = "from.beside"\nasync def send(client): await client.publish("sent")')
    }
    source = "from .shared import KIND as K, send\n@worker.on_event(K)\nasync def on(event, client): await send(client)"
    (found,) = handlers_in(ast.parse(source), beside)
    assert (found.trigger, found.publishes) == ("from.beside", ("sent",))


def test_a_function_is_found_by_its_first_line():
    tree = ast.parse('\n@worker.on_event("a")\nasync def on(event, client):\n    await client.publish("x")\n')
    assert published_by(tree, 2) == {"x"}
    assert published_by(tree, 4) == frozenset()


@pytest.fixture
def capability(tmp_path):
    def make(scripts, workers):
        (tmp_path / "workers").mkdir()
        for name, text in scripts.items():
            (tmp_path / "workers" / name).write_text(text)
        lines = ["name: demo", 'version: "1.0.0"', "description: x", "schema: 1", "workers:", *workers]
        (tmp_path / "capability.yaml").write_text("\n".join(lines) + "\n")
        return tmp_path

    return make


SCRIPT = """
raise SystemExit("nobody may run this")
from dreadnode.capabilities.worker import Worker
worker = Worker(name="bridge")
@worker.on_event("turn.completed")
async def on_turn(event, client):
    await client.publish("demo.answered", {})
"""


def test_scripts_of_a_capability_are_read_and_not_run(capability):
    root = capability(
        {"bridge.py": SCRIPT, "broken.py": "def ("},
        [
            "  bridge:\n    path: workers/bridge.py",
            "  apart:\n    command: uv\n    args: [run, workers/bridge.py]",
            "  broken:\n    path: workers/broken.py",
            "  node:\n    command: node\n    args: [relay.mjs]",
        ],
    )
    workers = {worker.name: worker for worker in facts_of(load_manifest(root)).workers}
    assert set(workers["demo:bridge"].hears) == {"turn.completed"}
    assert workers["demo:bridge"].writes == {"demo.answered"}
    assert set(workers["demo:apart"].hears) == {"turn.completed"}
    assert workers["demo:broken"].handlers == 0
    assert workers["demo:node"].handlers == 0


def test_a_command_leads_to_no_file_outside_of_its_capability(capability, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "x.py"
    outside.write_text(SCRIPT)
    root = capability({}, [f"  bridge:\n    command: python\n    args: [{outside}]"])
    assert facts_of(load_manifest(root)).workers[0].handlers == 0


DEEP = "a" + ".b()" * 400


@pytest.mark.parametrize(
    "source",
    [
        f"worker = {DEEP}.Worker('w')",
        f"name = {DEEP}",
        f"@worker.every(seconds={DEEP})\ndef tick(client): pass",
        f"@worker.every(seconds=0x{'f' * 5_000})\ndef tick(client): pass",
        f"@worker.every(cron={DEEP})\ndef tick(client): pass",
    ],
    ids=["worker", "constant", "seconds", "number", "cron"],
)
def test_what_is_nested_deeper_than_python_can_write_is_left_out(source, tmp_path):
    tree = ast.parse(source + "\n@worker.on_event('a.b')\ndef on(event, client): client.publish('c')\n")
    found = handlers_in(tree)
    assert [one.publishes for one in found if one.trigger == "a.b"] == [("c",)]
    assert [one.trigger for one in found if one.decorator == "every"] in ([], ["a schedule"])


@pytest.mark.parametrize(
    ("call", "name"),
    [("Worker('w')", "w"), ("dn.Worker(name='w')", "w"), ("Worker.of('w')", "w"), ("work('w')", "")],
)
def test_the_worker_of_a_handler_is_read_from_what_makes_it(call, name):
    source = f"one = {call}\n@one.on_event('a.b')\ndef on(event, client): ...\n"
    assert [handler.worker for handler in handlers_in(ast.parse(source))] == [name]
