"""Where a runtime is: addresses of http, https and unix."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.client.address import LONGEST_UNIX, base_of, is_near, resolve_url, socket_of
from dnworker.core.errors import Invalid

NAMES = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=20
).filter(lambda name: name.strip("./@") and "/" not in name)


@given(
    st.lists(NAMES, min_size=1, max_size=2).filter(lambda names: len("/".join(names).encode()) < LONGEST_UNIX)
)
def test_a_path_comes_out_of_its_address_as_it_went_in(names):
    path = "/" + "/".join(names)
    for url in (f"unix:{path}", f"unix://{path}"):
        resolved = resolve_url(url)
        assert socket_of(resolved) == path
        assert resolve_url(resolved) == resolved
    assert base_of(resolved) == "http://localhost"
    assert is_near(resolved)


def test_a_relative_path_is_of_the_directory_in_which_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_url("unix:run.sock") == f"unix:{tmp_path}/run.sock"
    monkeypatch.setenv("DREADNODE_RUNTIME_URL", "unix:./../run.sock")
    assert resolve_url() == f"unix:{tmp_path.parent}/run.sock"


def test_an_abstract_socket_has_a_zero_for_its_at_sign():
    assert socket_of(resolve_url("unix:@dnworker")) == "\0dnworker"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("unix:", "it names no socket"),
        ("unix:///", "it names no socket"),
        ("unix:@", "it names no socket"),
        ("unix://host/run/s", "a unix socket is on no host"),
        ("unix:/run/a\nb", "control character"),
        ("/run/dnworker.sock", "such as unix:/run/dnworker/api.sock"),
        ("http+unix://%2Frun%2Fs", "such as unix:/run/dnworker/api.sock"),
    ],
)
def test_what_names_no_socket_is_refused_with_the_right_form(url, why):
    with pytest.raises(Invalid, match="no address of a runtime") as refused:
        resolve_url(url)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.integers(1, 2 * LONGEST_UNIX))
def test_a_path_is_refused_exactly_when_the_system_refuses_it(size):
    name = "@" + "x" * size
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        try:
            listener.bind("\0" + f"dnworker-{os.getpid()}".ljust(size, "x")[:size])
            fits = True
        except OSError:
            fits = False
    if fits:
        assert resolve_url(f"unix:{name}") == f"unix:{name}"
    else:
        with pytest.raises(Invalid, match="at most 107"):
            resolve_url(f"unix:{name}")


def test_a_home_directory_is_not_guessed():
    assert resolve_url("unix:~/s") == f"unix:{Path.cwd()}/~/s"


def test_only_loopback_and_sockets_are_near():
    near = [is_near(url) for url in ("http://127.0.0.1:1", "https://[::1]:1", "http://10.0.0.1:1")]
    assert near == [True, True, False]
