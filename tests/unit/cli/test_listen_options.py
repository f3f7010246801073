"""The options of `serve` that say where it listens; `config` refuses what `serve` refuses."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.cli.config_options import sources_of
from dnworker.cli.listen_options import (
    FIRST_INHERITED,
    add_listen_arguments,
    inherited_sockets,
    listening_of,
    mode_of,
)
from dnworker.cli.made_runtime import check_start, make_runtime
from dnworker.cli.main import main
from dnworker.cli.serve import own_parser
from dnworker.core.errors import DnworkerError, UsageError
from tests.unit.capabilities import make_capability


def parsed(*words: str) -> argparse.Namespace:
    """Return options of `serve`, as it has them."""
    options = argparse.Namespace()
    sources_of(own_parser(), own_parser().parse_args(words), {}).read().put_into(options)
    return options


@given(st.integers(0, 0o777))
def test_a_mode_is_read_as_chmod_reads_it(mode):
    options = argparse.Namespace(uds_mode=f"{mode:04o}")
    assert mode_of(options) == mode
    assert mode_of(argparse.Namespace(uds_mode=f"{mode:o}")) == mode


@given(st.text(max_size=8))
def test_any_text_is_a_mode_or_one_line_that_names_the_option(text):
    try:
        assert isinstance(mode_of(argparse.Namespace(uds_mode=text)), int)
    except UsageError as exc:
        assert str(exc).startswith("--uds-mode ")
        assert "\n" not in str(exc)
        assert exc.code == "DN925"


def test_without_a_mode_the_socket_is_its_owners_alone():
    assert listening_of(parsed("--uds", "s")).uds_mode == 0o600


@given(st.integers(-10, 70_000))
def test_exactly_the_ports_that_there_are_are_taken(port):
    options = parsed(f"--port={port}")
    if 0 <= port <= 65_535:
        assert listening_of(options).port == port
    else:
        with pytest.raises(UsageError, match=f"--port {port} does not exist"):
            listening_of(options)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(pid=TEXTS, number=TEXTS, names=TEXTS)
def test_whatever_a_service_manager_says_its_variables_are_gone_and_only_small_numbers_count(
    pid, number, names
):
    environ = {"LISTEN_PID": pid, "LISTEN_FDS": number, "LISTEN_FDNAMES": names, "HOME": "/"}
    try:
        found = inherited_sockets(environ, 7)
    except UsageError as exc:
        assert pid == "7"
        assert "LISTEN_FDS is" in str(exc)
        assert exc.code == "DN929"
    else:
        assert found == () if pid != "7" else len(found) == int(number)
    assert environ == {"HOME": "/"}


@given(st.integers(1, 64))
def test_sockets_are_numbered_from_three_on(count):
    found = inherited_sockets({"LISTEN_PID": "7", "LISTEN_FDS": str(count)}, 7)
    assert found == tuple(range(FIRST_INHERITED, FIRST_INHERITED + count))


@pytest.mark.parametrize("pid", ["", "8", "07", " 7"])
def test_sockets_of_another_process_are_left_alone(pid):
    assert inherited_sockets({"LISTEN_PID": pid, "LISTEN_FDS": "rubbish"}, 7) == ()


def test_each_option_has_a_help():
    parser = argparse.ArgumentParser()
    add_listen_arguments(parser)
    assert all(action.help for action in parser._actions)


# -- what `serve` refuses, `config` refuses --------------------------------------------------------------

WRONG = [
    ["--port", "99999"],
    ["--port=-3"],
    ["--uds", "s", "--tls-cert", "cert.pem"],
    ["--uds", "x" * 200],
    ["--uds", "s", "--uds-mode", "rw"],
    ["--uds", "s", "--uds-mode", "0066"],
    ["--tls-key", "key.pem"],
    ["--tls-client-ca", "ca.pem"],
    ["--trusted-proxy", "proxy.example.com"],
    ["--allowed-host", "https://workers.example.com"],
    ["--limit", "nonsense=1"],
    ["--restart", "no", "--max-restarts", "3/60s"],
    ["--retry", "a"],
    ["--catchup", "once"],
    ["--label", "==="],
    ["--replicas", "x"],
    ["--durable", "."],
    ["--durable", "a.db", "--journal", "b"],
    ["--durable", "a.db", "--broker", "nats://h"],
    ["--broker", "nats://h"],
    ["--broker", "ftp://h", "--namespace", "n"],
    ["--broker", "nats://h", "--namespace", "n", "--broker-ca", "no.pem"],
    ["--broker", "nats://h", "--namespace", "n", "--from", "never"],
    ["--token-file", "empty.token"],
    ["--token-file", "open.token"],
    ["--capabilities-dir", "none"],
    ["--storm-limit", "0"],
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, mode in (("empty.token", 0o600), ("open.token", 0o644)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    return tmp_path


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_config_refuses_in_the_words_of_serve(here, words):
    with pytest.raises((DnworkerError, OSError)) as by_serve:
        make_runtime(parsed(*words))
    with pytest.raises((DnworkerError, OSError)) as by_config:
        check_start(parsed(*words))
    assert str(by_config.value) == str(by_serve.value)
    assert "\n" not in str(by_config.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--drain=-1"], "--drain is -1; it takes 0 to 3600 seconds (DN930)"),
        (["--stop-within", "0"], "--stop-within is 0; it takes 0.5 to 3600 seconds (DN930)"),
        (["--tls-cert", "none.pem"], "--tls-cert none.pem cannot be read: No such file or directory (DN926)"),
        (["--uds", "empty.token"], "empty.token: there is something else than a socket"),
        (["none"], "none/capability.yaml: cannot be read: No such file or directory (DN402)"),
    ],
)
def test_config_checks_what_serve_checks_after_its_runtime_is_made(here, capsys, words, said):
    assert main(["config", *words]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_wrong_option_of_a_file_is_said_with_its_place(here, capsys):
    (here / "serve.toml").write_text("\nport = 99999\n")
    assert main(["config", "--config", "serve.toml"]) == 1
    assert capsys.readouterr().err == (
        "dnworker: serve.toml:2: --port 99999 does not exist; ports are 0 to 65535 (DN908)\n"
    )


def test_config_takes_what_is_right_and_writes_nothing(here, capsys):
    root = make_capability(here / "cap", "echo: {path: echo.py}", {"echo.py": "import dnworker\n"})
    before = sorted(here.iterdir())
    words = ["--uds", "run/s", "--uds-mode", "0660", "--token-file", "new.token", "--durable", "events.db"]
    assert main(["config", str(root), *words]) == 0
    assert sorted(here.iterdir()) == before
