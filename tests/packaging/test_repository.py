"""The files around the code: workflows, templates, citation, changelog, and the containers that open it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from .building import PROJECT, sh

GITHUB = PROJECT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ABOUT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
SOURCE = ABOUT["project"]["urls"]["Source"]


def read(file: Path):
    return yaml.safe_load(file.read_text())


@pytest.fixture
def actionlint(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "scripts"))
    import actionlint

    return actionlint


@pytest.mark.slow
def test_actionlint_finds_nothing_in_the_workflows_and_what_is_wrong_elsewhere(actionlint, tmp_path):
    assert actionlint.findings(*WORKFLOWS) == []
    (tmp_path / "bad.yml").write_text(WORKFLOWS[0].read_text().replace("runs-on:", "run-on:", 1))
    assert any("run-on" in finding for finding in actionlint.findings(tmp_path / "bad.yml"))


@pytest.mark.slow
def test_zizmor_finds_nothing_even_where_it_is_pedantic():
    program = shutil.which("zizmor", path=str(Path(sys.executable).parent))
    words = (program, "--offline", "--no-progress", "--no-config", "--persona", "pedantic", GITHUB)
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_every_action_is_named_by_a_hash_with_its_tag_beside_it(file):
    used = re.findall(r"uses: (?!\./)(.*)", file.read_text())
    assert [one for one in used if not re.fullmatch(r"[\w/.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []


def test_an_action_has_one_hash_in_all_workflows():
    used = {
        line
        for file in WORKFLOWS
        for line in re.findall(r"uses: (?!\./)(\S+@[0-9a-f]{40})", file.read_text())
    }
    assert len(used) == len({one.partition("@")[0] for one in used})


def test_wheel_and_sdist_are_tried_on_each_python_that_the_project_names():
    matrix = read(GITHUB / "workflows" / "test.yml")["jobs"]["smoke"]["strategy"]["matrix"]
    named = re.findall(r"Python :: (3\.\d+)", " ".join(ABOUT["project"]["classifiers"]))
    assert (matrix["python"], matrix["resolution"]) == (named, ["highest", "lowest-direct"])


def test_a_release_publishes_what_the_tests_installed():
    jobs = read(GITHUB / "workflows" / "release.yml")["jobs"]
    assert [(name, job.get("needs")) for name, job in jobs.items()] == [
        ("test", None),
        ("attest", "test"),
        ("pypi", "attest"),
        ("github", "pypi"),
    ]
    assert not [
        step for job in jobs.values() for step in job.get("steps", ()) if "build" in step.get("run", "")
    ]


@pytest.mark.parametrize("name", ["bug", "idea"])
def test_the_forms_of_issues_have_what_github_wants(name):
    form = read(GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml")
    assert {"name", "description", "body"} <= set(form)
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in asked}) == len(asked) > 0
    assert all(part["attributes"]["label"] for part in asked)


def test_the_citation_is_one_and_agrees_with_the_project():
    citation = read(PROJECT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["type"] in ("software", "dataset")
    assert (citation["title"], citation["license"]) == ("dnworker", ABOUT["project"]["license"])
    assert (citation["abstract"], citation["repository-code"]) == (ABOUT["project"]["description"], SOURCE)


def test_every_file_names_one_repository():
    files = [
        *PROJECT.glob("*.md"),
        *PROJECT.glob("*.cff"),
        *GITHUB.rglob("*.yml"),
        PROJECT / "pyproject.toml",
    ]
    named = {
        url for file in files for url in re.findall(r"https://github\.com/dn[\w-]*/[\w-]+", file.read_text())
    }
    assert named == {SOURCE}


def test_a_fragment_becomes_a_section_of_the_changelog_above_that_of_0_1_0(tmp_path):
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d" / "+drain.added.md").write_text("SIGTERM drains.\n")
    sh(sys.executable, "-m", "towncrier", "build", "--yes", "--version", "0.2.0", cwd=tmp_path)
    text = (tmp_path / "CHANGELOG.md").read_text()
    assert re.search(
        r"below this line -->\n+## 0\.2\.0 — [\d-]+\n+### Added\n+- SIGTERM drains\.\n+## 0\.1\.0", text
    )
    assert text.endswith((PROJECT / "CHANGELOG.md").read_text().partition("## 0.1.0")[2])


def test_every_fragment_has_a_name_that_says_its_type():
    types = "|".join(kind["directory"] for kind in ABOUT["tool"]["towncrier"]["type"])
    names = [file.name for file in (PROJECT / "changelog.d").iterdir() if file.name != "README.md"]
    assert [name for name in names if not re.fullmatch(rf"(\d+|\+[\w-]+)\.({types})\.md", name)] == []


def test_the_hooks_before_a_commit_run_the_tools_of_the_project():
    (local,) = read(PROJECT / ".pre-commit-config.yaml")["repos"]
    makefile = (PROJECT / "Makefile").read_text()
    for hook in local["hooks"]:
        program, argument = hook["entry"].split()[:2] if " " in hook["entry"] else (hook["entry"], "")
        assert shutil.which(Path(program).name, path=str(Path(sys.executable).parent))
        assert not argument.endswith(".py") or argument in makefile


def test_a_devcontainer_runs_targets_that_the_makefile_has():
    container = json.loads((PROJECT / ".devcontainer" / "devcontainer.json").read_text())
    makefile = (PROJECT / "Makefile").read_text()
    for step in ("postCreateCommand", "postAttachCommand"):
        assert re.search(rf"^{re.escape(container[step].removeprefix('make '))}:", makefile, re.MULTILINE)


def test_binder_has_a_python_that_the_project_runs_on_and_installs_extras_that_are_there():
    binder = PROJECT / "binder"
    python = (binder / "runtime.txt").read_text().strip().removeprefix("python-")
    assert f"Programming Language :: Python :: {python}" in ABOUT["project"]["classifiers"]
    lines = [line for line in (binder / "requirements.txt").read_text().splitlines() if line[:1] != "#"]
    (extras,) = (re.fullmatch(r"-e \.\[([\w,]+)\]", line) for line in lines if line.startswith("-e"))
    assert set(extras[1].split(",")) <= set(ABOUT["project"]["optional-dependencies"])
    assert set(lines) - {extras[0]} <= set(ABOUT["dependency-groups"]["lab"])


def test_binder_opens_the_tutorial_and_goes_on_with_its_own_command(tmp_path):
    start = PROJECT / "binder" / "start"
    program = [str(start), sys.executable, "-c", "import os; print(os.environ['JUPYTERHUB_DEFAULT_URL'])"]
    done = subprocess.run(program, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"})
    address = done.stdout.strip()
    assert (PROJECT / address.removeprefix("/lab/tree/")).is_file()
    again = {"PATH": "/usr/bin:/bin", "JUPYTERHUB_DEFAULT_URL": "/lab/tree/README.md"}
    done = subprocess.run(program, capture_output=True, text=True, check=True, env=again)
    assert done.stdout.strip() == "/lab/tree/README.md"


def test_what_binder_runs_ends_at_the_first_failure_and_asks_for_what_the_project_has():
    for name in ("postBuild", "start"):
        file = PROJECT / "binder" / name
        assert file.stat().st_mode & 0o111
        assert "set -euo pipefail" in file.read_text()
        subprocess.run(["bash", "-n", str(file)], check=True)
    for line in (PROJECT / "binder" / "postBuild").read_text().splitlines():
        if line.startswith("python -c"):
            subprocess.run([sys.executable, "-c", line.split('"')[1]], check=True, capture_output=True)
