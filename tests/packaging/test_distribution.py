"""Wheel and sdist: what is in them, which version they get, and what they do in clean environments."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyright
import pytest
import yaml

from dnworker import __all__ as public_names

from .building import PROJECT, build, copy_to, new_environment, outside, sh, tracked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PACKAGES = {"dnworker/": "dnworker/", "extension/dnworker_jupyter/": "dnworker_jupyter/"}
RELEASE = (PROJECT / "docs" / "contributing" / "release.md").read_text()
USER = """
import asyncio
from dnworker import EventEnvelope, Runtime, RuntimeClient, Worker

worker = Worker(name="bridge")

@worker.on_event("turn.completed")
async def on_turn(event: EventEnvelope, client: RuntimeClient) -> None:
    await client.publish("demo.counted", {"turn": str(event.payload["turn_id"])})

@worker.every(minutes=5)
async def report(client: RuntimeClient) -> None:
    print("due")

async def main() -> None:
    async with Runtime(port=0) as runtime:
        trace = await runtime.fire("turn.completed", {"turn_id": "t1"})
        print(trace.ok)
"""
MISTAKE = "worker.on_event(7)\n"


def git(directory: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    sh("git", *who, *words, cwd=directory)


def version_of(built: Path) -> str:
    return built.name.removesuffix(".tar.gz").split("-")[1]


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel):
    expected = {
        inside + name.removeprefix(place)
        for name in tracked()
        for place, inside in PACKAGES.items()
        if name.startswith(place) and not name.endswith("/vendor.json")
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    about = {name for name in names if ".dist-info/" in name}
    assert expected <= names - about
    (man,) = names - about - expected
    assert man.endswith(".data/data/share/man/man1/dnworker.1")
    told = {name.partition("/")[2] for name in about}
    assert told == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def test_the_page_at_pypi_has_the_readme_with_links_that_lead_somewhere_from_there(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        text = archive.read(name).decode()
    assert "Description-Content-Type: text/markdown" in text
    assert (PROJECT / "README.md").read_text().splitlines()[0] in text
    assert re.findall(r"\]\((?!https://|#)[^)]*\)", text) == []


def test_the_page_of_releases_tells_the_size_of_the_wheel(wheel):
    told = re.search(r"The wheel has ([\d.]+) MB, and ([\d.]+) MB when installed", RELEASE)
    assert told is not None
    installed = sum(file.file_size for file in zipfile.ZipFile(wheel).infolist())
    assert float(told[1]) == pytest.approx(wheel.stat().st_size / 1e6, rel=0.15)
    assert float(told[2]) == pytest.approx(installed / 1e6, rel=0.15)


def test_the_sdist_holds_what_builds_the_wheel_and_no_tests(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "PKG-INFO", "LICENSE", "README.md", "CHANGELOG.md"} <= names
    assert {name.partition("/")[0] for name in names if "/" in name} == {"dnworker", "extension", "man"}


def test_the_version_is_the_tag_in_a_clone_an_archive_an_sdist_and_an_editable_install(tmp_path):
    clone = copy_to(tmp_path / "clone")
    git(clone, "init", "--quiet")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "all")
    git(clone, "tag", "v7.8.9")
    head = sh("git", "rev-parse", "HEAD", cwd=clone).strip()
    sdist = build(clone, tmp_path / "sdist", "--sdist")
    assert version_of(sdist) == "7.8.9"
    (tmp_path / "unpacked").mkdir()
    sh("tar", "xzf", sdist, "-C", tmp_path / "unpacked", "--strip-components", "1")
    (tmp_path / "archive").mkdir()
    sh("git", "archive", "--output", tmp_path / "a.tar", "HEAD", cwd=clone)
    sh("tar", "xf", tmp_path / "a.tar", "-C", tmp_path / "archive")
    for source in ("unpacked", "archive"):
        wheel = build(tmp_path / source, tmp_path / f"of-{source}")
        assert version_of(wheel) == "7.8.9"
        assert json.loads(zipfile.ZipFile(wheel).read("dnworker/build.json"))["commit"] == head
    binaries = new_environment(tmp_path / "venv", "--editable", str(clone))
    told = sh(binaries / "dnworker", "--version", env=outside(binaries, tmp_path))
    assert told.startswith(f"dnworker 7.8.9 (build {head[:7]}")


def test_a_copy_without_git_builds_as_version_zero(wheel):
    assert version_of(wheel) == "0.0.0"


@pytest.fixture(scope="module")
def users(wheel, tmp_path_factory):
    """A user's project, whose environment has the wheel."""
    directory = tmp_path_factory.mktemp("user")
    binaries = new_environment(directory / "venv", f"{wheel}[runtime]")
    every = f"from dnworker import {', '.join(public_names)}\n"
    (directory / "right.py").write_text(every + USER)
    (directory / "wrong.py").write_text(USER + MISTAKE)
    return binaries / "python"


@pytest.mark.parametrize(("file", "code"), [("right.py", 0), ("wrong.py", 1)])
def test_mypy_checks_a_users_project_by_our_types(users, file, code):
    directory = users.parents[2]
    words = ("--strict", "--cache-dir", directory / "cache", "--python-executable", users, file)
    done = subprocess.run(
        [str(w) for w in (sys.executable, "-m", "mypy", *words)],
        cwd=directory,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("[arg-type]" in done.stdout) is bool(code)


@pytest.mark.parametrize(("file", "code"), [("right.py", 0), ("wrong.py", 1)])
def test_pyright_checks_a_users_project_by_our_types(users, file, code):
    done = pyright.run(
        "--pythonpath", str(users), str(users.parents[2] / file), capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("reportArgumentType" in done.stdout) is bool(code)


def test_the_recipe_of_conda_is_one_and_has_what_the_wheel_requires(sdist):
    import rattler_build

    text = sh(sys.executable, PROJECT / "scripts" / "conda_recipe.py", sdist)
    rendered = rattler_build.Stage0Recipe.from_yaml(text).render()
    assert [str(one.recipe.package.name) for one in rendered] == ["dnworker", "dnworker-jupyter"]
    assert {str(one.recipe.package.version) for one in rendered} == {version_of(sdist)}
    needed = [n for output in yaml.safe_load(text)["outputs"] for n in output["requirements"]["run"]]
    assert {"croniter >=6.0", "uvicorn >=0.54", "ipywidgets >=8.1"} <= {*needed}
