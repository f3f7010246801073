"""Loading into a shell of this process, and leaving it as it was."""

from __future__ import annotations

import re

import pytest
from IPython.core.interactiveshell import InteractiveShell

import dnworker_jupyter
from dnworker.core.errors import UsageError
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.events.journal import JournalReader
from dnworker.events.journal_writer import Journal
from dnworker_jupyter import loading
from dnworker_jupyter.notebook import active

from .shells import terminal_shell


@pytest.fixture
def shell(monkeypatch, tmp_path):
    with terminal_shell(monkeypatch, tmp_path) as shell:
        yield shell


def hooks(shell: InteractiveShell) -> list[object]:
    """Everything that loading changes in a shell."""
    return [
        list(shell.input_transformer_manager.cleanup_transforms),
        list(shell.input_transformers_post),
        list(shell.ast_transformers),
        {event: list(callbacks) for event, callbacks in shell.events.callbacks.items()},
        {kind: set(magics) for kind, magics in shell.magics_manager.magics.items()},
        list(shell.Completer.custom_matchers),
        set(shell.user_ns),
        set(shell.user_ns_hidden),
    ]


def test_unloading_takes_every_hook_out(shell):
    before = hooks(shell)
    loading.load(shell)
    assert shell.user_ns["dn"] is dnworker_jupyter
    assert hooks(shell) != before
    loading.unload(shell)
    assert hooks(shell) == before
    with pytest.raises(UsageError, match="dnworker is not loaded; run: %load_ext dnworker"):
        active()


def test_loading_says_in_one_line_what_runs_and_what_to_type_and_a_reload_says_nothing(shell, capsys):
    loading.load(shell)
    answer = capsys.readouterr().out
    assert re.fullmatch(r"dnworker \S+: a runtime .*; next, type %%worker NAME .* %panel .*\n", answer)
    loading.load(shell)
    loading.unload(shell)
    loading.load(shell)
    assert capsys.readouterr().out == ""


def test_loading_again_keeps_what_runs(shell):
    loading.load(shell)
    notebook, loaded = active(), hooks(shell)
    loading.load(shell)
    assert active() is notebook
    assert hooks(shell) == loaded
    loading.unload(shell)
    loading.load(shell)
    assert active() is notebook


def test_a_kernel_that_ends_at_once_has_its_last_events_in_the_journal(shell, tmp_path):
    notebook = loading.compose(shell)
    notebook.loop.has_thread = False  # as in a kernel, whose loop has ended by then
    notebook.runtime.journal = journal = Journal(tmp_path / "j.db", "rt")
    bus = EventBus()
    with journal.recording(bus, History()):
        bus.publish("demo.a", {"n": 1})
        loading._at_exit(notebook)
        with JournalReader(journal.path) as reader:
            assert [event.kind for event in reader.events()] == ["demo.a"]


def test_unloading_what_is_not_loaded_is_harmless(shell):
    loading.unload(shell)


async def test_a_panel_that_does_not_close_keeps_no_worker_from_its_shutdown_handlers(
    shell, monkeypatch, caplog
):
    ended = []

    async def end(within):
        ended.append(within)

    def close():
        raise RuntimeError("the comm is gone")

    notebook = loading.compose(shell)
    monkeypatch.setattr(notebook.startup, "end", end)
    monkeypatch.setattr(notebook.panels, "close", close)
    await loading._kernel_end(notebook)._stop(1.0)
    assert ended == [1.0]
    assert "the comm is gone" in caplog.text
