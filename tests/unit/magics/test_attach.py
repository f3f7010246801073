"""`%runtime attach` and `%runtime detach`: what they take, refuse and show; what other magics refuse meanwhile."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dnworker import Runtime, Worker
from dnworker.core.clock import SwitchClock
from dnworker.core.errors import UsageError
from dnworker.testing import SharedBroker, SharedStore
from dnworker_jupyter.display import widget_hub
from dnworker_jupyter.display.attached import mark_of_trace
from dnworker_jupyter.display.attached_view import AttachedView
from dnworker_jupyter.display.widget_hub import WidgetHub, activate
from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.magics import attach as magic
from dnworker_jupyter.magics.attached import check_agent_may_fire, tell_fired, with_mark
from dnworker_jupyter.magics.clock import ClockOptions, run_clock
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.runtime import RuntimeOptions, run_runtime, runtime_parser
from dnworker_jupyter.syntax.options import split

from ..attachments import URL, FakeAttachment


class Notebook:
    """A runtime with a worker, whose magics attach to what the test makes."""

    def __init__(self, runtime: Runtime, hub: WidgetHub) -> None:
        self.runtime = runtime
        self.context = cast(
            MagicContext,
            SimpleNamespace(
                runtime=runtime,
                shell=None,
                loop=SimpleNamespace(has_thread=False),
                panels=SimpleNamespace(widgets=hub),
                worker=runtime.worker,
            ),
        )
        self.calls: list[dict[str, Any]] = []

    async def attach(self, engine, url, **options):
        self.calls.append({"url": url, **options})
        made = FakeAttachment(live=options["live"], url=url)
        made.engine, engine.attachment = engine, made
        return made

    async def line(self, text: str) -> Any:
        """Run a `%runtime` line."""
        return await run_runtime(self.context, runtime_parser().read_as(RuntimeOptions, split(text)))


@pytest.fixture
async def runtime():
    async with Runtime(port=None, clock=SwitchClock()) as started:
        await started.add(Worker("pricer"))
        yield started


@pytest.fixture
async def notebook(runtime, monkeypatch):
    monkeypatch.setattr(widget_hub, "INTERVAL", 0.0)
    loop = KernelLoop(SimpleNamespace(kernel=object()))
    assert loop.start()
    hub = WidgetHub(runtime, loop, lambda: None)
    end = activate(hub)
    made = Notebook(runtime, hub)
    monkeypatch.setattr(magic, "attach", made.attach)
    yield made
    hub.close()
    end()


@pytest.mark.parametrize(
    ("line", "live"),
    [(URL, False), (f"{URL} --shadow", False), (f"{URL} --live", True), (f"--live {URL}", True)],
)
async def test_a_url_attaches_in_shadow_unless_live_is_asked_for(notebook, line, live):
    view = await notebook.line(f"attach {line}")
    assert isinstance(view, AttachedView)
    assert notebook.calls == [{"url": URL, "token_file": None, "tls": None, "live": live, "counterparts": {}}]
    assert ("LIVE at" in repr(view)) is live


async def test_a_token_file_is_found_from_the_directory_of_the_notebook(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    await notebook.line(f"attach {URL} --token-file token.txt")
    assert notebook.calls[0]["token_file"] == tmp_path / "token.txt"


async def test_workers_that_are_called_otherwise_there_are_named(notebook, capsys):
    await notebook.runtime.add(Worker("clerk"))
    await notebook.line(f"attach {URL} --as pricer=shop:pricing --as clerk=desk")
    wanted = {"notebook:pricer": "shop:pricing", "notebook:clerk": "desk"}
    assert notebook.calls[0]["counterparts"] == wanted
    await notebook.line(f"attach {URL} --as pricer=shop:cashier")
    assert "notebook:pricer with shop:cashier is compared from now on" in capsys.readouterr().out
    assert notebook.runtime.attachment.counterparts == {"notebook:pricer": "shop:cashier"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            "--as pricer",
            "--as pricer: a worker of the notebook and a deployed one are wanted, as in --as bridge=",
        ),
        ("--as =b", "a worker of the notebook and a deployed one are wanted"),
        ("--as pricer=", "a worker of the notebook and a deployed one are wanted"),
        ("--as pricer=a --as pricer=b", "--as pricer=...: it is named twice; give it once"),
    ],
)
async def test_a_name_that_makes_no_sense_is_refused_before_anything_is_attached(notebook, options, why):
    with pytest.raises(UsageError) as refused:
        await notebook.line(f"attach {URL} {options}")
    assert why in str(refused.value)
    assert notebook.calls == []


async def test_a_worker_that_is_not_here_is_refused_and_as_needs_a_url(notebook):
    with pytest.raises(Exception, match="nobody"):
        await notebook.line(f"attach {URL} --as nobody=shop:pricing")
    with pytest.raises(UsageError, match="--as needs the URL of a runtime"):
        await notebook.line("attach --as pricer=shop:pricing")
    with pytest.raises(UsageError, match="--as is for %runtime attach"):
        await notebook.line("status --as pricer=shop:pricing")
    assert notebook.calls == []


@pytest.mark.parametrize(
    "url",
    [
        "http://:s3cret@h:1",
        "http://me:s3cret@h:1/",
        "http://h:1/?token=s3cret",
        "http://h:1/#s3cret",
        "http://h:s3cret/",
    ],
)
async def test_a_token_in_the_url_is_refused_in_one_line_that_does_not_repeat_it(notebook, url):
    with pytest.raises(UsageError) as refused:
        await notebook.line(f"attach '{url}'")
    assert "s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert notebook.calls == []


async def test_without_a_url_it_shows_the_present_state(notebook):
    assert "attached to nothing; %runtime attach URL" in repr(await notebook.line("attach"))
    await notebook.line(f"attach {URL}")
    attachment = notebook.runtime.attachment
    attachment.compare(1)
    attachment.compare(2, "different", notebook=["publishes x {}"])
    attachment.compare(3, "different", worker="notebook:other")
    shown = repr(await notebook.line("attach --only-different --last 5 --worker pricer"))
    assert "2 different, 1 same" in shown
    assert "#2 order.placed" in shown
    assert "#1 order.placed" not in shown
    assert "#3 order.placed" not in shown


async def test_attached_twice_to_the_same_changes_nothing_and_to_another_is_refused(notebook, capsys):
    await notebook.line(f"attach {URL}")
    await notebook.line(f"attach {URL}/")
    assert "nothing changes" in capsys.readouterr().out
    assert len(notebook.calls) == 1
    for other in ("http://127.0.0.1:1", f"{URL} --live"):
        with pytest.raises(UsageError, match=r"attached to .* already \(shadow\); first: %runtime detach"):
            await notebook.line(f"attach {other}")


async def test_detach_returns_what_it_came_to_and_again_changes_nothing(notebook):
    await notebook.line(f"attach {URL}")
    notebook.runtime.attachment.compare(1, "different", notebook=["publishes x {}"])
    came_to = await notebook.line("detach")
    assert "1 different" in repr(came_to)
    assert "+ publishes x {}" in repr(came_to)
    assert notebook.runtime.attachment is None
    assert "nothing changes" in repr(await notebook.line("detach"))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"attach {URL} --live --shadow", "exclude each other"),
        ("attach --live", "--live needs the URL"),
        ("attach --token-file f", "--token-file needs the URL"),
        (f"attach {URL} --last 0", "1 to 10,000 rows"),
        (f"attach {URL} --last 10001", "1 to 10,000 rows"),
        (f"attach {URL} --worker nobody", "nobody"),
        (f"attach {URL} --ca f", "--ca is for an https:// address"),
        ("status --live", "--live is for %runtime attach"),
        ("detach http://x", "takes nothing more"),
        ("detach --only-different", "--only-different is for %runtime attach"),
        (f"attach {URL} --namespace x", "--namespace is for %runtime join"),
    ],
)
async def test_what_does_not_go_together_is_refused_in_one_line(notebook, line, why):
    with pytest.raises(Exception, match=why) as refused:
        await notebook.line(line)
    assert "\n" not in str(refused.value)
    assert notebook.calls == []


async def test_a_virtual_clock_and_events_of_another_runtime_exclude_each_other(notebook):
    await run_clock(notebook.context, ClockOptions(["virtual"], 10))
    with pytest.raises(UsageError, match="first: %clock real"):
        await notebook.line(f"attach {URL}")
    await run_clock(notebook.context, ClockOptions(["real"], 10))
    await notebook.line(f"attach {URL}")
    with pytest.raises(UsageError, match="first: %runtime detach"):
        await run_clock(notebook.context, ClockOptions(["virtual"], 10))
    assert not notebook.runtime.clock.can_advance


@pytest.mark.parametrize("line", ["durable events.db", "join nats://127.0.0.1:1 --namespace n"])
async def test_events_of_another_runtime_are_kept_nowhere_and_shared_with_nobody(notebook, line):
    await notebook.line(f"attach {URL}")
    with pytest.raises(UsageError, match=r"attached to .*; first: %runtime detach"):
        await notebook.line(line)


async def test_a_notebook_that_shares_its_events_does_not_attach(notebook):
    async with Runtime(
        port=None, broker=SharedBroker(SharedStore(notebook.runtime.clock)), node="n"
    ) as shared:
        notebook.context.runtime = shared
        with pytest.raises(UsageError, match="first: %runtime leave"):
            await notebook.line(f"attach {URL}")


async def test_a_notebook_whose_events_are_kept_does_not_attach(notebook, tmp_path):
    from dnworker.events.brokers.sqlite.broker import SqliteBroker

    async with Runtime(port=None, broker=SqliteBroker(tmp_path / "e.db")) as durable:
        notebook.context.runtime = durable
        with pytest.raises(UsageError, match="first: %runtime durable off"):
            await notebook.line(f"attach {URL}")


@pytest.mark.parametrize(("options", "red"), [("", False), ("--live", True)])
async def test_status_and_traces_say_how_it_is_attached_and_a_fired_event_where_it_goes(
    notebook, options, red, capsys
):
    early = await notebook.runtime.fire("order.placed", {})
    assert mark_of_trace(notebook.runtime, early) is None
    tell_fired(notebook.context)
    assert capsys.readouterr().out == ""
    await notebook.line(f"attach {URL} {options}")
    tell_fired(notebook.context)
    assert capsys.readouterr().out == f"fired here alone, and not at {URL}\n"
    status = with_mark(notebook.context, "runtime r1")
    trace = mark_of_trace(notebook.runtime, await notebook.runtime.fire("order.placed", {}))
    assert mark_of_trace(notebook.runtime, early) is None
    for text in (trace, status):
        assert URL in repr(text)
        assert ("LIVE" in repr(text)) is red
        assert ("#b3161f" in text._repr_html_()) is red
    assert "runtime r1" in repr(status)


@pytest.mark.parametrize("live", [False, True])
async def test_an_agent_fires_nothing_while_the_clients_of_workers_are_another_runtimes(notebook, live):
    check_agent_may_fire(notebook.context)
    await notebook.line(f"attach {URL} {'--live' if live else ''}")
    if not live:
        check_agent_may_fire(notebook.context)
        return
    with pytest.raises(UsageError, match="agents fire nothing meanwhile; a person detaches it"):
        check_agent_may_fire(notebook.context)


async def test_a_widget_follows_it_and_leaves_what_it_came_to(notebook, monkeypatch):
    view = await notebook.line(f"attach {URL}")
    updates = []
    handle = SimpleNamespace(update=updates.append)
    monkeypatch.setattr("dnworker_jupyter.display.attached_view.display", lambda one, **_: handle)
    view._ipython_display_()
    widget, _ = view._shown[0]
    notebook.runtime.attachment.compare(1, "different", notebook=["publishes x {}"])
    widget.interval = 0.0
    widget._not_before = 0.0
    widget.refresh()
    assert (widget.different, widget.value, widget.state) == (1, 1, "following")
    await notebook.line("detach")
    assert widget.is_closed
    assert "+ publishes x {}" in repr(updates[0])
    assert not notebook.context.panels.widgets.is_listening


async def test_views_are_told_at_once_of_a_new_state_and_of_counts_not_with_each(notebook):
    await notebook.line(f"attach {URL}")
    told = []
    end = notebook.runtime.listen(lambda: told.append(1))
    attachment = notebook.runtime.attachment
    for seq in range(1_000):
        attachment.compare(seq)
    assert len(told) == 0
    attachment.change(state="lost", detail="refused")
    assert len(told) == 1
    end()


def test_a_kernel_that_attaches_to_nothing_loads_nothing_for_it():
    code = "import sys, dnworker_jupyter.loading; print([m for m in sys.modules if m.startswith('dnworker.attach')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
