"""The link to the page of a notebook's runtime: when a browser is started, and what a notebook keeps of it."""

from __future__ import annotations

import webbrowser

import pytest

from dnworker import Runtime
from dnworker.core.errors import UsageError
from dnworker_jupyter.display import page_link


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"BROWSER": "firefox"}, "linux", True),
        ({}, "darwin", True),
        ({}, "win32", True),
        ({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "a b"}, "linux", False),
        ({"BROWSER": "w3m", "JUPYTERHUB_USER": "ada"}, "linux", False),
    ],
)
def test_a_browser_is_started_only_where_somebody_sees_it(environment, platform, expected):
    assert page_link.has_screen(environment, platform) is expected


async def test_each_address_opens_the_page_once():
    async with Runtime(port=0) as runtime:
        first, second = page_link.page_ticket(runtime), page_link.page_ticket(runtime)
        assert first != second
        base, _, ticket = first.partition("#ticket=")
        assert base == f"{runtime.url}/panel"
        assert runtime.tokens.redeem(ticket) == runtime.tokens.main
        assert runtime.tokens.redeem(ticket) is None
    with pytest.raises(UsageError, match="no server"):
        page_link.page_ticket(runtime)


def test_a_browser_that_cannot_be_opened_is_no_error(monkeypatch, tmp_path, caplog):
    def refuse(address):
        assert address.startswith("file:")
        assert "ticket" not in address
        raise webbrowser.Error("none")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(webbrowser, "open", refuse)
    assert page_link.open_browser("http://127.0.0.1:1/panel#ticket=abc") is False
    assert "no browser could be opened: none" in caplog.text
