"""`dnworker deploy`: each target's files pass their own tool, and nothing is written over what others wrote."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from dnworker.archive.packing import pack
from dnworker.cli.main import main, make_parser
from dnworker.cli.stop_options import STOP_WITHIN, EndTimes

PROJECT = Path(__file__).parents[3]
EXAMPLE = PROJECT / "examples" / "cluster"
BIN = Path(sys.executable).parent

MANIFEST = """\
schema: 1
name: shop
version: 0.1.0
description: Bills
secrets: [{name: PAY_KEY, required: true}]
workers:
  billing: {path: billing.py}
  relay: {command: node, args: [relay.js], env: {KEY: "${PAY_KEY}", MODE: "${MODE:-fast}"}}
"""


@pytest.fixture
def shop(tmp_path):
    root = tmp_path / "shop"
    root.mkdir()
    (root / "capability.yaml").write_text(MANIFEST)
    (root / "billing.py").write_text('from dnworker import Worker\n\nworker = Worker(name="billing")\n')
    (root / "relay.js").write_text("")
    return root


def deploy(target, *arguments):
    return main(["deploy", target, *map(str, arguments)])


def contents(directory):
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@pytest.mark.parametrize("target", ["systemd", "container", "compose", "kubernetes"])
def test_the_same_capability_gives_the_same_bytes_also_from_its_archive(shop, tmp_path, target):
    archive = tmp_path / "shop.tar.gz"
    pack([shop], archive, locks=False)
    assert deploy(target, shop, "-o", tmp_path / "a") == deploy(target, archive, "-o", tmp_path / "b") == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert not [text for text in contents(tmp_path / "a").values() if b"@@{" in text]


@pytest.mark.parametrize("target", ["systemd", "container", "compose", "kubernetes"])
def test_every_key_of_the_configuration_is_an_option_of_serve(shop, tmp_path, target):
    deploy(target, shop, "-o", tmp_path / "out")
    keys = tomllib.loads((tmp_path / "out" / "serve.toml").read_text())
    commands = next(a for a in make_parser()._actions if a.choices and "serve" in a.choices)
    known = commands.choices["serve"]._option_string_actions
    assert [key for key in keys if f"--{key}" not in known] == []


@pytest.mark.parametrize("target", ["systemd", "container", "compose", "kubernetes"])
def test_every_command_of_dnworker_in_a_readme_is_one_that_it_takes(shop, tmp_path, target):
    deploy(target, shop, "-o", tmp_path / "out", "--name", "shop")
    text = (tmp_path / "out" / "README.md").read_text()
    commands = re.findall(
        r"^[^#\n]*?(?:\s|/bin/|/opt/shop/)dnworker ([a-z]+(?: .*)?)$", "".join(text.split("```sh")[1:]), re.M
    )
    assert commands
    for command in commands:
        make_parser().parse_args(shlex.split(command))


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("systemd", r"TimeoutStopSec=(\d+)"),
        ("container", r"--stop-timeout (\d+)"),
        ("compose", r"stop_grace_period: (\d+)s\n    restart: unless-stopped\n    init"),
        ("kubernetes", r"terminationGracePeriodSeconds: (\d+)"),
    ],
)
@pytest.mark.parametrize("within", [None, 60])
def test_the_end_of_a_runtime_is_waited_for(shop, tmp_path, target, place, within):
    options = [] if within is None else ["--stop-within", str(within)]
    deploy(target, shop, "-o", tmp_path / "out", *options)
    files = {name: data.decode() for name, data in contents(tmp_path / "out").items() if "gz" not in name}
    keys = tomllib.loads(files["serve.toml"])
    times = EndTimes(keys.get("stop-within", STOP_WITHIN), keys.get("drain", 0))
    assert keys.get("stop-within") == within
    (seconds,) = {found for text in files.values() for found in re.findall(place, text)}
    assert times.kill + 1 < int(seconds) < 1.2 * times.kill + 12


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit_and_finds_it_hardened(shop, tmp_path):
    deploy("systemd", shop, "-o", tmp_path / "out", "--name", "shop")
    unit = tmp_path / "shop.service"
    text = (tmp_path / "out" / "shop.service").read_text()
    unit.write_text(text.replace("/opt/shop/venv/bin/dnworker", sys.executable))
    for command in (["verify", "--man=no"], ["security", "--offline=true", "--threshold=30", "--no-pager"]):
        ran = subprocess.run(["systemd-analyze", *command, str(unit)], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_linter_of_containerfiles_finds_nothing(shop, tmp_path):
    deploy("container", shop, "-o", tmp_path / "out")
    ran = subprocess.run(
        [BIN / "hadolint", tmp_path / "out" / "Containerfile"], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.parametrize("options", [[], ["--no-durable"], ["--broker", "nats://10.0.0.5:4222"]])
def test_kubernetes_takes_the_manifests(shop, tmp_path, options):
    deploy("kubernetes", shop, "-o", tmp_path / "out", *options)
    files = [tmp_path / "out" / f"{name}.yaml" for name in ("access", "network", "workload")]
    ran = subprocess.run([BIN / "kubernetes-validate", "--strict", *files], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    workload = yaml.safe_load(files[-1].read_text())
    assert workload["kind"] == ("Deployment" if options else "StatefulSet")


@pytest.mark.parametrize("options", [[], ["--replicas", "1"], ["--image", "shop:1.0"]])
def test_compose_takes_its_file(shop, tmp_path, options):
    program = shutil.which("check-jsonschema", path=BIN)
    if program is None:
        pytest.skip("check-jsonschema is not installed; it comes with the package of this name")
    deploy("compose", shop, "-o", tmp_path / "out", *options)
    words = [program, "--builtin-schema", "vendor.compose-spec", tmp_path / "out" / "compose.yaml"]
    ran = subprocess.run(words, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_compose_file_has_a_hardened_node_beside_a_broker(shop, tmp_path):
    deploy("compose", shop, "-o", tmp_path / "out", "--replicas", "3")
    found = yaml.safe_load((tmp_path / "out" / "compose.yaml").read_text())
    node = found["services"]["node"]
    assert (node["read_only"], node["cap_drop"], node["deploy"]) == (True, ["ALL"], {"replicas": 3})
    assert node["ports"] == ["127.0.0.1:8787-8789:8787"]


def test_the_images_that_others_make_are_options(shop, tmp_path, capsys):
    base, nats = "registry.example.com/python@sha256:" + "0" * 64, "nats:2.11-alpine"
    options = ["--base-image", base, "--nats-image", nats]
    assert deploy("compose", shop, "-o", tmp_path / "out", *options) == 0
    assert f"\nARG BASE={base}\n" in (tmp_path / "out" / "Containerfile").read_text()
    found = yaml.safe_load((tmp_path / "out" / "compose.yaml").read_text())
    assert found["services"]["nats"]["image"] == nats
    assert deploy("compose", shop, "-o", tmp_path / "other", "--nats-image", "nats") == 1
    assert "use nats:2.12-alpine" in capsys.readouterr().err


def test_the_configuration_of_the_broker_is_that_of_the_example(shop, tmp_path):
    deploy("compose", shop, "-o", tmp_path / "out", "--namespace", "prod")
    assert (tmp_path / "out" / "nats.conf").read_text() == (EXAMPLE / "nats-one.conf").read_text()
    assert (tmp_path / "out" / "permissions.conf").read_text() == (EXAMPLE / "permissions.conf").read_text()


def test_the_commands_of_the_cluster_example_deploy_it(tmp_path, monkeypatch):
    shutil.copytree(EXAMPLE / "capability", tmp_path / "capability")
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^\$ dnworker (deploy .*)$", (EXAMPLE / "README.md").read_text(), re.M)
    assert [main(shlex.split(command)) for command in commands] == [0, 0]
    compose = yaml.safe_load((tmp_path / "containers" / "compose.yaml").read_text())
    assert compose["services"]["node"]["environment"]["NATS_USER"] == "dnworker-prod"
    assert (tmp_path / "containers" / "permissions.conf").read_text() == (
        EXAMPLE / "permissions.conf"
    ).read_text()


def test_a_second_run_upgrades_and_keeps_what_was_edited(shop, tmp_path, capsys):
    out = tmp_path / "out"
    deploy("systemd", shop, "-o", out)
    (out / "serve.toml").write_text("port = 9000\n")
    (shop / "relay.js").write_text("changed")
    capsys.readouterr()
    assert main(["deploy", "systemd", str(shop), "-o", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["changed"] == ["README.md", "capabilities.tar.gz", "install.sh"]
    assert (answer["kept"], (out / "serve.toml").read_text()) == (["serve.toml"], "port = 9000\n")


def test_an_edit_that_would_be_lost_is_refused_and_nothing_changes(shop, tmp_path, capsys):
    out = tmp_path / "out"
    deploy("systemd", shop, "-o", out)
    (out / "serve.toml").write_text("port = 9000\n")
    before = contents(out)
    assert deploy("systemd", shop, "-o", out, "--port", "8888") == 1
    assert "serve.toml was edited" in capsys.readouterr().err
    assert contents(out) == before
    assert deploy("systemd", shop, "-o", out, "--port", "8888", "--force") == 0
    assert "port = 8888" in (out / "serve.toml").read_text()


def test_a_move_that_fails_halfway_leaves_the_former_deployment(shop, tmp_path, monkeypatch):
    out = tmp_path / "out"
    deploy("systemd", shop, "-o", out)
    before, rename, count = contents(out), Path.rename, iter(range(100))

    def failing(self, target):
        if next(count) == 3:
            raise OSError(28, "No space left on device", str(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    assert deploy("systemd", shop, "-o", out, "--port", "8888") == 1
    assert contents(out) == before


def test_what_workers_need_beside_python_is_said(shop, tmp_path, capsys):
    deploy("systemd", shop, "-o", tmp_path / "out")
    assert "shop:relay runs 'node'" in capsys.readouterr().err
    assert "\nPAY_KEY=\n" in (tmp_path / "out" / "secrets.env.example").read_text()
    assert "\nnode\n" in (tmp_path / "out" / "install.sh").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "80"], "below 1024"),
        (["--port", "70000"], "1024 to 65535"),
        (["--name", "My Shop"], "use my-shop"),
        (["--user", "root"], "not to run as root"),
        (["--namespace", "prod"], "add --broker"),
        (["--broker", "nats://me:secret@host:4222"], "passwords"),
        (["--image", "shop:1"], "runs no image"),
        (["--base-image", "python:3.12"], "runs no image"),
        (["--nats-image", "nats:2"], "only a compose file has a broker"),
        (["--stop-within", "0.1"], "0.5 to 3600"),
    ],
)
def test_an_option_that_cannot_be_used_is_one_line_and_nothing_is_written(
    shop, tmp_path, capsys, options, message
):
    assert deploy("systemd", shop, "-o", tmp_path / "out", *options) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert "secret@" not in said
    assert not (tmp_path / "out").exists()


def test_bad_capabilities_and_directories_are_refused_and_nothing_is_written(shop, tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "capability.yaml").write_text("schema: 9\n")
    shutil.copytree(shop, tmp_path / "twice")
    (tmp_path / "cut.tar.gz").write_bytes(b"\x1f\x8b\x08" + bytes(20))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("mine")
    for arguments in (
        [tmp_path / "broken", "-o", out],
        [shop, tmp_path / "twice", "-o", out],
        [tmp_path / "cut.tar.gz", "-o", out],
        [shop, "-o", tmp_path / "missing" / "out"],
        [shop, "-o", tmp_path / "mine"],
    ):
        assert deploy("systemd", *arguments) == 1
        assert re.search(r"\(DN\d+\)|\[CAP-", capsys.readouterr().err)
    assert not out.exists()
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes"]


def test_an_unknown_target_is_answered_with_the_nearest(shop, tmp_path, capsys):
    with pytest.raises(SystemExit):
        deploy("systmd", shop, "-o", tmp_path / "out")
    assert "did you mean systemd?" in capsys.readouterr().err


@pytest.mark.parametrize("inside", [".", "out", "deep/er"])
def test_a_deployment_into_its_capability_is_refused_and_writes_nothing(shop, capsys, inside):
    before = contents(shop)
    (shop / "deep").mkdir()
    assert deploy("systemd", shop, "-o", shop / inside, "--force") == 1
    assert "name a directory outside" in capsys.readouterr().err
    assert contents(shop) == before
