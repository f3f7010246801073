"""Writes the conda recipe of a release, from the project's dependencies and the built sdist.

    python scripts/conda_recipe.py dist/dnworker-0.1.0.tar.gz > recipe.yaml

conda has no extras: `dnworker` is the runtime, `dnworker-jupyter` adds the notebook. A feedstock has what is
printed; see docs/contributing/release.md.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parent.parent
NAMES = {"jupyter-client": "jupyter_client"}
"""What conda-forge calls differently."""


def recipe(sdist: Path) -> dict[str, Any]:
    """Return the recipe; the version is that in the name of the sdist."""
    about = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    project, build = about["project"], about["build-system"]["requires"]
    extras = project["optional-dependencies"]
    version = sdist.name.removeprefix("dnworker-").removesuffix(".tar.gz")
    python = project["requires-python"].removeprefix(">=")
    notebook = [f"dnworker =={version}", *_conda(extras["jupyter"])]
    return {
        "schema_version": 1,
        "context": {"version": version, "python_min": python},
        "recipe": {"name": "dnworker", "version": "${{ version }}"},
        "source": {
            "url": "https://pypi.org/packages/source/d/dnworker/dnworker-${{ version }}.tar.gz",
            "sha256": hashlib.sha256(sdist.read_bytes()).hexdigest(),
        },
        "outputs": [
            _output("dnworker", [*project["dependencies"], *extras["runtime"]], build, "dnworker"),
            {
                "package": {"name": "dnworker-jupyter"},
                "build": {"noarch": "generic"},
                "requirements": {"run": notebook},
                "tests": [{"script": ['python -c "import dnworker_jupyter.loading"']}],
            },
        ],
        "about": {
            "summary": project["description"],
            "license": project["license"],
            "license_file": "LICENSE",
            "homepage": project["urls"]["Source"],
            "documentation": project["urls"]["Documentation"],
        },
    }


def _output(name: str, needs: list[str], build: list[str], command: str) -> dict[str, Any]:
    return {
        "package": {"name": name},
        "build": {
            "noarch": "python",
            "script": "${{ PYTHON }} -m pip install . -vv --no-deps --no-build-isolation",
            "python": {"entry_points": [f"{command} = dnworker.cli.entry:main"]},
        },
        "requirements": {
            "host": ["python ${{ python_min }}.*", "pip", *_conda(build)],
            "run": ["python >=${{ python_min }}", *_conda(needs)],
        },
        "tests": [
            {
                "python": {
                    "imports": ["dnworker", "dnworker.runtime"],
                    "python_version": "${{ python_min }}.*",
                }
            },
            {"script": [f"{command} --version"]},
        ],
    }


def _conda(requirements: list[str]) -> list[str]:
    """Return requirements in conda's form, without extras and without the project itself."""
    found = []
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+)(?:\[[^]]*\])?(.*)", requirement)
        assert match is not None, requirement
        if match[1] != "dnworker":
            found.append(f"{NAMES.get(match[1], match[1])} {match[2]}".strip())
    return found


if __name__ == "__main__":
    yaml.safe_dump(recipe(Path(sys.argv[1])), sys.stdout, sort_keys=False, width=110)
