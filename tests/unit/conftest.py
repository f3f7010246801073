"""Every test has a home directory of its own: logs and state of workers never land in the user's."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    directory = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(directory))
    for name in ("DREADNODE_RUNTIME_URL", "DREADNODE_RUNTIME_TOKEN", "DREADNODE_RUNTIME_ID"):
        monkeypatch.delenv(name, raising=False)
    return directory
