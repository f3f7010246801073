"""What only our client has: the script completes another one, and the export warns of each use."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import types

import pytest

from dnworker import compat
from dnworker_jupyter.export.planning.lacking import COMPLETION
from tests.unit.export.builders import handler, plan, script

ONCE = 'async with client.once("a") as first:\n        print(first)'
DEDUPE = 'await client.publish("b", {}, dedupe="a")'
RETRY = 'await client.run_turn(session_id="s", message="m", retry=2)'


@pytest.mark.parametrize("body", [ONCE, DEDUPE, RETRY])
def test_a_script_for_the_reference_completes_its_client_and_one_of_ours_does_not(body):
    assert COMPLETION in script(handler(body))
    assert "_complete_client" not in script(handler(body), target="dnworker")


def test_a_script_that_uses_neither_is_as_before():
    assert "_complete_client" not in script(handler('await client.publish("b", {"once": 1})'))


def test_a_helper_that_two_workers_share_counts_for_both():
    cells = ["async def mail(client):\n    async with client.once('a'):\n        pass"]
    workers = [f"%%worker {n}\n@worker.task\nasync def t(client):\n    await mail(client)" for n in "ab"]
    files = plan(*cells, *workers).files
    assert all(COMPLETION in files[f"workers/{n}.py"].decode() for n in "ab")


def test_the_export_warns_of_each_use_with_its_line():
    cell = handler(f"{ONCE}\n    {DEDUPE}")
    assert [str(w) for w in plan(cell).warnings] == [
        "cell [1], line 4: client.once(...): the reference's client does not have it: there the body of the same "
        "key runs again, and the log says so once; make the effect such that it may happen again, or export with "
        "--target dnworker",
        "cell [1], line 6: publish(dedupe=...): the reference's client does not have it: there an event of the "
        "same key is published again, and the log says so once; make the effect such that it may happen again, "
        "or export with --target dnworker",
    ]
    assert plan(cell, target="dnworker").warnings == ()


MAIL = "async def mail(client):\n    async with client.once('a'):\n        pass\n"
CALLS_MAIL = handler("await mail(client)")


@pytest.mark.parametrize(
    "body",
    [
        "async with client.once('a') if event else other as first:\n        pass",
        "async with AsyncExitStack() as stack:\n        await stack.enter_async_context(client.once('a'))",
        "async with connect() as other, client.once('a') as first:\n        pass",
        "guard = client.once('a')\n    async with guard as first:\n        pass",
        "options = {'dedupe': 'a'}\n    await client.publish('b', {}, **options)",
        "await client.publish('b', {}, **{'dedupe': 'a'})",
        "await client.publish('b', {}, **dict(dedupe='a'))",
        "options = {}\n    options['dedupe'] = 'a'\n    await client.publish('b', **options)",
        "publish = client.publish\n    await publish('b', {}, dedupe='a')",
        "await partial(client.publish, dedupe='a')('b')",
        RETRY,
        "await client.run_turn(session_id='s', message='m', **{'retry': 2})",
        "await partial(client.run_turn, retry=2)(session_id='s', message='m')",
    ],
)
def test_each_way_to_use_them_is_completed_and_warned_of(body):
    imports = "from contextlib import AsyncExitStack\nfrom functools import partial\nother = connect = None"
    exported = plan(imports, handler(body))
    assert COMPLETION in exported.files["workers/bridge.py"].decode()
    assert len(exported.warnings) == 1


@pytest.mark.parametrize(
    "body",
    [
        "emitter.once('ready', print)",
        "await emitter.once('ready')",
        "async with lock:\n        emitter.once('ready', print)",
        "await client.publish('b', {'dedupe': 1})",
        "await client.publish('b', **{'payload': 1})",
        "print({'dedupe': 1})",
        "await client.run_turn(session_id='s', message='retry')",
        "await fetch(retry=2)",
        "client.publish.assert_awaited_once()",
    ],
)
def test_what_is_no_use_of_them_changes_nothing(body):
    exported = plan("emitter = lock = fetch = None", handler(body))
    assert "_complete_client" not in exported.files["workers/bridge.py"].decode()
    assert exported.warnings == ()


def test_what_a_function_returns_is_a_use_where_its_result_is_entered():
    guard = "def guard(client):\n    return client.once('a')"
    (warning,) = plan(guard, handler("async with guard(client):\n        pass")).warnings
    assert str(warning).startswith("cell [1], line 2: client.once(...): ")


def test_a_use_in_a_module_beside_the_notebook_is_completed_and_warned_of_with_its_line(tmp_path):
    (tmp_path / "mailing.py").write_text(f"import asyncio\n\n{MAIL}")
    exported = plan("from mailing import mail", CALLS_MAIL, beside=tmp_path)
    assert COMPLETION in exported.files["workers/bridge.py"].decode()
    assert [str(w) for w in exported.warnings] == [
        f"client.once(...) ({tmp_path / 'mailing.py'}, line 4): the reference's client does not have it: there the "
        "body of the same key runs again, and the log says so once; make the effect such that it may happen again, "
        "or export with --target dnworker"
    ]


def test_a_module_that_a_module_imports_counts_too_and_one_of_another_worker_does_not(tmp_path):
    (tmp_path / "mailing").mkdir()
    (tmp_path / "mailing" / "__init__.py").write_text("from .inner import mail")
    (tmp_path / "mailing" / "inner.py").write_text(MAIL)
    other = "%%worker other\n@worker.task\nasync def t(client): ..."
    files = plan("from mailing import mail", CALLS_MAIL, other, beside=tmp_path).files
    assert COMPLETION in files["workers/bridge.py"].decode()
    assert "_complete_client" not in files["workers/other.py"].decode()


def test_a_key_of_one_worker_says_nothing_of_what_another_publishes():
    cells = [
        f"%%worker {name}\n@worker.task\nasync def t(client):\n    await client.publish('b', **{{{key!r}: 1}})"
        for name, key in [("one", "dedupe"), ("two", "payload")]
    ]
    (warning,) = plan(*cells).warnings
    assert warning.location == "cell [1], line 4"


class Theirs:
    """A client as the reference has it."""

    def __init__(self):
        self.published = []

    async def publish(self, kind, payload=None, *, session_id=None):
        self.published.append((kind, payload, session_id))
        return {"event_id": "e", "seq": 1}

    async def run_turn(self, *, session_id, message):
        return {"session_id": session_id, "message": message}


def test_a_completed_client_runs_every_body_and_publishes_every_event_and_says_so_once(monkeypatch, caplog):
    class Client(Theirs):
        pass

    module = types.ModuleType("dreadnode.app.client.runtime_client")
    module.RuntimeClient = Client
    monkeypatch.setattr(importlib, "import_module", lambda name: module)
    names = {
        "Worker": type("Worker", (), {"__module__": "dreadnode.capabilities.worker"}),
        "__name__": "bridge",
    }
    for _ in range(2):
        exec(COMPLETION, names)
    assert "_complete_client" not in names

    async def use():
        client, firsts = Client(), []
        for _ in range(2):
            async with client.once("a") as first:
                firsts.append(first)
            await client.publish("b", {"n": 1}, session_id="s", dedupe="a")
            done = await client.run_turn(session_id="s", message="m", retry=2)
        return client.published, firsts, done

    done = {"session_id": "s", "message": "m"}
    assert asyncio.run(use()) == ([("b", {"n": 1}, "s")] * 2, [True, True], done)
    assert [(r.levelno, r.getMessage()) for r in caplog.records if r.name == "bridge"] == [
        (logging.WARNING, "this client has no once(...): the body of the same key runs again"),
        (
            logging.WARNING,
            "this client has no publish(dedupe=...): an event of the same key is published again",
        ),
        (
            logging.WARNING,
            "this client has no run_turn(retry=...): a turn that was cut off is not started again",
        ),
    ]


def test_with_our_client_the_script_changes_nothing():
    before = set(sys.modules)
    compat.install()
    from dnworker import RuntimeClient, Worker

    once, publish = RuntimeClient.once, RuntimeClient.publish
    exec(COMPLETION, {"Worker": Worker, "__name__": "bridge"})
    assert (RuntimeClient.once, RuntimeClient.publish) == (once, publish)
    assert "dreadnode.app.client.runtime_client" not in set(sys.modules) - before


@pytest.mark.parametrize(
    "cells",
    [
        ["%%worker bridge --keep-state\n@worker.task\nasync def t(client): ..."],
        ['bridge = dn.worker("bridge", keep_state=True)\n\n@bridge.task\nasync def t(client): ...'],
    ],
)
def test_the_export_warns_of_a_state_that_is_kept_here_with_a_command_that_can_be_copied(cells):
    (warning,) = plan(*cells).warnings
    assert str(warning) == (
        "cell [1]: --keep-state of worker 'bridge': no manifest says so, and the reference keeps no state: it begins "
        "empty there at every start; export with --target dnworker, and start it by: dnworker serve --keep-state "
        "demo:bridge"
    )


def test_the_command_to_copy_names_the_directory_of_the_export_and_the_target_that_is_given_already(tmp_path):
    into = tmp_path / "my exports"
    cell = "%%worker bridge --keep-state --retry 2\n@worker.task\nasync def t(client): ..."
    planned = plan(cell, target="dnworker", into=into)
    (warning,), (note,) = planned.warnings, planned.notes
    assert warning.remedy == f"start it by: dnworker serve '{into}' --keep-state demo:bridge"
    assert note.endswith(f"here it is: dnworker serve '{into}' --retry demo:bridge=2")


@pytest.mark.parametrize(
    "cells",
    [
        ["%%worker bridge --check-payloads\n@worker.task\nasync def t(client): ..."],
        ['bridge = dn.worker("bridge", check_payloads=True)\n\n@bridge.task\nasync def t(client): ...'],
    ],
)
def test_the_export_warns_of_payloads_that_are_checked_here_with_a_command_that_can_be_copied(cells):
    (warning,) = plan(*cells).warnings
    assert str(warning) == (
        "cell [1]: --check-payloads of worker 'bridge': no manifest says so, and the reference checks no payloads; "
        "export with --target dnworker, and start it by: dnworker serve --check-payloads demo:bridge"
    )
