"""One kernel per test module's worth of questions, and a fresh one where state would tell tales."""

from __future__ import annotations

import pytest

from .session import KernelSession
from .versions import VERSIONS, kernel_python


@pytest.fixture(scope="module")
def shared_kernel(tmp_path_factory):
    """A kernel with the extension for questions that leave nothing behind."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("shared")
        patch.chdir(directory)
        patch.setenv("HOME", str(directory))
        session = KernelSession()
        assert session.run("%load_ext dnworker").status == "ok"
        yield session
        session.close()


@pytest.fixture(scope="module", params=VERSIONS)
def any_kernel(request, tmp_path_factory):
    """A kernel of each ipykernel that matters, with the extension; shared by the tests of a module."""
    python = kernel_python(request.param)
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("any")
        patch.chdir(directory)
        patch.setenv("HOME", str(directory))
        session = KernelSession(str(python))
        session.version = request.param
        assert session.run("%load_ext dnworker").status == "ok"
        yield session
        session.close()


@pytest.fixture
def bare_kernel(tmp_path, monkeypatch):
    """A fresh kernel without the extension, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    session = KernelSession()
    yield session
    session.close()


@pytest.fixture
def kernel(bare_kernel):
    """A fresh kernel with the extension."""
    assert bare_kernel.run("%load_ext dnworker").status == "ok"
    return bare_kernel
