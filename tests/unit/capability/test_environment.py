"""The environment of a worker process, layer by layer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnworker.capability.environment import RuntimeAddress, UnsetVariable, interpolate, worker_environment

CONNECTION = RuntimeAddress("http://127.0.0.1:1", "secret", "rt-1")


def compose(inherited=None, declared=None, flags=None, path_entries=()):
    return worker_environment(
        inherited=inherited or {},
        root=Path("/caps/demo"),
        capability="demo",
        version="0.1.0",
        worker="relay",
        flags=flags or {},
        declared=declared or {},
        connection=CONNECTION,
        path_entries=path_entries,
    )


@pytest.mark.clause("3.2 layers")
@pytest.mark.clause("11.1")
@pytest.mark.clause("11.7")
def test_later_layers_win_in_the_order_of_the_contract():
    flag = "CAPABILITY_FLAG__DEMO__ON"
    env = compose(
        inherited={flag: "inherited", "LEVEL": "inherited", "CAPABILITY_ROOT": "inherited"},
        flags={flag: "1"},
        declared={"LEVEL": "declared", "DREADNODE_WORKER_NAME": "declared"},
    )
    assert (env[flag], env["LEVEL"], env["CAPABILITY_ROOT"]) == ("1", "declared", "/caps/demo")
    assert env["DREADNODE_WORKER_NAME"] == "declared"


@pytest.mark.clause("11.6")
def test_the_connection_wins_over_everything():
    env = compose(inherited={"DREADNODE_RUNTIME_TOKEN": "x"}, declared={"DREADNODE_RUNTIME_ID": "y"})
    assert {k: v for k, v in env.items() if k.startswith("DREADNODE_RUNTIME")} == CONNECTION.variables()


def test_a_stale_legacy_token_is_not_handed_on():
    assert "SANDBOX_AUTH_TOKEN" not in compose(inherited={"SANDBOX_AUTH_TOKEN": "stale"})


@pytest.mark.clause("3.2 label")
def test_the_label_has_the_organization_before_it():
    assert compose(inherited={"DREADNODE_ORG": "acme"})["DREADNODE_CAPABILITY_LABEL"] == "acme/demo"


def test_the_path_is_the_inherited_one_and_the_manifests_entries():
    assert compose(inherited={"PATH": "/bin"})["PATH"] == "/bin"
    assert "PATH" not in compose()
    assert compose(inherited={"PATH": "/bin"}, path_entries=("tools",))["PATH"] == "/bin:/caps/demo/tools"


ENVIRON = {"SET": "value", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${SET}", "value"),
        ("a${SET}b${SET}", "avaluebvalue"),
        ("${EMPTY}", ""),
        ("${MISSING:-default}", "default"),
        ("${MISSING:-}", ""),
        ("${SET:-default}", "value"),
        ("$SET", "$SET"),
        ("${1X}", "${1X}"),
    ],
)
@pytest.mark.clause("4.4 interpolation")
def test_braced_variables_are_replaced(text, result):
    assert interpolate(text, ENVIRON, "here") == result


def test_an_unset_variable_is_named_with_the_place_and_the_way_out():
    with pytest.raises(
        UnsetVariable, match=r"^worker 'demo:relay', args\[0\]: \$\{MISSING\} is not set; set MISSING"
    ):
        interpolate("${MISSING}", ENVIRON, "worker 'demo:relay', args[0]")


@given(st.text())
@pytest.mark.clause("4.4 interpolation")
def test_text_without_braces_is_left_alone(text):
    cleaned = text.replace("{", "")
    assert interpolate(cleaned, {}, "here") == cleaned
